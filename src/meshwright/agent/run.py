# SPDX-License-Identifier: Apache-2.0
"""`meshwright agent run`: the process that stays beside an Envoy. Kept small: the standard library and gRPC, nothing else."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from meshwright.agent import log, state, status, upstream
from meshwright.agent.backoff import Backoff
from meshwright.agent.exits import ATTEST_ANEW, CONFIG, FAILED, OK
from meshwright.agent.names import NamesFile
from meshwright.agent.notify import notify
from meshwright.agent.relay import Parts, Relay
from meshwright.agent.rotation import Rotation, World
from meshwright.agent.sds import SDS, Secrets
from meshwright.agent.settings import Settings

RENEW_SECONDS = 60.0
STOP_SECONDS = 1.0
_SERVER_OPTIONS = (
    ("grpc.max_receive_message_length", upstream.MAX_MESSAGE),
    ("grpc.so_reuseport", 0),
    # Envoy pings as often as its bootstrap says; gRPC's default is to hang up on the third within five quiet minutes.
    ("grpc.http2.min_ping_interval_without_data_ms", 100),
    ("grpc.http2.max_ping_strikes", 0),
)


def run(settings: Settings, settings_file: Path) -> int:
    """Serves until SIGTERM; the exit status."""
    os.umask(0o077)
    identity = state.load(settings.state_dir)
    if identity is None:
        log.error("run.no_identity", hint=f"run meshwright agent attest -c {settings_file} first")
        return CONFIG
    return asyncio.run(_Agent(settings, settings_file, identity).run())


class _Agent:
    """Everything that serves, put together."""

    def __init__(self, settings: Settings, settings_file: Path, identity: state.Identity) -> None:
        self._settings = settings
        self._settings_file = settings_file
        node_id = str(settings.proxy)
        self._secrets = Secrets(identity, node_id)
        self._rotation = Rotation(self._world(), identity, settings.renew_at)
        self._relay = Relay(Parts(node_id, self._dial, NamesFile(settings.run_dir / "names"), _backoff, self._report))
        self._told: dict[str, object] = {}

    def _dial(self) -> Any:
        return upstream.channel(self._settings, self._rotation.identity)

    def _world(self) -> World:
        return World(
            now=lambda: datetime.now(timezone.utc),
            sleep=asyncio.sleep,
            uniform=random.SystemRandom().uniform,
            renew=self._renew,
            load=lambda: state.load(self._settings.state_dir),
            reachable=lambda: upstream.reachable(self._settings),
            renewed=self._renewed,
        )

    async def run(self) -> int:
        server = await self._listen()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        gc.collect()
        gc.freeze()  # what lives now lives for ever: not to be walked again
        notify(READY="1")
        self._report()
        log.info("run.serving", socket=str(self._settings.agent_socket), proxy=str(self._settings.proxy))
        rotation = asyncio.create_task(self._rotation.run())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({rotation, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return self._verdict(rotation)
        finally:
            notify(STOPPING="1")
            rotation.cancel()
            stopping.cancel()
            await server.stop(STOP_SECONDS)

    def _verdict(self, rotation: asyncio.Task[str]) -> int:
        if not rotation.done():
            return OK
        error = rotation.exception()
        if error is not None:
            log.error("run.failed", message=f"{type(error).__name__}: {error}")
            return FAILED
        state.mark_refused(self._settings.state_dir)
        log.error("run.attest_anew", reason=rotation.result())
        return ATTEST_ANEW

    async def _listen(self) -> Any:
        path = self._settings.agent_socket
        server = grpc.aio.server(options=_SERVER_OPTIONS)
        handlers = {upstream.ADS: self._relay.serve, SDS: self._secrets.serve}
        server.add_generic_rpc_handlers((_Routes(handlers),))
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        path.chmod(0o600)
        return server

    async def _renew(self) -> int:
        """Runs the child that may import what this process must not."""
        command = (sys.executable, "-m", "meshwright.agent", "renew", "-c", str(self._settings_file))
        child = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
        try:
            return await asyncio.wait_for(child.wait(), RENEW_SECONDS)
        except asyncio.TimeoutError:
            return FAILED
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()

    def _renewed(self, identity: state.Identity) -> None:
        self._secrets.update(identity)
        self._relay.redial()
        self._report()

    def _report(self) -> None:
        """Tells systemd and whoever asks for the status."""
        life = self._rotation.identity.life
        facts: dict[str, object] = {
            "connected": self._relay.connected,
            "envoys": self._relay.envoys,
            "serial": life.serial,
            "notAfter": life.not_after.isoformat(),
        }
        if facts == self._told:
            return
        self._told = facts
        there = (
            "connected to the control plane" if self._relay.connected else "control plane away" if self._relay.envoys else "no Envoy yet"
        )
        notify(STATUS=f"{there}; identity until {life.not_after:%Y-%m-%d %H:%M:%SZ}")
        try:
            status.write(self._settings.run_dir, facts)
        except OSError as error:
            log.warning("status.unwritten", message=str(error))


class _Routes(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Bytes in, bytes out, two methods."""

    def __init__(self, handlers: dict[str, Any]) -> None:
        self._handlers = {path: grpc.stream_stream_rpc_method_handler(handler) for path, handler in handlers.items()}

    def service(self, handler_call_details: Any) -> Any:
        return self._handlers.get(handler_call_details.method)


def _backoff() -> Backoff:
    return Backoff(random.SystemRandom().uniform)
