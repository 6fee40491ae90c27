# SPDX-License-Identifier: Apache-2.0
"""From bare hosts to a mesh: the shop is put on them, then the mesh around it, then its rules; and all of it a second time."""

from __future__ import annotations

from pathlib import Path

from tests.lab import wheelhouse
from tests.lab.hosts import Lab

from examples.demo import collection, outside
from examples.demo.control_plane import ControlPlane
from examples.demo.mesh import SHOP, STRANGER, Mesh
from examples.demo.playbook import Ansible, Recap
from examples.demo.report import Report

PLAYBOOKS = (str(SHOP / "install.yml"), "meshwright.mesh.site", str(SHOP / "rules.yml"))


def build(lab: Lab, home: Path, report: Report, extra: dict[str, object] | None = None) -> Mesh:
    """`extra` are more variables for all hosts. Raises RuntimeError with what Ansible said."""
    report.title("The collection is built, and installed at the controller")
    collections = collection.install(home)
    report.say(f"in {collections}")
    report.title("The shop is installed on its hosts, the mesh around it, and its rules")
    credentials = home / "credentials"
    variables = {
        "meshwright_credentials_dir": str(credentials),
        "meshwright_wheelhouse": str(wheelhouse.wheelhouse()),
        "shop_outside_ca": str(home / "outside-ca.pem"),
    }
    outside.install(lab.host(STRANGER), home / "outside-ca.pem")
    connections = lab.inventory(home / "lab.yml", group_vars=variables | (extra or {}))
    ansible = Ansible(home, collections, [connections, SHOP / "inventory.yml"])
    ansible.access = {"MESHWRIGHT_CONFIG": str(credentials / "config.json")}
    for playbook in PLAYBOOKS:
        recap = ansible.play(playbook)
        report.say(f"{Path(playbook).name}: {recap.changed} changes in {recap.seconds:.0f} s")
        recap.raise_for_failure()
    return Mesh(lab, ansible, ControlPlane(lab.host("mesh"), credentials), report)


def check_again(mesh: Mesh) -> None:
    """What is as it should be is left alone."""
    mesh.report.title("All of it a second time")
    recaps: list[Recap] = [mesh.ansible.play(playbook) for playbook in PLAYBOOKS]
    changed, failed = sum(recap.changed for recap in recaps), sum(recap.failed for recap in recaps)
    good = changed == failed == 0 and all(recap.status == 0 for recap in recaps)
    seconds = sum(recap.seconds for recap in recaps)
    mesh.report.check("a second run changes nothing", good, f"changed={changed} failed={failed} in {seconds:.0f} s")
