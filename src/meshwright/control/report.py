# SPDX-License-Identifier: Apache-2.0
"""What operators read: the proxies as the API shows them, and numbers for metrics. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshwright.control.distributor import Distributor
from meshwright.control.intake import Intake
from meshwright.control.rollout import Ledger
from meshwright.control.session import ProxyState
from meshwright.control.times import rfc3339
from meshwright.model.identity import ProxyId
from meshwright.model.proxy import Proxy
from meshwright.model.world import World


class Report:
    def __init__(self, intake: Intake, ledger: Ledger, distributor: Distributor) -> None:
        self._intake = intake
        self._ledger = ledger
        self._distributor = distributor

    def proxies(self, world: World) -> list[dict[str, Any]]:
        return [self._proxy(world, proxy) for _, proxy in sorted(world.proxies.items())]

    def proxy(self, world: World, id: ProxyId) -> dict[str, Any] | None:
        proxy = world.proxies.get(id)
        return self._proxy(world, proxy) if proxy is not None else None

    def _proxy(self, world: World, proxy: Proxy) -> dict[str, Any]:
        state = self._ledger.state(proxy.id) or ProxyState()
        newest = state.sessions[-1] if state.sessions else None
        # A configuration that didn't change since it was ACKed is that of the World being served.
        revision = self._ledger.served if state.connected and state.synced else max(state.acked, 0 if newest else state.acked_before)
        return {
            "id": str(proxy.id),
            "namespace": proxy.id.namespace,
            "name": proxy.id.name,
            "node": proxy.node,
            "spiffeId": str(proxy.spiffe_id(world.mesh.trust_domain)),
            "banned": proxy.banned,
            "connected": state.connected,
            "connectedSince": rfc3339(newest.since) if newest else None,
            "address": newest.peer.address if newest else None,
            "revision": revision,
            "sync": sync_of(state),
            "rejections": _rejections(state),
            "svid": self._intake.svid(str(proxy.id)),
            "envoyVersion": newest.peer.envoy_version if newest else None,
        }

    def stats(self, world: World) -> Mapping[str, Any]:
        """Numbers by name; a mapping is one number a label value; `_total` at the end: it only grows."""
        counts = dict.fromkeys(("SYNCED", "PENDING", "REJECTED", "AWAY"), 0)
        for state in self._ledger.proxies.values():
            counts[sync_of(state)] += 1
        pushes = self._ledger.push_seconds
        return {
            "proxies": {word.lower(): count for word, count in counts.items()},
            "proxies_connected": sum(state.connected for state in self._ledger.proxies.values()),
            "streams": sum(len(state.sessions) for state in self._ledger.proxies.values()),
            "scopes": self._distributor.scopes,
            "revision": self._ledger.served,
            "rollouts_unfinished": self._ledger.unfinished,
            "refusals_total": self._ledger.refusals,
            "compile_failures": len(self._distributor.failures()),
            "documents_unreadable": len(self._intake.unreadable),
            "pushes_total": pushes.count,
            "push_seconds_total": pushes.sum,
            "pushes_within_seconds_total": pushes.cumulative(),
            "world_services": len(world.services),
            "world_proxies": len(world.proxies),
        }


def sync_of(state: ProxyState) -> str:
    """SYNCED | PENDING | REJECTED | AWAY."""
    if not state.connected:
        return "AWAY"
    if any(session.standing for session in state.sessions):
        return "REJECTED"
    return "SYNCED" if state.synced else "PENDING"


def _rejections(state: ProxyState) -> list[dict[str, Any]]:
    found = []
    for session in state.sessions:
        for (type, name), standing in sorted(session.standing.items(), key=lambda item: (item[0][0].value, item[0][1])):
            refusal = standing.refusal
            refs = [str(ref) for ref in sorted(standing.blame)]
            found.append(
                {
                    "type": type.value,
                    "name": name,
                    "message": refusal.message,
                    "revision": refusal.revision,
                    "refs": refs,
                    "since": rfc3339(standing.since),
                }
            )
    return found
