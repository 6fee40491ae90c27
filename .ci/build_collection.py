#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the collection's artifact with the service's wheel in it; prints its path.

    .ci/build_collection.py OUTDIR [--unpack DIR]

Everything comes from the files that git knows, as they are in the work tree, so that nothing that lies around is packaged. Equal files give
an equal wheel, byte for byte. --unpack also puts the artifact at DIR/ansible_collections/meshwright/mesh (ANSIBLE_COLLECTIONS_PATH=DIR).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
# Any fixed time will do; wheels can't be older than 1980.
EPOCH = "946684800"
FILES = Path("roles/service/files")
REQUIREMENTS = {"requirements/agent.txt": "requirements-agent.txt", "requirements/control-plane.txt": "requirements-control-plane.txt"}


def copy_known_files(target: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True).stdout
    for name in filter(None, listed.decode().split("\0")):
        source = REPOSITORY / name
        if source.is_file() and not source.is_symlink():
            place = target / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)


def build_wheel(tree: Path) -> None:
    """Into the role that installs it. The version of hatchling is the environment's (requirements/dev.txt)."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tree / FILES)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": EPOCH}
    subprocess.run(command, cwd=tree, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for source, name in REQUIREMENTS.items():
        shutil.copy(tree / source, tree / FILES / name)


def build_collection(out: Path) -> Path:
    """The artifact's path. Raises CalledProcessError."""
    out.mkdir(parents=True, exist_ok=True)
    galaxy = str(Path(sys.executable).with_name("ansible-galaxy"))
    with tempfile.TemporaryDirectory(prefix="meshwright-collection-") as scratch:
        tree, artifacts = Path(scratch, "tree"), Path(scratch, "artifacts")
        tree.mkdir()
        copy_known_files(tree)
        build_wheel(tree)
        command = [galaxy, "collection", "build", str(tree), "--output-path", str(artifacts)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (artifact,) = artifacts.glob("*.tar.gz")
        return Path(shutil.move(artifact, out / artifact.name))


def unpack(artifact: Path, directory: Path) -> None:
    place = directory / "ansible_collections" / "meshwright" / "mesh"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    shutil.unpack_archive(artifact, place, filter="data")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outdir", type=Path)
    parser.add_argument("--unpack", type=Path)
    options = parser.parse_args()
    artifact = build_collection(options.outdir.resolve())
    if options.unpack:
        unpack(artifact, options.unpack.resolve())
    print(artifact)
    return 0


if __name__ == "__main__":
    sys.exit(main())
