# SPDX-License-Identifier: Apache-2.0
"""The action plugin `node` in plays of the real ansible-playbook, on the connection `local`; what SSH adds is tried on the test hosts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible_collections.meshwright.mesh.plugins.module_utils import node_document

from tests.unit.plugins.api_fake import TOKEN, FakeApi


def play(collections: Path, api: FakeApi, *tasks: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of one `node` task after another; each of `tasks` are its options, and `check` for a task in check mode."""
    steps: list[dict[str, Any]] = []
    for number, options in enumerate(tasks):
        check = options.pop("check", False)
        steps.append(
            {"meshwright.mesh.node": options, "register": f"done{number}", "check_mode": check, "diff": True, "ignore_errors": True}
        )
    results = "{{ [" + ", ".join(f"done{number}" for number in range(len(tasks))) + "] | to_json }}"
    steps.append({"ansible.builtin.copy": {"content": results, "dest": str(collections / "results.json")}})
    playbook = collections / "play.json"
    environment = {"MESHWRIGHT_API_URL": api.url}  # the others come from the process
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "environment": environment, "tasks": steps}]))
    env = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "MESHWRIGHT_"))}
    env |= {"ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_HOME": str(collections / "home")}
    env |= {"MESHWRIGHT_TOKEN": TOKEN, "MESHWRIGHT_CA_FILE": str(api.ca_path), "MESHWRIGHT_CONFIG": "/nonexistent"}
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "web1,", "-c", "local"]
    command += ["-e", f"ansible_python_interpreter={sys.executable}", str(playbook)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    read: list[dict[str, Any]] = json.loads((collections / "results.json").read_text())
    return read


def test_ban_and_forget(collections: Path, api: FakeApi) -> None:
    api.nodes["web1"] = {"name": "web1", "sshHostKeys": ["ssh-ed25519 AAAA"], "workloads": [{"name": "reviews"}], "resourceVersion": "3"}
    unproven, predicted, banned, again, forgotten, gone = play(
        collections,
        api,
        {"workloads": []},
        {"state": "banned", "check": True},
        {"state": "banned"},
        {"state": "banned"},
        {"state": "absent"},
        {"state": "absent"},
    )
    assert unproven["failed"] and "meshwright_expected_fingerprint" in unproven["msg"], "the connection local proves no host key"
    assert predicted["changed"] and predicted["diff"] == banned["diff"]
    assert banned["changed"] and banned["node"]["banned"] and banned["node"]["workloads"][0]["name"] == "reviews"
    assert '"banned": true' in banned["diff"]["after"] and '"banned": false' in banned["diff"]["before"]
    assert not again["changed"]
    assert forgotten["changed"] and forgotten["diff"]["after"] == "" and not gone["changed"]
    assert api.writes == [("PUT", "/mesh/v1/nodes/web1"), ("DELETE", "/mesh/v1/nodes/web1")] and api.nodes == {}


def test_the_same_node_said_in_two_ways_is_the_same() -> None:
    short = {"name": "web1", "workloads": [{"name": "b"}, {"name": "a", "namespace": "default", "proxy": {"inboundPort": 15006}}]}
    options = [node_document.from_options({"name": name, "labels": {}, "inbound_port": 15006}) for name in ("a", "b")]
    assert node_document.full_node(short) == node_document.full_node({"name": "web1", "workloads": options, "resourceVersion": "9"})
    assert node_document.full_node(short) != node_document.full_node({"name": "web1", "workloads": options[:1]})


def test_a_key_belongs_to_one_node() -> None:
    nodes = [{"name": "web1", "sshHostKeys": ["k1"]}, {"name": "web2", "sshHostKeys": ["k2"]}]
    assert node_document.key_owner(nodes, "web1", ["k1"]) is None
    assert node_document.key_owner(nodes, "web3", ["k9", "k2"]) == "web2"
