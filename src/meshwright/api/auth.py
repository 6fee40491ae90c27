# SPDX-License-Identifier: Apache-2.0
"""Bearer tokens: made here, shown once, kept as SHA-256 (256 random bits need no slow hash), looked up by it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from meshwright.api.policy import Role
from meshwright.clock import Clock
from meshwright.errors import Unauthenticated
from meshwright.store.base import Put, Store

API_PREFIX = "mwa_"
JOIN_PREFIX = "mwj_"
_TOKEN = re.compile(r"mwa_[A-Za-z0-9_-]{43}")
_REFUSED = "no valid token: send one as `Authorization: Bearer TOKEN` (`meshwright token create` makes them)"


class WorkloadName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    namespace: str
    name: str


class TokenRecord(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is stored under `tokens/SHA256HEX`. kind api: name, roles, namespaces; kind join: node, workload. Times are RFC 3339;
    `expires_at` '' never expires (the first administrator's)."""

    id: str
    kind: str
    created_at: str
    expires_at: str = ""
    name: str = ""
    roles: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    node: str = ""
    workload: WorkloadName | None = None


class Principal(NamedTuple):
    """Who asks: `name` is what the audit writes."""

    name: str
    token_id: str
    roles: frozenset[Role]
    namespaces: frozenset[str]


ANONYMOUS = Principal("anonymous", "", frozenset(), frozenset())


def token_key(token: str) -> str:
    return f"tokens/{hashlib.sha256(token.encode()).hexdigest()}"


def rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def new_token(prefix: str, random_bytes: Callable[[int], bytes]) -> str:
    return prefix + base64.urlsafe_b64encode(random_bytes(32)).rstrip(b"=").decode()


def expiry(clock: Clock, seconds: float) -> str:
    return rfc3339(clock.now() + timedelta(seconds=seconds))


def expired(record: TokenRecord, clock: Clock) -> bool:
    return bool(record.expires_at) and datetime.fromisoformat(record.expires_at) <= clock.now()


class Authenticator:
    """Bearer header -> Principal."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._used: dict[str, str] = {}

    async def principal(self, authorization: str) -> Principal:
        """Raises Unauthenticated, always with the same words."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not _TOKEN.fullmatch(token):
            raise Unauthenticated(_REFUSED)
        key = token_key(token)
        found = await self._store.get(key)
        # The lookup is by hash, so its timing tells nothing of the token; the comparison is for a store that matches loosely.
        if found is None or not hmac.compare_digest(found.key.encode(), key.encode()):
            raise Unauthenticated(_REFUSED)
        record = msgspec.json.decode(found.value, type=TokenRecord)
        if record.kind != "api" or expired(record, self._clock):
            raise Unauthenticated(_REFUSED)
        self._used[record.id] = rfc3339(self._clock.now())
        roles = frozenset(role for role in Role if role.value in record.roles)
        return Principal(record.name or record.id, record.id, roles, frozenset(record.namespaces))

    def used_at(self, token_id: str) -> str:
        """When this token was last used since the process started, '' if it wasn't (kept in memory: a use is no write)."""
        return self._used.get(token_id, "")

    def forget(self, token_id: str) -> None:
        self._used.pop(token_id, None)


class TokenGrant(NamedTuple):
    """What a new API token may do. `ttl` seconds; None: for ever."""

    name: str
    roles: tuple[Role, ...]
    namespaces: tuple[str, ...] = ()
    ttl: float | None = None


async def store_api_token(store: Store, clock: Clock, grant: TokenGrant, token: str) -> None:
    """Makes `token` good. Its id is taken from its hash, which says nothing of it."""
    key = token_key(token)
    record = TokenRecord(
        id=key.rpartition("/")[2][:16],
        kind="api",
        created_at=rfc3339(clock.now()),
        expires_at="" if grant.ttl is None else expiry(clock, grant.ttl),
        name=grant.name,
        roles=tuple(role.value for role in grant.roles),
        namespaces=grant.namespaces,
    )
    await store.commit([Put(key, msgspec.json.encode(record), expected=0)])
