# SPDX-License-Identifier: Apache-2.0
"""The demo is a promise: it is run as a user runs it, and everything it shows must be so."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from examples.demo.mesh import ROOT

from tests.suites.conftest import PROOF, new_home

pytestmark = pytest.mark.hosts
AWAY_SECONDS = 600 if PROOF else 10
# What must be among the checks, so that a demo that shows less doesn't pass.
PROMISES = (
    "the mesh is built",
    "every proxy is connected and in sync",
    "the page works, and its servers saw the client's identity",
    "an identity that a client writes itself is not believed",
    "catalog may not call reviews",
    "plain text to the mesh's port is refused",
    "TLS without a certificate is refused",
    "a stranger can't reach the application's own port",
    "root of a mesh host can't reach the application's own port",
    "one request in ten goes to v2",
    "a changed rule runs in every proxy when its task ends",
    "an unknown outside host can't be reached",
    "a ServiceEntry opens it, with TLS that Envoy adds",
    "the task fails with the words of the Envoy that refused",
    "and the rule carries the reason",
    "traffic goes on meanwhile",
    "no request fails while the control plane is away",
    "every proxy comes back by itself",
    "nothing is taken away and given anew",
    "a second run changes nothing",
)


@pytest.fixture(scope="module")
def report(can_have_hosts: None) -> dict[str, dict[str, Any]]:
    """name -> {"passed", "figure"}"""
    home = new_home("demo")
    path = home / "report.json"
    command = [sys.executable, "-m", "examples.demo", "--report", str(path), "--away", str(AWAY_SECONDS)]
    with (home / "output.log").open("w") as log:
        done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, timeout=1800 + AWAY_SECONDS, check=False)
    found = {one["name"]: one for one in json.loads(path.read_text())}
    assert (done.returncode == 0) == all(one["passed"] for one in found.values())
    return found


@pytest.mark.parametrize("promise", PROMISES)
def test_promise(report: dict[str, dict[str, Any]], promise: str) -> None:
    assert report[promise]["passed"], report[promise]["figure"]


def test_everything_that_was_shown(report: dict[str, dict[str, Any]]) -> None:
    assert [f"{name}: {one['figure']}" for name, one in report.items() if not one["passed"]] == []
