# SPDX-License-Identifier: Apache-2.0
"""The demo: six hosts, a mesh between them, and what it promises, shown and measured. The report is left in build/demo-report.json.

Exit status: 0 every check passed, 1 one did not, 3 test hosts can't run here."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from tests.lab import host, machine
from tests.lab.envoy import envoy_binary
from tests.lab.hosts import Lab

from examples.demo import access, build, identity, outage, outside, refusal, split
from examples.demo.mesh import HOSTS, ROOT, Mesh
from examples.demo.report import Report


def steps(away: float) -> tuple[tuple[str, Callable[[Mesh], None]], ...]:
    """In their order; each stands for itself."""
    return (
        ("identities", identity.check),
        ("access", access.check),
        ("traffic rules", split.check),
        ("the world outside", outside.check),
        ("a refusal", refusal.check),
        ("the control plane dies", lambda mesh: outage.check(mesh, away)),
        ("a second run", build.check_again),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave it running at the end")
    parser.add_argument("--away", type=float, default=outage.AWAY_SECONDS, help="seconds without a control plane")
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "demo-report.json")
    options = parser.parse_args()
    reason = machine.provide()
    if reason:
        print(f"the demo can't run here: {reason}", file=sys.stderr)
        return 3
    # Ending it by TERM cleans up, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else 140)
    report = Report(console)
    report.title(f"{len(HOSTS)} hosts are booted")
    envoy_binary()
    home = options.report.parent / "demo"
    with Lab(HOSTS) as lab:
        for one in lab.hosts:
            report.say(f"{one.name}: {one.address} {one.address6}")
        mesh = _show(lab, home, report, options.away)
        _keep_journals(lab, home)
        report.save(options.report)
        console.print()
        console.print(report.table())
        if options.keep:
            lab.keep()
            _say_how_to_look(console, lab, mesh)
    return 0 if report.passed else 1


def _show(lab: Lab, home: Path, report: Report, away: float) -> Mesh | None:
    """Every step, also after one that failed; without a mesh there is nothing to show."""
    try:
        mesh = build.build(lab, home, report)
    except (RuntimeError, OSError) as error:
        report.check("the mesh is built", False, str(error))
        return None
    report.check("the mesh is built", True, f"{len(lab.hosts)} hosts")
    for name, step in steps(away):
        try:
            step(mesh)
        except Exception as error:  # noqa: BLE001 a step that breaks is a failed check, and the others still say what they see
            report.check(f"{name}: the step itself", False, f"{type(error).__name__}: {error}"[:2000])
    return mesh


def _keep_journals(lab: Lab, home: Path) -> None:
    for one in lab.hosts:
        journal = one.ssh("journalctl --no-pager -o short-precise -u 'meshwright-*' -u 'shop-*'", check=False).stdout
        (home / f"journal-{one.name}.log").write_text(journal)


def _say_how_to_look(console: Console, lab: Lab, mesh: Mesh | None) -> None:
    console.print("\nIt is left running. To look around:", style="bold")
    lines = [f"ssh -F {host.ssh_config(lab.slot)} web1        # root on a host; systemctl status 'meshwright-*'"]
    if mesh is not None:
        access = " ".join(f"{key}={value}" for key, value in mesh.control_plane.access.items())
        lines += [
            f"export {access}",
            f"{os.path.relpath(ROOT / '.venv/bin/meshwright')} proxies        # and: get vs -A; proxy frontend-web1.shop",
            "curl -s http://127.0.0.1:8080/        # on web1, as root: the shop's page",
        ]
    lines.append(f"{os.path.relpath(sys.executable)} -m tests.lab down {lab.slot.number}        # ends it")
    for line in lines:
        console.print(f"  {line}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
