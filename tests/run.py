# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.run NAME...`: runs groups of parts, or single parts, one after the other, with a line of progress now and then, the end
of the log of what failed, and a table at the end. A part that this machine can't run is skipped with its reason. Exit status 1 when one
failed. With PROOF=1 at full length, and what was found is kept in docs/proof.

Logs and the report (JSON) are left in build/test/."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests import proof
from tests.lab import machine
from tests.lab.envoy import envoy_binary

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "build" / "test"
PROGRESS_SECONDS = 30.0
TAIL_LINES = 60
BIN = ROOT / ".venv" / "bin"


def nothing() -> str:
    return ""


def an_envoy() -> str:
    """'' or why there is no Envoy."""
    try:
        envoy_binary()
    except (subprocess.CalledProcessError, OSError) as error:
        return f"no Envoy: {error}"
    return ""


def hosts() -> str:
    return an_envoy() or machine.provide()


@dataclass(frozen=True, slots=True)
class Part:
    """`needs` answers '' or the reason to skip; every command gets `seconds` at most. The first group that names a part is its home."""

    name: str
    groups: frozenset[str]
    commands: tuple[tuple[str, ...], ...]
    needs: Callable[[], str] = nothing
    seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """`state`: passed, failed or skipped. `note`: counts, or the reason."""

    name: str
    state: str
    seconds: float
    note: str


def pytest(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "pytest", "-rs", *words)


EVERYWHERE = frozenset({"check", "lint", "all"})
TESTS = frozenset({"check", "all"})
SLOW = frozenset({"all"})
LINT = frozenset({"lint", "all"})
PROOF = frozenset({"proof"})
ON_HOSTS = pytest("-vv", "tests", "-m", "hosts", "--durations=10")
PARTS = (
    Part("format", EVERYWHERE, ((f"{BIN}/ruff", "format", "--check", "."), (f"{BIN}/ruff", "check", "."))),
    Part("types", EVERYWHERE, ((f"{BIN}/mypy",),)),
    Part("layers", EVERYWHERE, ((f"{BIN}/lint-imports",),)),
    Part("unit", TESTS, (pytest("tests/unit", "tests/fuzz", "-n", "2", "-m", "not envoy and not hosts"),)),
    Part("golden", TESTS, (pytest("tests/golden", "-m", "not envoy and not hosts"),)),
    Part("feature", SLOW, (pytest("tests/feature", "-m", "not envoy and not hosts"),), seconds=900),
    Part("bench-small", SLOW, (pytest("tests/bench"),)),
    Part("envoy", SLOW, (pytest("tests", "-m", "envoy and not hosts"),), an_envoy, 1200),
    Part("ansible-lint", LINT, ((sys.executable, "-m", "tests.sanity", "lint"),)),
    Part("ansible-test", LINT, ((sys.executable, "-m", "tests.sanity", "sanity"),), seconds=1500),
    # What wants a quiet machine is first.
    Part("bench", PROOF, ((sys.executable, "-m", "tests.bench", "all"),), seconds=1800),
    Part("fuzz", PROOF, ((sys.executable, "-m", "tests.fuzz", "all"),), seconds=1200),
    Part("mutation", PROOF, ((sys.executable, "-m", "tests.mutation"),), seconds=3600),
    Part("attack", PROOF, (pytest("tests/feature/attack", "--durations=10"),), an_envoy, 1800),
    Part("demo", PROOF, ((sys.executable, "-m", "examples.demo", "--away", "600"),), hosts, 3600),
    Part("hosts", SLOW, (ON_HOSTS,), hosts, 3600),
    Part("hosts-long", PROOF, ((*ON_HOSTS, "--ignore=tests/suites/test_demo.py"),), hosts, 7200),
)


def run(part: Part, output: Path = OUTPUT) -> Outcome:
    """Runs the commands of one part until one fails; the log goes into `output`."""
    begun = time.monotonic()
    reason = part.needs()
    if reason:
        return Outcome(part.name, "skipped", 0.0, reason)
    log = output / f"{part.name}.log"
    log.write_bytes(b"")
    for command in part.commands:
        status = _run(part, command, log)
        if status != 0:
            return Outcome(part.name, "failed", time.monotonic() - begun, f"exit {status}: {_summary(log)}")
    return Outcome(part.name, "passed", time.monotonic() - begun, _summary(log))


def _run(part: Part, command: tuple[str, ...], log: Path) -> int:
    env = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": f"{ROOT}"}
    begun = told = time.monotonic()
    with log.open("ab") as file:
        child = subprocess.Popen(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    try:
        while True:
            try:
                return child.wait(timeout=1)
            except subprocess.TimeoutExpired:
                now = time.monotonic()
            if now - begun > part.seconds:
                with log.open("a") as file:
                    file.write(f"\nended after {part.seconds:.0f} s\n")
                return 124
            if now - told > PROGRESS_SECONDS:
                told = now
                print(f"  {part.name}: {now - begun:.0f} s: {_last(log)}", flush=True)
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """The child's whole session: first asked, then made."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, how)
            child.wait(timeout=60)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _last(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:110] if lines else ""


def _summary(log: Path) -> str:
    """Pytest's counts where there are some."""
    found = re.findall(r"^=* ?(\d+ (?:passed|failed|skipped|error)[^=]*?) in [\d.]+s", log.read_text(errors="replace"), re.MULTILINE)
    return "; ".join(found) or _last(log)


def table(outcomes: list[Outcome]) -> Table:
    made = Table(title="what was run")
    for heading in ("part", "", "seconds", ""):
        made.add_column(heading, justify="right" if heading == "seconds" else "left", overflow="fold")
    colours = {"passed": "green", "failed": "red", "skipped": "yellow"}
    for one in outcomes:
        made.add_row(one.name, f"[{colours[one.state]}]{one.state}[/]", f"{one.seconds:.0f}", one.note)
    return made


def main(words: list[str]) -> int:
    groups = {group for part in PARTS for group in part.groups}
    if not words or not set(words) <= groups | {part.name for part in PARTS}:
        print(f"{__doc__}\ngroups: {' '.join(sorted(groups))}; parts: {' '.join(part.name for part in PARTS)}", file=sys.stderr)
        return 2
    chosen = [part for part in PARTS if {part.name, *part.groups} & set(words)]
    OUTPUT.mkdir(parents=True, exist_ok=True)
    console = Console(width=max(100, Console().width))
    outcomes = []
    for number, part in enumerate(chosen, 1):
        print(f"[{number}/{len(chosen)}] {part.name}", flush=True)
        outcome = run(part)
        outcomes.append(outcome)
        _keep(outcomes)
        if outcome.state == "failed":
            log = OUTPUT / f"{part.name}.log"
            print("\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:]), flush=True)
            print(f"  {part.name} failed; all of it: {log.relative_to(ROOT)}", flush=True)
    console.print(table(outcomes))
    return 1 if any(one.state == "failed" for one in outcomes) else 0


def _keep(outcomes: list[Outcome]) -> None:
    """After each part, so that a run which is cut off leaves what it found."""
    (OUTPUT / "report.json").write_text(json.dumps([asdict(one) for one in outcomes], indent=2) + "\n")
    if os.environ.get("PROOF"):
        page = proof.keep([(one.name, one.state, one.seconds, one.note) for one in outcomes], OUTPUT, ROOT / "build" / "demo-report.json")
        print(f"  kept in {page.relative_to(ROOT)}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
