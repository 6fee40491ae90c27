# SPDX-License-Identifier: Apache-2.0
"""What docs/howto/ansible.md shows runs as it is written there, without a warning."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.unit.plugins.api_fake import TOKEN, FakeApi

ROOT = Path(__file__).resolve().parents[3]
ACCESS = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: readers, namespace: shop}\nspec: {}\n"


def test_rules_by_playbook(collections: Path, api: FakeApi, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "howto" / "ansible.md").read_text()
    for name in ("inventory.yml", "rules.yml"):
        (tmp_path / name).write_text(re.findall(rf"```yaml\n(# {name}\n.*?)```", text, re.DOTALL)[0])
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "access.yml").write_text(ACCESS)
    (command,) = re.findall(r"^ansible-playbook .* rules\.yml$", text, re.MULTILINE)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "MESHWRIGHT_"))}
    env |= {"PATH": f"{Path(sys.executable).parent}:{env['PATH']}", "HOME": str(tmp_path)}
    env |= {"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_HOME": str(tmp_path / "home")}
    env |= {"MESHWRIGHT_API_URL": api.url, "MESHWRIGHT_TOKEN": TOKEN, "MESHWRIGHT_CA_FILE": str(api.ca_path)}
    done = subprocess.run(shlex.split(command), cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert [path.rpartition("/")[2] for path in api.stored] == ["readers", "reviews"]
