# SPDX-License-Identifier: Apache-2.0
"""`meshwright agent ...`, also `python -m meshwright.agent ...`: each command imports only what it needs."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

from meshwright.agent import log, settings
from meshwright.agent.exits import CONFIG, FAILED, OK
from meshwright.errors import ConfigError

DEFAULT_ATTEST_SECONDS = 45.0  # less than a unit usually has to start
DEFAULT_READY_SECONDS = 60.0


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status (agent/exits.py)."""
    arguments = _parser().parse_args(argv)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its lines are no JSON; what matters comes as errors of calls
    log.configure()
    try:
        return _dispatch(arguments, settings.load(arguments.config))
    except ConfigError as error:
        log.error(f"{arguments.command}.config", message=str(error))
        return CONFIG


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="meshwright agent", description="The agent beside the Envoy of one workload.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("attest", "get the first identity (root; before the agent's unit starts)"),
        ("renew", "get the next identity with the current one"),
        ("run", "serve this workload's Envoy"),
        ("wait-ready", "wait until Envoy serves and nothing warms"),
        ("status", "print agent, identity and Envoy as JSON"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="the workload's settings (JSON)")
        if name in ("attest", "wait-ready"):
            default = DEFAULT_ATTEST_SECONDS if name == "attest" else DEFAULT_READY_SECONDS
            command.add_argument("--timeout", type=float, default=default, metavar="SECONDS", help="give up after (default: %(default)s)")
    return parser


def _dispatch(arguments: argparse.Namespace, loaded: settings.Settings) -> int:
    if arguments.command == "run":
        _without_openssl()
        from meshwright.agent.run import run

        return run(loaded, arguments.config.absolute())
    if arguments.command == "renew":
        from meshwright.agent.renew import renew

        os.umask(0o077)
        return renew(loaded)
    if arguments.command == "attest":
        return _attest(loaded, arguments.timeout)
    if arguments.command == "wait-ready":
        return _wait_ready(loaded, arguments.timeout)
    from meshwright.agent.status import status

    print(json.dumps(status(loaded), indent=2))
    return OK


def _without_openssl() -> None:
    """gRPC brings its own TLS; the standard library's (5 MB) would be loaded for nothing. asyncio and hashlib do without when it can't be
    imported."""
    sys.modules.setdefault("ssl", None)  # type: ignore[arg-type]
    sys.modules.setdefault("_hashlib", None)  # type: ignore[arg-type]


def _attest(loaded: settings.Settings, seconds: float) -> int:
    from meshwright.agent.attest import Attempts, attest
    from meshwright.agent.backoff import Backoff

    os.umask(0o077)
    return attest(loaded, Attempts(seconds, Backoff(random.SystemRandom().uniform, base=1.0, limit=10.0)))


def _wait_ready(loaded: settings.Settings, seconds: float) -> int:
    from meshwright.agent.ready import wait_ready

    seen = wait_ready(loaded.admin_socket, seconds=seconds)
    if seen.ready:
        log.info("envoy.ready", listeners=len(seen.active))
        return OK
    log.error("envoy.not_ready", state=seen.state, warming=list(seen.warming), clusters=seen.warming_clusters, refused=list(seen.refused))
    return FAILED
