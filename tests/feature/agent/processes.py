# SPDX-License-Identifier: Apache-2.0
"""Real processes beside a test: an agent and an Envoy of one workload, and load."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from meshwright.model.identity import ProxyId

from .control_plane import SERVER_NAME, TRUST_DOMAIN, ControlPlane, write_identity

SOURCES = Path(__file__).resolve().parents[3] / "src"
Json = dict[str, Any]
_STARTED: list[asyncio.subprocess.Process] = []


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Polls; for what no process tells us about."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def write_settings(root: Path, proxy: ProxyId, **settings: Any) -> Path:
    """An agent's settings for files under `root`."""
    document = {
        "node": "vm1",
        "workload": {"namespace": proxy.namespace, "name": proxy.name},
        "trustDomain": TRUST_DOMAIN,
        "serverName": SERVER_NAME,
        "caFile": str(root / "ca.pem"),
        "stateDir": str(root / "state"),
        "runDir": str(root / "run"),
        "attest": {"method": "ssh_host", "hostKey": "/nowhere"},
        **settings,
    }
    path = root / "agent.json"
    path.write_text(json.dumps(document))
    return path


async def run_agent(*arguments: str, stderr: Any = asyncio.subprocess.PIPE, **env: str) -> asyncio.subprocess.Process:
    """`meshwright agent ARGUMENTS`."""
    process = await asyncio.create_subprocess_exec(
        *(os.environ.get("MESHWRIGHT_AGENT_PYTHON", sys.executable), "-m", "meshwright.agent", *arguments),
        env={**os.environ, "PYTHONPATH": str(SOURCES), **env},
        stderr=stderr,
        stdout=asyncio.subprocess.PIPE,
    )
    _STARTED.append(process)
    return process


class Workload:
    """The files and processes of one workload under `root`. Unix socket paths are short, so `root` should be."""

    def __init__(self, root: Path, plane: ControlPlane, proxy: ProxyId = ProxyId("web", "shop"), **settings: Any) -> None:  # noqa: B008
        self.root = root / str(proxy)
        self.plane = plane
        self.proxy = proxy
        self.run_dir = self.root / "run"
        self.state_dir = self.root / "state"
        self.run_dir.mkdir(parents=True)
        write_identity(plane.ca, self.state_dir, proxy)
        (self.root / "ca.pem").write_bytes(plane.ca.bundle)
        there = f"127.0.0.1:{plane.port}"
        self.config = write_settings(self.root, proxy, api=f"https://{there}", discovery=there, **settings)
        self.agent: asyncio.subprocess.Process | None = None
        self.envoy: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> list[Json]:
        """What the agent said."""
        path = self.root / "agent.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def events(self, name: str) -> list[Json]:
        return [line for line in self.log if line["event"] == name]

    async def command(self, *arguments: str, **env: str) -> asyncio.subprocess.Process:
        with (self.root / "agent.log").open("ab") as log:
            return await run_agent(arguments[0], "-c", str(self.config), *arguments[1:], stderr=log, **env)

    async def start_agent(self) -> None:
        """Returns when it is ready, which it says as it would to systemd."""
        notify = self.root / "notify.sock"
        notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.bind(str(notify))
            channel.setblocking(False)
            self.agent = await self.command("run", NOTIFY_SOCKET=str(notify))
            ended = asyncio.create_task(self.agent.wait())
            ready = asyncio.create_task(asyncio.get_running_loop().sock_recv(channel, 4096))
            await asyncio.wait({ended, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=20)
            assert ready.done() and b"READY=1" in ready.result(), self.log
            ended.cancel()

    async def kill_agent(self) -> None:
        assert self.agent is not None
        self.agent.kill()
        await self.agent.wait()

    async def stop(self) -> None:
        for process in (self.envoy, self.agent):
            if process is not None and process.returncode is None:
                process.send_signal(signal.SIGKILL if process is self.envoy else signal.SIGTERM)
                await process.wait()

    async def start_envoy(self, binary: Path, **bootstrap: Any) -> None:
        (self.root / "envoy.json").write_text(json.dumps({**self.bootstrap(), **bootstrap}))
        arguments = ["-c", str(self.root / "envoy.json"), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        with (self.root / "envoy.log").open("ab") as log:
            self.envoy = await asyncio.create_subprocess_exec(str(binary), *arguments, stderr=log, stdout=log)
        _STARTED.append(self.envoy)

    def bootstrap(self) -> Json:
        retry = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "0.5s"}}
        api = {
            "api_type": "DELTA_GRPC",
            "transport_api_version": "V3",
            "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": "meshwright-agent", "retry_policy": retry}}],
        }
        pings = {"connection_keepalive": {"interval": "0.3s", "timeout": "5s"}}  # many, to see that the agent does not mind
        http2 = {"explicit_http_config": {"http2_protocol_options": pings}}
        cluster = {
            "name": "meshwright-agent",
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "meshwright-agent", "endpoints": [{"lb_endpoints": [self._socket("agent.sock")]}]},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    **http2,
                }
            },
        }
        ads = {"ads": {}, "resource_api_version": "V3"}
        return {
            "node": {"id": str(self.proxy), "cluster": self.proxy.namespace},
            "admin": {"address": {"pipe": {"path": str(self.run_dir / "admin.sock"), "mode": 0o600}}},
            "dynamic_resources": {"ads_config": api, "cds_config": ads, "lds_config": ads},
            "static_resources": {"clusters": [cluster]},
        }

    def _socket(self, name: str) -> Json:
        return {"endpoint": {"address": {"pipe": {"path": str(self.run_dir / name)}}}}

    def rss(self) -> int:
        """The agent's resident memory in kB."""
        assert self.agent is not None
        for line in Path(f"/proc/{self.agent.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")


class Load:
    """One request after the other, each on a connection of its own; what didn't answer 200 is kept in `failures`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.done = 0
        self.failures: list[str] = []

    async def one(self) -> tuple[int, bytes]:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = await reader.read()
            finally:
                writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), body

    async def _run(self) -> None:
        while True:
            try:
                status, body = await self.one()
                if status != 200:
                    self.failures.append(f"{status} {body[:100]!r}")
            except (OSError, IndexError, ValueError, TimeoutError) as error:
                self.failures.append(repr(error))
            self.done += 1
            await asyncio.sleep(0.005)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Load]:
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def answers(self, expected: bytes, seconds: float = 20.0) -> None:
        """Waits until the port answers 200 with this body."""
        async with asyncio.timeout(seconds):
            while True:
                with contextlib.suppress(OSError, IndexError, ValueError):
                    if await self.one() == (200, expected):
                        return
                await asyncio.sleep(0.02)


def play(walk: Callable[[], Awaitable[None]]) -> None:
    """Runs a test's coroutine, and ends what processes it left behind."""

    async def played() -> None:
        try:
            async with asyncio.timeout(120):
                await walk()
        finally:
            for process in _STARTED:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            _STARTED.clear()

    asyncio.run(played())
