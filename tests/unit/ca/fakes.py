# SPDX-License-Identifier: Apache-2.0
"""Hand-written stand-ins for what the CA stands on, and a host with SSH keys."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from meshwright.ca.authority import Authority, Signer, Slot, self_signed_root
from meshwright.ca.keys import new_key
from meshwright.ca.server import Services
from meshwright.errors import Conflict
from meshwright.model.identity import ProxyId
from meshwright.model.proxy import EnrolledWorkload, Node, Proxy
from meshwright.store.base import Delete, Event, Put, Record

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
TRUST_DOMAIN = "cluster.local"


class FakeClock:
    def __init__(self, now: datetime = NOW) -> None:
        self.time = now
        self.seconds = 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        self.time += timedelta(seconds=seconds)


class CountingRandom:
    """Different bytes each time, the same in every run."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, count: int) -> bytes:
        self.calls += 1
        return hashlib.shake_256(self.calls.to_bytes(8, "big")).digest(count)


class FakeStore:
    """A dict with revisions. `get` gives other tasks a turn, so that races happen."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.revision = 0

    async def get(self, key: str) -> Record | None:
        await asyncio.sleep(0)
        return self.records.get(key)

    async def list(self, prefix: str) -> tuple[list[Record], int]:
        return [r for k, r in sorted(self.records.items()) if k.startswith(prefix)], self.revision

    async def commit(self, operations: Sequence[Put | Delete]) -> int:
        await asyncio.sleep(0)
        for operation in operations:
            found = self.records.get(operation.key)
            if operation.expected is not None and operation.expected != (found.revision if found else 0):
                raise Conflict(operation.key)
        self.revision += 1
        for operation in operations:
            if isinstance(operation, Put):
                created = self.records[operation.key].created if operation.key in self.records else self.revision
                self.records[operation.key] = Record(operation.key, operation.value, self.revision, created)
            else:
                self.records.pop(operation.key, None)
        return self.revision

    def watch(self, prefix: str, after: int) -> AsyncIterator[Event]:
        raise NotImplementedError

    async def compact(self, revision: int) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        return


class FakeEnrolment:
    def __init__(self, *nodes: Node) -> None:
        self.nodes = {node.name: node for node in nodes}

    def node(self, name: str) -> Node | None:
        return self.nodes.get(name)

    def proxy(self, id: ProxyId) -> Proxy | None:
        for node in self.nodes.values():
            for w in node.workloads:
                if (w.name, w.namespace) == id:
                    return Proxy(id, node.name, w.service_account, tuple(sorted(w.labels.items())), w.proxy, node.banned)
        return None


class AuditLog:
    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []

    def __call__(self, event: Mapping[str, object]) -> None:
        self.events.append(dict(event))

    @property
    def last(self) -> dict[str, object]:
        return self.events[-1]


HostKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def public_line(key: HostKey) -> str:
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _mpint(number: int) -> bytes:
    return _string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def sign(key: HostKey, message: bytes, *, namespace: bytes = b"attest@meshwright.dev", blob: bytes | None = None) -> str:
    """SSHSIG, written independently of the product."""
    head = b"SSHSIG"
    signed = head + _string(namespace) + _string(b"") + _string(b"sha512") + _string(hashlib.sha512(message).digest())
    match key:
        case ed25519.Ed25519PrivateKey():
            inner = _string(b"ssh-ed25519") + _string(key.sign(signed))
        case ec.EllipticCurvePrivateKey():
            r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
            inner = _string(b"ecdsa-sha2-nistp256") + _string(_mpint(r) + _mpint(s))
        case _:
            inner = _string(b"rsa-sha2-512") + _string(key.sign(signed, padding.PKCS1v15(), hashes.SHA512()))
    wire = blob if blob is not None else base64.b64decode(public_line(key).split(" ")[1])
    body = head + b"\0\0\0\1" + _string(wire) + _string(namespace) + _string(b"") + _string(b"sha512") + _string(inner)
    text = base64.b64encode(body).decode()
    lines = [text[i : i + 70] for i in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


def make_csr(key: object = None, *extensions: x509.ExtensionType) -> str:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    private = key if key is not None else new_key()
    algorithm = None if isinstance(private, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(private, algorithm).public_bytes(serialization.Encoding.PEM).decode()  # type: ignore[arg-type]


def csr_hash(csr: str) -> str:
    public = x509.load_pem_x509_csr(csr.encode()).public_key()
    return hashlib.sha256(public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def memory_authority(clock: FakeClock, trust_domain: str = TRUST_DOMAIN) -> Authority:
    key = new_key()
    root = self_signed_root(key, trust_domain, now=clock.now(), random=CountingRandom())
    return Authority(trust_domain, {Slot.ACTIVE: Signer(root, key)})


class Lab:
    """A CA with one enrolled host `vm1` that runs `web.shop`, and another, `vm2`, with the key `other_key`."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = FakeStore()
        self.audit = AuditLog()
        self.host_key = ed25519.Ed25519PrivateKey.generate()
        self.other_key = ed25519.Ed25519PrivateKey.generate()
        self.node = Node("vm1", (public_line(self.host_key),), (EnrolledWorkload("web", "shop", "web-sa"),))
        other = Node("vm2", (public_line(self.other_key),), (EnrolledWorkload("db", "shop", "db-sa"),))
        self.enrolment = FakeEnrolment(self.node, other)
        self.authority = memory_authority(self.clock)
        self.services = Services(self.authority, self.enrolment, self.store, self.clock, self.audit, CountingRandom())


def certificate_of(answer: Mapping[str, object]) -> x509.Certificate:
    return x509.load_pem_x509_certificate(str(answer["certificate"]).encode())


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
