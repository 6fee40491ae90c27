# SPDX-License-Identifier: Apache-2.0
"""A route that the table doesn't know, or that nobody serves, stops the start."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute

from meshwright.api.app import build, refuse_gaps, served
from meshwright.api.audit import AuditLog
from meshwright.api.call import Call, Parts
from meshwright.api.policy import READERS, TABLE, Rate, Role, Rule, allowed
from meshwright.api.routes import ROUTES
from meshwright.config import Limits
from meshwright.errors import ConfigError
from meshwright.store.memory import MemoryStore
from tests.feature.api.harness import CountingRandom, FakeAttestation, FakeAuthority, FakeController, TestClock


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    clock = TestClock()
    return Parts(
        store=MemoryStore(),
        controller=FakeController(),
        attestation=FakeAttestation(),
        authority=FakeAuthority(),
        audit=AuditLog(tmp_path / "audit.log", clock),
        clock=clock,
        random_bytes=CountingRandom(),
        limits=Limits(),
    )


async def _handler(call: Call) -> Response:
    return Response()


def test_the_table_and_the_routes_agree(parts: Parts) -> None:
    build(parts)
    assert len({(rule.method, rule.path) for rule in TABLE}) == len(TABLE) == len(ROUTES)


def test_a_route_without_a_rule(parts: Parts) -> None:
    with pytest.raises(ConfigError, match=r"not in the table.*/mesh/v1/secret"):
        build(parts, handlers={**ROUTES, ("GET", "/mesh/v1/secret"): _handler})


def test_a_rule_without_a_route(parts: Parts) -> None:
    with pytest.raises(ConfigError, match=r"not served.*/mesh/v1/secret"):
        build(parts, table=(*TABLE, Rule("GET", "/mesh/v1/secret", READERS, Rate.READ)))


@pytest.mark.parametrize("route", [Mount("/static", routes=[]), WebSocketRoute("/ws", _handler), Route("/x", _handler, methods=["GET"])])
def test_no_kind_of_route_escapes(route: Any) -> None:
    with pytest.raises(ConfigError):
        refuse_gaps(set(), served([route]))


def test_only_http_is_served(parts: Parts) -> None:
    app = build(parts)
    for kind in ("websocket", "lifespan"):
        with pytest.raises(RuntimeError, match="only HTTP"):
            asyncio.run(app({"type": kind}, None, None))


def test_who_is_allowed() -> None:
    write = next(rule for rule in TABLE if rule.method == "PUT" and rule.scoped)
    none: frozenset[str] = frozenset()
    editor, admin = frozenset({Role.NAMESPACE_EDITOR}), frozenset({Role.MESH_ADMIN})
    assert allowed(write, editor, frozenset({"shop"}), "shop")
    assert not allowed(write, editor, frozenset({"shop"}), "bank")
    assert not allowed(write, editor, none, "")
    assert allowed(write, admin, none, "bank")
    assert allowed(write, editor | admin, none, "bank")
    assert not allowed(write, frozenset({Role.READER, Role.SECURITY_ADMIN}), none, "bank")
    assert not allowed(write, frozenset(), none, "bank")
    health = next(rule for rule in TABLE if rule.path == "/healthz")
    assert allowed(health, frozenset(), none, "")


def test_every_write_is_audited_and_bounded() -> None:
    for rule in TABLE:
        if rule.method != "GET" and rule.path != "/mesh/v1/attest/nonce":
            assert rule.audited, rule
        assert (rule.body > 0) == (rule.method in ("PUT", "PATCH", "POST")), rule
        assert rule.rate is not Rate.FREE or rule.path in ("/healthz", "/readyz")
        assert not rule.anonymous or rule.path in ("/healthz", "/readyz", "/mesh/v1/attest", "/mesh/v1/attest/nonce")
