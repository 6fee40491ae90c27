# SPDX-License-Identifier: Apache-2.0
"""Suites run on real hosts: skipped, with the reason, where there can be none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.demo import build
from examples.demo.mesh import HOSTS, ROOT
from examples.demo.on_hosts import HostsMesh
from examples.demo.report import Report
from rich.console import Console

from tests.lab import machine
from tests.lab.hosts import Lab

PROOF = bool(os.environ.get("PROOF"))  # the full lengths; hours in places
SVID_SECONDS = 60 if PROOF else 30


@pytest.fixture(scope="session")
def can_have_hosts() -> None:
    reason = machine.provide()
    if reason:
        pytest.skip(reason)


def new_home(name: str) -> Path:
    """An empty directory for the playbooks' logs and the like, which stays there for whoever wonders what happened."""
    home = ROOT / "build" / "suites" / name
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    return home


@pytest.fixture(scope="session")
def short_lived(can_have_hosts: None) -> Iterator[HostsMesh]:
    """The shop in a mesh whose certificates live for SVID_SECONDS."""
    home = new_home("short-lived")
    report = Report(Console(stderr=True))
    with Lab(HOSTS) as lab:
        ansible = build.prepare(lab, home, report, {"meshwright_svid_ttl": f"{SVID_SECONDS}s"})
        yield build.join(lab, ansible, report)
