# SPDX-License-Identifier: Apache-2.0
"""`token`: for people and programs (api), or for one host's first identity (join)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import click

from meshwright.cli.connection import good
from meshwright.cli.failure import Unusable
from meshwright.cli.output import columns
from meshwright.cli.session import Session, online
from meshwright.model.duration import Duration

ROLES = ("reader", "namespace-editor", "mesh-admin", "security-admin")


@click.group()
def token() -> None:
    """Make, list and take back tokens."""


@token.command()
@click.option("--name", default="", help="API token: what the audit calls its holder.")
@click.option("--role", type=click.Choice(ROLES), help="API token: what its holder may do.")
@click.option("--namespace", "namespaces", multiple=True, help="API token of a namespace-editor: where; repeatable.")
@click.option("--node", default="", help="Join token: the host it is for.")
@click.option("--workload", default="", metavar="NAMESPACE/NAME", help="Join token: the workload it is for.")
@click.option("--ttl", default="", help="Life, like 10m or 720h [API token: 720h, join token: 10m].")
@online
def create(session: Session, name: str, role: str | None, namespaces: Sequence[str], node: str, workload: str, ttl: str) -> None:
    """Make a token and show it, once."""
    if bool(name and role) == bool(node and workload):
        raise Unusable("name either --name and --role (API token), or --node and --workload (join token)")
    if name:
        body: dict[str, Any] = {"kind": "api", "name": name, "role": role, "ttlSeconds": _seconds(ttl or "720h")}
        if namespaces:
            body["namespaces"] = list(namespaces)
    else:
        body = {"kind": "join", "node": node, "workload": workload_of(workload), "ttlSeconds": _seconds(ttl or "10m")}
    with session.client() as client:
        answer = good(client.ask("POST", "/mesh/v1/tokens", body=body)).body
    session.emit(answer, answer["token"])
    if session.form == "table":
        click.echo(f"id {answer['id']}, until {answer['expiresAt']}; it is not shown again", err=True)


@token.command("list")
@online
def listing(session: Session) -> None:
    """List tokens (never their secrets)."""
    with session.client() as client:
        answer = client.get("/mesh/v1/tokens")
    rows = [[item["id"], item["kind"], _about(item), item.get("expiresAt", "never"), item.get("usedAt", "-")] for item in answer["items"]]
    session.emit(answer, columns(["ID", "KIND", "FOR", "UNTIL", "USED"], rows) if rows else "nothing found")


@token.command()
@click.argument("id")
@online
def delete(session: Session, id: str) -> None:
    """Take a token back, at once."""
    with session.client() as client:
        answer = good(client.ask("DELETE", f"/mesh/v1/tokens/{quote(id, safe='')}")).body
    session.emit(answer, f"token {id} deleted")


def workload_of(text: str) -> dict[str, str]:
    namespace, slash, name = text.partition("/")
    if not slash or not name or not namespace:
        raise Unusable(f"--workload {text}: must be NAMESPACE/NAME")
    return {"namespace": namespace, "name": name}


def _about(item: Any) -> str:
    if item["kind"] == "join":
        workload = item.get("workload") or {}
        return f"{item.get('node', '')}: {workload.get('namespace', '')}/{workload.get('name', '')}"
    scope = f" in {','.join(item['namespaces'])}" if item.get("namespaces") else ""
    return f"{item.get('name', '')}: {','.join(item.get('roles', ()))}{scope}"


def _seconds(text: str) -> int:
    try:
        return Duration.parse(text).nanoseconds // 1_000_000_000
    except ValueError as error:
        raise Unusable(f"--ttl: {error}") from None
