# SPDX-License-Identifier: Apache-2.0
"""The program that keeps the mesh's names in the hosts file: as root, from files that an unprivileged user writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = ROOT / "roles" / "sidecar" / "files" / "meshwright-names"
HOSTS = "127.0.0.1 localhost\n127.0.1.1 web1 # this host\n"


@dataclass(frozen=True)
class Machine:
    """A root directory in place of the real one."""

    root: Path

    @property
    def hosts(self) -> str:
        return (self.root / "etc/hosts").read_text()

    @property
    def outside(self) -> Path:
        return self.root / "var/lib/meshwright/hosts.outside"

    def agent_writes(self, instance: str, text: str) -> Path:
        place = self.root / "run/meshwright" / instance
        place.mkdir(exist_ok=True)
        (place / "names").write_text(text)
        return place / "names"

    def run(self, verb: str = "update") -> str:
        """What it said."""
        code = f"""
import runpy, sys
from pathlib import Path
scope = runpy.run_path({str(PROGRAM)!r}, run_name="names")
place = Path({str(self.root)!r})
main = scope["main"]
main.__globals__.update(SETTINGS=place / "etc/meshwright/names.json", HOSTS=place / "etc/hosts", RUN=place / "run/meshwright",
                        OUTSIDE=place / "var/lib/meshwright/hosts.outside")
sys.exit(main([{verb!r}]))
"""
        done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    for place in ("etc/meshwright", "run/meshwright", "var/lib/meshwright"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "etc/hosts").write_text(HOSTS)
    settings = {
        "instances": {"reviews-web1.shop": "127.240", "ratings-web1.shop": "127.241"},
        "domains": ["mesh", "svc.cluster.local", "svc"],
        "outside": ["api.example.org", "*.example.net"],
        "reserved": ["cp", "cp.shop.mesh"],
    }
    (tmp_path / "etc/meshwright/names.json").write_text(json.dumps(settings))
    return Machine(tmp_path)


def block_of(text: str) -> list[str]:
    lines = text.splitlines()
    start = [number for number, line in enumerate(lines) if line.startswith("# BEGIN meshwright")]
    return lines[start[0] + 1 : -1] if start else []


def test_names_come_change_and_go(machine: Machine) -> None:
    machine.agent_writes("reviews-web1.shop", "127.240.0.1 b.shop.mesh a.shop.mesh\n# nothing\n\n127.240.3.4 tcp.shop.mesh\n")
    machine.run()
    assert machine.hosts.startswith(HOSTS)
    assert block_of(machine.hosts) == ["127.240.0.1 a.shop.mesh", "127.240.0.1 b.shop.mesh", "127.240.3.4 tcp.shop.mesh"]
    assert machine.outside.read_text() == HOSTS
    written = (machine.root / "etc/hosts").stat()
    assert machine.run() == "" and (machine.root / "etc/hosts").stat().st_ino == written.st_ino, "a second run writes nothing"
    machine.agent_writes("reviews-web1.shop", "")
    machine.run()
    assert machine.hosts == HOSTS


def test_what_others_write_into_the_file_stays(machine: Machine) -> None:
    machine.agent_writes("reviews-web1.shop", "127.240.0.1 a.shop.mesh\n")
    machine.run()
    (machine.root / "etc/hosts").write_text(machine.hosts + "192.0.2.1 printer\n")
    machine.run()
    assert "192.0.2.1 printer" in machine.hosts and machine.outside.read_text() == HOSTS + "192.0.2.1 printer\n"
    machine.run("remove")
    assert machine.hosts == HOSTS + "192.0.2.1 printer\n" and not machine.outside.exists()


@pytest.mark.parametrize(
    "line",
    [
        "127.0.0.1 a.shop.mesh",  # loopback, but not its own
        "127.241.0.1 a.shop.mesh",  # another sidecar's
        "192.0.2.1 a.shop.mesh",
        "127.240.0.01 a.shop.mesh",
        "::1 a.shop.mesh",
        "127.240.0.1 localhost",
        "127.240.0.1 security.debian.org",
        "127.240.0.1 example.org",
        "127.240.0.1 localhost.shop",
        "127.240.0.1 evil.mesh.com",
        "127.240.0.1 a.other",
        "127.240.0.1 a.b.shop",
        "127.240.0.1 A.SHOP.MESH",
        "127.240.0.1 a_b.mesh",
        "127.240.0.1 -a.mesh",
        "127.240.0.1 a..mesh",
        "127.240.0.1 " + "a" * 64 + ".mesh",
        "127.240.0.1 " + "a." * 130 + "mesh",
        "127.240.0.1 \u00e4.mesh",
    ],
)
def test_lines_that_are_not_taken(machine: Machine, line: str) -> None:
    machine.agent_writes("reviews-web1.shop", line + "\n127.240.0.1 good.shop.mesh\n")
    said = machine.run()
    assert block_of(machine.hosts) == ["127.240.0.1 good.shop.mesh"]
    assert "1 names or lines refused" in said


def test_what_is_refused_is_not_repeated_in_the_journal(machine: Machine) -> None:
    machine.agent_writes("reviews-web1.shop", "127.240.0.1 root:$6$hash\nroot:$6$hash\n")
    said = machine.run()
    assert "2 names or lines refused" in said and "hash" not in said


def test_short_names_in_the_own_namespace(machine: Machine) -> None:
    machine.agent_writes("reviews-web1.shop", "127.240.0.1 a.shop.mesh a.shop.svc.cluster.local a.shop.svc a.shop a\n")
    machine.run()
    assert [line.split()[1] for line in block_of(machine.hosts)] == ["a", "a.shop", "a.shop.mesh", "a.shop.svc", "a.shop.svc.cluster.local"]


def test_a_service_never_takes_the_name_of_the_control_plane(machine: Machine) -> None:
    machine.agent_writes("reviews-web1.shop", "127.240.0.1 cp cp.shop cp.shop.mesh\n127.240.0.1 reviews\n")
    machine.run()
    names = {line.split()[1] for line in block_of(machine.hosts)}
    assert names == {"cp.shop", "reviews"}


def test_declared_names_outside_of_the_mesh(machine: Machine) -> None:
    machine.agent_writes("reviews-web1.shop", "127.240.0.1 api.example.org a.example.net example.net xexample.net\n")
    machine.run()
    assert block_of(machine.hosts) == ["127.240.0.1 a.example.net", "127.240.0.1 api.example.org"]


def test_names_that_the_host_has_already_are_its_own(machine: Machine) -> None:
    (machine.root / "etc/hosts").write_text(HOSTS + "192.0.2.9 Taken.Shop.Mesh\n")
    machine.agent_writes("reviews-web1.shop", "127.240.0.1 taken.shop.mesh free.shop.mesh\n")
    assert "taken.shop.mesh" in machine.run()
    assert block_of(machine.hosts) == ["127.240.0.1 free.shop.mesh"]


def test_the_first_workload_is_the_one_that_names_lead_to(machine: Machine) -> None:
    machine.agent_writes("ratings-web1.shop", "127.241.0.1 a.shop.mesh only.shop.mesh\n")
    machine.agent_writes("reviews-web1.shop", "127.240.0.1 a.shop.mesh\n")
    machine.run()
    assert block_of(machine.hosts) == ["127.240.0.1 a.shop.mesh", "127.241.0.1 only.shop.mesh"]


def test_instances_that_are_not_declared_are_not_read(machine: Machine) -> None:
    machine.agent_writes("stranger.shop", "127.240.0.1 a.shop.mesh\n")
    machine.run()
    assert machine.hosts == HOSTS


def test_links_pipes_and_masses_are_not_read(machine: Machine) -> None:
    secret = machine.root / "secret"
    secret.write_text("127.240.0.1 secret.shop.mesh\n")
    names = machine.agent_writes("reviews-web1.shop", "")
    names.unlink()
    names.symlink_to(secret)
    assert "not taken" in machine.run() and machine.hosts == HOSTS
    names.unlink()
    os.mkfifo(names)
    assert "not taken" in machine.run() and machine.hosts == HOSTS
    names.unlink()
    with names.open("wb") as file:
        file.truncate(9 * 1024 * 1024)
    assert "not taken" in machine.run() and machine.hosts == HOSTS


def test_names_outlive_a_restart_of_the_host(machine: Machine) -> None:
    machine.agent_writes("reviews-web1.shop", "127.240.0.1 a.shop.mesh\n")
    machine.agent_writes("ratings-web1.shop", "127.241.0.1 b.shop.mesh\n")
    machine.run()
    whole = machine.hosts
    (machine.root / "run/meshwright/reviews-web1.shop/names").unlink()
    (machine.root / "run/meshwright/ratings-web1.shop/names").unlink()
    machine.run()
    assert machine.hosts == whole
    settings = machine.root / "etc/meshwright/names.json"
    settings.write_text(settings.read_text().replace('"ratings-web1.shop": "127.241"', '"other.shop": "127.242"'))
    machine.run()
    assert block_of(machine.hosts) == ["127.240.0.1 a.shop.mesh"], "a workload that left takes its names along"


def test_lines_behind_a_block_without_an_end_stay(machine: Machine) -> None:
    machine.agent_writes("reviews-web1.shop", "127.240.0.1 a.shop.mesh\n")
    machine.run()
    whole = machine.hosts
    cut = "".join(whole.splitlines(keepends=True)[:-1]) + "192.0.2.1 printer\n"
    (machine.root / "etc/hosts").write_text(cut)
    machine.run("remove")
    assert machine.hosts == HOSTS + "192.0.2.1 printer\n"


def test_a_half_written_block_is_taken_away_whole(machine: Machine) -> None:
    machine.agent_writes("reviews-web1.shop", "127.240.0.1 a.shop.mesh\n")
    machine.run()
    whole = machine.hosts
    (machine.root / "etc/hosts").write_text("".join(whole.splitlines(keepends=True)[:-1]))
    machine.run()
    assert machine.hosts == whole
