# SPDX-License-Identifier: Apache-2.0
"""The archive in which wheels travel to a host: the role's own program, run as the role runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]


def pack(archive: Path, *files: Path) -> bytes:
    program = yaml.safe_load((ROOT / "roles/service/vars/main.yml").read_text())["meshwright_service_pack"]
    subprocess.run([sys.executable, "-c", program, str(archive), *map(str, files)], check=True, timeout=60)
    return archive.read_bytes()


def test_equal_files_make_equal_archives(tmp_path: Path) -> None:
    one, two = tmp_path / "one" / "a.whl", tmp_path / "b.whl"
    one.parent.mkdir()
    one.write_bytes(b"first")
    two.write_bytes(b"second" * 1000)
    before = pack(tmp_path / "1.tar", one, two)
    os.utime(one, (0, 0))
    two.chmod(0o600)
    assert pack(tmp_path / "2.tar", two, one) == before
    with tarfile.open(tmp_path / "1.tar") as archive:
        assert archive.getnames() == ["a.whl", "b.whl"]
        archive.extractall(tmp_path / "out", filter="data")
    assert (tmp_path / "out" / "b.whl").read_bytes() == two.read_bytes()
    two.write_bytes(b"other")
    assert pack(tmp_path / "3.tar", one, two) != before
