# SPDX-License-Identifier: Apache-2.0
"""What a task of the role `service` says when pip can't do it: the role's own block, with a pip that only speaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
PIP_SAYS = (
    "WARNING: Retrying ...\nERROR: Could not find a version that satisfies the requirement grpcio==1.0\nERROR: No matching distribution"
)


def play(tmp_path: Path, wheelhouse: str) -> str:
    """What the play says on standard output."""
    tasks = yaml.safe_load((ROOT / "roles" / "service" / "tasks" / "install.yml").read_text())
    block = next(task for task in tasks if "rescue" in task)
    (tmp_path / "said").write_text(PIP_SAYS)
    variables: dict[str, Any] = {
        "meshwright_service_part": "agent",
        "meshwright_service_pip": ["sh", "-c", f"cat {tmp_path / 'said'} >&2; exit 1"],
        "meshwright_service_directory": str(tmp_path / "none"),
        "meshwright_service_wheels": str(tmp_path),
        "meshwright_service_wheel": "/somewhere/meshwright.whl",
        "meshwright_service_requirements": "/somewhere/requirements-agent.txt",
        "meshwright_wheelhouse": wheelhouse,
        "ansible_python_interpreter": sys.executable,
    }
    playbook = tmp_path / "play.json"
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "vars": variables, "tasks": [block]}]))
    env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")} | {"ANSIBLE_HOME": str(tmp_path / "home")}
    env |= {"ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml"}
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "web1,", "-c", "local", str(playbook)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stdout.partition("Say what pip said")[2]


@pytest.mark.parametrize(
    ("wheelhouse", "way_out"),
    [
        ("", "If the host reaches no package index, give it the packages from the controller"),
        ("/wheels", "The wheels in meshwright_wheelhouse (/wheels) do not suffice"),
    ],
)
def test_pips_words_and_the_way_out(tmp_path: Path, wheelhouse: str, way_out: str) -> None:
    said = play(tmp_path, wheelhouse)
    assert "agent's packages on web1" in said
    assert "grpcio==1.0\n" in said and "  ERROR: No matching distribution\n" in said and "Retrying" not in said
    assert way_out in said and "meshwright_wheelhouse" in said and "pip download -d WHEELS -r /somewhere/requirements-agent.txt" in said
