# SPDX-License-Identifier: Apache-2.0
"""Generated requests for the whole OpenAPI document, as each role: never a 5xx, never an answer outside the document."""

from __future__ import annotations

import json

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from meshwright.api.openapi import document
from meshwright.api.policy import Role
from tests.feature.api.harness import Mesh

CHECKS = [not_a_server_error, response_schema_conformance, status_code_conformance]
# The one that gets furthest comes most often.
ROLES = [Role.MESH_ADMIN, None, *Role, Role.MESH_ADMIN]
# Routes by kind and version are many and one code: v1 of two kinds stands for them.
LEFT_OUT = ("/v1beta1/", "/v1alpha3/", "destinationrules", "workloadentries", "peerauthentications", "authorizationpolicies")


def test_generated_requests(shared: Mesh) -> None:
    raw = json.loads(document())
    raw["paths"] = {path: found for path, found in raw["paths"].items() if not any(part in path for part in LEFT_OUT)}
    schema = schemathesis.openapi.from_dict(raw)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 20
    tokens = {role: shared.token(role, *(["a"] if role is Role.NAMESPACE_EDITOR else [])) for role in Role}
    statuses: set[int] = set()
    with requests.Session() as session:
        for operation in operations:
            strategy = operation.as_strategy()

            @given(case=strategy, role=st.sampled_from(ROLES))
            @settings(
                max_examples=5,
                derandomize=True,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def probe(case: schemathesis.Case, role: Role | None) -> None:
                if case.query and case.query.get("watch") in ("1", "true"):
                    case.query["timeoutSeconds"] = 1
                headers = {"Authorization": f"Bearer {tokens[role]}"} if role else {}
                response = case.call(base_url=shared.url, headers=headers, verify=shared.ca_file, timeout=20, session=session)
                statuses.add(response.status_code)
                case.validate_response(response, checks=CHECKS)

            probe()
    assert not {status for status in statuses if status >= 500}
    assert statuses >= {200, 201, 400, 401, 403, 404, 422}


def test_the_document_covers_every_route() -> None:
    from meshwright.api.policy import TABLE
    from meshwright.model.kinds import KINDS

    paths = json.loads(document())["paths"]
    for rule in TABLE:
        if "{plural}" not in rule.path:
            assert rule.method.lower() in paths[rule.path]
    for kind in KINDS.values():
        for version in kind.versions:
            base = f"/apis/{kind.group}/{version}"
            assert set(paths[f"{base}/{kind.plural}"]) == {"get"}
            assert set(paths[base + "/namespaces/{namespace}/" + kind.plural + "/{name}"]) == {"get", "put", "patch", "delete"}


@pytest.mark.parametrize("name", ["VirtualServiceDocument", "ServiceEntryAnswer", "Node", "TokenRequest", "Error"])
def test_schemas_refer_to_what_is_there(name: str) -> None:
    components = json.loads(document())["components"]["schemas"]
    waiting, seen = [name], set()
    while waiting:
        one = waiting.pop()
        seen.add(one)
        text = json.dumps(components[one])
        for part in text.split('"#/components/schemas/')[1:]:
            target = part.split('"')[0]
            assert target in components
            if target not in seen:
                waiting.append(target)
