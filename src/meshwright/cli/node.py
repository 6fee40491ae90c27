# SPDX-License-Identifier: Apache-2.0
"""`node`: enrolment of hosts by their SSH host keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from meshwright.cli.connection import Client, good
from meshwright.cli.failure import Unusable
from meshwright.cli.output import columns
from meshwright.cli.session import Session, online


@click.group()
def node() -> None:
    """Enrol, list, ban and delete hosts."""


@node.command()
@click.argument("name")
@click.option("--ssh-host-key", "keys", multiple=True, metavar="LINE|FILE", help="Public host key, or the file it is in; repeatable.")
@click.option("--workload", "workloads", multiple=True, metavar="NAMESPACE/NAME[:ACCOUNT]", help="What the host may run; repeatable.")
@online
def enrol(session: Session, name: str, keys: Sequence[str], workloads: Sequence[str]) -> None:
    """Say what host NAME is: its keys and workloads replace those it had; labels and ports of workloads that stay are kept."""
    with session.client() as client:
        old = client.ask("GET", _path(name))
        before = old.body if old.ok else {}
        kept = {(w["namespace"], w["name"]): w for w in before.get("workloads", ())}
        body = {"name": name, "banned": before.get("banned", False), "sshHostKeys": [_key(key) for key in keys]}
        body["workloads"] = [_workload(text, kept) for text in workloads]
        if old.ok:
            body["resourceVersion"] = before["resourceVersion"]
        answer = good(client.ask("PUT", _path(name), body=body))
    how = "unchanged" if not answer.changed else ("created" if answer.status == 201 else "configured")
    session.emit(answer.body, f"node/{name} {how}")


@node.command("list")
@online
def listing(session: Session) -> None:
    """List the enrolled hosts."""
    with session.client() as client:
        answer = client.get("/mesh/v1/nodes")
    session.emit(answer, _table(answer["items"]) if answer["items"] else "nothing found")


@node.command()
@click.argument("name")
@online
def get(session: Session, name: str) -> None:
    """Show one host."""
    with session.client() as client:
        answer = client.get(_path(name))
    session.emit(answer, _table([answer]))


@node.command()
@click.argument("name")
@online
def delete(session: Session, name: str) -> None:
    """Take a host out of the mesh. What is gone already is no error."""
    with session.client() as client:
        answer = client.ask("DELETE", _path(name))
        if answer.status != 404:
            good(answer)
    how = "absent" if answer.status == 404 else "deleted"
    session.emit({"node": name, "result": how, "revision": answer.revision}, f"node/{name} {how}")


@node.command()
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let it in again.")
@online
def ban(session: Session, name: str, undo: bool) -> None:
    """End the identities of a host at once, without forgetting what it was."""
    with session.client() as client:
        answer = _set_banned(client, name, not undo)
    session.emit(answer, f"node/{name} {'banned' if answer['banned'] else 'allowed'}")


def _set_banned(client: Client, name: str, banned: bool) -> Any:
    node = client.get(_path(name))
    return good(client.ask("PUT", _path(name), body={**node, "banned": banned})).body


def _path(name: str) -> str:
    return f"/mesh/v1/nodes/{quote(name, safe='')}"


def _key(text: str) -> str:
    """`TYPE BASE64`, without the comment; raises Unusable."""
    line = text
    if " " not in text.strip():
        try:
            line = Path(text).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise Unusable(f"--ssh-host-key {text[:200]}: is neither a key nor a file of one: {error}") from None
    if "PRIVATE KEY" in line:
        raise Unusable("--ssh-host-key: that is the private key; give the .pub file")
    return " ".join(line.split()[:2])


def _workload(text: str, kept: dict[tuple[str, str], Any]) -> dict[str, Any]:
    place, colon, account = text.partition(":")
    namespace, slash, name = place.partition("/")
    if not slash or not namespace or not name or (colon and not account):
        raise Unusable(f"--workload {text}: must be NAMESPACE/NAME or NAMESPACE/NAME:ACCOUNT")
    before = kept.get((namespace, name), {})
    return {**before, "namespace": namespace, "name": name, **({"serviceAccount": account} if account else {})}


def _table(items: list[Any]) -> str:
    rows = []
    for item in items:
        workloads = " ".join(f"{w['namespace']}/{w['name']}" for w in item["workloads"]) or "-"
        rows.append([item["name"], len(item["sshHostKeys"]), "yes" if item["banned"] else "no", workloads])
    return columns(["NAME", "KEYS", "BANNED", "WORKLOADS"], rows)
