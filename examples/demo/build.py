# SPDX-License-Identifier: Apache-2.0
"""From bare hosts to a mesh: the shop is put on them, then the mesh around it, then its rules; and all of it a second time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.lab import wheelhouse
from tests.lab.hosts import Lab

from examples.demo import collection, outside
from examples.demo.control_plane import ControlPlane
from examples.demo.mesh import INVENTORY, RULES, STRANGER, Mesh
from examples.demo.on_hosts import HostsMesh
from examples.demo.playbook import Ansible, short_name
from examples.demo.progress import spell
from examples.demo.report import Report

INSTALL = "meshwright.mesh.demo_shop"
SITE = "meshwright.mesh.site"


def build(lab: Lab, home: Path, report: Report) -> HostsMesh:
    """All of it. Raises RuntimeError with what Ansible said."""
    ansible = prepare(lab, home, report)
    return join(lab, ansible, report)


def prepare(lab: Lab, home: Path, report: Report, extra: Mapping[str, object] | None = None) -> Ansible:
    """The collection, and the shop on its hosts, without a mesh. `extra` are more variables for all hosts."""
    collections = install_collection(home, report)
    report.title("Playbooks put the shop on its hosts, the mesh around it, and its rules into the mesh")
    variables = {
        "meshwright_credentials_dir": str(credentials(home)),
        "meshwright_wheelhouse": str(wheelhouse.wheelhouse()),
        "shop_outside_ca": str(home / "outside-ca.pem"),
    }
    outside.install(lab.host(STRANGER), home / "outside-ca.pem")
    connections = lab.inventory(home / "lab.yml", group_vars=variables | dict(extra or {}))
    ansible = Ansible(home, collections, [connections, INVENTORY], report.console)
    ansible.access = {"MESHWRIGHT_CONFIG": str(credentials(home) / "config.json")}
    play(ansible, report, INSTALL)
    return ansible


def join(lab: Lab, ansible: Ansible, report: Report) -> HostsMesh:
    """The mesh around the shop."""
    for playbook in (SITE, RULES):
        play(ansible, report, playbook)
    return HostsMesh(lab, ansible, ControlPlane(credentials(ansible.home)), report, {})


def install_collection(home: Path, report: Report) -> Path:
    """Where it is, for Ansible."""
    report.title("The Ansible collection is built, and installed")
    collections = collection.install(home)
    report.say(f"in {collections}")
    return collections


def credentials(home: Path) -> Path:
    return home / "credentials"


def play(ansible: Ansible, report: Report, playbook: str, *words: str) -> None:
    """Raises RuntimeError with what Ansible said."""
    recap = ansible.play(playbook, *words)
    report.say(f"{short_name(playbook)}: done in {spell(recap.seconds)}, {recap.changed} tasks changed something")
    recap.raise_for_failure()


def check_again(mesh: Mesh) -> None:
    """What is as it should be is left alone."""
    mesh.report.title("The playbooks run a second time")
    recaps = [mesh.ansible.play(playbook) for playbook in mesh.playbooks]
    changed, failed = sum(one.changed for one in recaps), sum(one.failed for one in recaps)
    good = changed == failed == 0 and all(one.status == 0 for one in recaps)
    played = " and ".join(map(short_name, mesh.playbooks))
    figure = f"{played}: {changed} tasks changed something, {failed} failed, in {spell(sum(one.seconds for one in recaps))}"
    mesh.report.check("a second run changes nothing", good, figure)
