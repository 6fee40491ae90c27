# Copyright (c) 2026, Meshwright contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A node as the API has it (Node of GET /mesh/v1/nodes), and from a task's options."""

from __future__ import annotations

import typing as t

PROXY_DEFAULTS = {"inboundPort": 15006, "loopback": "127.240", "ipFamilies": ["IPv4"]}


def from_options(workload: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """One entry of the option `workloads` as the API writes it."""
    return full_workload(
        {
            "name": workload["name"],
            "namespace": workload.get("namespace"),
            "serviceAccount": workload.get("service_account"),
            "labels": workload.get("labels"),
            "proxy": {
                "inboundPort": workload.get("inbound_port"),
                "loopback": workload.get("loopback"),
                "ipFamilies": workload.get("ip_families"),
            },
        }
    )


def full_workload(workload: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """With every default written out, so that two can be compared."""
    proxy = workload.get("proxy") or {}
    return {
        "name": workload["name"],
        "namespace": workload.get("namespace") or "default",
        "serviceAccount": workload.get("serviceAccount") or "default",
        "labels": {str(key): str(value) for key, value in (workload.get("labels") or {}).items()},
        "proxy": {key: proxy.get(key) or default for key, default in PROXY_DEFAULTS.items()},
    }


def full_node(node: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """With every default written out and without what the server adds; keys and workloads in an order of their own."""
    workloads = [full_workload(one) for one in node.get("workloads") or []]
    return {
        "name": node["name"],
        "sshHostKeys": sorted(node.get("sshHostKeys") or []),
        "workloads": sorted(workloads, key=lambda one: (one["namespace"], one["name"])),
        "banned": bool(node.get("banned")),
    }


def key_owner(nodes: t.Iterable[t.Mapping[str, t.Any]], name: str, keys: t.Iterable[str]) -> str | None:
    """The other node that has one of these host keys."""
    mine = set(keys)
    for node in nodes:
        if node["name"] != name and mine.intersection(node.get("sshHostKeys") or []):
            return node["name"]
    return None
