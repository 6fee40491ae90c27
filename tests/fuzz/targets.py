# SPDX-License-Identifier: Apache-2.0
"""What strangers and users send, each reader of it as a function of bytes: it may refuse with its own error, and nothing else may come out.
What is accepted must mean what another reader of the same says (protobuf, RE2), or go round.

`TARGETS`: name -> Target. A case that breaks a promise raises; which one, the trace says."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import re2
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse
from google.protobuf.message import DecodeError

from meshwright.agent import wire
from meshwright.ca.attest import sshsig
from meshwright.ca.attest.refusal import Refused
from meshwright.ca.attest.ssh_host import key_blob
from meshwright.ca.issue import MAX_CSR, read_csr
from meshwright.cli import documents
from meshwright.errors import BadRequest, MeshwrightError
from meshwright.model import hosts, regex
from meshwright.model.decode import decode, encode, load
from meshwright.model.duration import Duration
from meshwright.model.identity import ProxyId, SpiffeId
from meshwright.model.jsontext import parse_json
from meshwright.translate import names
from meshwright.xds import request
from meshwright.xds.subscription import Broken

T = TypeVar("T")


class Target(NamedTuple):
    """`longest`: bytes of a case, as much as finds something; `seconds`: what one case may take (instrumented, on a busy machine)."""

    one: Callable[[bytes], None]
    longest: int = 4096
    seconds: int = 10


def json_document(data: bytes) -> None:
    with contextlib.suppress(MeshwrightError):
        _round(parse_json(data))


def yaml_document(data: bytes) -> None:
    with contextlib.suppress(MeshwrightError):
        for document in documents.read(data.decode("utf-8", "surrogateescape")):
            with contextlib.suppress(MeshwrightError):
                _round(document.object)


def _round(document: object) -> None:
    made = decode(document)
    stored = load(encode(made))
    assert stored == made
    assert decode(encode(made)).digest == made.digest


def agent_request(data: bytes) -> None:
    ours, theirs = _ours(wire.decode_request, data), _parsed(DeltaDiscoveryRequest, data)
    if theirs is None:
        return
    if ours is not None:
        _same_request(ours, theirs)
    written = _written(theirs)
    again = wire.decode_request(written)
    _same_request(again, theirs)
    assert (again.node.id if again.node else "") == theirs.node.id
    assert (again.error is not None) == theirs.HasField("error_detail")
    assert wire.status_message(again.error or b"") == theirs.error_detail.message
    assert dict(again.versions) == dict(theirs.initial_resource_versions)
    passed_on = DeltaDiscoveryRequest.FromString(wire.encode_request(again))
    assert _written(passed_on) == _written(_passed_on(theirs))


def _passed_on(request: Any) -> Any:
    """What the agent doesn't pass on: the list of Envoy's extensions, and locators, which nobody uses."""
    if request.HasField("node"):
        del request.node.extensions[:]
    for unused in ("resource_locators_subscribe", "resource_locators_unsubscribe"):
        request.ClearField(unused)
    return request


def _same_request(ours: wire.Request, theirs: Any) -> None:
    assert (ours.type_url, ours.nonce) == (theirs.type_url, theirs.response_nonce)
    assert list(ours.subscribe) == list(theirs.resource_names_subscribe)
    assert list(ours.unsubscribe) == list(theirs.resource_names_unsubscribe)


def agent_response(data: bytes) -> None:
    ours, theirs = _ours(wire.decode_response, data), _parsed(DeltaDiscoveryResponse, data)
    if theirs is None:
        return
    if ours is not None:
        _same_response(ours, theirs)
    again = wire.decode_response(_written(theirs))
    _same_response(again, theirs)
    assert [one.body for one in again.resources] == [one.resource.value for one in theirs.resources]
    answer = wire.encode_response(again.type_url, again.nonce, [one.frame for one in again.resources], again.removed)
    _same_response(again, DeltaDiscoveryResponse.FromString(wire.with_nonce(answer, again.nonce)))


def _same_response(ours: wire.Response, theirs: Any) -> None:
    assert (ours.type_url, ours.nonce) == (theirs.type_url, theirs.nonce)
    assert list(ours.removed) == list(theirs.removed_resources)
    assert [(one.name, one.version) for one in ours.resources] == [(one.name, one.version) for one in theirs.resources]


def _ours(decode: Callable[[bytes], T], data: bytes) -> T | None:
    try:
        return decode(data)
    except wire.Malformed:
        return None


def _parsed(kind: Any, data: bytes) -> Any:
    try:
        made = kind.FromString(data)
    except DecodeError:
        return None
    made.DiscardUnknownFields()
    return made


def _written(message: Any) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))


def discovery_request(data: bytes) -> None:
    with contextlib.suppress(Broken):
        made = request.parse(data)
        assert all(0 < len(name) <= request.MAX_NAME for name in (*made.subscribe, *made.unsubscribe))
        assert made.error is None or made.error.replace("\n", "").replace("\t", "").isprintable()
        assert len(made.node) <= request.MAX_NAME + 1 and len(made.nonce) <= 64


def ssh_signature(data: bytes) -> None:
    """As armor, as what is inside the armor, and as the line of a public key."""
    text = data.decode("utf-8", "replace")
    inside = f"-----BEGIN SSH SIGNATURE-----\n{base64.b64encode(data).decode()}\n-----END SSH SIGNATURE-----\n"
    for armored in (text, inside):
        with contextlib.suppress(Refused):
            signature = sshsig.parse(armored)
            sshsig.verify(signature, b"meshwright-attest-v1\nvm1\nweb.shop\n", namespace=signature.namespace.decode("latin-1"))
    with contextlib.suppress(Refused):
        key_blob(text)


def signing_request(data: bytes) -> None:
    """As text, and as the DER inside the PEM."""
    inside = f"-----BEGIN CERTIFICATE REQUEST-----\n{base64.encodebytes(data).decode()}-----END CERTIFICATE REQUEST-----\n"
    for text in (data.decode("utf-8", "replace"), inside[: MAX_CSR + 1]):
        with contextlib.suppress(BadRequest):
            read_csr(text)


def words(data: bytes) -> None:
    """Hosts, durations, identities, Envoy's names: one text for all."""
    text = data.decode("utf-8", "replace")
    for parse in (Duration.parse, SpiffeId.parse, ProxyId.parse, names.parse):
        with contextlib.suppress(ValueError):
            made = parse(text)
            assert parse(str(made)) == made
    for wildcard in (False, True):
        if hosts.problem(text, wildcard=wildcard) is None:
            assert "." not in text or text in hosts.candidates(text, "shop")
            assert text[0] != "*" or text in hosts.wildcards(f"x{text[1:]}")
    hosts.owner_namespace(text)
    names.aliases(text, "shop", hosts.MESH_DOMAIN)


def pattern(data: bytes) -> None:
    """What is stored as a regular expression is one to RE2, Envoy's engine."""
    text = data.decode("utf-8", "replace")
    if regex.problem(text) is None:
        re2.compile(text, _QUIET)


_QUIET = re2.Options()
_QUIET.log_errors = False
TARGETS = {
    "json": Target(json_document),
    "yaml": Target(yaml_document, longest=2048),
    "agent-request": Target(agent_request),
    "agent-response": Target(agent_response),
    "discovery-request": Target(discovery_request),
    "ssh-signature": Target(ssh_signature, longest=2048),
    "signing-request": Target(signing_request, longest=2048),
    "words": Target(words, longest=300),
    "pattern": Target(pattern, longest=200),
}
