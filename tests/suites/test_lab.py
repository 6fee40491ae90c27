# SPDX-License-Identifier: Apache-2.0
"""The test hosts themselves: what a test believes of them must be so."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import slot
from tests.lab.hosts import Lab

pytestmark = pytest.mark.hosts


@pytest.fixture(scope="module")
def lab(can_have_hosts: None) -> Iterator[Lab]:
    with Lab(["one", "two"]) as made:
        yield made


def test_hosts_are_up_and_whole(lab: Lab) -> None:
    assert [one.ssh("hostname; systemctl is-system-running").stdout.split() for one in lab.hosts] == [
        ["one", "running"],
        ["two", "running"],
    ]


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_hosts_reach_each_other_by_name(lab: Lab, family: str) -> None:
    found = lab.host("one").ssh(f"curl {family} -sS --http0.9 --max-time 5 http://two:22/ | head -c 7", check=False)
    assert found.stdout == "SSH-2.0"


def test_hosts_reach_nothing_else(lab: Lab) -> None:
    assert "Couldn't connect" in lab.host("one").ssh("curl -sS --max-time 5 http://192.0.2.1/", check=False).stderr


def test_the_inventory_is_all_that_ansible_needs(lab: Lab, tmp_path: Path) -> None:
    written = lab.inventory(tmp_path / "inventory.json")
    command = [str(Path(sys.executable).with_name("ansible")), "-i", str(written), "all", "-m", "ansible.builtin.ping"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and done.stdout.count('"ping": "pong"') == 2, done.stdout + done.stderr


def test_a_host_with_another_key_is_refused(lab: Lab) -> None:
    """Host key checking is real: known_hosts comes from the disks, and says no to a key that is not there."""
    two = lab.host("two")
    known = lab.home / "known_hosts"
    lines = known.read_text()
    wrong = lines.replace(two.public_key, lab.host("one").public_key)
    assert wrong != lines
    known.write_text(wrong)
    try:
        *command, name = two.ssh_command()
        fresh = [*command, "-o", "ControlPath=none", name, "true"]  # a connection of its own: a shared one was checked before
        done = subprocess.run(fresh, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 255 and "Host key verification failed" in done.stderr
    finally:
        known.write_text(lines)


def test_a_host_keeps_its_disk_and_nothing_else_when_its_power_is_cut(lab: Lab) -> None:
    two = lab.host("two")
    two.ssh("echo kept > /root/file; sync; echo gone > /run/file")
    two.kill()
    two.boot()
    two.wait()
    assert two.ssh("cat /root/file; test -e /run/file || echo gone").stdout.split() == ["kept", "gone"]


def test_hosts_do_not_share_units(lab: Lab) -> None:
    """Each has its cgroup: what is stopped on one goes on on the other."""
    for one in lab.hosts:
        one.ssh("systemd-run -q --unit=same sleep 600")
    lab.host("one").ssh("systemctl kill --signal=KILL same")
    assert lab.host("two").ssh("systemctl is-active same").stdout.strip() == "active"


def test_a_lab_leaves_nothing_behind(can_have_hosts: None) -> None:
    with Lab(["gone"]) as made:
        number, home, bridge = made.slot.number, made.home, made.slot.bridge
    assert not home.exists() and not Path(f"/sys/class/net/{bridge}").exists()
    assert number not in [one.number for one in slot.all_slots()]
