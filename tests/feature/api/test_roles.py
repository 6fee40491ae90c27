# SPDX-License-Identifier: Apache-2.0
"""The whole table against every role over HTTP: who is let in is what the table says, and the table says what is written here."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshwright.api.policy import TABLE, Role, Rule
from tests.feature.api.harness import Mesh

READ_ALL = {role.value for role in Role}
ADMINS = {"mesh-admin", "security-admin"}
# What the table must say, written down a second time on purpose: a slip in one is seen in the other.
EXPECTED = {
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/metrics"): READ_ALL,
    ("GET", "/openapi.json"): READ_ALL,
    ("GET", "/apis/{group}/{version}/{plural}"): READ_ALL,
    ("GET", "/apis/{group}/{version}/namespaces/{namespace}/{plural}"): READ_ALL,
    ("GET", "/apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}"): READ_ALL,
    ("PUT", "/apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}"): {"namespace-editor", "mesh-admin"},
    ("PATCH", "/apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}"): {"namespace-editor", "mesh-admin"},
    ("DELETE", "/apis/{group}/{version}/namespaces/{namespace}/{plural}/{name}"): {"namespace-editor", "mesh-admin"},
    ("GET", "/mesh/v1/rollouts/{revision}"): READ_ALL,
    ("GET", "/mesh/v1/proxies"): READ_ALL,
    ("GET", "/mesh/v1/proxies/{id}"): READ_ALL,
    ("GET", "/mesh/v1/proxies/{id}/config"): READ_ALL,
    ("GET", "/mesh/v1/nodes"): READ_ALL,
    ("GET", "/mesh/v1/nodes/{name}"): READ_ALL,
    ("PUT", "/mesh/v1/nodes/{name}"): ADMINS,
    ("DELETE", "/mesh/v1/nodes/{name}"): ADMINS,
    ("POST", "/mesh/v1/tokens"): ADMINS,
    ("GET", "/mesh/v1/tokens"): {"security-admin"},
    ("DELETE", "/mesh/v1/tokens/{id}"): {"security-admin"},
    ("GET", "/mesh/v1/ca"): READ_ALL,
    ("GET", "/mesh/v1/audit"): {"security-admin"},
    ("POST", "/mesh/v1/attest/nonce"): None,
    ("POST", "/mesh/v1/attest"): None,
}


def path(rule: Rule) -> str:
    names = {"group": "networking.istio.io", "version": "v1", "namespace": "shop", "plural": "virtualservices"}
    return rule.path.format(**names, name="none", id="none.shop", revision="1")


def test_the_table_is_the_expected_one() -> None:
    assert {(rule.method, rule.path) for rule in TABLE} == set(EXPECTED)


@pytest.mark.parametrize("rule", TABLE, ids=[f"{rule.method} {rule.path}" for rule in TABLE])
def test_every_role_on_every_route(shared: Mesh, rule: Rule) -> None:
    expected = EXPECTED[rule.method, rule.path]
    shared.clock.offset += timedelta(seconds=60)  # failures of the route before are forgiven
    with shared.client() as anonymous:
        status = anonymous.request(rule.method, path(rule)).status_code
        # attest refuses proofs with 400 here: the body is missing.
        assert (status == 401) == (expected is not None)
    for role in Role:
        with shared.client(shared.token(role, *(["shop"] if role is Role.NAMESPACE_EDITOR else []))) as client:
            status = client.request(rule.method, path(rule)).status_code
        assert (status == 403) == (expected is not None and role.value not in expected), (role, status)
    if rule.scoped:
        with shared.as_role(Role.NAMESPACE_EDITOR, "bank") as stranger:
            assert stranger.request(rule.method, path(rule)).status_code == 403
    assert shared.stored() == {}
