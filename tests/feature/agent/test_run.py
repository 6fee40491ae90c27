# SPDX-License-Identifier: Apache-2.0
"""The serving agent as a process, with a test in Envoy's place."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2

from meshwright.agent.exits import ATTEST_ANEW, CONFIG, OK
from meshwright.agent.ready import envoy_state

from .control_plane import NAMES, ControlPlane, TestCa
from .processes import Workload, play, until

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
SDS = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
CDS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
Request = discovery_pb2.DeltaDiscoveryRequest
Response = discovery_pb2.DeltaDiscoveryResponse


@contextlib.asynccontextmanager
async def stream(workload: Workload, method: str) -> AsyncIterator[Any]:
    """A stream to the agent, as Envoy opens it."""
    async with grpc.aio.insecure_channel(f"unix:{workload.run_dir / 'agent.sock'}") as channel:
        call = channel.stream_stream(method, request_serializer=Request.SerializeToString, response_deserializer=Response.FromString)()
        yield call
        call.cancel()


def first(type_url: str, *names: str, node: str = "web.shop") -> Any:
    request = Request(type_url=type_url, resource_names_subscribe=names)
    request.node.id = node
    return request


async def read(call: Any) -> Any:
    return await asyncio.wait_for(call.read(), 15)


async def ended(call: Any) -> grpc.StatusCode:
    return await asyncio.wait_for(call.code(), 15)


@contextlib.asynccontextmanager
async def agent(root: Path, ttl: timedelta = timedelta(hours=1), **settings: Any) -> AsyncIterator[tuple[ControlPlane, Workload]]:
    plane = ControlPlane(TestCa(ttl))
    await plane.start()
    workload = Workload(root, plane, **settings)
    await workload.start_agent()
    yield plane, workload
    await workload.stop()
    await plane.stop()


def test_secrets_are_pushed_and_pushed_again_when_they_rotate(tmp_path: Path) -> None:
    async def walk() -> None:
        async with agent(tmp_path, timedelta(seconds=12), renewAt=0.2) as (plane, workload), stream(workload, SDS) as call:
            await call.write(first(SECRET, "default", "ROOTCA", "other"))
            response = await read(call)
            secrets = {r.name: secret_pb2.Secret.FromString(r.resource.value) for r in response.resources}
            assert set(secrets) == {"default", "ROOTCA"} and list(response.removed_resources) == ["other"]
            assert secrets["ROOTCA"].validation_context.trusted_ca.inline_bytes == plane.ca.bundle
            await call.write(Request(type_url=SECRET, response_nonce=response.nonce))
            seen = {secrets["default"].tls_certificate.certificate_chain.inline_bytes}
            for _ in range(2):
                response = await read(call)
                assert [r.name for r in response.resources] == ["default"], "the bundle is the same"
                pair = secret_pb2.Secret.FromString(response.resources[0].resource.value).tls_certificate
                leaf = load_pem_x509_certificate(pair.certificate_chain.inline_bytes)
                assert load_pem_private_key(pair.private_key.inline_bytes, None).public_key() == leaf.public_key()
                seen.add(pair.certificate_chain.inline_bytes)
            assert len(seen) == 3

    play(walk)


@pytest.mark.parametrize("method", [ADS, SDS])
@pytest.mark.parametrize("node", ["other.shop", ""])
def test_another_node_is_turned_away(tmp_path: Path, method: str, node: str) -> None:
    async def walk() -> None:
        async with agent(tmp_path) as (plane, workload), stream(workload, method) as call:
            await call.write(first(SECRET if method == SDS else CDS, "default", node=node))
            assert await ended(call) == grpc.StatusCode.INVALID_ARGUMENT
            assert plane.opened == []

    play(walk)


def test_garbage_ends_the_stream_and_nothing_else(tmp_path: Path) -> None:
    async def walk() -> None:
        async with agent(tmp_path) as (plane, workload):
            for method in (ADS, SDS):
                async with grpc.aio.insecure_channel(f"unix:{workload.run_dir / 'agent.sock'}") as channel:
                    call = channel.stream_stream(method)()
                    await call.write(b"\xff\xff\xff")
                    assert await ended(call) == grpc.StatusCode.INVALID_ARGUMENT
            async with stream(workload, ADS) as call:
                await call.write(first(CDS))
                await plane.until(lambda: any(CDS in o for o in plane.opened))

    play(walk)


def test_other_methods_are_not_there(tmp_path: Path) -> None:
    async def walk() -> None:
        async with (
            agent(tmp_path) as (_, workload),
            stream(workload, "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets") as call,
        ):
            assert await ended(call) == grpc.StatusCode.UNIMPLEMENTED

    play(walk)


def test_names_are_written_acknowledged_and_refused(tmp_path: Path) -> None:
    async def walk() -> None:
        async with agent(tmp_path) as (plane, workload), stream(workload, ADS) as call:
            names = workload.run_dir / "names"
            await plane.put(NAMES, "names", b"127.240.0.1 a.mesh\n")
            await call.write(first(CDS))
            await plane.until(lambda: [t for t, _ in plane.acked] == [NAMES])
            assert names.read_bytes() == b"127.240.0.1 a.mesh\n"
            await plane.put(NAMES, "names", b"127.240.0.1 a\x00b\n")
            await plane.until(lambda: plane.nacked)
            assert plane.nacked[0][0] == NAMES and "control characters" in plane.nacked[0][2]
            assert names.read_bytes() == b"127.240.0.1 a.mesh\n"
            await plane.put(NAMES, "names", b"\xff")
            await plane.until(lambda: len(plane.nacked) == 2)
            await plane.remove(NAMES, "names")
            await until(lambda: names.read_bytes() == b"")
            assert sorted(os.listdir(workload.run_dir)) == ["agent.sock", "names", "status.json"]

    play(walk)


def test_two_envoys_at_once_have_a_stream_each(tmp_path: Path) -> None:
    """As during a hot restart."""

    async def walk() -> None:
        async with agent(tmp_path) as (plane, workload), stream(workload, ADS) as one, stream(workload, ADS) as two:
            await plane.put(CDS, "a", b"")
            for call in (one, two):
                await call.write(first(CDS))
                assert [r.name for r in (await read(call)).resources] == ["a"]
            assert len(plane.streams) == 2
            one.cancel()
            await plane.until(lambda: len(plane.streams) == 1)
            await plane.put(CDS, "b", b"")
            assert [r.name for r in (await read(two)).resources] == ["b"]

    play(walk)


def test_streams_are_limited(tmp_path: Path) -> None:
    async def walk() -> None:
        async with agent(tmp_path) as (plane, workload), contextlib.AsyncExitStack() as stack:
            for _ in range(4):
                call = await stack.enter_async_context(stream(workload, ADS))
                await call.write(first(CDS))
            await plane.until(lambda: len(plane.streams) == 4)
            fifth = await stack.enter_async_context(stream(workload, ADS))
            assert await ended(fifth) == grpc.StatusCode.RESOURCE_EXHAUSTED

    play(walk)


def test_refused_renewals_end_it_so_that_it_is_attested_anew(tmp_path: Path) -> None:
    async def walk() -> None:
        async with agent(tmp_path, timedelta(seconds=4)) as (plane, workload):
            plane.refuse_renewals = True
            assert workload.agent is not None
            assert await asyncio.wait_for(workload.agent.wait(), 30) == ATTEST_ANEW
            assert (workload.state_dir / "refused").exists()
            assert workload.events("renew.refused") and workload.events("run.attest_anew")[0]["reason"] == "refused"

    play(walk)


def test_an_agent_without_identity_says_what_to_do(tmp_path: Path) -> None:
    async def walk() -> None:
        plane = ControlPlane(TestCa())
        plane.port = 1
        workload = Workload(tmp_path, plane)
        (workload.state_dir / "current").unlink()
        for command in ("run", "renew"):
            process = await workload.command(command)
            assert await process.wait() == CONFIG
        assert "attest" in workload.events("run.no_identity")[0]["hint"]

    play(walk)


def test_sigterm_ends_it_in_order(tmp_path: Path) -> None:
    async def walk() -> None:
        async with agent(tmp_path) as (_, workload), stream(workload, ADS) as call:
            await call.write(first(CDS))
            assert workload.agent is not None
            workload.agent.terminate()
            assert await asyncio.wait_for(workload.agent.wait(), 10) == OK
            assert all("traceback" not in line for line in workload.log), workload.log

    play(walk)


LISTENERS = [
    {"name": "a", "active_state": {}},
    {"name": "b", "active_state": {}, "warming_state": {}},
    {"name": "c", "error_state": {}},
]
ANSWERS = {
    "/ready": b"LIVE\n",
    "/config_dump": json.dumps({"configs": LISTENERS}).encode(),
    "/stats": b"cluster_manager.warming_clusters: 2\n",
}


def test_what_envoy_runs_is_read_from_its_admin(tmp_path: Path) -> None:
    async def admin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode().partition("?")[0]
        content = ANSWERS[path]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(content), content))
        await writer.drain()
        writer.close()

    async def walk() -> None:
        socket = tmp_path / "admin.sock"
        assert envoy_state(socket).state == "AWAY"
        async with await asyncio.start_unix_server(admin, socket):
            seen = await asyncio.to_thread(envoy_state, socket)
        assert seen == ("LIVE", ("a", "b"), ("b",), ("c",), 2) and not seen.ready

    play(walk)
