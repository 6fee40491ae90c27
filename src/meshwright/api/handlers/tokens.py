# SPDX-License-Identifier: Apache-2.0
"""Tokens: made and shown once, listed without their secret, taken back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

import msgspec
from starlette.responses import Response

from meshwright.api.answers import json_answer, write_headers
from meshwright.api.auth import API_PREFIX, TokenRecord, WorkloadName, expired, expiry, new_token, rfc3339, token_key
from meshwright.api.bodies import read_struct
from meshwright.api.call import Call
from meshwright.api.policy import Role
from meshwright.api.write import commit
from meshwright.ca.attest import join_token
from meshwright.errors import Forbidden, Invalid, NotFound, Violation
from meshwright.model.identity import ProxyId, is_dns_label, is_dns_subdomain
from meshwright.store.base import Delete, Put, Record

MAX_API_SECONDS = 366 * 24 * 3600
MAX_JOIN_SECONDS = 24 * 3600
JOIN_SECONDS = 600
MAX_TOKENS = 10_000


class JoinTokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", tag_field="kind", tag="join"):
    node: str
    workload: WorkloadName
    ttl_seconds: int = JOIN_SECONDS


class ApiTokenRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", tag_field="kind", tag="api"):
    name: str
    role: Literal["reader", "namespace-editor", "mesh-admin", "security-admin"]
    ttl_seconds: int
    namespaces: tuple[str, ...] = ()


async def create(call: Call) -> Response:
    request = read_struct(call.body, JoinTokenRequest | ApiTokenRequest)
    if isinstance(request, ApiTokenRequest) and Role.SECURITY_ADMIN not in call.principal.roles:
        raise Forbidden("API tokens are made by a security-admin: who makes them decides who is admin")
    found = tuple(_join_violations(request) if isinstance(request, JoinTokenRequest) else _api_violations(request))
    if found:
        raise Invalid(found)
    await _make_room(call)
    return await (_create_join(call, request) if isinstance(request, JoinTokenRequest) else _create_api(call, request))


async def listing(call: Call) -> Response:
    records, _ = await call.parts.store.list("tokens/")
    return json_answer({"items": [_shown(call, record) for record in records]})


async def delete(call: Call) -> Response:
    wanted = call.param("id")
    records, _ = await call.parts.store.list("tokens/")
    for record in records:
        token = _decode(record)
        if token.id == wanted:
            revision = await commit(call, Delete(record.key, expected=record.revision), record, f"tokens/{token.id}")
            call.api.authenticator.forget(token.id)
            return json_answer(_shown(call, record), headers=write_headers(revision, changed=True))
    raise NotFound(f"there is no token with the id {wanted[:64]!r}")


async def _create_join(call: Call, request: JoinTokenRequest) -> Response:
    proxy = ProxyId(request.workload.name, request.workload.namespace)
    minted = join_token.mint(
        request.node, proxy, ttl=timedelta(seconds=request.ttl_seconds), now=call.parts.clock.now(), random=call.parts.random_bytes
    )
    revision = await commit(call, Put(minted.key, minted.value, expected=0), None, f"tokens/{minted.record.id}")
    answer = {"token": minted.token, "id": minted.record.id, "expiresAt": rfc3339(minted.record.expires_at)}
    return json_answer(answer, 201, write_headers(revision, changed=True))


async def _create_api(call: Call, request: ApiTokenRequest) -> Response:
    token = new_token(API_PREFIX, call.parts.random_bytes)
    record = TokenRecord(
        id=call.parts.random_bytes(8).hex(),
        kind="api",
        created_at=rfc3339(call.parts.clock.now()),
        expires_at=expiry(call.parts.clock, request.ttl_seconds),
        name=request.name,
        roles=(request.role,),
        namespaces=request.namespaces,
    )
    revision = await commit(call, Put(token_key(token), msgspec.json.encode(record), expected=0), None, f"tokens/{record.id}")
    answer = {"token": token, "id": record.id, "expiresAt": record.expires_at}
    return json_answer(answer, 201, write_headers(revision, changed=True))


async def _make_room(call: Call) -> None:
    """Takes away what expired more than a day ago. Raises Invalid when there are too many all the same."""
    records, _ = await call.parts.store.list("tokens/")
    if len(records) < MAX_TOKENS:
        return
    gone = [Delete(record.key) for record in records if expired(_decode(record), call.parts.clock)]
    if not gone:
        raise Invalid((Violation("", "Limit", f"there are {len(records)} tokens: delete some"),))
    await call.parts.store.commit(gone)


def _join_violations(request: JoinTokenRequest) -> list[Violation]:
    found = []
    if not is_dns_subdomain(request.node):
        found.append(Violation("node", "InvalidValue", "must be the name of a node"))
    try:
        ProxyId.parse(f"{request.workload.name}.{request.workload.namespace}")
    except ValueError as error:
        found.append(Violation("workload", "InvalidValue", str(error)))
    if not 1 <= request.ttl_seconds <= MAX_JOIN_SECONDS:
        found.append(Violation("ttlSeconds", "OutOfRange", f"must be 1 to {MAX_JOIN_SECONDS}"))
    return found


def _api_violations(request: ApiTokenRequest) -> list[Violation]:
    found = []
    if not is_dns_subdomain(request.name):
        found.append(Violation("name", "InvalidValue", "must be like a DNS name: it stands in the audit"))
    if not 1 <= request.ttl_seconds <= MAX_API_SECONDS:
        found.append(Violation("ttlSeconds", "OutOfRange", f"must be 1 to {MAX_API_SECONDS}"))
    editor = request.role == Role.NAMESPACE_EDITOR.value
    if editor != bool(request.namespaces):
        message = "a namespace-editor needs at least one" if editor else "only a namespace-editor has namespaces"
        found.append(Violation("namespaces", "InvalidValue", message))
    for i, namespace in enumerate(request.namespaces):
        if not is_dns_label(namespace):
            found.append(Violation(f"namespaces[{i}]", "InvalidValue", "must be a DNS label"))
    return found


def _decode(record: Record) -> TokenRecord:
    return msgspec.json.decode(record.value, type=TokenRecord)


def _shown(call: Call, record: Record) -> dict[str, Any]:
    token = _decode(record)
    shown: dict[str, Any] = msgspec.to_builtins(token)
    used = call.api.authenticator.used_at(token.id)
    return {**shown, "usedAt": used} if used else shown
