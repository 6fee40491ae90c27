# SPDX-License-Identifier: Apache-2.0
"""The agent between a real Envoy and a control plane: what happens to traffic when any of the three goes away and comes back."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import config_source_pb2
from google.protobuf import duration_pb2

from meshwright.agent.exits import FAILED
from meshwright.model.identity import ProxyId
from tests.feature.agent.control_plane import NAMES, ControlPlane, TestCa
from tests.feature.agent.processes import Load, Workload, free_port, play, until
from tests.feature.agent.resources import CLUSTER, LISTENER, ROUTE, cluster, listener, route, route_document, says
from tests.lab.envoy import envoy_binary

pytestmark = pytest.mark.envoy
MAX_RSS_KB = 45 * 1024
HOSTS = b"127.240.0.1 reviews.shop.mesh\n"


@pytest.fixture(scope="session")
def binary() -> Path:
    return envoy_binary()


class Mesh:
    """A control plane with one workload whose Envoy answers `one` on `port`, its route by RDS."""

    def __init__(self, root: Path, ttl: timedelta = timedelta(hours=1)) -> None:
        self.root = root
        self.plane = ControlPlane(TestCa(ttl))
        self.port = free_port()
        self.load = Load(self.port)

    async def start(self, binary: Path) -> Workload:
        await self.plane.start()
        await self.plane.put(LISTENER, "in", listener("in", self.port, {"rds": "r"}))
        await self.plane.put(ROUTE, "r", route("r", says("one")))
        await self.plane.put(NAMES, "names", HOSTS)
        self.workload = Workload(self.root, self.plane)
        await self.workload.start_agent()
        await self.workload.start_envoy(binary)
        await self.load.answers(b"one")
        await self.plane.until(lambda: len(self.plane.acked) >= 3)
        return self.workload

    async def stop(self) -> None:
        await self.workload.stop()
        await self.plane.stop()

    def resent(self, since: int) -> list[tuple[str, str, str]]:
        """What went out although the proxy had it."""
        before = set(self.plane.sent[:since])
        return [entry for entry in self.plane.sent[since:] if entry in before]


def test_configuration_and_names_arrive(tmp_path: Path, binary: Path) -> None:
    mesh = Mesh(tmp_path)

    async def walk() -> None:
        workload = await mesh.start(binary)
        assert (workload.run_dir / "names").read_bytes() == HOSTS
        assert (workload.run_dir / "names").stat().st_mode & 0o777 == 0o644
        assert (workload.run_dir / "agent.sock").stat().st_mode & 0o777 == 0o600
        assert mesh.plane.nodes[0].id == "web.shop" and not mesh.plane.nodes[0].extensions
        assert mesh.plane.nodes[0].user_agent_build_version.version.major_number == 1
        await mesh.plane.put(ROUTE, "r", route("r", says("two")))
        await mesh.load.answers(b"two")
        await mesh.plane.until(lambda: {t for t, _ in mesh.plane.acked} >= {LISTENER, ROUTE, NAMES})
        wait = await workload.command("wait-ready", "--timeout", "20")
        assert await wait.wait() == 0
        status = await workload.command("status")
        assert status.stdout is not None
        said = json.loads(await status.stdout.read())
        await status.wait()
        assert said["envoy"]["ready"] and said["envoy"]["active"] == ["in"]
        assert said["agent"]["connected"] and said["agent"]["envoys"] == 1 and said["svid"]["lifeLeft"] > 0.9
        assert workload.rss() <= MAX_RSS_KB
        print("VmRSS kB", workload.rss())
        await mesh.stop()

    play(walk)


def test_a_cluster_that_was_accepted_and_has_no_endpoints_yet_is_not_ready(tmp_path: Path, binary: Path) -> None:
    mesh = Mesh(tmp_path)
    ads = config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        resource_api_version=config_source_pb2.V3,
        initial_fetch_timeout=duration_pb2.Duration(seconds=0),  # it warms until they come
    )
    late = cluster_pb2.Cluster(
        name="late",
        type=cluster_pb2.Cluster.EDS,
        eds_cluster_config=cluster_pb2.Cluster.EdsClusterConfig(eds_config=ads),
    )

    async def walk() -> None:
        workload = await mesh.start(binary)
        await mesh.plane.put(CLUSTER, "late", late.SerializeToString())
        await mesh.plane.until(lambda: CLUSTER in {t for t, _ in mesh.plane.acked})
        wait = await workload.command("wait-ready", "--timeout", "0.2")
        assert await wait.wait() == FAILED
        status = await workload.command("status")
        assert status.stdout is not None
        said = json.loads(await status.stdout.read())["envoy"]
        await status.wait()
        assert (said["state"], said["warming_clusters"], said["ready"]) == ("LIVE", 1, False)
        await mesh.stop()

    play(walk)


def test_a_refusal_reaches_the_control_plane_and_traffic_goes_on(tmp_path: Path, binary: Path) -> None:
    mesh = Mesh(tmp_path)

    async def walk() -> None:
        await mesh.start(binary)
        async with mesh.load.running():
            broken = listener("in", mesh.port, route_document("r", {"route": {"cluster": "nope"}}))
            await mesh.plane.put(LISTENER, "in", broken)
            await mesh.plane.until(lambda: mesh.plane.nacked)
            await mesh.plane.put(LISTENER, "in", listener("in", mesh.port, route_document("r", says("mended"))))
            await mesh.load.answers(b"mended")
        assert "nope" in mesh.plane.nacked[0][2]
        assert mesh.load.failures == []
        await mesh.stop()

    play(walk)


def test_the_agent_is_killed_under_load(tmp_path: Path, binary: Path) -> None:
    mesh = Mesh(tmp_path)

    async def walk() -> None:
        workload = await mesh.start(binary)
        async with mesh.load.running():
            for _ in range(3):
                sent, streams = len(mesh.plane.sent), len(mesh.plane.opened)
                await workload.kill_agent()
                await workload.start_agent()
                await mesh.plane.until(lambda streams=streams: any(LISTENER in o for o in mesh.plane.opened[streams:]))
                await mesh.plane.until(lambda streams=streams: any(NAMES in o for o in mesh.plane.opened[streams:]))
                assert mesh.resent(sent) == []
            opened = mesh.plane.opened[-1]
            assert dict(opened[LISTENER].initial_resource_versions) == {"in": mesh.plane.resources[LISTENER]["in"][0]}
            await mesh.plane.put(ROUTE, "r", route("r", says("two")))
            await mesh.load.answers(b"two")
        assert mesh.load.failures == [] and mesh.load.done > 20
        await mesh.stop()

    play(walk)


def test_the_control_plane_goes_away_and_comes_back_under_load(tmp_path: Path, binary: Path) -> None:
    mesh = Mesh(tmp_path)

    async def walk() -> None:
        workload = await mesh.start(binary)
        async with mesh.load.running():
            for text in ("two", "three"):
                sent, streams = len(mesh.plane.sent), len(mesh.plane.opened)
                await mesh.plane.stop()
                await until(lambda text=text: len(workload.events("upstream.away")) >= (1 if text == "two" else 2))
                await mesh.plane.start()
                await mesh.plane.until(lambda streams=streams: any(NAMES in o for o in mesh.plane.opened[streams:]), 40)
                assert mesh.resent(sent) == []
                await mesh.plane.put(ROUTE, "r", route("r", says(text)))
                await mesh.load.answers(text.encode())
                assert mesh.resent(sent) == []
        assert mesh.load.failures == []
        assert len(workload.events("envoy.connected")) == 1, "Envoy's stream must not end"
        await mesh.stop()

    play(walk)


@pytest.mark.parametrize("graceful", [True, False])
def test_envoy_restarts_while_the_control_plane_is_away(tmp_path: Path, binary: Path, graceful: bool) -> None:
    mesh = Mesh(tmp_path)

    async def walk() -> None:
        workload = await mesh.start(binary)
        await mesh.plane.stop()
        assert workload.envoy is not None
        workload.envoy.terminate() if graceful else workload.envoy.kill()
        await workload.envoy.wait()
        await workload.start_envoy(binary)
        await mesh.load.answers(b"one")
        wait = await workload.command("wait-ready", "--timeout", "20")
        assert await wait.wait() == 0
        sent, streams = len(mesh.plane.sent), len(mesh.plane.opened)
        await mesh.plane.start()
        await mesh.plane.until(lambda: any(NAMES in o for o in mesh.plane.opened[streams:]), 40)
        await mesh.plane.put(ROUTE, "r", route("r", says("two")))
        await mesh.load.answers(b"two")
        assert mesh.resent(sent) == []
        await mesh.stop()

    play(walk)


def test_identities_rotate_under_load_between_two_envoys(tmp_path: Path, binary: Path) -> None:
    plane = ControlPlane(TestCa(timedelta(seconds=12)))  # renewed every 3 s, which leaves a busy machine 9 s to do it
    port, inner = free_port(), free_port()
    load = Load(port)
    client, server = ProxyId("client", "shop"), ProxyId("server", "shop")

    async def walk() -> None:
        await plane.start()
        # One control plane for both: each Envoy takes what it is named after.
        await plane.put(CLUSTER, "server", cluster("server", inner))
        await plane.put(LISTENER, "out", listener("out", port, route_document("r", {"route": {"cluster": "server"}})))
        other = ControlPlane(plane.ca)
        await other.start()
        await other.put(LISTENER, "in", listener("in", inner, route_document("r", says("hello")), tls=True))
        workloads = [Workload(tmp_path, plane, client, renewAt=0.25), Workload(tmp_path, other, server, renewAt=0.25)]
        for workload in workloads:
            await workload.start_agent()
            await workload.start_envoy(binary)
        await load.answers(b"hello")
        pids = [w.envoy.pid for w in workloads if w.envoy]
        async with load.running():
            await asyncio.gather(*(p.until(lambda p=p: len(p.renewals) >= 2, 60) for p in (plane, other)))
            await workloads[0].kill_agent()
            await workloads[0].start_agent()
            await asyncio.gather(*(p.until(lambda p=p: len(p.renewals) >= 5, 60) for p in (plane, other)))
            done = load.done
            await until(lambda: load.done > done + 20)
        assert load.failures == [] and load.done > 100
        assert [w.envoy.pid for w in workloads if w.envoy and w.envoy.returncode is None] == pids
        assert [len(w.events("envoy.connected")) for w in workloads] == [2, 1], "only the killed agent's stream ended"
        assert len(set(plane.peers)) >= 4, "streams to the control plane are opened anew with the new identity"
        for workload in workloads:
            assert workload.rss() <= MAX_RSS_KB
            await workload.stop()
        await plane.stop()
        await other.stop()

    play(walk)
