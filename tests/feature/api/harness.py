# SPDX-License-Identifier: Apache-2.0
"""The real API over real TLS on loopback, with hand-written parts behind it: a store in memory and a controller that does as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import json
import socket
import ssl
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from meshwright.api.app import build
from meshwright.api.audit import AuditLog
from meshwright.api.auth import API_PREFIX, TokenGrant, new_token, store_api_token
from meshwright.api.call import Parts
from meshwright.api.policy import Role
from meshwright.api.server import ApiServer, listen
from meshwright.api.tls import ServerTls
from meshwright.config import Limits
from meshwright.errors import Compacted, Unauthenticated
from meshwright.model.identity import ProxyId
from meshwright.model.meta import Condition, Ref
from meshwright.model.snapshot import Snapshot
from meshwright.model.world import MeshSettings, World
from meshwright.store.base import Put
from meshwright.store.memory import MemoryStore

T = TypeVar("T")
START = datetime(2030, 1, 1, tzinfo=UTC)
DEADLINE = 20.0
NEVER = 99  # the revision whose rollout doesn't end


class TestClock:
    """The wall clock stands until it is moved; monotonic time runs, and jumps with it."""

    __test__ = False

    def __init__(self) -> None:
        self.offset = timedelta()

    def now(self) -> datetime:
        return START + self.offset

    def monotonic(self) -> float:
        return time.monotonic() + self.offset.total_seconds()


class CountingRandom:
    """Different bytes each time, the same in each run."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def __call__(self, size: int) -> bytes:
        return next(self._numbers).to_bytes(8, "big").rjust(size, b"\x5a")[-size:]


class FakeController:
    """Serves what the test puts into it."""

    def __init__(self) -> None:
        self.world = World.empty(MeshSettings())
        self.revision = 0
        self.is_ready = True
        self.by_ref: dict[Ref, tuple[Condition, ...]] = {}
        self.rollouts: dict[int, list[dict[str, Any]]] = {}
        self.items: list[dict[str, Any]] = []
        self.snapshots: dict[ProxyId, Snapshot] = {}
        self.waits: list[tuple[int, float]] = []
        self.started = threading.Event()
        self.ended = threading.Event()

    def conditions(self, ref: Ref) -> tuple[Condition, ...]:
        return self.by_ref.get(ref, (Condition("Accepted", "True", "Accepted"),))

    def rollout(self, revision: int) -> Mapping[str, Any]:
        states = self.rollouts.get(revision)
        if states is None:
            raise Compacted(f"revision {revision} is forgotten")
        return states.pop(0) if len(states) > 1 else states[0]

    async def wait(self, revision: int, timeout: float) -> Mapping[str, Any]:
        self.waits.append((revision, timeout))
        if revision == NEVER:
            self.started.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.ended.set()
        return self.rollout(revision)

    def proxies(self) -> list[dict[str, Any]]:
        return self.items

    def proxy(self, id: ProxyId) -> dict[str, Any] | None:
        return next((item for item in self.items if item["id"] == str(id)), None)

    def snapshot(self, id: ProxyId) -> Snapshot | None:
        return self.snapshots.get(id)

    def ready(self) -> bool:
        return self.is_ready

    def stats(self) -> Mapping[str, Any]:
        return {"proxies": {"connected": 2, "away": 1}, "pushes_total": 7}


class FakeAttestation:
    """Takes the proof `good`."""

    def __init__(self) -> None:
        self.sources: list[str] = []

    async def nonce(self, node: str) -> Mapping[str, Any]:
        return {"nonce": "bm9uY2U", "expiresIn": 60, "trustDomain": "cluster.local"}

    async def attest(self, request: Mapping[str, Any], source: str) -> Mapping[str, Any]:
        self.sources.append(source)
        if request.get("token") != "good":
            raise Unauthenticated("attestation refused")
        names = ("certificate", "bundle", "notBefore", "notAfter", "spiffeId", "proxyId", "trustDomain")
        return dict.fromkeys(names, "x")


@dataclass(frozen=True)
class FakeAuthority:
    trust_domain: str = "cluster.local"
    bundle: bytes = b"-----BEGIN CERTIFICATE-----\n"
    serial: str = "2a"
    not_after: datetime = START + timedelta(days=3650)


class TestCa:
    """A CA and the certificates that it signs."""

    __test__ = False

    def __init__(self, name: str = "test") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self._name, self._key.public_key(), ca=True, names=[])

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, names: tuple[str, ...] = ("127.0.0.1", "localhost")) -> tuple[bytes, bytes]:
        """(chain, key) in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._sign(x509.Name([]), key.public_key(), ca=False, names=[_general(name) for name in names])
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return made.public_bytes(serialization.Encoding.PEM), secret

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, ca: bool, names: list[x509.GeneralName]) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - timedelta(minutes=1))
            .not_valid_after(datetime.now(UTC) + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        return builder.sign(self._key, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@dataclass
class Mesh:
    """A running API and what the tests want to see of it."""

    directory: Path
    limits: Limits
    clock: TestClock = field(default_factory=TestClock)
    random: CountingRandom = field(default_factory=CountingRandom)
    store: MemoryStore = field(default_factory=MemoryStore)
    controller: FakeController = field(default_factory=FakeController)
    attestation: FakeAttestation = field(default_factory=FakeAttestation)
    ca: TestCa = field(default_factory=TestCa)
    tokens: dict[str, str] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.tls = ServerTls(*self.ca.issue())
        self.audit_fails = False
        self.audit = AuditLog(self.audit_path, self.clock, sync=self._sync)
        self.parts = Parts(
            store=self.store,
            controller=self.controller,
            attestation=self.attestation,
            authority=FakeAuthority(),
            audit=self.audit,
            clock=self.clock,
            random_bytes=self.random,
            limits=self.limits,
        )
        self.app = build(self.parts)

    @property
    def audit_path(self) -> Path:
        return self.directory / "audit.log"

    def _sync(self, fd: int) -> None:
        if self.audit_fails:
            raise OSError(28, "No space left on device")

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> str:
        path = self.directory / "ca.pem"
        path.write_bytes(self.ca.pem)
        return str(path)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs it in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE)

    def token(self, role: Role, *namespaces: str, ttl: float | None = None) -> str:
        return self.grant(TokenGrant(role.value, (role,), namespaces, ttl))

    def grant(self, grant: TokenGrant) -> str:
        token = new_token(API_PREFIX, self.random)
        self.do(store_api_token(self.store, self.clock, grant, token))
        return token

    def client(self, token: str = "", **kwargs: Any) -> httpx2.Client:
        context = ssl.create_default_context(cadata=self.ca.pem.decode())
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.Client(base_url=self.url, verify=context, headers=headers, trust_env=False, timeout=DEADLINE, **kwargs)

    @contextlib.contextmanager
    def tls_socket(self) -> Iterator[ssl.SSLSocket]:
        context = ssl.create_default_context(cadata=self.ca.pem.decode())
        with (
            socket.create_connection(("127.0.0.1", self.port), DEADLINE) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as made,
        ):
            yield made

    def as_role(self, role: Role, *namespaces: str) -> httpx2.Client:
        return self.client(self.token(role, *namespaces))

    def stored(self, prefix: str = "resources/") -> dict[str, Any]:
        records, _ = self.do(self.store.list(prefix))
        return {record.key: json.loads(record.value) for record in records}

    def revision(self) -> int:
        return self.do(self.store.list("none/"))[1]

    def reach(self, revision: int) -> None:
        """Writes until the store has this revision."""
        while self.revision() < revision:
            self.put_raw("notes/revision", b"")

    def put_raw(self, key: str, value: bytes) -> int:
        return self.do(self.store.commit([Put(key, value)]))


@contextlib.contextmanager
def _collecting(events: list[Any]) -> Iterator[None]:
    """What is logged meanwhile goes to `events` and nowhere else."""

    def collect(_logger: Any, _method: str, event: Any) -> Any:
        events.append(dict(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[structlog.processors.format_exc_info, collect], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)


@contextlib.contextmanager
def running(directory: Path, limits: Limits | None = None, header_seconds: float = 10.0) -> Iterator[Mesh]:
    generous = Limits(reads_per_second=1e6, writes_per_second=1e6, attestations_per_second=1e6)
    mesh = Mesh(directory, limits or generous)
    sock = listen("127.0.0.1", 0)
    server = ApiServer(mesh.app, sock, mesh.tls.context, mesh.limits, header_seconds=header_seconds)
    mesh.port = server.port
    thread = threading.Thread(target=mesh.loop.run_forever, name="api")
    logs = contextlib.ExitStack()
    logs.enter_context(_collecting(mesh.events))
    thread.start()
    serving = asyncio.run_coroutine_threadsafe(server.run(), mesh.loop)
    try:
        yield mesh
    finally:
        serving.cancel()
        with contextlib.suppress(BaseException):
            serving.result(DEADLINE)
        mesh.do(_drain())
        mesh.loop.call_soon_threadsafe(mesh.loop.stop)
        thread.join(DEADLINE)
        mesh.loop.close()
        mesh.audit.close()
        logs.close()


async def _drain() -> None:
    """What was cancelled gets to end before the loop does."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=DEADLINE)
    loop = asyncio.get_running_loop()
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()


KINDS = "/apis/networking.istio.io/v1"


def service_entry(name: str = "reviews", namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    body = {
        "hosts": [f"{name}.{namespace}.mesh"],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        **spec,
    }
    return _document("ServiceEntry", name, namespace, body)


def virtual_service(name: str = "reviews", namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    host = f"{name}.{namespace}.mesh"
    body = {"hosts": [host], "http": [{"route": [{"destination": {"host": host}}]}], **spec}
    return _document("VirtualService", name, namespace, body)


def _document(kind: str, name: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def path_of(document: Mapping[str, Any]) -> str:
    plural = {"ServiceEntry": "serviceentries", "VirtualService": "virtualservices"}[document["kind"]]
    metadata = document["metadata"]
    return f"{KINDS}/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}"
