# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from meshwright.agent.main import main
from meshwright.agent.settings import load, parse
from meshwright.errors import ConfigError
from meshwright.model.identity import ProxyId

GOOD: dict[str, Any] = {
    "node": "vm1",
    "workload": {"namespace": "shop", "name": "web"},
    "trustDomain": "cluster.local",
    "api": "https://cp.example:15080",
    "discovery": "[fd00::1]:15012",
    "serverName": "cp.example",
    "caFile": "/etc/meshwright/ca.pem",
    "stateDir": "/var/lib/meshwright/agents/web.shop",
    "runDir": "/run/meshwright/web.shop",
    "attest": {"method": "ssh_host", "hostKey": "/etc/ssh/ssh_host_ed25519_key"},
}


def test_good_settings() -> None:
    made = parse(GOOD)
    assert made.proxy == ProxyId("web", "shop") and made.api == ("cp.example", 15080) and made.discovery == ("fd00::1", 15012)
    assert made.renew_at == 0.5 and made.attest.path == Path("/etc/ssh/ssh_host_ed25519_key")
    assert made.agent_socket == Path("/run/meshwright/web.shop/agent.sock")
    assert parse({**GOOD, "api": "https://cp.example"}).api == ("cp.example", 443)
    token = parse({**GOOD, "attest": {"method": "join_token", "tokenFile": "/t"}, "renewAt": 0.3})
    assert token.attest.method == "join_token" and token.renew_at == 0.3


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"node": "VM 1"}, "node"),
        ({"node": 1}, "node"),
        ({"workload": None}, "workload"),
        ({"workload": {"name": "web"}}, "workload.namespace"),
        ({"workload": {"name": "web", "namespace": "a.b"}}, "workload.namespace"),
        ({"workload": {"name": "web", "namespace": "A"}}, "workload"),
        ({"trustDomain": "A"}, "trustDomain"),
        ({"api": "http://cp"}, "api"),
        ({"api": "https://cp/x"}, "api"),
        ({"discovery": "cp"}, "discovery"),
        ({"discovery": "cp:0"}, "discovery"),
        ({"discovery": "cp:99999"}, "discovery"),
        ({"caFile": "ca.pem"}, "caFile"),
        ({"attest": {"method": "guess"}}, "attest.method"),
        ({"attest": {"method": "join_token"}}, "attest.tokenFile"),
        ({"renewAt": 0.9}, "renewAt"),
        ({"renewAt": True}, "renewAt"),
        ({"speed": 1}, "speed"),
    ],
)
def test_bad_settings_are_said_with_their_path(change: dict[str, Any], path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse({**GOOD, **change})
    assert caught.value.path == path


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000])
def test_files_that_are_no_settings(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"a\.json"):
        load(path)


def test_the_command_ends_with_78_and_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**GOOD, "node": ""}))
    assert main(["status", "-c", str(path)]) == 78
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "status.config" and "node" in line["message"]
