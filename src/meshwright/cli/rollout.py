# SPDX-License-Identifier: Apache-2.0
"""`rollout`: which proxies run a revision, live while it goes on, and Envoy's words where one refuses."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from meshwright.cli.connection import Client
from meshwright.cli.failure import BAD
from meshwright.cli.output import columns
from meshwright.cli.session import Session, online

STEP_SECONDS = 2
PAUSE_SECONDS = 0.1
MAX_SHOWN = 10


@click.command()
@click.argument("revision", type=click.IntRange(min=0))
@click.option("--wait", type=click.IntRange(0, 3600), default=0, show_default=True, help="Seconds to wait for an end.")
@online
def rollout(session: Session, revision: int, wait: int) -> None:
    """Say who runs REVISION. Ends with 1 when a proxy refuses it, or not all have it when the time is over."""
    with session.client() as client:
        found = follow(client, revision, wait, quiet=session.form != "table") if wait else client.get(f"/mesh/v1/rollouts/{revision}")
    session.emit(found, _table(found))
    bad = outcome(found)
    if bad and session.form == "table":
        click.echo("\n".join(bad), err=True)
    if found["state"] == "rejected" or (wait and bad):
        raise SystemExit(BAD)


def follow(client: Client, revision: int, timeout: float, *, quiet: bool = False) -> dict[str, Any]:
    """The rollout when it isn't pending any more, or as it is after `timeout` seconds; on a terminal its state is shown meanwhile."""
    end = time.monotonic() + timeout
    console = Console(file=sys.stderr)
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while True:
            left = max(0.0, end - time.monotonic())
            step = int(min(STEP_SECONDS, left + 0.999))
            found: dict[str, Any] = client.get(f"/mesh/v1/rollouts/{revision}", {"wait": str(step)}, wait=step)
            if found["state"] != "pending" or time.monotonic() >= end:
                return found
            time.sleep(PAUSE_SECONDS)  # in case the server doesn't wait: no more than a few questions a second
            if console.is_terminal and not quiet:
                live.update(Text(progress(found)), refresh=True)


def progress(rollout: Mapping[str, Any]) -> str:
    """`revision 12: 3 of 5 proxies run it; waiting for a.shop b.shop`, with those that are away counted."""
    proxies = rollout["proxies"]
    waiting, away = list(proxies.get("pending", ())), list(proxies.get("away", ()))
    text = f"revision {rollout['revision']}: {proxies['acked']} of {proxies['total']} proxies run it"
    if waiting:
        more = f" and {len(waiting) - MAX_SHOWN} more" if len(waiting) > MAX_SHOWN else ""
        text += f"; waiting for {' '.join(waiting[:MAX_SHOWN])}{more}"
    return text + (f"; {len(away)} away" if away else "")


def outcome(rollout: Mapping[str, Any]) -> list[str]:
    """What is not well with it, one line each; nothing when every connected proxy runs it."""
    if rollout["state"] == "pending":
        return [f"not everywhere yet: {progress(rollout)}; ask again with: meshwright rollout {rollout['revision']} --wait 60"]
    lines = []
    for refusal in rollout.get("rejections", ()) if rollout["state"] == "rejected" else ():
        refs = " ".join(refusal.get("refs", ()))
        lines.append(f"{refusal['proxy']} refuses {refused(refusal)} ({refs}): {refusal['message']}")
    return lines or (["a proxy refuses it"] if rollout["state"] == "rejected" else [])


def refused(refusal: Mapping[str, Any]) -> str:
    """`RouteConfiguration 80`: the last word of the type's URL, and the name."""
    return f"{str(refusal.get('type', '')).rpartition('.')[2]} {refusal.get('name', '')}".strip()


def _table(rollout: Mapping[str, Any]) -> str:
    proxies = rollout["proxies"]
    pending, away = len(proxies.get("pending", ())), len(proxies.get("away", ()))
    seconds = rollout.get("seconds")
    row = [
        rollout["revision"],
        rollout["state"],
        f"{proxies['acked']}/{proxies['total']}",
        pending,
        away,
        "-" if seconds is None else seconds,
    ]
    return columns(["REVISION", "STATE", "ACKED", "PENDING", "AWAY", "SECONDS"], [row])
