# Copyright (c) 2026, Meshwright contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting until the proxies concerned run what was stored."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.meshwright.mesh.plugins.module_utils.api_client import ApiClient, ApiError

LONGEST_POLL = 20


def wait_for_rollouts(
    client: ApiClient, revisions: t.Iterable[int], timeout: float, clock: t.Callable[[], float] = time.monotonic
) -> dict[str, t.Any]:
    """Waits for each revision within one time and adds the answers up: `state` is rejected before pending before done; proxies that are
    pending or away in any of them, each once; total and acked of the largest. A revision that the control plane no longer follows
    (it is long ago) counts as done; one that it never reached (its store is an older one) is an ApiError. Shape: as
    GET /mesh/v1/rollouts/R, without the times but `seconds`."""
    deadline = clock() + timeout
    started = clock()
    total = acked = 0
    pending: dict[str, None] = {}
    away: dict[str, None] = {}
    rejections: list[dict[str, t.Any]] = []
    for revision in sorted(set(revisions)):
        answer = _wait(client, revision, deadline, clock)
        if answer is None:
            continue
        proxies = answer.get("proxies") or {}
        total, acked = max(total, proxies.get("total") or 0), max(acked, proxies.get("acked") or 0)
        pending.update(dict.fromkeys(proxies.get("pending") or [] if answer.get("state") == "pending" else []))
        away.update(dict.fromkeys(proxies.get("away") or []))
        rejections += [one for one in answer.get("rejections") or [] if one not in rejections]
    state = "rejected" if rejections else "pending" if pending else "done"
    return {
        "state": state,
        "proxies": {"total": total, "acked": acked, "pending": list(pending), "away": list(away)},
        "rejections": rejections,
        "seconds": round(clock() - started, 3),
    }


def _wait(client: ApiClient, revision: int, deadline: float, clock: t.Callable[[], float]) -> dict[str, t.Any] | None:
    while True:
        left = deadline - clock()
        wait = min(max(int(left), 0), LONGEST_POLL)
        try:
            answer = client.get("/mesh/v1/rollouts/%d" % revision, {"wait": str(wait)}, extra_time=wait).data
        except ApiError as error:
            if error.status == 410:
                return None
            raise
        if answer.get("state") != "pending" or left <= 1:
            return answer


def refusal(rejections: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """A sentence for each: who refused what, whose it is, and Envoy's own words."""
    return "; ".join(
        "proxy %s refused %s %s%s: %s"
        % (
            one.get("proxy"),
            _short_type(one.get("type")),
            one.get("name"),
            " (from %s)" % ", ".join(one["refs"]) if one.get("refs") else "",
            one.get("message"),
        )
        for one in rejections
    )


def _short_type(type_url: str | None) -> str:
    return (type_url or "resource").rpartition(".")[2]
