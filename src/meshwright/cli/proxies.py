# SPDX-License-Identifier: Apache-2.0
"""`proxies` and `proxy`: the sidecars."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from meshwright.cli.connection import good
from meshwright.cli.failure import Bad
from meshwright.cli.output import columns
from meshwright.cli.rollout import refused
from meshwright.cli.session import Session, online


@click.command()
@online
def proxies(session: Session) -> None:
    """List the enrolled proxies and whether they run the newest revision."""
    with session.client() as client:
        answer = client.get("/mesh/v1/proxies")
    session.emit(answer, _table(answer["items"]) if answer["items"] else "nothing found")


@click.command()
@click.argument("id", metavar="NAME.NAMESPACE")
@click.argument("what", type=click.Choice(["status", "config"]), default="status")
@online
def proxy(session: Session, id: str, what: str) -> None:
    """Show one proxy: its state, or the configuration it is told to run.

    The id of a proxy is NAME.NAMESPACE of its workload, like reviews-web3.shop; `meshwright proxies` lists them.
    """
    path = f"/mesh/v1/proxies/{quote(id, safe='')}"
    with session.client() as client:
        found = client.ask("GET", path)
        if found.status in (400, 404):
            raise Bad(f"there is no proxy {id}; the ids are NAME.NAMESPACE, see `meshwright proxies`")
        answer = client.get(f"{path}/config") if what == "config" else good(found).body
    session.emit(answer, _status(answer) if what == "status" else _config(answer))


def _table(items: list[Any]) -> str:
    head = ["ID", "NODE", "SYNC", "REVISION", "ADDRESS", "ENVOY", "CERTIFICATE UNTIL"]
    return columns(head, [_row(item) for item in items])


def _row(item: Any) -> list[str]:
    svid = item.get("svid") or {}
    values = (item.get("node"), item.get("sync"), item.get("revision"), item.get("address"), item.get("envoyVersion"), svid.get("notAfter"))
    return [item["id"], *(str(value) if value not in (None, "") else "-" for value in values)]


def _status(item: Any) -> str:
    lines = [_table([item])]
    for refusal in item.get("rejections") or ():
        lines.append(f"refuses {refused(refusal)}: {refusal.get('message', '')}")
    return "\n".join(lines)


def _config(answer: Any) -> str:
    """Names only: all of it is for -o json."""
    lines = [f"revision {answer['revision']}"]
    for kind in ("listeners", "routes", "clusters", "endpoints"):
        names = [str(one.get("name") or one.get("clusterName", "?")) for one in answer[kind]]
        lines.append(f"{kind} ({len(names)})")
        lines += [f"  {name}" for name in names]
    return "\n".join(lines)
