# SPDX-License-Identifier: Apache-2.0
"""Attestation by a join token, for hosts without an SSH key that somebody vouches for: 256 random bits, bound to one node and one workload,
used once, kept as a hash only. The record is deleted by compare-and-swap in the same commit that records the certificate."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

import msgspec

from meshwright.ca.attest.refusal import Refused
from meshwright.ca.authority import Random
from meshwright.errors import ConfigError
from meshwright.model.identity import ProxyId
from meshwright.store.base import Record, Store

PREFIX = "mwj_"
DEFAULT_TTL = timedelta(minutes=10)
MAX_TTL = timedelta(hours=24)
_FORM = re.compile(r"mwj_[A-Za-z0-9_-]{43}")


class WorkloadName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which workload a request or a token is about."""

    namespace: str
    name: str


class JoinToken(msgspec.Struct, frozen=True, rename="camel"):
    """What the store keeps under `tokens/SHA256HEX`. `id` (the first 16 digits of the hash) names it in lists and in the audit."""

    id: str
    node: str
    workload: WorkloadName
    sha256: str
    created_at: datetime
    expires_at: datetime
    kind: Literal["join"] = "join"


class Minted(NamedTuple):
    """`token` is shown once; `key` and `value` are to be put into the store with expected=0."""

    token: str
    record: JoinToken
    key: str
    value: bytes


def mint(node: str, proxy: ProxyId, *, ttl: timedelta, now: datetime, random: Random) -> Minted:
    """A new token. Raises ConfigError for a life of no length or longer than a day."""
    if not timedelta(0) < ttl <= MAX_TTL:
        raise ConfigError("a join token lives longer than 0 and at most 86400 seconds", path="ttlSeconds")
    token = PREFIX + base64.urlsafe_b64encode(random(32)).rstrip(b"=").decode()
    digest = _digest(token)
    workload = WorkloadName(proxy.namespace, proxy.name)
    record = JoinToken(digest[:16], node, workload, digest, now, now + ttl)
    return Minted(token, record, store_key(digest), msgspec.json.encode(record))


def store_key(digest: str) -> str:
    return f"tokens/{digest}"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def find(store: Store, token: str, node: str, proxy: ProxyId, *, now: datetime) -> Record:
    """The record of a token that is good for this node and workload now; the caller deletes it at this revision. Raises Refused.

    The lookup goes by the hash, so its time says nothing about a token; what is compared after it is compared in constant time."""
    if not _FORM.fullmatch(token):
        raise Refused("TokenMalformed")
    digest = _digest(token)
    record = await store.get(store_key(digest))
    if record is None:
        raise Refused("TokenUnknown")
    try:
        kept = msgspec.json.decode(record.value, type=JoinToken)
    except msgspec.MsgspecError as error:
        raise Refused("TokenOfOtherKind") from error
    expected = f"{kept.sha256}\n{kept.node}\n{kept.workload.namespace}\n{kept.workload.name}"
    given = f"{digest}\n{node}\n{proxy.namespace}\n{proxy.name}"
    if not hmac.compare_digest(expected.encode(), given.encode()):
        raise Refused("TokenOfOtherNode")
    if now >= kept.expires_at:
        raise Refused("TokenExpired")
    return record
