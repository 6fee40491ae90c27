# SPDX-License-Identifier: Apache-2.0
"""`meshwright agent status`: what the agent wrote about itself, the identity on disk and the Envoy beside it, as one JSON object."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from meshwright.agent import state
from meshwright.agent.settings import Settings
from meshwright.errors import ConfigError


def status_file(run_dir: Path) -> Path:
    """Where `run` says how it is."""
    return run_dir / "status.json"


def write(run_dir: Path, facts: dict[str, object]) -> None:
    """Of `run`: whole or not at all."""
    state.write_atomic(status_file(run_dir), (json.dumps(facts) + "\n").encode(), 0o644)


def status(settings: Settings) -> dict[str, Any]:
    """`{"proxyId", "svid": {"serial", "notBefore", "notAfter", "lifeLeft"} | null, "agent": {...} | null, "envoy": {...}}`."""
    from meshwright.agent import ready  # `run` imports this module too, and has no use for an HTTP client

    try:
        agent = json.loads(status_file(settings.run_dir).read_bytes())
    except (OSError, ValueError):
        agent = None
    envoy = ready.envoy_state(settings.admin_socket)
    return {
        "proxyId": str(settings.proxy),
        "svid": _svid(settings),
        "agent": agent,
        "envoy": {**envoy._asdict(), "ready": envoy.ready},
    }


def _svid(settings: Settings) -> dict[str, Any] | None:
    try:
        identity = state.load(settings.state_dir)
    except ConfigError as error:
        return {"error": str(error)}
    if identity is None:
        return None
    life = identity.life
    return {
        "serial": life.serial,
        "notBefore": life.not_before.isoformat(),
        "notAfter": life.not_after.isoformat(),
        "lifeLeft": round(life.left(datetime.now(timezone.utc)), 3),
    }
