# SPDX-License-Identifier: Apache-2.0
"""Mutual TLS at the discovery door: who is there is what the certificate says, and nothing is sent to anybody else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from meshwright.clock import SystemClock
from meshwright.control.ports import PeerIdentity
from meshwright.errors import Forbidden, MeshwrightError, Unavailable
from meshwright.model.identity import SpiffeId
from meshwright.model.snapshot import TypeUrl
from meshwright.xds.server import DiscoveryServer, ServerTls, Unary
from tests.bench.certificates import sans_of, write_certificates
from tests.feature.xds.door import NODE, UNLIMITED, Door, door
from tests.unit.xds.client import resources, snapshot

Code = grpc.StatusCode
SHOT = snapshot(*(resources(type, alpha="1") for type in TypeUrl))
RENEW = "/meshwright.v1.Certificates/Renew"
URI, DNS = x509.UniformResourceIdentifier, x509.DNSName
ODD = {
    "other-domain": sans_of(NODE, "other.example"),
    "two-ids": [*sans_of(NODE), URI("spiffe://cluster.local/ns/shop/sa/other")],
    "two-names": [*sans_of(NODE), DNS("api.shop.workload.cluster.local")],
    "no-node": [URI("spiffe://cluster.local/ns/shop/sa/default"), DNS("web.shop.workload.cluster.local")],
    "two-nodes": [URI("spiffe://cluster.local/ns/shop/sa/default"), DNS("vm1.node.cluster.local"), DNS("vm2.node.cluster.local")],
    "no-name": [URI("spiffe://cluster.local/ns/shop/sa/default")],
    "no-id": [DNS("web.shop.workload.cluster.local")],
    "control-plane": [URI("spiffe://cluster.local/ns/meshwright-system/sa/control-plane"), DNS("control-plane")],
    "foreign-name": [URI("spiffe://cluster.local/ns/far/sa/default"), *sans_of(NODE)[1:]],
    "odd-path": [URI("spiffe://cluster.local/ns/shop/sa/../x"), *sans_of(NODE)[1:]],
}


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("certs")
    write_certificates(home, [NODE, "api.shop"], odd=ODD)
    return home


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("strangers")
    write_certificates(home, [NODE])
    return home


def server_tls(certs: Path) -> ServerTls:
    return ServerTls(*((certs / f"{name}.pem").read_bytes() for name in ("key", "server", "root")))


def behind_tls(certs: Path, story: Callable[[Door], Awaitable[None]], unary: dict[str, Unary] | None = None) -> None:
    async def play() -> None:
        async with door(SHOT, tls=lambda: server_tls(certs), unary=unary) as it:
            await story(it)

    asyncio.run(play())


def test_the_certificate_says_who_it_is(certs: Path) -> None:
    async def story(it: Door) -> None:
        async with it.stream(certs) as client:
            await client.send(TypeUrl.CLUSTER, NODE)
            assert [r.name for r in (await client.read()).resources] == ["alpha"]
            peer = it.crew.peers[0]
            assert (str(peer.proxy), peer.spiffe) == (NODE, SpiffeId("cluster.local", "shop", "default"))
            assert "127.0.0.1" in peer.address

    behind_tls(certs, story)


def test_a_node_id_that_is_not_the_certificates(certs: Path) -> None:
    async def story(it: Door) -> None:
        async with it.stream(certs, "api.shop") as client:
            await client.send(TypeUrl.CLUSTER, NODE)
            assert (await client.status())[0] is Code.PERMISSION_DENIED
        assert it.crew.peers == []
        assert it.server.counters.responses == 0
        assert it.denials == [(NODE, "the node's id is not that of the certificate")]

    behind_tls(certs, story)


@pytest.mark.parametrize("who", sorted(ODD))
def test_certificates_of_the_mesh_that_are_no_workloads(certs: Path, who: str) -> None:
    async def story(it: Door) -> None:
        async with it.stream(certs, who) as client:
            code, words = await client.status()
            assert code is Code.PERMISSION_DENIED
            assert "workload" in words
        assert it.crew.peers == []
        assert len(it.denials) == 1

    behind_tls(certs, story)


def test_without_a_certificate_or_with_one_of_another_root_there_is_no_connection(certs: Path, strangers: Path) -> None:
    async def story(it: Door) -> None:
        root = (certs / "root.pem").read_bytes()
        options = [("grpc.ssl_target_name_override", "control-plane")]
        pairs = [(None, None), tuple((strangers / f"{name}.pem").read_bytes() for name in ("key", NODE))]
        for key, chain in pairs:
            credentials = grpc.ssl_channel_credentials(root, key, chain)
            async with grpc.aio.secure_channel(f"127.0.0.1:{it.port}", credentials, options=options) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary(RENEW)(b"", timeout=10)
                assert caught.value.code() is Code.UNAVAILABLE
        assert it.server.counters.opened == 0

    behind_tls(certs, story)


def test_the_servers_certificate_can_be_renewed_while_it_serves(certs: Path, strangers: Path) -> None:
    """New connections get the new one; streams that are open stay for a while."""
    current = [server_tls(certs)]

    async def play() -> None:
        async with door(SHOT, tls=lambda: current[0]) as it, it.stream(certs) as old:
            await old.send(TypeUrl.CLUSTER, NODE)
            response = await old.read()
            current[0] = server_tls(strangers)
            await it.server.renew()
            async with it.stream(strangers) as new:
                await new.send(TypeUrl.CLUSTER, NODE)
                await new.read()
            async with it.stream(certs) as outdated:
                assert (await outdated.status())[0] is Code.UNAVAILABLE
            await old.ack(response)
            await old.send(TypeUrl.ENDPOINT, resource_names_subscribe=["alpha"])
            await old.read()

    asyncio.run(play())


def test_streams_of_an_old_certificate_end_one_after_the_other(certs: Path, strangers: Path) -> None:
    current = [server_tls(certs)]

    async def play() -> None:
        limits = UNLIMITED._replace(drain=0.2)
        async with door(SHOT, tls=lambda: current[0], limits=limits) as it, it.stream(certs) as one, it.stream(certs, "api.shop") as two:
            for client, node in ((one, NODE), (two, "api.shop")):
                await client.send(TypeUrl.CLUSTER, node)
                await client.read()
            await it.server.renew()
            assert it.server.counters.opened == 2, "the same certificate is no reason"
            current[0] = server_tls(strangers)
            await it.server.renew()
            for client in (one, two):
                assert await client.status() == (Code.UNAVAILABLE, "a new certificate: come back")
            async with it.stream(strangers) as new:
                await new.send(TypeUrl.CLUSTER, NODE)
                await new.read()

    asyncio.run(play())


def test_a_certificate_that_cant_be_used_leaves_the_old_one(certs: Path, strangers: Path) -> None:
    current = [server_tls(certs)]

    async def play() -> None:
        async with door(SHOT, tls=lambda: current[0]) as it:
            current[0] = server_tls(certs)._replace(key=b"no key")
            with pytest.raises(Unavailable):
                await it.server.renew()
            async with it.stream(certs) as client:
                await client.send(TypeUrl.CLUSTER, NODE)
                await client.read()

    asyncio.run(play())


def test_a_port_that_another_has_is_refused(certs: Path) -> None:
    async def story(it: Door) -> None:
        second = DiscoveryServer(it.crew, clock=SystemClock(), trust_domain="cluster.local", tls=lambda: server_tls(certs))
        with pytest.raises(Unavailable, match="can't listen"):
            await second.start(f"127.0.0.1:{it.port}")

    behind_tls(certs, story)


def test_unary_methods_know_the_caller(certs: Path) -> None:
    async def renew(request: bytes, peer: PeerIdentity) -> bytes:
        return request + str(peer.spiffe).encode()

    async def story(it: Door) -> None:
        async with it.channel(certs) as channel:
            answer = await channel.unary_unary(RENEW)(b"I am ", timeout=10)
            assert answer == b"I am spiffe://cluster.local/ns/shop/sa/default"
            it.crew.objection = "banned"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(RENEW)(b"", timeout=10)
            assert (caught.value.code(), caught.value.details()) == (Code.PERMISSION_DENIED, "banned")
            assert it.denials == [(NODE, "banned")]

    behind_tls(certs, story, {RENEW: renew})


@pytest.mark.parametrize(
    ("error", "code"), [(Forbidden("no"), Code.PERMISSION_DENIED), (MeshwrightError("no"), Code.INTERNAL)], ids=["known", "other"]
)
def test_errors_of_unary_methods(certs: Path, error: Exception, code: grpc.StatusCode) -> None:
    async def renew(request: bytes, peer: PeerIdentity) -> bytes:
        raise error

    async def story(it: Door) -> None:
        async with it.channel(certs) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(RENEW)(b"", timeout=10)
            assert (caught.value.code(), caught.value.details()) == (code, "no")

    behind_tls(certs, story, {RENEW: renew})


def test_unary_methods_need_a_certificate() -> None:
    async def renew(request: bytes, peer: PeerIdentity) -> bytes:
        return b""

    async def play() -> None:
        async with door(SHOT, unary={RENEW: renew}) as it, it.channel() as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(RENEW)(b"", timeout=10)
            assert caught.value.code() is Code.PERMISSION_DENIED

    asyncio.run(play())
