# SPDX-License-Identifier: Apache-2.0
"""What the agent signs against OpenSSH and against the control plane's own check."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from meshwright.agent import prove
from meshwright.ca.attest import ssh_host
from meshwright.errors import ConfigError
from meshwright.model.identity import ProxyId
from meshwright.model.proxy import Node

KINDS = {"ed25519": ["ed25519"], "ecdsa": ["ecdsa", "-b", "256"], "rsa": ["rsa", "-b", "2048"]}


def ssh_key(tmp_path: Path, kind: list[str], *options: str) -> Path:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", "host", "-t", *kind, "-f", str(path), *options], check=True)
    return path


@pytest.mark.parametrize("options", [[], ["-m", "PEM"]], ids=["openssh", "pem"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_proof_convinces_openssh_and_the_control_plane(tmp_path: Path, kind: str, options: list[str]) -> None:
    path = ssh_key(tmp_path, KINDS[kind], *options)
    message = prove.message("vm1", "web.shop", "nonce", spki_sha256="ab" * 32, trust_domain="cluster.local")
    assert message == ssh_host.message("vm1", ProxyId("web", "shop"), nonce="nonce", spki_sha256="ab" * 32, trust_domain="cluster.local")
    proof = prove.sign(prove.load_host_key(path), message)
    enrolled = " ".join(path.with_suffix(".pub").read_text().split(" ")[:2])
    assert proof.public_key == enrolled
    ssh_host.prove(Node("vm1", (enrolled,)), proof.public_key, proof.signature, message)
    (tmp_path / "allowed").write_text(f"vm1 {enrolled}\n")
    (tmp_path / "sig").write_text(proof.signature)
    command = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", "vm1", "-n", "attest@meshwright.dev"]
    assert subprocess.run([*command, "-s", str(tmp_path / "sig")], input=message, capture_output=True).returncode == 0


def test_keys_that_can_not_be_used_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="runs as root"):
        prove.load_host_key(tmp_path / "nowhere")
    (tmp_path / "garbage").write_text("garbage")
    with pytest.raises(ConfigError, match="no private key"):
        prove.load_host_key(tmp_path / "garbage")
    with pytest.raises(ConfigError, match="neither"):
        prove.load_host_key(ssh_key(tmp_path, ["ecdsa", "-b", "384"]))
