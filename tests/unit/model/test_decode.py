# SPDX-License-Identifier: Apache-2.0
"""Good documents: what they become, what comes back, what the server keeps for itself."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest

from meshwright.errors import Invalid
from meshwright.model.decode import decode, encode, load, parse_json, to_spec_json
from meshwright.model.duration import Duration
from meshwright.model.kinds import KINDS
from meshwright.model.meta import AddressStatus, Condition, Resource, Status
from tests.unit.model.samples import document, documents, instance, resource, service

IDS = [f"{d['kind']}-{d['metadata']['name']}" for d in documents()]


@pytest.mark.parametrize("given", documents(), ids=IDS)
def test_every_kind_goes_round(given: dict[str, Any]) -> None:
    made = decode(given)
    again = decode(encode(made))
    assert again == made
    assert again.digest == made.digest
    assert again.spec == made.spec
    assert encode(again) == encode(made)
    assert json.loads(json.dumps(encode(made))) == encode(made)


@pytest.mark.parametrize("given", documents(), ids=IDS)
def test_documents_are_stored_and_answered_as_v1(given: dict[str, Any]) -> None:
    made = decode(given)
    assert made.api_version == encode(made)["apiVersion"] == KINDS[made.kind].api_version
    assert made.api_version.endswith("/v1")
    assert encode(made)["metadata"]["namespace"] == made.metadata.namespace


@pytest.mark.parametrize("given", documents(), ids=IDS)
def test_decoding_leaves_the_document_alone(given: dict[str, Any]) -> None:
    before = copy.deepcopy(given)
    decode(given)
    assert given == before


def test_all_kinds_are_among_the_samples() -> None:
    assert {d["kind"] for d in documents()} == set(KINDS)


def test_what_a_route_says() -> None:
    spec = decode(next(d for d in documents() if d["kind"] == "VirtualService")).spec
    assert spec.http[0].timeout == Duration.parse("90s")
    assert spec.http[0].retries.per_try_timeout == Duration.parse("250ms")
    assert spec.http[0].match[0].headers["x-group"].exact == "testers"
    assert [choice.weight for choice in spec.http[1].route] == [95, 5]
    assert spec.http[1].timeout == Duration(0)


def test_protocols_are_upper_case_afterwards() -> None:
    made = service("web", ports=[{"number": 80, "name": "a", "protocol": "gRPC"}, {"number": 81, "name": "b"}])
    assert [port.protocol for port in made.spec.ports] == ["GRPC", ""]


def test_a_spec_may_be_missing_where_nothing_is_required() -> None:
    given = document("PeerAuthentication", "p", {})
    del given["spec"]
    assert decode(given).spec.mtls is None


def test_the_namespace_is_default_unless_said() -> None:
    given = document("PeerAuthentication", "p", {})
    del given["metadata"]["namespace"]
    assert decode(given).ref == ("PeerAuthentication", "default", "p")


def test_what_the_server_manages_is_tolerated_and_not_believed() -> None:
    given = document(
        "PeerAuthentication", "p", {}, uid="mine", resourceVersion="7", generation=9, creationTimestamp=None, managedFields=[{}]
    )
    given["status"] = {"conditions": "nonsense", "addresses": [{"value": "240.240.0.9"}]}
    made = decode(given)
    assert made == decode(document("PeerAuthentication", "p", {}))
    assert (made.metadata.uid, made.metadata.generation, made.status) == ("", 0, Status())


def managed(made: Resource) -> Resource:
    """As the API stores it."""
    metadata = msgspec.structs.replace(
        made.metadata, uid="u", resource_version="12", generation=3, creation_timestamp="2031-01-01T00:00:00Z"
    )
    status = Status((Condition("Accepted", "True", "Accepted"),), (AddressStatus("240.240.0.5", "web.shop.mesh"),))
    return load(encode(msgspec.structs.replace(made, metadata=metadata, status=status)))


def test_what_was_stored_is_loaded_whole() -> None:
    stored = managed(service("web"))
    assert load(encode(stored)) == stored
    assert load(encode(stored)).metadata == stored.metadata
    assert load(encode(stored)).status == stored.status
    assert load(json.loads(json.dumps(encode(stored)))).digest == stored.digest


def test_the_previous_document_gives_what_the_server_manages() -> None:
    stored = managed(service("web"))
    made = decode(document("ServiceEntry", "web", encode(service("web"))["spec"]), stored)
    assert made == stored
    assert made.metadata == stored.metadata


def test_an_address_goes_with_its_host() -> None:
    stored = managed(service("web"))
    moved = encode(service("web", hosts=["other.shop.mesh"]))
    assert decode(moved, stored).status.addresses == ()


def test_equal_means_the_same_content() -> None:
    one = service("web")
    assert one == decode(document("ServiceEntry", "web", encode(one)["spec"], uid="x"))
    assert one != decode(document("ServiceEntry", "web", encode(one)["spec"], labels={"a": "b"}))
    assert one != decode(document("ServiceEntry", "web", encode(one)["spec"], annotations={"a": "b"}))
    assert one != managed(one)
    assert len({one, service("web"), service("web", resolution="DNS")}) == 2


def test_the_order_of_keys_does_not_matter() -> None:
    one = instance("w", "web", "10.0.0.1", labels={"a": "1", "b": "2"})
    two = instance("w", "web", "10.0.0.1", labels={"b": "2", "a": "1"})
    assert one.digest == two.digest
    assert to_spec_json(one.spec) == to_spec_json(two.spec)


def test_spelled_out_defaults_are_the_same_document() -> None:
    short = resource("AuthorizationPolicy", "a", {})
    long = resource("AuthorizationPolicy", "a", {"action": "ALLOW", "rules": []})
    assert short == long


def test_from_text_to_resource() -> None:
    text = json.dumps(document("PeerAuthentication", "p", {"mtls": {"mode": "STRICT"}})).encode()
    assert decode(parse_json(text)).spec.mtls.mode.value == "STRICT"


def test_a_backslash_in_a_pattern_is_no_control_character() -> None:
    spec = {"hosts": ["web"], "http": [{"match": [{"uri": {"regex": r"/\bitem\b"}}], "route": [{"destination": {"host": "web"}}]}]}
    assert resource("VirtualService", "v", spec).spec.http[0].match[0].uri.regex == r"/\bitem\b"


def test_the_error_says_the_first_and_how_many_more() -> None:
    with pytest.raises(Invalid, match=r"spec\.adress: unknown field; did you mean `address`\? \(and 1 more\)") as caught:
        decode(document("WorkloadEntry", "w", {"adress": "10.0.0.1"}))
    assert caught.value.http_status == 422
    assert len(caught.value.violations) == 2
