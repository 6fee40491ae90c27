# SPDX-License-Identifier: Apache-2.0
"""The demo is a promise: it is run as a user runs it, and everything it shows must be so."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from examples.demo.mesh import ROOT

from tests.suites.conftest import new_home

AWAY_SECONDS = 10
LOCAL_AWAY_SECONDS = 3
# What must be among the checks, so that a demo that shows less doesn't pass.
EVERYWHERE = (
    "the mesh is built",
    "every Envoy is connected and in sync",
    "frontend-web1.shop has an identity of its own",
    "the shop's page works, and its servers know that frontend called",
    "frontend claims to be `boss` in a header: it is not believed",
    "catalog calls reviews, which only frontend may: refused",
    "somebody outside the mesh speaks plain HTTP to a sidecar: refused",
    "somebody outside the mesh speaks TLS without a certificate: refused",
    "one request in ten goes to v2",
    "all to v2: when the task ends, the very next requests obey",
    "a server outside is called through the sidecar, without a rule: refused",
    "a ServiceEntry opens it, and the sidecar adds the TLS",
    "the task fails, with the words of the Envoy that refused",
    "and the stored rule says why it does not run everywhere",
    "requests go on meanwhile",
    "no request fails while there is no control plane",
    "every Envoy comes back by itself",
    "and has nothing taken away and given anew",
    "a second run changes nothing",
)
ON_HOSTS = (
    "the port of the reviews application is called directly from a host outside the mesh: refused",
    "the port of the reviews application is called directly from another host of the mesh, even as its root user: refused",
    "the port of the reviews application is called directly by frontend, which may call reviews only through its sidecar: refused",
    "the port of the reviews application is called directly on the very host of reviews, by another user: refused",
    "a server outside is called by its address, without a rule: refused",
    "with that rule, the server outside is called around the sidecar: still refused",
)
Found = dict[str, dict[str, Any]]


def command(home: Path, away: float, *words: str) -> list[str]:
    return [sys.executable, "-m", "examples.demo", "--report", str(home / "report.json"), "--away", str(away), *words]


def run(home: Path, away: float, *words: str) -> Found:
    """name -> {"passed", "figure"}"""
    with (home / "output.log").open("w") as log:
        done = subprocess.run(command(home, away, *words), cwd=ROOT, stdout=log, stderr=log, timeout=1800 + away, check=False)
    found = {one["name"]: one for one in json.loads((home / "report.json").read_text())}
    assert (done.returncode == 0) == all(one["passed"] is not False for one in found.values())
    return found


@pytest.fixture(scope="module")
def report(can_have_hosts: None) -> Found:
    return run(new_home("demo"), AWAY_SECONDS)


@pytest.fixture(scope="module")
def local() -> Found:
    return run(new_home("demo-local"), LOCAL_AWAY_SECONDS, "--local")


@pytest.mark.hosts
@pytest.mark.parametrize("promise", EVERYWHERE + ON_HOSTS)
def test_promise(report: Found, promise: str) -> None:
    assert report[promise]["passed"], report[promise]["figure"]


@pytest.mark.hosts
def test_everything_that_was_shown(report: Found) -> None:
    assert [f"{name}: {one['figure']}" for name, one in report.items() if not one["passed"]] == []


@pytest.mark.envoy
def test_everything_that_was_shown_without_hosts(local: Found) -> None:
    assert [f"{name}: {one['figure']}" for name, one in local.items() if one["passed"] is False] == []
    assert [name for name in EVERYWHERE if not local[name]["passed"]] == []


@pytest.mark.envoy
def test_what_needs_hosts_is_said_to_be_left_out(local: Found) -> None:
    """Neither as kept nor silently."""
    left_out = {name: one["figure"] for name, one in local.items() if one["passed"] is None}
    assert set(ON_HOSTS) < set(left_out)
    assert all(figure.startswith("not shown here: ") for figure in left_out.values())
    assert not set(left_out) & set(EVERYWHERE)


def of_directory(directory: Path) -> list[str]:
    """Command lines of the processes that run from it: it is in their words or in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words, environment = ((process / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:
            continue
        if str(directory).encode() in words + environment:
            found.append(words.replace(b"\0", b" ").decode(errors="replace"))
    return found


@pytest.fixture
def interrupted() -> Iterator[tuple[Path, int]]:
    """A local demo that was ended by Ctrl-C as soon as its control plane ran: its directory and its status."""
    home = new_home("demo-interrupted")
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    # Shells start what they put into the background with SIGINT ignored, and that is inherited.
    child = subprocess.Popen(
        command(home, 1, "--local"), cwd=ROOT, **pipes, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    )
    try:
        assert child.stdout is not None
        said = ""
        for line in child.stdout:
            said += line
            if "control plane: https://" in line:
                break
        (name,) = set(re.findall(r"/tmp/mw-demo-\w+", said))
        assert of_directory(Path(name)), said
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
        yield Path(name), child.returncode
    finally:
        if child.poll() is None:
            child.terminate()
            child.communicate(timeout=60)


@pytest.mark.envoy
def test_nothing_is_left_of_an_interrupted_demo(interrupted: tuple[Path, int]) -> None:
    directory, status = interrupted
    assert status == 130
    assert not directory.exists()
    assert of_directory(directory) == []
