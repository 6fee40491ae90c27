# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from meshwright.ca.server import Renewal
from meshwright.control.ports import PeerIdentity
from meshwright.errors import BadRequest, Forbidden, MeshwrightError, TooLarge
from meshwright.model.identity import ProxyId, SpiffeId

from .fakes import Lab, certificate_of, make_csr

PEER = PeerIdentity(ProxyId("web", "shop"), SpiffeId("cluster.local", "shop", "web-sa"), "10.0.0.1:4711", "1.40.0", "vm1")


def renew(lab: Lab, peer: PeerIdentity = PEER, body: bytes | None = None) -> dict[str, object]:
    body = body if body is not None else json.dumps({"csr": make_csr()}).encode()
    answer: dict[str, object] = json.loads(asyncio.run(Renewal(lab.services).renew(peer, body)))
    return answer


def test_the_next_certificate_is_counted() -> None:
    lab = Lab()
    first, second = renew(lab), renew(lab)
    assert set(first) == {"certificate", "bundle", "notBefore", "notAfter"}
    names = certificate_of(second).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    wanted = ["spiffe://cluster.local/ns/shop/sa/web-sa", "web.shop.workload.cluster.local", "vm1.node.cluster.local"]
    assert [n.value for n in names] == wanted
    record = json.loads(lab.store.records["svids/web.shop"].value)
    assert record["count"] == 2 and record["serial"] == f"{certificate_of(second).serial_number:x}"
    assert lab.audit.last["action"] == "renew" and lab.audit.last["serial"] == record["serial"]


def test_many_at_once_are_all_counted() -> None:
    lab = Lab()

    async def walk() -> None:
        renewal = Renewal(lab.services)
        body = json.dumps({"csr": make_csr()}).encode()
        await asyncio.gather(*(renewal.renew(PEER, body) for _ in range(5)))

    asyncio.run(walk())
    assert json.loads(lab.store.records["svids/web.shop"].value)["count"] == 5


def test_a_damaged_record_stops_nobody() -> None:
    lab = Lab()
    from meshwright.store.base import Put

    asyncio.run(lab.store.commit([Put("svids/web.shop", b"{")]))
    renew(lab)
    assert json.loads(lab.store.records["svids/web.shop"].value)["count"] == 1


def test_the_old_host_of_a_workload_that_moved_is_refused() -> None:
    lab = Lab()
    with pytest.raises(Forbidden):
        renew(lab, peer=PEER._replace(node="vm0"))
    assert lab.audit.last["reason"] == "NodeOfOther"


def test_the_banned_are_refused() -> None:
    lab = Lab()
    lab.enrolment.nodes["vm1"] = msgspec.structs.replace(lab.node, banned=True)
    with pytest.raises(Forbidden) as caught:
        renew(lab)
    assert caught.value.message == "this identity is not renewed"
    assert lab.audit.last["reason"] == "NodeBanned" and lab.store.records == {}


@pytest.mark.parametrize(
    ("peer", "why"),
    [
        (PEER._replace(proxy=ProxyId("gone", "shop")), "NotEnrolled"),
        (PEER._replace(spiffe=SpiffeId("other.example", "shop", "web-sa")), "IdentityOfOther"),
        (PEER._replace(spiffe=SpiffeId("cluster.local", "other", "web-sa")), "IdentityOfOther"),
    ],
)
def test_who_is_not_renewed(peer: PeerIdentity, why: str) -> None:
    lab = Lab()
    with pytest.raises(Forbidden):
        renew(lab, peer)
    assert lab.audit.last["reason"] == why


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"csr": 1}', b'{"csr": "x"}', b'{"csr": "x", "spiffeId": "y"}', b"[" * 50_000, b"\xff"]
)
def test_bodies_that_are_none(body: bytes) -> None:
    with pytest.raises(BadRequest):
        renew(Lab(), body=body)


def test_a_huge_body_is_refused_unread() -> None:
    with pytest.raises(TooLarge):
        renew(Lab(), body=b" " * 65_537)


@given(st.binary(max_size=300))
def test_any_bytes(body: bytes) -> None:
    with pytest.raises(MeshwrightError):
        renew(Lab(), body=body)
