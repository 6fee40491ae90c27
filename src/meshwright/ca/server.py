# SPDX-License-Identifier: Apache-2.0
"""First identity (attestation) and every later one (renewal). Who a workload is comes from the enrolment,
never from a request: that proves, and carries a key."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol

import msgspec

from meshwright.ca.attest import join_token, ssh_host
from meshwright.ca.attest.join_token import WorkloadName
from meshwright.ca.attest.limit import Rate, SourceLimit
from meshwright.ca.attest.nonce import TTL_SECONDS, Nonces
from meshwright.ca.attest.refusal import Refused
from meshwright.ca.authority import Authority, Random
from meshwright.ca.issue import DEFAULT_TTL, Certificate, PublicKey, issue_svid, read_csr, spki_sha256
from meshwright.clock import Clock
from meshwright.control.ports import PeerIdentity
from meshwright.errors import BadRequest, Conflict, Forbidden, TooLarge, Unavailable
from meshwright.model.identity import Holder, ProxyId, SpiffeId, is_dns_subdomain
from meshwright.model.proxy import Node, Proxy
from meshwright.store.base import Delete, Put, Record, Store

MAX_BODY = 64 * 1024
_COMMIT_ATTEMPTS = 10
# Of one proxy: each costs a signature, a write and a line in the audit, and an honest one comes once in half a certificate's life.
RENEWALS = Rate(1.0, 10)
Audit = Callable[[Mapping[str, object]], None]
"""Takes one event: `action` (attest, renew), `outcome` (issued, refused), `reason` (one word, when refused) and what is known of node,
proxy, source, serial, spiffeId, tokenId. If it raises, nothing is handed out."""


class Enrolment(Protocol):
    """Who is enrolled."""

    def node(self, name: str) -> Node | None: ...

    def proxy(self, id: ProxyId) -> Proxy | None: ...


class Services(NamedTuple):
    """What issuing stands on."""

    authority: Authority
    enrolment: Enrolment
    store: Store
    clock: Clock
    audit: Audit
    random: Random = os.urandom
    ttl: timedelta = DEFAULT_TTL


class AttestRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The body of `POST /mesh/v1/attest`."""

    node: str
    workload: WorkloadName
    csr: str
    nonce: str
    method: Literal["ssh_host", "join_token"]
    public_key: str = ""
    signature: str = ""
    token: str = ""


class RenewRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The body of Renew."""

    csr: str


class Issued(msgspec.Struct, frozen=True, rename="camel"):
    """What the store keeps under `svids/NAME.NAMESPACE`: the last certificate given to a proxy (never a key). `serial` in hex, times in
    RFC 3339, `count` how many it has had, `node` the host that attested (renewals keep it)."""

    serial: str
    not_before: str
    not_after: str
    count: int
    spiffe_id: str
    node: str = ""


class Attestation:
    """The two calls of a host that has no certificate yet."""

    def __init__(self, services: Services, *, rate: Rate = Rate()) -> None:  # noqa: B008 (an immutable value)
        self._services = services
        self._nonces = Nonces(services.clock, services.random)
        self._limit = SourceLimit(services.clock, rate)

    async def nonce(self, node: str) -> dict[str, object]:
        """`{"nonce", "expiresIn": seconds, "trustDomain"}`; the same for nodes that exist and for those that don't."""
        if not is_dns_subdomain(node):
            raise BadRequest("not a node's name: lower-case letters, digits, '-' and '.'", path="node")
        return {"nonce": self._nonces.issue(node), "expiresIn": TTL_SECONDS, "trustDomain": self._services.authority.trust_domain}

    async def attest(self, request: Mapping[str, object], source: str) -> dict[str, object]:
        """The answer of Renew plus `spiffeId`, `proxyId`, `trustDomain`. `source`: the caller's IP address.

        Errors: Limited, BadRequest (a body of the wrong form), Unauthenticated (anything wrong with the proof; it doesn't say what)."""
        self._limit.take(source)
        wanted, proxy, key = self._read(request)
        event: dict[str, object] = {"action": "attest", "method": wanted.method, "node": wanted.node, "proxy": str(proxy), "source": source}
        try:
            node, token = await self._prove(wanted, proxy, spki_sha256(key))
            spiffe = self._identity(node, proxy)
            certificate = await _issue(self._services, Holder(proxy, spiffe, node.name), key, spend=token)
        except Refused as error:
            self._services.audit({**event, "outcome": "refused", "reason": error.why})
            raise
        if token is not None:
            event["tokenId"] = token.key.rpartition("/")[2][:16]
        self._services.audit({**event, "outcome": "issued", "serial": certificate.serial, "spiffeId": str(spiffe)})
        return {
            **_answer(self._services, certificate),
            "spiffeId": str(spiffe),
            "proxyId": str(proxy),
            "trustDomain": self._services.authority.trust_domain,
        }

    def _read(self, request: Mapping[str, object]) -> tuple[AttestRequest, ProxyId, PublicKey]:
        try:
            wanted = msgspec.convert(request, AttestRequest)
            proxy = ProxyId(wanted.workload.name, wanted.workload.namespace)
            if ProxyId.parse(str(proxy)) != proxy:
                raise BadRequest("a namespace has no dot", path="workload.namespace")
        except msgspec.ValidationError as error:
            raise BadRequest(f"not an attestation: {error}") from error
        except ValueError as error:
            raise BadRequest(str(error), path="workload") from error
        if not is_dns_subdomain(wanted.node):
            raise BadRequest("not a node's name", path="node")
        return wanted, proxy, read_csr(wanted.csr)

    async def _prove(self, wanted: AttestRequest, proxy: ProxyId, key_hash: str) -> tuple[Node, Record | None]:
        """The node that proved to be itself, and the token's record where it did so with one."""
        self._nonces.use(wanted.nonce, wanted.node)
        node = self._services.enrolment.node(wanted.node)
        if node is None:
            raise Refused("NodeUnknown")
        if wanted.method == "join_token":
            return node, await join_token.find(self._services.store, wanted.token, node.name, proxy, now=self._services.clock.now())
        trust_domain = self._services.authority.trust_domain
        signed = ssh_host.message(node.name, proxy, nonce=wanted.nonce, spki_sha256=key_hash, trust_domain=trust_domain)
        ssh_host.prove(node, wanted.public_key, wanted.signature, signed)
        return node, None

    def _identity(self, node: Node, proxy: ProxyId) -> SpiffeId:
        if node.banned:
            raise Refused("NodeBanned")
        for workload in node.workloads:
            if (workload.name, workload.namespace) == proxy:
                return SpiffeId(self._services.authority.trust_domain, workload.namespace, workload.service_account)
        raise Refused("WorkloadNotEnrolled")


class Renewal:
    """A proxy that has a certificate gets the next one."""

    def __init__(self, services: Services, *, rate: Rate = RENEWALS) -> None:
        self._services = services
        self._limit = SourceLimit(services.clock, rate)

    async def renew(self, peer: PeerIdentity, body: bytes) -> bytes:
        """`{"csr"}` -> `{"certificate", "bundle", "notBefore", "notAfter"}`, JSON. `peer` was proven by its certificate.

        Errors: Limited, TooLarge, BadRequest, Forbidden (not enrolled, banned, moved to another node, or of another trust domain)."""
        self._limit.take(str(peer.proxy))
        event: dict[str, object] = {"action": "renew", "proxy": str(peer.proxy), "source": peer.address}
        try:
            holder = self._holder(peer)
        except Forbidden as error:
            self._services.audit({**event, "outcome": "refused", "reason": error.message})
            raise Forbidden("this identity is not renewed") from error
        key = self._read(body)
        certificate = await _issue(self._services, holder, key, spend=None)
        facts = {"node": holder.node, "serial": certificate.serial, "spiffeId": str(holder.spiffe)}
        self._services.audit({**event, "outcome": "issued", **facts})
        return msgspec.json.encode(_answer(self._services, certificate))

    def _holder(self, peer: PeerIdentity) -> Holder:
        trust_domain = self._services.authority.trust_domain
        proxy = self._services.enrolment.proxy(peer.proxy)
        if proxy is None:
            raise Forbidden("NotEnrolled")
        if proxy.banned:
            raise Forbidden("NodeBanned")
        if peer.spiffe.trust_domain != trust_domain or peer.spiffe.namespace != proxy.namespace:
            raise Forbidden("IdentityOfOther")
        if peer.node != proxy.node:
            raise Forbidden("NodeOfOther")
        return Holder(proxy.id, proxy.spiffe_id(trust_domain), proxy.node)

    @staticmethod
    def _read(body: bytes) -> PublicKey:
        if len(body) > MAX_BODY:
            raise TooLarge(f"a renewal is at most {MAX_BODY} bytes")
        try:
            wanted = msgspec.json.decode(body, type=RenewRequest)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise BadRequest('not a renewal: send {"csr": PEM}') from error
        return read_csr(wanted.csr)


async def _issue(services: Services, holder: Holder, key: PublicKey, *, spend: Record | None) -> Certificate:
    """Issues and records; a token is spent in the same commit, so that of many who hold it one gets a certificate."""
    authority = services.authority
    certificate = issue_svid(authority.active, holder, key, ttl=services.ttl, now=services.clock.now(), random=services.random)
    record_key = f"svids/{holder.proxy}"
    for _ in range(_COMMIT_ATTEMPTS):
        last = await services.store.get(record_key)
        record = _record(certificate, holder, _count(last) + 1)
        operations: list[Put | Delete] = [Put(record_key, msgspec.json.encode(record), expected=last.revision if last else 0)]
        if spend is not None:
            operations.append(Delete(spend.key, expected=spend.revision))
        try:
            await services.store.commit(operations)
        except Conflict as error:
            if spend is not None and await services.store.get(spend.key) != spend:
                raise Refused("TokenUsed") from error
            continue  # another certificate of this proxy was recorded in between
        return certificate
    raise Unavailable("too many certificates of this workload at once")


def _record(certificate: Certificate, holder: Holder, count: int) -> Issued:
    life = rfc3339(certificate.not_before), rfc3339(certificate.not_after)
    return Issued(certificate.serial, *life, count, str(holder.spiffe), holder.node)


def _count(last: Record | None) -> int:
    try:
        return msgspec.json.decode(last.value, type=Issued).count if last else 0
    except msgspec.MsgspecError:
        return 0  # the count is for people; a record that can't be read must not stop an identity


def _answer(services: Services, certificate: Certificate) -> dict[str, object]:
    return {
        "certificate": certificate.chain.decode(),
        "bundle": services.authority.bundle.decode(),
        "notBefore": rfc3339(certificate.not_before),
        "notAfter": rfc3339(certificate.not_after),
    }


def rfc3339(moment: datetime) -> str:
    """UTC, whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
