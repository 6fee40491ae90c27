# SPDX-License-Identifier: Apache-2.0
"""The agent's command against the control plane's attestation over real TLS."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import stat
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from meshwright.agent.state import load, mark_refused
from meshwright.ca.attest import join_token
from meshwright.ca.server import Attestation, Services
from meshwright.clock import SystemClock
from meshwright.errors import MeshwrightError
from meshwright.model.identity import ProxyId
from meshwright.model.proxy import EnrolledWorkload, Node
from meshwright.store.base import Put
from tests.unit.ca.fakes import AuditLog, FakeEnrolment, FakeStore

from .control_plane import SERVER_NAME, TestCa
from .processes import play, run_agent, write_settings

WEB = ProxyId("web", "shop")


class Api:
    """POST on two routes, over TLS; `busy` answers 503 that many times first."""

    def __init__(self, root: Path, host_keys: tuple[str, ...] = ()) -> None:
        self.root = root
        self.ca = TestCa()
        self.store = FakeStore()
        self.audit = AuditLog()
        self.enrolment = FakeEnrolment(Node("vm1", host_keys, (EnrolledWorkload("web", "shop", "web-sa"),)))
        services = Services(self.ca.authority, self.enrolment, self.store, SystemClock(), self.audit)
        self.attestation = Attestation(services)
        self.port = 0
        self.busy = 0
        self.calls: list[str] = []

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        key, chain = self.ca.server()
        pair = self.root / "server.pem"
        pair.write_bytes(key + chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair)
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length"))
        path, body = head.split(" ")[1], json.loads(await reader.readexactly(length))
        status, answer = await self._answer(path, body)
        content = json.dumps(answer).encode()
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content)
        await writer.drain()
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()

    async def _answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        self.calls.append(path)
        if self.busy > 0:
            self.busy -= 1
            return 503, {"error": {"reason": "Unavailable", "message": "not ready"}}
        try:
            if path.endswith("/nonce"):
                return 200, await self.attestation.nonce(body["node"])
            return 200, await self.attestation.attest(body, "127.0.0.1")
        except MeshwrightError as error:
            return error.http_status, {"error": {"reason": error.reason, "message": error.message}}


def host_key(root: Path) -> tuple[Path, str]:
    path = root / "ssh_host_ed25519_key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-C", "", "-t", "ed25519", "-f", str(path)], check=True)
    return path, path.with_suffix(".pub").read_text().strip()


def settings(root: Path, api: Api, **changes: Any) -> Path:
    (root / "ca.pem").write_bytes(api.ca.bundle)
    (root / "state").mkdir(mode=0o700, exist_ok=True)
    (root / "run").mkdir(exist_ok=True)
    return write_settings(root, WEB, api=f"https://127.0.0.1:{api.port}", discovery="127.0.0.1:1", **changes)


async def attest(config: Path, *, seconds: float = 10.0) -> tuple[int, list[dict[str, Any]]]:
    """(exit status, what it logged)."""
    child = await run_agent("attest", "-c", str(config), "--timeout", str(seconds))
    _, said = await child.communicate()
    return int(child.returncode or 0), [json.loads(line) for line in said.decode().splitlines()]


def with_host_key(tmp_path: Path, walk: Callable[[Api, Path], Awaitable[None]]) -> None:
    path, public = host_key(tmp_path)
    api = Api(tmp_path, (public,))

    async def walked() -> None:
        async with api.serving():
            await walk(api, settings(tmp_path, api, attest={"method": "ssh_host", "hostKey": str(path)}))

    play(walked)


def test_a_host_gets_its_identity_and_asks_no_more(tmp_path: Path) -> None:
    async def walk(api: Api, config: Path) -> None:
        status, said = await attest(config)
        assert status == 0, said
        identity = load(tmp_path / "state")
        assert identity is not None
        leaf = x509.load_pem_x509_certificate(identity.chain)
        leaf.verify_directly_issued_by(api.ca.authority.active.certificate)
        assert stat.S_IMODE((tmp_path / "state" / "svid.key").stat().st_mode) == 0o600
        assert api.audit.last["outcome"] == "issued"
        assert said[-1]["event"] == "attest.done" and said[-1]["spiffe_id"] == "spiffe://cluster.local/ns/shop/sa/web-sa"
        assert "PRIVATE" not in json.dumps(said)
        assert (await attest(config))[1][-1]["event"] == "attest.not_needed"
        assert len(api.calls) == 2
        mark_refused(tmp_path / "state")
        assert (await attest(config))[0] == 0
        assert len(api.calls) == 4 and not (tmp_path / "state" / "refused").exists()

    with_host_key(tmp_path, walk)


def test_an_identity_of_another_workload_is_not_enough(tmp_path: Path) -> None:
    async def walk(api: Api, config: Path) -> None:
        from .control_plane import write_identity

        write_identity(api.ca, tmp_path / "state", ProxyId("old", "shop"))
        status, said = await attest(config)
        assert (status, said[-1]["event"]) == (0, "attest.done")

    with_host_key(tmp_path, walk)


def test_a_new_ca_is_noticed_and_a_stale_file_does_no_harm(tmp_path: Path) -> None:
    async def walk(api: Api, config: Path) -> None:
        from .control_plane import write_identity

        write_identity(TestCa(), tmp_path / "state", WEB)
        status, said = await attest(config)
        assert (status, said[-1]["event"]) == (0, "attest.done")
        good = (tmp_path / "ca.pem").read_bytes()
        (tmp_path / "ca.pem").write_bytes(TestCa().bundle)
        status, said = await attest(config)
        assert (status, said[-1]["event"]) == (0, "attest.gave_up")
        (tmp_path / "ca.pem").write_bytes(good)
        assert (await attest(config))[1][-1]["event"] == "attest.not_needed"

    with_host_key(tmp_path, walk)


def test_a_busy_control_plane_is_waited_for(tmp_path: Path) -> None:
    async def walk(api: Api, config: Path) -> None:
        api.busy = 1
        status, said = await attest(config, seconds=30)
        assert status == 0 and [line["event"] for line in said] == ["attest.later", "attest.done"]

    with_host_key(tmp_path, walk)


def test_who_is_not_enrolled_is_told_what_to_look_at(tmp_path: Path) -> None:
    async def walk(api: Api, config: Path) -> None:
        api.enrolment.nodes.clear()
        status, said = await attest(config)
        assert status == 77 and said[-1]["event"] == "attest.refused"
        assert "enrolled" in said[-1]["hint"] and "web.shop" in said[-1]["hint"]
        assert not (tmp_path / "state" / "current").exists()
        assert api.audit.last["reason"] == "NodeUnknown"

    with_host_key(tmp_path, walk)


def test_a_control_plane_that_is_away_is_given_up_after_the_time(tmp_path: Path) -> None:
    api = Api(tmp_path)
    api.port = 1
    path, _ = host_key(tmp_path)

    async def walk() -> None:
        status, said = await attest(settings(tmp_path, api, attest={"method": "ssh_host", "hostKey": str(path)}), seconds=0)
        assert status == 69 and said[-1]["event"] == "attest.gave_up" and "firewall" in said[-1]["hint"]

    play(walk)


@pytest.mark.parametrize("wrong", ["name", "root"])
def test_nothing_is_said_to_a_control_plane_that_is_none(tmp_path: Path, wrong: str) -> None:
    async def walk(api: Api, config: Path) -> None:
        document = json.loads(config.read_text())
        if wrong == "name":
            document["serverName"] = "other.example"
        else:
            (tmp_path / "ca.pem").write_bytes(TestCa().bundle)
        config.write_text(json.dumps(document))
        status, said = await attest(config, seconds=0)
        assert status == 69 and "certificate" in said[-1]["message"]
        assert api.calls == []

    with_host_key(tmp_path, walk)


def test_a_join_token_is_used_and_removed(tmp_path: Path) -> None:
    api = Api(tmp_path)

    async def walk() -> None:
        minted = join_token.mint("vm1", WEB, ttl=timedelta(minutes=10), now=SystemClock().now(), random=os.urandom)
        await api.store.commit([Put(minted.key, minted.value, expected=0)])
        token = tmp_path / "token"
        token.write_text(minted.token + "\n")
        async with api.serving():
            config = settings(tmp_path, api, attest={"method": "join_token", "tokenFile": str(token)})
            status, said = await attest(config)
            assert status == 0, said
            assert not token.exists() and minted.token not in json.dumps(said)
            mark_refused(tmp_path / "state")
            status, said = await attest(config)
            assert status == 78 and "new one" in said[-1]["message"]
            token.write_text(minted.token)
            status, said = await attest(config)
            assert status == 77 and "once" in said[-1]["hint"] and token.exists()

    play(walk)


def test_a_server_name_is_what_the_settings_say() -> None:
    assert SERVER_NAME != "127.0.0.1", "the tests above connect to one name and verify another"
