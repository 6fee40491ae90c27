# SPDX-License-Identifier: Apache-2.0
"""The attacks on a first identity: none may end with a certificate, none may tell the attacker why."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshwright.ca.attest import join_token
from meshwright.ca.attest.limit import Rate, SourceLimit
from meshwright.ca.attest.nonce import Nonces
from meshwright.ca.server import Attestation
from meshwright.errors import BadRequest, ConfigError, Limited, MeshwrightError, Unauthenticated
from meshwright.model.identity import ProxyId

from .fakes import CountingRandom, FakeClock, HostKey, Lab, certificate_of, csr_hash, make_csr, public_line, sign

T = TypeVar("T")
WEB = ProxyId("web", "shop")
PLENTY = Rate(per_second=1e6, burst=10**6)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


async def request_for(lab: Lab, attestation: Attestation, key: HostKey | None = None, **changes: str) -> dict[str, object]:
    """A good ssh_host request; `changes` replace parts of what is signed (node, proxy, nonce, csr, trust_domain, namespace)."""
    key = key or lab.host_key
    node = changes.get("node", "vm1")
    nonce = changes.get("nonce") or str((await attestation.nonce(node))["nonce"])
    csr = changes.get("csr") or make_csr()
    proxy = changes.get("proxy", "web.shop")
    lines = ["meshwright-attest-v1", node, proxy, nonce, csr_hash(csr), changes.get("trust_domain", "cluster.local")]
    signed = "".join(line + "\n" for line in lines).encode()
    namespace = changes.get("namespace", "attest@meshwright.dev").encode()
    name, _, workload_namespace = proxy.rpartition(".")
    return {
        "node": node,
        "workload": {"namespace": workload_namespace, "name": name},
        "csr": csr,
        "nonce": nonce,
        "method": "ssh_host",
        "publicKey": public_line(key),
        "signature": sign(key, signed, namespace=namespace),
    }


def test_a_host_with_its_key_gets_the_enrolled_identity() -> None:
    lab = Lab()
    attestation = Attestation(lab.services)

    async def walk() -> dict[str, object]:
        return await attestation.attest(await request_for(lab, attestation), "10.0.0.1")

    answer = run(walk())
    leaf = certificate_of(answer)
    leaf.verify_directly_issued_by(lab.authority.active.certificate)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://cluster.local/ns/shop/sa/web-sa"]
    assert answer["bundle"] == lab.authority.bundle.decode()
    assert {k: answer[k] for k in ("spiffeId", "proxyId", "trustDomain", "notAfter")} == {
        "spiffeId": "spiffe://cluster.local/ns/shop/sa/web-sa",
        "proxyId": "web.shop",
        "trustDomain": "cluster.local",
        "notAfter": "2026-03-02T12:00:00Z",
    }
    record = msgspec.json.decode(lab.store.records["svids/web.shop"].value)
    assert record == {
        "serial": f"{leaf.serial_number:x}",
        "notBefore": "2026-03-01T11:59:50Z",
        "notAfter": "2026-03-02T12:00:00Z",
        "count": 1,
        "spiffeId": "spiffe://cluster.local/ns/shop/sa/web-sa",
        "node": "vm1",
    }
    assert lab.audit.last["outcome"] == "issued" and lab.audit.last["serial"] == record["serial"]


def test_a_nonce_is_good_once() -> None:
    lab = Lab()
    attestation = Attestation(lab.services)

    async def walk() -> None:
        request = await request_for(lab, attestation)
        await attestation.attest(request, "10.0.0.1")
        await attestation.attest(request, "10.0.0.1")

    with pytest.raises(Unauthenticated):
        run(walk())
    assert lab.audit.last["reason"] == "NonceUnknown"
    assert len([e for e in lab.audit.events if e["outcome"] == "issued"]) == 1


def test_a_nonce_lives_a_minute() -> None:
    lab = Lab()
    attestation = Attestation(lab.services)

    async def walk() -> None:
        request = await request_for(lab, attestation)
        lab.clock.advance(60)
        await attestation.attest(request, "10.0.0.1")

    with pytest.raises(Unauthenticated):
        run(walk())
    assert lab.audit.last["reason"] == "NonceUnknown"


async def nonce_of_other_node(lab: Lab, attestation: Attestation) -> dict[str, object]:
    return await request_for(lab, attestation, nonce=str((await attestation.nonce("vm2"))["nonce"]))


async def made_up_nonce(lab: Lab, attestation: Attestation) -> dict[str, object]:
    return await request_for(lab, attestation, nonce="A" * 43)


async def other_namespace(lab: Lab, attestation: Attestation) -> dict[str, object]:
    return await request_for(lab, attestation, namespace="git")


async def other_trust_domain(lab: Lab, attestation: Attestation) -> dict[str, object]:
    return await request_for(lab, attestation, trust_domain="other.example")


async def key_not_enrolled(lab: Lab, attestation: Attestation) -> dict[str, object]:
    return await request_for(lab, attestation, ed25519.Ed25519PrivateKey.generate())


async def key_of_other_node(lab: Lab, attestation: Attestation) -> dict[str, object]:
    return await request_for(lab, attestation, lab.other_key)


async def enrolled_key_named_other_key_signed(lab: Lab, attestation: Attestation) -> dict[str, object]:
    request = await request_for(lab, attestation, lab.other_key)
    return {**request, "publicKey": public_line(lab.host_key)}


async def other_csr_than_signed(lab: Lab, attestation: Attestation) -> dict[str, object]:
    return {**await request_for(lab, attestation), "csr": make_csr()}


async def other_workload_than_signed(lab: Lab, attestation: Attestation) -> dict[str, object]:
    return {**await request_for(lab, attestation), "workload": {"namespace": "shop", "name": "db"}}


async def workload_of_other_node(lab: Lab, attestation: Attestation) -> dict[str, object]:
    return await request_for(lab, attestation, proxy="db.shop")


async def unknown_node(lab: Lab, attestation: Attestation) -> dict[str, object]:
    return await request_for(lab, attestation, node="vm9")


async def banned(lab: Lab, attestation: Attestation) -> dict[str, object]:
    lab.enrolment.nodes["vm1"] = msgspec.structs.replace(lab.node, banned=True)
    return await request_for(lab, attestation)


async def no_keys_enrolled(lab: Lab, attestation: Attestation) -> dict[str, object]:
    lab.enrolment.nodes["vm1"] = msgspec.structs.replace(lab.node, ssh_host_keys=())
    return await request_for(lab, attestation)


async def no_signature(lab: Lab, attestation: Attestation) -> dict[str, object]:
    return {**await request_for(lab, attestation), "signature": ""}


async def no_token(lab: Lab, attestation: Attestation) -> dict[str, object]:
    return {**await request_for(lab, attestation), "method": "join_token"}


ATTACKS: dict[Callable[..., object], str] = {
    nonce_of_other_node: "NonceOfOtherNode",
    made_up_nonce: "NonceUnknown",
    other_namespace: "SignatureNamespace",
    other_trust_domain: "SignatureWrong",
    key_not_enrolled: "KeyNotEnrolled",
    key_of_other_node: "KeyNotEnrolled",
    enrolled_key_named_other_key_signed: "SignatureOfOtherKey",
    other_csr_than_signed: "SignatureWrong",
    other_workload_than_signed: "SignatureWrong",
    workload_of_other_node: "WorkloadNotEnrolled",
    unknown_node: "NodeUnknown",
    banned: "NodeBanned",
    no_keys_enrolled: "KeyNotEnrolled",
    no_signature: "SignatureMalformed",
    no_token: "TokenMalformed",
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.__name__)
def test_attacks(attack: Callable[..., object]) -> None:
    lab = Lab()
    attestation = Attestation(lab.services)

    async def walk() -> None:
        request = await attack(lab, attestation)  # type: ignore[misc]
        await attestation.attest(request, "10.0.0.1")

    with pytest.raises(Unauthenticated) as caught:
        run(walk())
    assert caught.value.message == "attestation refused"
    assert lab.audit.last["reason"] == ATTACKS[attack]
    assert lab.store.records == {}


def test_a_csr_that_asks_for_more_gets_what_is_enrolled() -> None:
    lab = Lab()
    attestation = Attestation(lab.services)
    greedy = make_csr(
        None,
        x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/db-sa"), x509.DNSName("cp")]),
        x509.BasicConstraints(True, None),
    )

    async def walk() -> dict[str, object]:
        return await attestation.attest(await request_for(lab, attestation, csr=greedy), "10.0.0.1")

    extensions = certificate_of(run(walk())).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    wanted = ["spiffe://cluster.local/ns/shop/sa/web-sa", "web.shop.workload.cluster.local", "vm1.node.cluster.local"]
    assert [n.value for n in names] == wanted
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False


def test_a_csr_with_a_small_key_is_refused() -> None:
    lab = Lab()
    attestation = Attestation(lab.services)

    async def walk() -> None:
        csr = make_csr(rsa.generate_private_key(65537, 1024))
        await attestation.attest(await request_for(lab, attestation, csr=csr), "10.0.0.1")

    with pytest.raises(BadRequest):
        run(walk())


async def token_request(attestation: Attestation, token: str, **changes: object) -> dict[str, object]:
    nonce = (await attestation.nonce("vm1"))["nonce"]
    workload = {"namespace": "shop", "name": "web"}
    return {"node": "vm1", "workload": workload, "csr": make_csr(), "nonce": nonce, "method": "join_token", "token": token, **changes}


async def put_token(lab: Lab, node: str = "vm1", proxy: ProxyId = WEB) -> str:
    from meshwright.store.base import Put

    minted = join_token.mint(node, proxy, ttl=timedelta(minutes=10), now=lab.clock.now(), random=CountingRandom())
    await lab.store.commit([Put(minted.key, minted.value, expected=0)])
    assert minted.token.encode() not in minted.value
    return minted.token


def test_a_token_raced_by_a_hundred_is_used_once() -> None:
    lab = Lab()
    attestation = Attestation(lab.services, rate=PLENTY)

    async def walk() -> list[object]:
        token = await put_token(lab)
        requests = [await token_request(attestation, token) for _ in range(100)]
        return await asyncio.gather(*(attestation.attest(r, "10.0.0.1") for r in requests), return_exceptions=True)

    results = run(walk())
    assert len([r for r in results if isinstance(r, dict)]) == 1
    assert len([r for r in results if isinstance(r, Unauthenticated)]) == 99
    assert list(lab.store.records) == ["svids/web.shop"]
    assert {e.get("reason") for e in lab.audit.events} <= {None, "TokenUsed", "TokenUnknown"}


@pytest.mark.parametrize(
    ("node", "proxy", "wait", "why"),
    [
        ("vm2", WEB, 0, "TokenOfOtherNode"),
        ("vm1", ProxyId("db", "shop"), 0, "TokenOfOtherNode"),
        ("vm1", WEB, 600, "TokenExpired"),
    ],
)
def test_a_token_is_bound_and_expires(node: str, proxy: ProxyId, wait: float, why: str) -> None:
    lab = Lab()
    attestation = Attestation(lab.services)

    async def walk() -> None:
        token = await put_token(lab, node, proxy)
        lab.clock.advance(wait)
        await attestation.attest(await token_request(attestation, token), "10.0.0.1")

    with pytest.raises(Unauthenticated):
        run(walk())
    assert lab.audit.last["reason"] == why


def test_a_refused_attestation_does_not_spend_the_token() -> None:
    lab = Lab()
    attestation = Attestation(lab.services)

    async def walk() -> dict[str, object]:
        token = await put_token(lab)
        with pytest.raises(Unauthenticated):
            await attestation.attest(await token_request(attestation, token, nonce="wrong"), "10.0.0.1")
        return await attestation.attest(await token_request(attestation, token), "10.0.0.1")

    assert run(walk())["proxyId"] == "web.shop"


def test_an_api_token_is_no_join_token() -> None:
    lab = Lab()
    attestation = Attestation(lab.services)

    async def walk() -> None:
        from meshwright.store.base import Put

        token = await put_token(lab)
        key = next(k for k in lab.store.records if k.startswith("tokens/"))
        kept = msgspec.json.decode(lab.store.records[key].value)
        await lab.store.commit([Put(key, msgspec.json.encode({**kept, "kind": "api"}))])
        await attestation.attest(await token_request(attestation, token), "10.0.0.1")

    with pytest.raises(Unauthenticated):
        run(walk())
    assert lab.audit.last["reason"] == "TokenOfOtherKind"


@pytest.mark.parametrize("seconds", [0, -1, 86401])
def test_lives_that_a_token_can_not_have(seconds: int) -> None:
    with pytest.raises(ConfigError):
        join_token.mint("vm1", WEB, ttl=timedelta(seconds=seconds), now=FakeClock().now(), random=CountingRandom())


def test_the_eleventh_attempt_at_once_is_too_many() -> None:
    lab = Lab()
    attestation = Attestation(lab.services)

    async def attempt(source: str) -> None:
        await attestation.attest({}, source)

    for _ in range(10):
        with pytest.raises(BadRequest):
            run(attempt("10.0.0.1"))
    with pytest.raises(Limited):
        run(attempt("10.0.0.1"))
    with pytest.raises(BadRequest):
        run(attempt("10.0.0.2"))
    lab.clock.advance(1)
    with pytest.raises(BadRequest):
        run(attempt("10.0.0.1"))


def test_the_table_of_sources_is_bounded() -> None:
    limit = SourceLimit(FakeClock(), Rate(1, 1), max_sources=2)
    for source in ("a", "b", "c"):
        limit.take(source)
    with pytest.raises(Limited):
        limit.take("c")
    limit.take("a")  # forgotten, so it has its burst again


def test_the_table_of_nonces_is_bounded_and_heals() -> None:
    clock = FakeClock()
    nonces = Nonces(clock, CountingRandom(), limit=3)
    kept = [nonces.issue("vm1") for _ in range(3)]
    with pytest.raises(Limited):
        nonces.issue("vm1")
    nonces.use(kept[0], "vm1")
    nonces.issue("vm1")
    clock.advance(60)
    assert len({nonces.issue("vm1") for _ in range(3)}) == 3


def test_a_nonce_for_nobody_looks_like_one_for_somebody() -> None:
    attestation = Attestation(Lab().services)
    somebody, nobody = run(attestation.nonce("vm1")), run(attestation.nonce("vm9"))
    assert somebody.keys() == nobody.keys() and somebody["nonce"] != nobody["nonce"]


def test_when_the_audit_can_not_be_written_nothing_is_handed_out() -> None:
    lab = Lab()

    def broken(event: object) -> None:
        raise OSError("disk full")

    attestation = Attestation(lab.services._replace(audit=broken))

    async def walk() -> None:
        await attestation.attest(await request_for(lab, attestation), "10.0.0.1")

    with pytest.raises(OSError, match="disk full"):
        run(walk())


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=20), lambda x: st.lists(x, max_size=3), max_leaves=5)
FIELDS = ["node", "workload", "csr", "nonce", "method", "publicKey", "signature", "token", "extra"]


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, min_size=1))
def test_mutated_requests_get_nothing(changes: dict[str, object]) -> None:
    lab = Lab()
    attestation = Attestation(lab.services)

    async def walk() -> object:
        good = await request_for(lab, attestation)
        changed = {**good, **changes}
        if {**changed, "token": ""} == {**good, "token": ""}:  # of which this method makes no use
            return None
        return await attestation.attest(changed, "10.0.0.1")

    try:
        assert run(walk()) is None
    except MeshwrightError:
        assert lab.store.records == {}


@pytest.mark.parametrize(
    "workload", [{"namespace": "b.shop", "name": "a"}, {"namespace": "", "name": "web"}, {"namespace": "shop", "name": "../web"}]
)
def test_names_of_workloads_that_are_none(workload: dict[str, str]) -> None:
    lab = Lab()
    attestation = Attestation(lab.services)

    async def walk() -> None:
        await attestation.attest({**await request_for(lab, attestation), "workload": workload}, "10.0.0.1")

    with pytest.raises(BadRequest):
        run(walk())
