# SPDX-License-Identifier: Apache-2.0
"""What became of each document, in one truthful line: what was stored, and whether the proxies run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WRITTEN = ("created", "configured", "deleted")
Rollouts = Mapping[int, Mapping[str, Any]]
"""By revision, as GET /mesh/v1/rollouts/R answers."""


def refusing(one: Mapping[str, Any], results: Sequence[Mapping[str, Any]], rollouts: Rollouts) -> list[str]:
    """The proxies that refuse what `one` of the results changed: whose refusal names its document, or, at its revision, none of these."""
    named = {other["resource"] for other in results}
    found = set()
    for revision, rollout in rollouts.items():
        for refusal in rollout.get("rejections", ()) if rollout["state"] == "rejected" else ():
            refs = set(refusal.get("refs", ()))
            if one["resource"] in refs or (revision == one["revision"] and one["result"] in WRITTEN and not refs & named):
                found.add(refusal["proxy"])
    return sorted(found)


def line(one: Mapping[str, Any], rollouts: Rollouts, *, waited: bool) -> str:
    """`VirtualService/shop/reviews created, but refused by 1 of 4 proxies`. `one` has `refusedBy` by now."""
    said = f"{one['resource']} {one['result']}"
    if one["refusedBy"]:
        total = max(rollout["proxies"]["total"] for rollout in rollouts.values())
        how = "but refused by {} of {} proxies" if one["result"] != "deleted" else "but {} of {} proxies refuse what is there without it"
        return f"{said}, {how.format(len(one['refusedBy']), total)}"
    if one.get("standing"):
        return f"{said}, and still refused by proxies"
    if waited and one["result"] in WRITTEN:
        rollout = rollouts.get(one["revision"])
        if rollout is None:
            return f"{said}, but who runs it is not known"
        if rollout["state"] == "pending":
            return f"{said}, but not everywhere yet"
    return said


def way_out(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to do about documents that are stored and refused: how to see more, how to undo; nothing when there is none."""
    found = [one for one in results if one["refusedBy"] or one.get("standing")]
    if not found:
        return []
    proxies = sorted({proxy for one in found for proxy in one["refusedBy"]})
    more = f"`meshwright proxy {proxies[0]}`" if proxies else "`meshwright proxies`"
    lines = [f"What is refused is stored all the same; these proxies keep what they ran before. See more: {more}. Undo:"]
    for one in found:
        kind, namespace, name = one["resource"].split("/", 2)
        delete = f"meshwright delete {kind} {name} -n {namespace}"
        ways = {"created": delete, "deleted": f"apply {one['resource']} again"}
        lines.append("  " + ways.get(one["result"], f"apply {one['resource']} as it was before, or: {delete}"))
    return lines
