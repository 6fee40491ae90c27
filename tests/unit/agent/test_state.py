# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from meshwright.agent import credential, state
from meshwright.agent.certificate import life
from meshwright.ca.authority import Signer, self_signed_root
from meshwright.ca.issue import issue_svid, read_csr
from meshwright.ca.keys import new_key
from meshwright.errors import ConfigError
from meshwright.model.identity import Holder, ProxyId, SpiffeId
from tests.unit.failpoints import crash_at

WEB = ProxyId("web", "shop")
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROOT_KEY = new_key()
SIGNER = Signer(self_signed_root(ROOT_KEY, "cluster.local", now=NOW, random=os.urandom), ROOT_KEY)
BUNDLE = SIGNER.certificate.public_bytes(serialization.Encoding.PEM)


def issue(request: credential.KeyRequest, now: datetime = NOW, ttl: timedelta = timedelta(hours=1), proxy: ProxyId = WEB) -> bytes:
    spiffe = SpiffeId("cluster.local", proxy.namespace, "sa")
    return issue_svid(SIGNER, Holder(proxy, spiffe, "vm1"), read_csr(request.csr), ttl=ttl, now=now, random=os.urandom).chain


@pytest.mark.parametrize("year", [2026, 2049, 2051])
def test_the_life_of_a_certificate(year: int) -> None:
    key = new_key()
    root = Signer(self_signed_root(key, "cluster.local", now=NOW.replace(year=year - 1), random=os.urandom), key)
    request = credential.new_key()
    spiffe = SpiffeId("cluster.local", "shop", "sa")
    now = NOW.replace(year=year)
    issued = issue_svid(root, Holder(WEB, spiffe, "vm1"), read_csr(request.csr), ttl=timedelta(hours=1), now=now, random=os.urandom)
    leaf = x509.load_pem_x509_certificate(issued.chain)
    assert life(issued.chain) == (issued.serial, leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    assert life(b"# a comment\n" + issued.chain + BUNDLE).serial == issued.serial
    assert 0.49 < life(issued.chain).left(now + timedelta(minutes=30)) < 0.51


VALID = issue(credential.new_key())


@given(st.integers(0, len(VALID) - 1), st.integers(1, 255))
def test_a_damaged_certificate_is_read_or_a_value_error(at: int, flip: int) -> None:
    changed = bytearray(VALID)
    changed[at] ^= flip
    try:
        life(bytes(changed))
    except ValueError:
        pass


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    assert state.load(tmp_path) is None
    for _ in range(4):
        request = credential.new_key()
        saved = state.save(tmp_path, request.key, issue(request), BUNDLE)
        assert state.load(tmp_path) == saved
    assert len(os.listdir(tmp_path / "generations")) == state.KEEP
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("svid.key", "svid.pem", "bundle.pem")}
    assert modes == {"svid.key": 0o600, "svid.pem": 0o644, "bundle.pem": 0o644}
    assert (tmp_path / "svid.key").read_bytes() == saved.key
    assert sorted(os.listdir(tmp_path)) == ["bundle.pem", "current", "generations", "svid.key", "svid.pem"]


def test_a_key_shows_in_no_repr(tmp_path: Path) -> None:
    request = credential.new_key()
    saved = state.save(tmp_path, request.key, issue(request), BUNDLE)
    assert "PRIVATE" not in repr(saved) + repr(request)


def test_a_crash_leaves_the_old_pair(tmp_path: Path) -> None:
    """A generation that was written in part is never seen."""
    request = credential.new_key()
    saved = state.save(tmp_path, request.key, issue(request), BUNDLE)
    unfinished = tmp_path / "generations" / "2"
    unfinished.mkdir()
    (unfinished / "svid.key").write_bytes(b"other")
    assert state.load(tmp_path) == saved
    later = credential.new_key()
    newer = state.save(tmp_path, later.key, issue(later), BUNDLE)
    assert state.load(tmp_path) == newer
    assert (tmp_path / "current").readlink() == Path("generations/3")


def test_a_crash_at_any_step_leaves_the_old_pair_or_the_new(tmp_path: Path) -> None:
    first, second = credential.new_key(), credential.new_key()
    chains = {first.key: issue(first), second.key: issue(second)}
    step, going, seen = 0, True, set()
    while going:
        step += 1
        directory = tmp_path / str(step)
        directory.mkdir()
        state.save(directory, first.key, chains[first.key], BUNDLE)
        going = crash_at(step, directory, lambda d=directory: state.save(d, second.key, chains[second.key], BUNDLE))
        after = state.load(directory)
        assert after is not None and after.chain == chains[after.key]
        seen.add(after.key)
        third = credential.new_key()
        assert state.save(directory, third.key, issue(third), BUNDLE) == state.load(directory)
        assert sorted(os.listdir(directory)) == ["bundle.pem", "current", "generations", "svid.key", "svid.pem"]
    assert seen == {first.key, second.key} and step > 8


def test_damage_is_said_with_the_way_out(tmp_path: Path) -> None:
    request = credential.new_key()
    state.save(tmp_path, request.key, issue(request), BUNDLE)
    (tmp_path / "current" / "svid.pem").write_bytes(b"garbage")
    with pytest.raises(ConfigError, match="attested anew"):
        state.load(tmp_path)


def test_answers_that_are_not_for_us_are_refused() -> None:
    request, other = credential.new_key(), credential.new_key()
    credential.check(request, issue(request), WEB, "cluster.local")
    with pytest.raises(ConfigError, match="another key"):
        credential.check(request, issue(other), WEB, "cluster.local")
    with pytest.raises(ConfigError, match=r"web\.shop"):
        credential.check(request, issue(request, proxy=ProxyId("db", "shop")), WEB, "cluster.local")
    with pytest.raises(ConfigError, match="no certificate"):
        credential.check(request, b"garbage", WEB, "cluster.local")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_writes_as_the_owner_of_the_directory(tmp_path: Path) -> None:
    """In a process of its own, since it changes the user. A link laid by the owner leads root nowhere that the owner can't go."""
    for directory in (tmp_path, *tmp_path.parents):
        if directory.stat().st_uid == 0 and directory != Path(directory.anchor) and "pytest" in str(directory):
            directory.chmod(0o755)
    theirs, secret = tmp_path / "state", tmp_path / "root-only"
    theirs.mkdir(mode=0o700)
    secret.mkdir(mode=0o700)
    os.chown(theirs, 65534, 65534)
    (theirs / "generations").symlink_to(secret)
    script = (
        "import sys, os, pathlib\n"
        "from meshwright.agent import state\n"
        "directory = pathlib.Path(sys.argv[1])\n"
        "with state.as_owner(directory):\n"
        "    assert os.geteuid() == 65534\n"
        "    try: state.save(directory, b'k', pathlib.Path(sys.argv[2]).read_bytes(), b'b')\n"
        "    except PermissionError: print('refused')\n"
        "    (directory / 'generations').unlink()\n"
        "    state.save(directory, b'k', pathlib.Path(sys.argv[2]).read_bytes(), b'b')\n"
        "assert os.geteuid() == 0\n"
    )
    chain = tmp_path / "chain.pem"
    chain.write_bytes(VALID)
    chain.chmod(0o644)
    done = subprocess.run([sys.executable, "-c", script, str(theirs), str(chain)], capture_output=True, text=True, env=_environment())
    assert done.stdout == "refused\n", done.stderr
    assert os.listdir(secret) == []
    assert (theirs / "current" / "svid.key").stat().st_uid == 65534


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3] / "src")}


def test_a_missing_state_directory_is_said() -> None:
    with pytest.raises(ConfigError, match="StateDirectory"), state.as_owner(Path("/nowhere/at/all")):
        pass
