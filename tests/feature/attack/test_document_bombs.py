# SPDX-License-Identifier: Apache-2.0
"""A namespace's editor may write a mebibyte. What that is multiplied into on the way to every sidecar is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from meshwright.errors import Invalid
from meshwright.model.decode import decode

INSIDE = {"location": "MESH_INTERNAL", "resolution": "STATIC"}


def document(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    group = "security" if kind == "AuthorizationPolicy" else "networking"
    return {"apiVersion": f"{group}.istio.io/v1", "kind": kind, "metadata": {"name": "bomb", "namespace": "evil"}, "spec": spec}


def entry(hosts: int, ports: int, **more: Any) -> dict[str, Any]:
    named = [{"number": 1000 + i, "name": f"p{i}", "protocol": "HTTP"} for i in range(ports)]
    return {**INSIDE, "hosts": [f"h{i}.evil.mesh" for i in range(hosts)], "ports": named, **more}


def addresses(count: int) -> list[dict[str, Any]]:
    return [{"address": f"10.0.{i // 250}.{i % 250 + 1}"} for i in range(count)]


def rules(hosts: list[str], routes: int, choices: int = 1) -> dict[str, Any]:
    weights = [100, *([0] * (choices - 1))]
    route = [{"destination": {"host": f"h{i}"}, "weight": weight} for i, weight in enumerate(weights)]
    return {"hosts": hosts, "http": [{"match": [{"uri": {"exact": f"/{i}"}}], "route": route} for i in range(routes)]}


def subsets(count: int, **tls: Any) -> dict[str, Any]:
    policy = {"trafficPolicy": {"tls": tls}} if tls else {}
    return {"host": "h0", "subsets": [{"name": f"s{i}", "labels": {"v": f"v{i}"}} for i in range(count)], **policy}


def policy(paths: int, length: int = 4) -> dict[str, Any]:
    return {"rules": [{"to": [{"operation": {"paths": [f"/{i:0{length - 1}}" for i in range(paths)]}}]}]}


BOMBS: list[tuple[str, dict[str, Any], str]] = [
    ("ServiceEntry", entry(128, 5), "spec"),
    ("ServiceEntry", entry(129, 1), "spec.hosts"),
    ("ServiceEntry", entry(2, 256, endpoints=addresses(200)), "spec.endpoints"),
    ("ServiceEntry", entry(1, 1, subjectAltNames=[f"n{i}" for i in range(33)]), "spec.subjectAltNames"),
    ("ServiceEntry", entry(1, 1, exportTo=[f"ns{i}" for i in range(257)]), "spec.exportTo"),
    ("VirtualService", rules([f"h{i}.evil.mesh" for i in range(129)], 1), "spec.hosts"),
    ("VirtualService", rules(["*"], 129), "spec"),
    ("VirtualService", rules(["*.evil.mesh"], 13, choices=10), "spec"),
    ("VirtualService", rules([f"h{i}" for i in range(100)], 200), "spec"),
    ("DestinationRule", subsets(65), "spec.subsets"),
    ("DestinationRule", subsets(1, mode="ISTIO_MUTUAL", subjectAltNames=["a" * 2000] * 3), "spec.trafficPolicy.tls.subjectAltNames"),
    ("AuthorizationPolicy", policy(2049), "spec.rules"),
    ("AuthorizationPolicy", policy(100, length=1000), "spec.rules"),
    ("AuthorizationPolicy", {"rules": [{}] * 2049}, "spec.rules"),
]
LARGE_BUT_FINE: list[tuple[str, dict[str, Any]]] = [
    ("ServiceEntry", entry(1, 256)),
    ("ServiceEntry", entry(100, 2)),
    ("ServiceEntry", entry(1, 3, endpoints=addresses(5_000))),
    ("VirtualService", rules(["h0"], 5_000)),
    ("VirtualService", rules(["*"], 100)),
    ("DestinationRule", subsets(64, mode="ISTIO_MUTUAL", subjectAltNames=["spiffe://cluster.local/ns/a/sa/b"] * 32)),
    ("AuthorizationPolicy", policy(2_000)),
]


@pytest.mark.parametrize(("kind", "spec", "path"), BOMBS)
def test_what_would_be_multiplied_beyond_measure_is_refused(kind: str, spec: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as refused:
        decode(document(kind, spec))
    assert (path, "OutOfRange") in [(violation.path, violation.reason) for violation in refused.value.violations]


@pytest.mark.parametrize(("kind", "spec"), LARGE_BUT_FINE)
def test_large_documents_of_honest_users_are_taken(kind: str, spec: dict[str, Any]) -> None:
    assert decode(document(kind, spec)).kind == kind
