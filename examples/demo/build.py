# SPDX-License-Identifier: Apache-2.0
"""From bare hosts to a mesh: the shop is put on them, then the mesh around it, then its rules; and all of it a second time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.lab import wheelhouse
from tests.lab.hosts import Lab

from examples.demo import collection, outside
from examples.demo.control_plane import ControlPlane
from examples.demo.mesh import CONTROL_PLANE, INVENTORY, STRANGER, Mesh
from examples.demo.playbook import Ansible
from examples.demo.report import Report

INSTALL = "meshwright.mesh.demo_shop"
SITE = "meshwright.mesh.site"
RULES = "meshwright.mesh.demo_rules"
ALL = "meshwright.mesh.demo"


def build(lab: Lab, home: Path, report: Report) -> Mesh:
    """All of it. Raises RuntimeError with what Ansible said."""
    ansible = prepare(lab, home, report)
    return join(lab, ansible, report)


def prepare(lab: Lab, home: Path, report: Report, extra: Mapping[str, object] | None = None) -> Ansible:
    """The collection, and the shop on its hosts, without a mesh. `extra` are more variables for all hosts."""
    report.title("The collection is built, and installed at the controller")
    collections = collection.install(home)
    report.say(f"in {collections}")
    report.title("The shop is installed on its hosts, the mesh around it, and its rules")
    variables = {
        "meshwright_credentials_dir": str(credentials(home)),
        "meshwright_wheelhouse": str(wheelhouse.wheelhouse()),
        "shop_outside_ca": str(home / "outside-ca.pem"),
    }
    outside.install(lab.host(STRANGER), home / "outside-ca.pem")
    connections = lab.inventory(home / "lab.yml", group_vars=variables | dict(extra or {}))
    ansible = Ansible(home, collections, [connections, INVENTORY])
    ansible.access = {"MESHWRIGHT_CONFIG": str(credentials(home) / "config.json")}
    _play(ansible, report, INSTALL)
    return ansible


def join(lab: Lab, ansible: Ansible, report: Report) -> Mesh:
    """The mesh around the shop."""
    for playbook in (SITE, RULES):
        _play(ansible, report, playbook)
    return Mesh(lab, ansible, ControlPlane(lab.host(CONTROL_PLANE), credentials(ansible.home)), report)


def credentials(home: Path) -> Path:
    return home / "credentials"


def _play(ansible: Ansible, report: Report, playbook: str) -> None:
    recap = ansible.play(playbook)
    report.say(f"{Path(playbook).name}: {recap.changed} changes in {recap.seconds:.0f} s")
    recap.raise_for_failure()


def check_again(mesh: Mesh) -> None:
    """What is as it should be is left alone."""
    mesh.report.title("All of it a second time")
    recap = mesh.ansible.play(ALL)
    good = recap.changed == recap.failed == recap.status == 0
    mesh.report.check("a second run changes nothing", good, f"changed={recap.changed} failed={recap.failed} in {recap.seconds:.0f} s")
