# SPDX-License-Identifier: Apache-2.0
"""Every golden is taken by a real Envoy."""

from __future__ import annotations

import datetime
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshwright.translate.bootstrap import static_bootstrap
from meshwright.translate.tls import SYSTEM_ROOTS
from tests.golden.case import case_names, read_world, snapshots
from tests.lab.envoy import validate

pytestmark = pytest.mark.envoy


def inline_secrets() -> tuple[list[dict[str, Any]], str]:
    """A self-signed identity that is its own root, as static secrets; and the root as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "golden")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    certificate = builder.not_valid_before(start).not_valid_after(start + datetime.timedelta(days=36500)).sign(key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    identity = {"certificateChain": {"inlineString": pem}, "privateKey": {"inlineString": private}}
    roots = {"name": "ROOTCA", "validationContext": {"trustedCa": {"inlineString": pem}}}
    return [{"name": "default", "tlsCertificate": identity}, roots], pem


def bootstraps() -> dict[str, dict[str, Any]]:
    """Of every proxy of every case. The system's roots, which may be elsewhere on this machine, stand inline."""
    secrets, root = inline_secrets()
    made = {}
    for case in case_names():
        for proxy, snapshot in snapshots(read_world(case)).items():
            text = json.dumps(static_bootstrap(snapshot, secrets))
            made[f"{case}/{proxy}"] = json.loads(text.replace(json.dumps({"filename": SYSTEM_ROOTS}), json.dumps({"inlineString": root})))
    return made


def test_envoy_takes_every_golden() -> None:
    made = bootstraps()
    with ThreadPoolExecutor(2) as pool:
        verdicts = dict(zip(made, pool.map(validate, made.values()), strict=True))
    assert {name: verdict for name, verdict in verdicts.items() if verdict} == {}
    assert len(verdicts) > 20


def test_envoy_would_refuse_a_bad_one() -> None:
    """Otherwise the test above proves nothing."""
    made = bootstraps()["http-service/reviews.shop"]
    made["staticResources"]["listeners"][0]["filterChains"][0]["filterChainMatch"]["serverNames"] = ["a*b"]
    assert "partial wildcards are not supported" in validate(made)
