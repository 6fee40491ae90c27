# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.sanity lint|sanity`: the collection as users get it (the built artifact, unpacked) under ansible-lint's production
profile or under `ansible-test sanity`. Exit status: the tool's."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.lab.base import CACHE

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
PIP = "24.2"  # what ansible-test of ansible-core 2.19 wants to bootstrap its environments with
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def unpacked(tree: Path) -> Path:
    """The collection's directory under an `ansible_collections` tree, which both tools ask for."""
    command = [sys.executable, str(ROOT / ".ci" / "build_collection.py"), str(tree), "--unpack", str(tree)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return tree / "ansible_collections" / "meshwright" / "mesh"


def lint(collection: Path, env: dict[str, str]) -> int:
    env |= {"ANSIBLE_COLLECTIONS_PATH": str(collection.parents[2]), "ANSIBLE_HOME": str(collection.parents[2] / "ansible")}
    command = [str(BIN / "ansible-lint"), "--offline", "--nocolor", "--profile", "production", "-c", str(ROOT / ".ansible-lint")]
    return subprocess.run([*command, "--project-dir", str(collection)], cwd=collection, env=env, check=False).returncode


def sanity(collection: Path, env: dict[str, str]) -> int:
    """ansible-test makes environments of its own and would fetch a script to put pip into them: it finds one here already, which takes pip
    from the package index. The environments are kept for the next time."""
    home = CACHE / "ansible-test"
    stand_in = home / ".ansible" / "test" / "cache" / f"get_pip_{PIP.replace('.', '_')}.py"
    if not stand_in.exists():
        _write_stand_in(home, stand_in)
    env |= {"HOME": str(home)}
    command = [str(BIN / "ansible-test"), "sanity", "--color", "no", "--python", PYTHON, "--requirements"]
    return subprocess.run(command, cwd=collection, env=env, check=False).returncode


def _write_stand_in(home: Path, stand_in: Path) -> None:
    wheels = home / "wheels"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(wheels), f"pip=={PIP}"]
    subprocess.run(command, check=True)
    (wheel,) = wheels.glob(f"pip-{PIP}-*.whl")
    lines = ["import runpy, sys", f"sys.path.insert(0, {str(wheel)!r})", f"sys.argv = ['pip', 'install', '-q', {str(wheel)!r}]"]
    stand_in.parent.mkdir(parents=True, exist_ok=True)
    stand_in.write_text("\n".join([*lines, "runpy.run_module('pip', run_name='__main__')", ""]))


def main(words: list[str]) -> int:
    tools = {"lint": lint, "sanity": sanity}
    if len(words) != 1 or words[0] not in tools:
        print(__doc__, file=sys.stderr)
        return 2
    env = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    # outside of this checkout, where git would tell ansible-test to ignore it
    with tempfile.TemporaryDirectory(prefix="meshwright-sanity-") as scratch:
        return tools[words[0]](unpacked(Path(scratch)), env)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
