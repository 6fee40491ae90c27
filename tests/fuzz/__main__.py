# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.fuzz TARGET... | all [--cases N] [--seconds S] [--keep]`: cases for the readers of tests/fuzz/targets.py, guided by what
they reach (Atheris, libFuzzer), each target in a process of its own, two at a time, until N cases or S seconds, whichever is first. A line
of figures for each; exit status 1 when one broke a promise, took too long or too much memory: that case is build/fuzz/TARGET/broken-*.

`--keep` puts some of what the run has reached into tests/fuzz/corpus."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz import cases

NAMES = (
    "json",
    "yaml",
    "agent-request",
    "agent-response",
    "discovery-request",
    "ssh-signature",
    "signing-request",
    "words",
    "pattern",
)
OUTPUT = Path(__file__).resolve().parents[2] / "build" / "fuzz"
MEMORY_MB = 1024
KEPT = 60
PROCESSES = 2


def run(name: str, count: int, seconds: int) -> bool:
    """One target; whether it kept its promises."""
    place = _place(name)
    limits = [f"-runs={count}", f"-max_total_time={seconds}", "-print_final_stats=1", f"-artifact_prefix={place}/broken-"]
    began = time.monotonic()
    done = _fuzzer(name, *limits, str(place / "reached"), str(place / "kept"))
    took = time.monotonic() - began
    log = (place / "log").read_text(errors="replace")
    figures = {what: _last(f"{what}: +(\\d+)", log) for what in ("number_of_executed_units", "slowest_unit_time_sec", "peak_rss_mb", "cov")}
    ran, slowest, peak, reached = figures.values()
    state = "kept" if done == 0 and ran else "BROKEN"
    print(f"{name:18} {state:6} {ran:>9,} cases in {took:.0f} s, {reached} branches, slowest {slowest} s, {peak} MB", flush=True)
    if state == "BROKEN":
        print(_reason(log), flush=True)
    return state == "kept"


def _place(name: str) -> Path:
    place = OUTPUT / name
    for folder in ("reached", "kept"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    for old in (place / "kept").iterdir():
        old.unlink()
    for number, case in enumerate(cases.kept(name)):
        (place / "kept" / f"{number:04}").write_bytes(case)
    return place


def _fuzzer(name: str, *options: str) -> int:
    with (OUTPUT / name / "log").open("wb") as log:
        command = [sys.executable, "-m", "tests.fuzz.guided", name, "-seed=1", f"-rss_limit_mb={MEMORY_MB}", *options]
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False).returncode


def _last(pattern: str, log: str) -> int:
    return int((re.findall(pattern, log) or ["0"])[-1])


def _reason(log: str) -> str:
    """The end of the trace, without libFuzzer's own lines."""
    lines = [line for line in log.splitlines() if not re.match(r"#\d+|INFO|stat::|MS:|0x", line)]
    return "\n".join(lines[-25:])


def keep(name: str) -> None:
    """What is kept, and beside it some of what was reached: small ones and large ones."""
    before = cases.kept(name)
    reached = sorted(
        {path.read_bytes() for path in (OUTPUT / name / "reached").iterdir()} - set(before), key=lambda case: (len(case), case)
    )
    step = max(1, len(reached) // KEPT)
    cases.keep(name, [*before, *reached[::step][:KEPT]])
    print(f"{name}: {len(cases.kept(name))} cases kept", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="+", choices=(*NAMES, "all"))
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    names = NAMES if "all" in args.targets else args.targets
    with ThreadPoolExecutor(PROCESSES) as pool:
        fine = list(pool.map(lambda name: run(name, args.cases, args.seconds), names))
    if args.keep:
        for name in names:
            keep(name)
    print(f"{sum(fine)} of {len(fine)} targets kept their promises", flush=True)
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main())
