# SPDX-License-Identifier: Apache-2.0
"""One golden case: tests/golden/cases/NAME/in.yaml goes through decode, World and compile; out/PROXY.yaml is what that proxy runs.

in.yaml has documents of the rule API, and documents without a kind: nodes as in model.proxy.Node. Documents are applied in their order,
each a second younger than the one before.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML

from meshwright.model.decode import decode
from meshwright.model.identity import ProxyId
from meshwright.model.meta import Resource
from meshwright.model.proxy import Node
from meshwright.model.snapshot import Snapshot
from meshwright.model.world import Change, World, allocate_vips
from meshwright.translate.bootstrap import snapshot_json
from meshwright.translate.compile import CompileCache, compile_inbound, compile_outbound, make_snapshot, scope_key

CASES = Path(__file__).parent / "cases"


def case_names() -> list[str]:
    return sorted(path.name for path in CASES.iterdir() if (path / "in.yaml").exists())


def read_world(case: str) -> World:
    world = World.empty()
    for number, document in enumerate(YAML(typ="safe").load_all((CASES / case / "in.yaml").read_text())):
        if "kind" in document:
            resource = _aged(decode(document), number)
            if resource.kind == "ServiceEntry":
                resource = allocate_vips(world, resource)
            world, _ = world.apply([Change(ref=resource.ref, resource=resource)], number + 1)
        else:
            node = msgspec.convert(document, Node)
            world, _ = world.apply([Change(node_name=node.name, node=node)], number + 1)
    return world


def snapshots(world: World) -> dict[ProxyId, Snapshot]:
    """Of every enrolled proxy; those of one scope share their outbound part."""
    cache = CompileCache()
    outbound = {key: compile_outbound(world, key, cache) for key in sorted({scope_key(proxy) for proxy in world.proxies.values()})}
    return {
        id: make_snapshot(outbound[scope_key(proxy)], compile_inbound(world, proxy, None)) for id, proxy in sorted(world.proxies.items())
    }


def rendered(snapshot: Snapshot) -> str:
    """The snapshot as YAML with sorted keys, and what each resource was made from."""
    origins = {
        f"{type.name} {name}": [str(ref) for ref in found.origins]
        for type in snapshot.layers
        for name in snapshot.names(type)
        if (found := snapshot.get(type, name)) is not None
    }
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 160
    out = io.StringIO()
    yaml.dump(_sorted({**snapshot_json(snapshot), "origins": origins}), out)
    return "# SPDX-License-Identifier: Apache-2.0\n" + out.getvalue()


def expected_files(case: str) -> dict[Path, str]:
    """Path -> content of everything below out/ of a case."""
    world = read_world(case)
    return {CASES / case / "out" / f"{id}.yaml": rendered(snapshot) for id, snapshot in snapshots(world).items()}


def _aged(resource: Resource, second: int) -> Resource:
    stamp = f"2026-01-01T00:00:{second:02d}Z"
    return msgspec.structs.replace(resource, metadata=msgspec.structs.replace(resource.metadata, creation_timestamp=stamp))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
