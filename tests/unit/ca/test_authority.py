# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from meshwright.ca.authority import Authority
from meshwright.ca.keys import DiskKeys, new_key
from meshwright.errors import ConfigError, Conflict
from tests.unit.failpoints import crash_at

from .fakes import CountingRandom, FakeClock


def open_in(directory: Path, trust_domain: str = "cluster.local", clock: FakeClock | None = None) -> Authority:
    return Authority.open(directory, DiskKeys(directory), trust_domain, clock=clock or FakeClock(), random=CountingRandom())


def test_first_start_makes_a_root_that_later_starts_load(tmp_path: Path) -> None:
    directory = tmp_path / "ca"
    made = open_in(directory)
    assert open_in(directory).bundle == made.bundle
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {p.name: p.stat().st_mode & 0o777 for p in directory.iterdir()} == {"root.pem": 0o600, "root.key": 0o600}


def test_the_root_says_what_it_may(tmp_path: Path) -> None:
    root = open_in(tmp_path).active.certificate
    extensions = root.extensions
    assert extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(True, 0)
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign and usage.crl_sign and not usage.digital_signature
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://cluster.local"]
    assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert timedelta(days=3650) <= root.not_valid_after_utc - root.not_valid_before_utc <= timedelta(days=3653)
    root.verify_directly_issued_by(root)


@pytest.mark.parametrize("missing", ["root.pem", "root.key"])
def test_half_a_pair_stops_the_start_and_is_left_alone(tmp_path: Path, missing: str) -> None:
    open_in(tmp_path)
    (tmp_path / missing).unlink()
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="backup"):
        open_in(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_pair_that_does_not_match_stops_the_start(tmp_path: Path) -> None:
    open_in(tmp_path / "a")
    open_in(tmp_path / "b")
    (tmp_path / "a" / "root.pem").write_bytes((tmp_path / "b" / "root.pem").read_bytes())
    with pytest.raises(ConfigError, match="don't belong together"):
        open_in(tmp_path / "a")


def test_another_trust_domain_stops_the_start(tmp_path: Path) -> None:
    open_in(tmp_path)
    with pytest.raises(ConfigError, match=r"spiffe://cluster\.local"):
        open_in(tmp_path, "other.example")


def test_an_expired_root_stops_the_start(tmp_path: Path) -> None:
    open_in(tmp_path)
    late = FakeClock()
    late.advance(3660 * 86400)
    with pytest.raises(ConfigError, match="expired"):
        open_in(tmp_path, clock=late)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    open_in(tmp_path)
    (tmp_path / "root.key").chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        open_in(tmp_path)


@pytest.mark.parametrize("name", ["root.pem", "root.key"])
def test_garbage_in_a_file_is_said_with_its_path(tmp_path: Path, name: str) -> None:
    open_in(tmp_path)
    (tmp_path / name).write_bytes(b"garbage")
    with pytest.raises(ConfigError, match=name):
        open_in(tmp_path)


def test_a_crash_before_the_certificate_got_its_name_is_finished(tmp_path: Path) -> None:
    made = open_in(tmp_path)
    (tmp_path / "root.pem").rename(tmp_path / "root.pem.new")
    assert open_in(tmp_path).bundle == made.bundle
    assert sorted(p.name for p in tmp_path.iterdir()) == ["root.key", "root.pem"]


def test_a_crash_before_the_key_was_stored_starts_over(tmp_path: Path) -> None:
    first = open_in(tmp_path)
    (tmp_path / "root.pem").rename(tmp_path / "root.pem.new")
    (tmp_path / "root.key").rename(tmp_path / "root.key.tmp")
    second = open_in(tmp_path)
    assert second.bundle != first.bundle
    assert sorted(p.name for p in tmp_path.iterdir()) == ["root.key", "root.pem"]


def test_a_stored_key_is_never_replaced(tmp_path: Path) -> None:
    keys = DiskKeys(tmp_path)
    keys.store("root", new_key())
    before = (tmp_path / "root.key").read_bytes()
    with pytest.raises(Conflict):
        keys.store("root", new_key())
    assert (tmp_path / "root.key").read_bytes() == before
    assert os.listdir(tmp_path) == ["root.key"]


def test_a_crash_at_any_step_leaves_what_the_next_start_can_use(tmp_path: Path) -> None:
    step, going = 0, True
    while going:
        step += 1
        directory = tmp_path / str(step)
        directory.mkdir()
        going = crash_at(step, directory, lambda d=directory: open_in(d))
        after = open_in(directory)
        assert {p.name: p.stat().st_mode & 0o777 for p in directory.iterdir()} == {"root.pem": 0o600, "root.key": 0o600}
        assert open_in(directory).bundle == after.bundle
    assert step > 8, "the crashes did happen"
