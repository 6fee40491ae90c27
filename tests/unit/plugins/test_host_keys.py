# SPDX-License-Identifier: Apache-2.0
"""Real keys by ssh-keygen, real known_hosts files, plain and hashed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.meshwright.mesh.plugins.module_utils import host_keys
from ansible_collections.meshwright.mesh.plugins.module_utils.host_keys import HostKeyError, parse_known, parse_public_keys

MakeKey = Callable[[str, str], Path]


@pytest.fixture(scope="session")
def make_key(tmp_path_factory: pytest.TempPathFactory) -> MakeKey:
    home = tmp_path_factory.mktemp("keys")

    def make(kind: str, name: str) -> Path:
        path = home / f"{name}_{kind}"
        if not path.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "root@host", "-f", str(path)], check=True)
        return path.with_suffix(".pub")

    return make


def shown(*paths: Path) -> list[host_keys.HostKey]:
    return parse_public_keys("".join(f"{path} {path.read_text()}" for path in paths))


def find(known_hosts: Path, name: str) -> host_keys.Known:
    done = subprocess.run(["ssh-keygen", "-F", name, "-f", str(known_hosts)], capture_output=True, text=True)
    return parse_known(done.stdout)


def known_hosts(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "known_hosts"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def key_of(path: Path) -> str:
    return " ".join(path.read_text().split()[:2])


def test_fingerprints_are_those_of_ssh_keygen(make_key: MakeKey) -> None:
    path = make_key("ed25519", "a")
    told = subprocess.run(["ssh-keygen", "-lf", str(path)], capture_output=True, text=True, check=True).stdout.split()[1]
    (key,) = shown(path)
    assert key.fingerprint == told and key.type == "ssh-ed25519" and key.line == key_of(path)


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("name", ["web1.example.org", "[web1.example.org]:2222"])
def test_a_known_key_is_good(make_key: MakeKey, tmp_path: Path, name: str, hashed: bool) -> None:
    path = make_key("ed25519", "a")
    file = known_hosts(tmp_path, f"other {key_of(make_key('ed25519', 'b'))}", f"{name} {key_of(path)}")
    if hashed:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(file)], check=True, capture_output=True)
        assert "web1" not in file.read_text()
    keys = shown(path, make_key("ecdsa", "a"))
    assert [key.type for key in host_keys.verify_by_known_hosts(keys, find(file, name), name, [str(file)])] == ["ssh-ed25519"]


def test_another_key_of_the_same_type_is_refused(make_key: MakeKey, tmp_path: Path) -> None:
    file = known_hosts(tmp_path, f"web1 {key_of(make_key('ed25519', 'b'))}", f"web1 {key_of(make_key('ecdsa', 'a'))}")
    with pytest.raises(HostKeyError, match=r"web1 shows the host key SHA256:.*ssh-keygen -R 'web1'"):
        host_keys.verify_by_known_hosts(shown(make_key("ed25519", "a"), make_key("ecdsa", "a")), find(file, "web1"), "web1", [str(file)])


def test_an_unknown_host_is_refused_with_both_ways_out(make_key: MakeKey, tmp_path: Path) -> None:
    file = known_hosts(tmp_path, f"web2 {key_of(make_key('ed25519', 'a'))}")
    with pytest.raises(HostKeyError, match=r"connect once with ssh.*or run `ssh-keygen -lf .* meshwright_expected_fingerprint"):
        host_keys.verify_by_known_hosts(shown(make_key("ed25519", "a")), find(file, "web1"), "web1", [str(file)])


def test_markers(make_key: MakeKey, tmp_path: Path) -> None:
    key = key_of(make_key("ed25519", "a"))
    revoked = known_hosts(tmp_path, f"web1 {key}", f"@revoked * {key}")
    with pytest.raises(HostKeyError, match="@revoked"):
        host_keys.verify_by_known_hosts(shown(make_key("ed25519", "a")), find(revoked, "web1"), "web1", [str(revoked)])
    authority = known_hosts(tmp_path, f"@cert-authority web1 {key}")
    with pytest.raises(HostKeyError, match="certificate authority"):
        host_keys.verify_by_known_hosts(shown(make_key("ed25519", "a")), find(authority, "web1"), "web1", [str(authority)])


def test_expected_fingerprints(make_key: MakeKey) -> None:
    keys = shown(make_key("ecdsa", "a"), make_key("ed25519", "a"))
    assert [key.type for key in keys] == ["ssh-ed25519", "ecdsa-sha2-nistp256"], "the best type comes first"
    wanted = keys[1].fingerprint
    assert host_keys.verify_by_fingerprint(keys, [wanted], "web1") == [keys[1]]
    assert host_keys.verify_by_fingerprint(keys, [wanted.removeprefix("SHA256:") + "="], "web1") == [keys[1]]
    with pytest.raises(HostKeyError, match="none of them is meshwright_expected_fingerprint"):
        host_keys.verify_by_fingerprint(keys, ["SHA256:" + "A" * 43], "web1")


def test_broken_lines_are_no_keys(make_key: MakeKey) -> None:
    good = make_key("ed25519", "a").read_text().split()
    lines = [f"/k ssh-rsa {good[1]} the type says something else", "/k ssh-ed25519 not-base64", "/k ssh-dss AAAA", "x", ""]
    assert parse_public_keys("\n".join(lines)) == []
    with pytest.raises(HostKeyError, match="ssh-keygen -A"):
        host_keys.verify_by_known_hosts([], host_keys.Known((), (), 0), "web1", [])
