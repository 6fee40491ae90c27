# SPDX-License-Identifier: Apache-2.0
"""The agent's own codec against the real protobuf messages."""

from __future__ import annotations

import pytest
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from meshwright.agent import wire
from meshwright.model.wire import varint

TEXT = st.text(max_size=30)
TYPE = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


@given(TEXT, st.lists(TEXT), st.lists(TEXT), st.dictionaries(TEXT, TEXT), TEXT, st.none() | TEXT)
def test_requests_both_ways(
    type_url: str, subscribe: list[str], unsubscribe: list[str], versions: dict[str, str], nonce: str, error: str | None
) -> None:
    theirs = discovery_pb2.DeltaDiscoveryRequest(
        type_url=type_url,
        resource_names_subscribe=subscribe,
        resource_names_unsubscribe=unsubscribe,
        initial_resource_versions=versions,
        response_nonce=nonce,
    )
    theirs.node.id = "web.shop"
    theirs.node.metadata["x"] = 1
    theirs.node.extensions.add(name="envoy.something")
    if error is not None:
        theirs.error_detail.CopyFrom(status_pb2.Status(code=13, message=error))
    ours = wire.decode_request(theirs.SerializeToString())
    assert ours.type_url == type_url and ours.nonce == nonce and dict(ours.versions) == versions
    assert (list(ours.subscribe), list(ours.unsubscribe)) == (subscribe, unsubscribe)
    assert ours.node is not None and ours.node.id == "web.shop"
    assert (None if ours.error is None else wire.status_message(ours.error)) == error
    del theirs.node.extensions[:]
    assert discovery_pb2.DeltaDiscoveryRequest.FromString(wire.encode_request(ours)) == theirs


RESOURCES = st.lists(st.tuples(TEXT, TEXT, st.binary(max_size=300)), max_size=4)


@given(TEXT, TEXT, RESOURCES, st.lists(TEXT))
def test_responses_both_ways(type_url: str, nonce: str, resources: list[tuple[str, str, bytes]], removed: list[str]) -> None:
    theirs = discovery_pb2.DeltaDiscoveryResponse(system_version_info="7", type_url=type_url, nonce=nonce, removed_resources=removed)
    for name, version, body in resources:
        resource = theirs.resources.add(name=name, version=version, aliases=["a"])
        resource.resource.type_url = type_url
        resource.resource.value = body
    raw = theirs.SerializeToString()
    ours = wire.decode_response(raw)
    assert (ours.type_url, ours.nonce, list(ours.removed)) == (type_url, nonce, removed)
    assert [(r.name, r.version, r.body) for r in ours.resources] == resources
    again = wire.encode_response(type_url, nonce, [r.frame for r in ours.resources], removed)
    theirs.system_version_info = ""
    assert discovery_pb2.DeltaDiscoveryResponse.FromString(again) == theirs
    assert discovery_pb2.DeltaDiscoveryResponse.FromString(wire.with_nonce(raw, "other")).nonce == "other"


def test_our_own_resources_are_like_theirs() -> None:
    frame = wire.resource_frame("n", "v", TYPE, b"body")
    response = discovery_pb2.DeltaDiscoveryResponse.FromString(wire.encode_response(TYPE, "1", [frame]))
    assert [(r.name, r.version, r.resource.type_url, r.resource.value) for r in response.resources] == [("n", "v", TYPE, b"body")]
    assert wire.decode_response(wire.encode_response(TYPE, "1", [frame])).resources == (wire.Resource("n", "v", frame),)


def test_secrets() -> None:
    pair = secret_pb2.Secret.FromString(wire.key_pair_secret("default", b"chain", b"key"))
    assert (pair.name, pair.tls_certificate.certificate_chain.inline_bytes, pair.tls_certificate.private_key.inline_bytes) == (
        "default",
        b"chain",
        b"key",
    )
    roots = secret_pb2.Secret.FromString(wire.trust_secret("ROOTCA", b"bundle"))
    assert (roots.name, roots.validation_context.trusted_ca.inline_bytes) == ("ROOTCA", b"bundle")


def test_a_status() -> None:
    theirs = status_pb2.Status.FromString(wire.status(3, "why"))
    assert (theirs.code, theirs.message) == (3, "why")
    assert wire.status_message(b"\xff") == ""


@given(st.integers(0, 2**64 - 1))
def test_varints(number: int) -> None:
    assert wire._varint(varint(number), 0) == (number, len(varint(number)))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    for decode in (wire.decode_request, wire.decode_response):
        try:
            decode(data)
        except wire.Malformed:
            pass


@given(st.binary(max_size=60))
def test_what_the_real_parser_refuses_for_its_form_we_refuse(data: bytes) -> None:
    """The other way round we may be stricter (groups)."""
    try:
        ours = wire.decode_request(data)
    except wire.Malformed:
        return
    try:
        theirs = discovery_pb2.DeltaDiscoveryRequest.FromString(data)
    except (DecodeError, UnicodeDecodeError):
        return  # something inside a field that we don't look into
    assert theirs.type_url == ours.type_url


@pytest.mark.parametrize(
    "data", [b"\x0a", b"\x0a\x05ab", b"\x0b\x0c", b"\x80" * 11, b"\x00\x00", b"\x10\x01", b"\x12\x01\xff", b"\x25name"]
)
def test_what_is_malformed(data: bytes) -> None:
    with pytest.raises(wire.Malformed):
        wire.decode_request(data)
