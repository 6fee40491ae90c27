# SPDX-License-Identifier: Apache-2.0
"""Composition root of `serve`: Settings -> objects -> one TaskGroup. The only place that knows all classes."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import random
import resource
import signal
import socket
import sys
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import structlog
from cryptography.hazmat.primitives import serialization

from meshwright.api.app import build
from meshwright.api.audit import AuditLog, Room
from meshwright.api.auth import API_PREFIX, TokenGrant, new_token, store_api_token, token_key
from meshwright.api.call import Parts
from meshwright.api.policy import Role
from meshwright.api.server import ApiServer, listen
from meshwright.api.tls import ServerTls as ApiTls
from meshwright.ca.attest.limit import Rate, SourceLimit
from meshwright.ca.authority import Authority
from meshwright.ca.issue import issue_server
from meshwright.ca.keys import DiskKeys, new_key, private_directory, write_private
from meshwright.ca.server import Attestation, Renewal, Services
from meshwright.clock import Clock, SystemClock
from meshwright.config import Settings
from meshwright.control.controller import Controller, Options
from meshwright.control.holdoff import HoldOff
from meshwright.control.ports import PeerIdentity
from meshwright.errors import Limited, MeshwrightError
from meshwright.model.identity import ProxyId
from meshwright.model.proxy import Node, Proxy
from meshwright.model.tables import MeshSettings
from meshwright.store.base import Store
from meshwright.store.sqlite import SqliteStore
from meshwright.xds.server import DiscoveryServer, Limits, ServerTls

log = structlog.get_logger(__name__)
RENEW_METHOD = "/meshwright.v1.Certificates/Renew"
# The control plane's own certificate. Every proxy has to come back for a new one, so this is not done more often than it must: a key that
# was stolen from this host comes with the CA's, which a shorter life would not mend.
SERVER_TTL = timedelta(days=90)
DISCOVERY_GRACE = 1.0
DENIALS = Rate(1.0, 20)


class Pair(NamedTuple):
    """The control plane's own key and certificate, PEM."""

    key: bytes
    chain: bytes


class Credentials:
    """The certificate of both doors. `renew` makes the next one; the key never touches a disk."""

    def __init__(self, authority: Authority, settings: Settings, clock: Clock) -> None:
        self._authority = authority
        self._names = settings.server_names
        self._clock = clock
        self.pair = self._make()
        self.api = ApiTls(self.pair.chain, self.pair.key)

    def discovery(self) -> ServerTls:
        """What it serves with from its next start or renewal on."""
        pair = self.pair
        return ServerTls(pair.key, pair.chain, self._authority.bundle)

    def renew(self) -> None:
        self.pair = self._make()
        self.api.load(self.pair.chain, self.pair.key)

    def _make(self) -> Pair:
        key = new_key()
        authority = self._authority
        certificate = issue_server(
            authority.active,
            authority.trust_domain,
            self._names,
            key.public_key(),
            ttl=SERVER_TTL,
            now=self._clock.now(),
            random=os.urandom,
        )
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return Pair(pem, certificate.chain)


class WorldEnrolment:
    """Who is enrolled, as the World says."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def node(self, name: str) -> Node | None:
        return self._controller.world.nodes.get(name)

    def proxy(self, id: ProxyId) -> Proxy | None:
        return self._controller.world.proxies.get(id)


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Raises ConfigError or Unavailable when it can't start."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold the CA's key
    configure_logs(settings.log_level)
    try:
        asyncio.run(_until_signal(settings))
    except* MeshwrightError as group:
        raise _first(group) from group


def _first(group: BaseExceptionGroup[MeshwrightError]) -> MeshwrightError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, MeshwrightError) else MeshwrightError(str(error))


def configure_logs(level: str) -> None:
    """JSON lines on standard error, one event each."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    # Its warnings are about what strangers send, a line for each.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


async def _until_signal(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(serve(settings, SystemClock()))
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    if serving in done:
        stopping.cancel()
        await serving
        return
    log.info("serve.stopping")
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def serve(settings: Settings, clock: Clock) -> None:
    """Everything, until cancelled."""
    private_directory(settings.data_dir)
    authority = Authority.open(settings.data_dir / "ca", DiskKeys(settings.data_dir / "ca"), settings.trust_domain, clock=clock)
    sock = listen(settings.api_bind, settings.api_port)
    store = await SqliteStore.open(settings.data_dir / "store.db")
    audit = AuditLog(settings.data_dir / "audit.log", clock, room=Room(settings.limits.audit_file_bytes, settings.limits.audit_files))
    try:
        await admin_token(store, clock, settings.data_dir)
        mesh = MeshSettings(settings.trust_domain, settings.domain, settings.root_namespace)
        controller = Controller(store, clock, mesh, Options(hold_off=HoldOff(settings.hold_off, settings.hold_off_max)))
        credentials = Credentials(authority, settings, clock)
        services = Services(authority, WorldEnrolment(controller), store, clock, audit.event, ttl=timedelta(seconds=settings.svid_ttl))
        discovery = _discovery(settings, clock, controller, services, credentials)
        api = _api(settings, sock, controller, services, audit, credentials)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(controller.run(), name="controller")
                port = await discovery.start(f"{_host(settings.discovery_bind)}:{settings.discovery_port}")
                group.create_task(_renewal(credentials, discovery), name="own-certificate")
                group.create_task(api.run(), name="api")
                log.info("serve.started", api=sock.getsockname()[1], discovery=port, trust_domain=settings.trust_domain)
                notify("READY=1")
        finally:
            notify("STOPPING=1")
            await discovery.stop(DISCOVERY_GRACE)
    finally:
        sock.close()
        audit.close()
        await store.close()


def _discovery(settings: Settings, clock: Clock, controller: Controller, services: Services, credentials: Credentials) -> DiscoveryServer:
    limits = settings.limits
    rate = limits.discovery_accepts_per_second

    denials = SourceLimit(clock, DENIALS)

    def denied(address: str, claimed: str, reason: str) -> None:
        try:
            denials.take(address.rpartition(":")[0])
        except Limited:
            return  # the log has it; a stranger must not fill the disk of the audit
        services.audit({"action": "discovery", "outcome": "refused", "reason": reason, "proxy": claimed, "source": address})

    renewal = Renewal(services)

    async def renew(body: bytes, peer: PeerIdentity) -> bytes:
        return await renewal.renew(peer, body)

    return DiscoveryServer(
        controller,
        clock=clock,
        trust_domain=settings.trust_domain,
        tls=credentials.discovery,
        limits=Limits(accept_rate=rate, accept_burst=max(1, int(rate)), streams_per_proxy=limits.discovery_streams_per_proxy),
        unary={RENEW_METHOD: renew},
        denied=denied,
    )


def _api(
    settings: Settings,
    sock: socket.socket,
    controller: Controller,
    services: Services,
    audit: AuditLog,
    credentials: Credentials,
) -> ApiServer:
    rate = settings.limits.attestations_per_second
    parts = Parts(
        store=services.store,
        controller=controller,
        attestation=Attestation(services, rate=Rate(rate, max(1, int(2 * rate)))),
        authority=services.authority,
        audit=audit,
        clock=services.clock,
        random_bytes=os.urandom,
        limits=settings.limits,
        svid_ttl=settings.svid_ttl,
    )
    return ApiServer(build(parts), sock, credentials.api.context, settings.limits)


async def _renewal(credentials: Credentials, discovery: DiscoveryServer) -> None:
    """The control plane's own certificate at half-life +-10 %; a failure is tried again each hour."""
    delay = SERVER_TTL.total_seconds() * random.uniform(0.45, 0.55)  # noqa: S311 (a spread, not a secret)
    while True:
        await asyncio.sleep(delay)
        try:
            credentials.renew()
            await discovery.renew()
            delay = SERVER_TTL.total_seconds() * random.uniform(0.45, 0.55)  # noqa: S311
            log.info("serve.certificate_renewed")
        except (MeshwrightError, ValueError) as error:
            delay = 3600.0
            log.error("serve.certificate_not_renewed", reason=str(error))


async def admin_token(store: Store, clock: Clock, data_dir: Path) -> None:
    """`admin.token` at the first start: the way in for whoever is root on this host. A draft of it is on the disk before the store has it,
    so that a crash in between locks nobody out."""
    path, draft = data_dir / "admin.token", data_dir / "admin.token.draft"
    if draft.exists():
        known = await store.get(token_key(draft.read_text(encoding="ascii").strip()))
        if known is not None and not path.exists():
            draft.rename(path)
        else:
            draft.unlink()
    records, _ = await store.list("tokens/")
    if path.exists() or records:
        return
    token = new_token(API_PREFIX, os.urandom)
    write_private(draft, token.encode() + b"\n")
    await store_api_token(store, clock, TokenGrant("admin", (Role.MESH_ADMIN, Role.SECURITY_ADMIN)), token)
    draft.rename(path)


def _host(bind: str) -> str:
    """As gRPC wants it: IPv6 in brackets; every IPv6 address is every IPv4 address too, and 0.0.0.0 where there is no IPv6."""
    address = bind.removeprefix("[").removesuffix("]")
    if address == "::" and not Path("/proc/net/if_inet6").exists():
        return "0.0.0.0"  # noqa: S104 (what the settings ask for: every address)
    return f"[{address}]" if ipaddress.ip_address(address).version == 6 else address


def notify(state: str) -> None:
    """Tells systemd, where it asked to be told (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
        sock.send(state.encode())
