# SPDX-License-Identifier: Apache-2.0
"""The same World gives the same bytes in every process, whatever the order of its sets and dicts."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from meshwright.model.meta import Ref
from meshwright.model.service import Protocol
from meshwright.translate.compile import CompileCache, compile_inbound, compile_outbound, make_snapshot, scope_key
from tests.unit.translate.small_world import SmallWorld, document, endpoint, port, proxy, service

ROOT = Path(__file__).parents[3]
SEEDS = ("0", "1", "4294967295")


def fingerprint() -> str:
    """sha256 over everything that one proxy gets."""
    world = SmallWorld()
    names = {f"s{i}" for i in range(20)}
    workload = Ref("WorkloadEntry", "shop", "me")
    for name in names:
        ports = {port(80), port(81, Protocol.HTTP2)} | ({port(5432, Protocol.TCP)} if name.endswith("3") else set())
        instances = [
            endpoint(f"10.0.0.{n}", {80: 80, 81: 81, 5432: 5432}, service_account=f"{name}-{n}", locality=f"eu/{n % 2}", workload=workload)
            for n in (1, 2, 3)
        ]
        # Ports come in the order of their document; the World's dict has any.
        world = world.with_service(service(f"{name}.shop.mesh", *sorted(ports, key=lambda p: p.number), vip=int(name[1:]) + 2), *instances)
    headers = {h: {"exact": "x"} for h in {"x-a", "x-b", "x-c", "x-d"}}
    http = [
        {"match": [{"headers": headers, "queryParams": headers, "withoutHeaders": headers}], "route": [{"destination": {"host": "s1"}}]}
    ]
    rules = [{"from": [{"source": {"namespaces": ["a"]}}], "to": [{"operation": {"paths": ["/a"]}}]} for _ in range(3)]
    world = world.with_resources(
        *(document("VirtualService", name, {"hosts": [name], "http": http}) for name in sorted(names)),
        *(document("AuthorizationPolicy", name, {"rules": rules}) for name in {"p", "q", "r", "s"}),
        document("DestinationRule", "s1", {"host": "s1", "subsets": [{"name": n, "labels": {"a": "b", "c": "d"}} for n in ("v1", "v2")]}),
    )
    me = proxy("me")
    world = replace(world, served={me.id: tuple(f"{name}.shop.mesh" for name in names)})
    snapshot = make_snapshot(compile_outbound(world, scope_key(me), CompileCache()), compile_inbound(world, me, None))
    digest = hashlib.sha256()
    for type in snapshot.layers:
        for name in snapshot.names(type):
            found = snapshot.get(type, name)
            assert found is not None
            digest.update(found.frame)
            digest.update(repr(found.origins).encode())
    return digest.hexdigest()


def test_the_same_bytes_whatever_the_hash_seed() -> None:
    code = "from tests.unit.translate.test_purity import fingerprint; print(fingerprint())"
    path = os.pathsep.join([str(ROOT), str(ROOT / "src"), *sys.path])
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in SEEDS
    ]
    seen = [run.communicate(timeout=60)[0].strip() for run in runs]
    assert [run.returncode for run in runs] == [0] * len(SEEDS)
    assert len(set(seen)) == 1
    assert len(seen[0]) == 64
