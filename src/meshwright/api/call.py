# SPDX-License-Identifier: Apache-2.0
"""One request on its way to a handler: who, may they, how often, how large; then the handler; then, whatever happens, one clean answer."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from meshwright.api import parameters
from meshwright.api.answers import error_answer, error_body, json_answer
from meshwright.api.audit import AuditLog
from meshwright.api.auth import ANONYMOUS, Authenticator, Principal
from meshwright.api.census import Census
from meshwright.api.metrics import Metrics
from meshwright.api.numbers import Numbers
from meshwright.api.policy import Rate, Rule, allowed
from meshwright.api.ports import Attestation, Authority, Controller
from meshwright.api.rates import Buckets
from meshwright.ca.attest.limit import network_of
from meshwright.clock import Clock
from meshwright.config import Limits
from meshwright.errors import BadRequest, Forbidden, Limited, MeshwrightError, TooLarge, Unauthenticated
from meshwright.store.base import Store

log = structlog.get_logger()

BODY_SECONDS = 20.0
DRAIN_BYTES = 32 * 1024 * 1024
FAILURES_PER_SECOND = 1.0
FAILURES_AT_ONCE = 20.0


@dataclasses.dataclass(frozen=True)
class Parts:
    """What the API is joined to. `random_bytes(n)`: unpredictable bytes (tokens, uids); `svid_ttl` seconds."""

    store: Store
    controller: Controller
    attestation: Attestation
    authority: Authority
    audit: AuditLog
    clock: Clock
    random_bytes: Callable[[int], bytes]
    limits: Limits
    svid_ttl: float = 24 * 3600.0


class Api:
    """The parts, and the state that is the API's own: rates, metrics, locks."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.authenticator = Authenticator(parts.store, parts.clock)
        self.metrics = Metrics(parts.controller)
        limits, clock = parts.limits, parts.clock
        self._buckets = {
            Rate.READ: Buckets(clock, limits.reads_per_second, 2 * limits.reads_per_second),
            Rate.WRITE: Buckets(clock, limits.writes_per_second, 2 * limits.writes_per_second),
            Rate.ATTEST: Buckets(clock, limits.attestations_per_second, 2 * limits.attestations_per_second),
        }
        self._failures = Buckets(clock, FAILURES_PER_SECOND, FAILURES_AT_ONCE)
        self.watches = 0
        # What must not be decided twice at once in this process: the numbers of services, and who owns a host key or a workload.
        self.numbers = Numbers(parts.store)
        self.census = Census(parts.store, limits)
        self.numbering = asyncio.Lock()
        self.enrolling = asyncio.Lock()

    def take(self, rate: Rate, principal: Principal, source: str) -> None:
        """Raises Limited."""
        if rate is Rate.FREE:
            return
        caller = network_of(source) if rate is Rate.ATTEST else principal.token_id
        wait = self._buckets[rate].take(caller)
        if wait:
            raise Limited(f"too many requests: try again in {wait:.1f} s")

    def count_failure(self, source: str) -> None:
        """Raises Limited when this source has failed too often to be told why. A good token is never refused for the bad ones of
        its neighbours: 256 random bits are not guessed, the limit only keeps failures cheap."""
        if self._failures.take(network_of(source)):
            raise Limited("too many requests without a valid token")


@dataclasses.dataclass(frozen=True)
class Call:
    """What a handler gets. `body` is within its limit; `query` is checked."""

    api: Api
    request: Request
    rule: Rule
    principal: Principal
    source: str
    request_id: str
    query: dict[str, str]
    body: bytes

    @property
    def parts(self) -> Parts:
        return self.api.parts

    @property
    def dry_run(self) -> bool:
        return "dryRun" in self.query

    def param(self, name: str) -> str:
        return str(self.request.path_params[name])

    def number(self, name: str, default: int) -> int:
        return int(self.query.get(name, default))


Handler = Callable[[Call], Awaitable[Response]]


class Door:
    """The way in to one handler."""

    def __init__(self, api: Api, rule: Rule, handler: Handler) -> None:
        self._api = api
        self._rule = rule
        self._handler = handler

    async def __call__(self, request: Request) -> Response:
        request_id = str(request.scope["state"]["request_id"])
        started = self._api.parts.clock.monotonic()
        try:
            answer = await self._answer(request, request_id)
        except MeshwrightError as error:
            answer = refused(error)
        except ClientDisconnect:
            answer = refused(BadRequest("the caller went away"))
        except Exception:
            log.exception("api.failed", request_id=request_id, route=self._rule.path, method=self._rule.method)
            answer = json_answer(error_body("Internal", f"something is wrong inside; see the log for request {request_id}"), 500)
        seconds = self._api.parts.clock.monotonic() - started
        self._api.metrics.observe(self._rule, answer.status_code, seconds)
        return answer

    async def _answer(self, request: Request, request_id: str) -> Response:
        rule, source = self._rule, source_of(request)
        principal = await self._principal(request, source)
        self._api.take(rule.rate, principal, source)
        if not allowed(rule, principal.roles, principal.namespaces, str(request.path_params.get("namespace", ""))):
            log.warning("api.forbidden", principal=principal.name, source=source, route=rule.path, method=rule.method)
            raise Forbidden(_forbidden(rule, principal, request))
        query = parameters.check((rule.method, rule.path), request.query_params)
        body = await read_body(request, min(rule.body, self._api.parts.limits.body_bytes)) if rule.body else b""
        call = Call(self._api, request, rule, principal, source, request_id, query, body)
        answer = await self._handler(call)
        if rule.audited:
            log.info("api.write", principal=principal.name, source=source, path=request.url.path, method=rule.method,
                     status=answer.status_code, changed=answer.headers.get("meshwright-changed", ""), request_id=request_id)  # fmt: skip
        return answer

    async def _principal(self, request: Request, source: str) -> Principal:
        if self._rule.anonymous:
            return ANONYMOUS
        try:
            return await self._api.authenticator.principal(request.headers.get("authorization", ""))
        except Unauthenticated:
            self._api.count_failure(source)
            log.warning("api.unauthenticated", source=source, route=self._rule.path, method=self._rule.method)
            raise


def source_of(request: Request) -> str:
    """The peer's address. Forwarded headers are not believed: there is no proxy in front of this door."""
    return request.client.host if request.client else "local"


def refused(error: MeshwrightError) -> Response:
    headers = {}
    if error.http_status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.http_status == 413:
        headers["Connection"] = "close"
    if error.http_status in (429, 503):
        headers["Retry-After"] = "1"
    return error_answer(error, headers)


def _forbidden(rule: Rule, principal: Principal, request: Request) -> str:
    needed = " or ".join(sorted(role.value for role in rule.roles))
    held = ", ".join(sorted(role.value for role in principal.roles))
    namespace = request.path_params.get("namespace", "")
    if rule.roles & principal.roles:
        return f"the token {principal.name!r} may not write in namespace {namespace!r}, only in: {', '.join(sorted(principal.namespaces))}"
    return f"{rule.method} {rule.path} needs the role {needed}; the token {principal.name!r} has: {held}"


async def read_body(request: Request, limit: int, seconds: float = BODY_SECONDS) -> bytes:
    """Raises TooLarge, or BadRequest when it isn't JSON by its header or takes longer than `seconds`."""
    _check_content_type(request)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                # The rest of a body that is too large is taken and dropped, up to a point: a caller that is still sending can't read why.
                if size > limit:
                    chunks.clear()
                if size > DRAIN_BYTES:
                    break
                if size <= limit:
                    chunks.append(chunk)
    except TimeoutError:
        raise BadRequest(f"the body took longer than {seconds:g} s") from None
    if size > limit:
        raise TooLarge(f"the body is larger than {limit} bytes")
    return b"".join(chunks)


def _check_content_type(request: Request) -> None:
    wanted = "application/merge-patch+json" if request.method == "PATCH" else "application/json"
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != wanted:
        raise BadRequest(f"send the body with `Content-Type: {wanted}`, not {given[:100] or 'without one'}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise BadRequest("send the body as it is, without Content-Encoding")


class Edge:
    """The outermost layer: a request id, and headers that every answer has. Anything but HTTP is refused."""

    def __init__(self, app: Any, random_bytes: Callable[[int], bytes]) -> None:
        self._app = app
        self._random_bytes = random_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"only HTTP is served here, not {scope['type']}")
        request_id = self._random_bytes(8).hex()
        scope["state"] = {**scope.get("state", {}), "request_id": request_id}

        async def finish(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                    (b"cache-control", b"no-store"),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self._app(scope, receive, finish)
