# SPDX-License-Identifier: Apache-2.0
"""A tenant that declares everybody's outside host for itself alone."""

from __future__ import annotations

from typing import Any

import pytest

from meshwright.model.meta import Ref
from tests.feature.control.fleet import Lab, lab
from tests.feature.control.mesh import document, instance, node


def outside(name: str, namespace: str, address: str) -> dict[str, Any]:
    spec = {"hosts": ["api.example.com"], "location": "MESH_EXTERNAL", "resolution": "STATIC", "exportTo": ["."]}
    ports = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    return document("ServiceEntry", name, {**spec, "ports": ports, "endpoints": [{"address": address}]}, namespace)


@pytest.mark.parametrize("mine_first", [True, False])
def test_a_tenant_that_declares_everybodys_outside_host_for_itself_takes_it_from_nobody(mine_first: bool) -> None:
    """With the real controller: whoever was first, each has its own."""
    mine, evil = outside("mine", "shop", "192.0.2.1"), outside("a", "evil", "192.0.2.66")

    async def story(lab: Lab) -> None:
        await lab.mesh.put(node("vm1", "web-1"), instance("web-1", "192.0.2.9", "web"))
        for entry in (mine, evil) if mine_first else (evil, mine):
            await lab.mesh.put(entry)
            await lab.time.advance(1)
        [web] = await lab.connect("web-1.shop")
        assert "outbound|80||api.example.com" in web.versions["CLUSTER"]
        before = dict(web.versions)
        await lab.mesh.delete("ServiceEntry", "a", "evil")
        await lab.time.advance(1)
        assert web.versions == before
        accepted = lab.controller.conditions(Ref("ServiceEntry", "shop", "mine"))[0]
        assert (accepted.type, accepted.status) == ("Accepted", "True")

    lab(story)
