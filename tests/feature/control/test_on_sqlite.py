# SPDX-License-Identifier: Apache-2.0
"""The controller on the store that is used in earnest, with the machine's own clock and timers."""

from __future__ import annotations

import asyncio
from pathlib import Path

from meshwright.clock import SystemClock
from meshwright.control.controller import Controller, Options
from meshwright.control.holdoff import HoldOff
from meshwright.model.identity import ProxyId
from meshwright.store.sqlite import SqliteStore
from tests.feature.control.fleet import FakeProxy
from tests.feature.control.mesh import MESH, Mesh, instance, node, route, service


def test_many_writers_one_world(tmp_path: Path) -> None:
    async def write(mesh: Mesh, controller: Controller, writer: int) -> None:
        for number in range(10):
            revision = await mesh.put(route(f"r{writer}", f"s{writer}.shop.mesh", timeout=f"{number + 1}s"))
            found = await controller.wait(revision, 20)
            assert found["state"] == "done" and found["proxies"]["total"] == 3
            revision = await mesh.put(instance(f"s{writer}-{number}", f"192.0.2.{number}", f"s{writer}"))
            assert (await controller.wait(revision, 20))["state"] == "done"

    async def main() -> None:
        store = await SqliteStore.open(tmp_path / "store.db")
        mesh = Mesh(store)
        await mesh.put(*(service(f"s{number}") for number in range(6)), node("vm1", "a-1", "a-2", "a-3"))
        controller = Controller(store, SystemClock(), MESH, Options(hold_off=HoldOff(0.002, 0.02)))
        task = asyncio.create_task(controller.run())
        assert (await controller.wait(1, 20))["state"] == "done"
        proxies = [FakeProxy(f"a-{number}.shop") for number in (1, 2, 3)]
        for proxy in proxies:
            proxy.connect(controller)
        async with asyncio.TaskGroup() as group:
            for writer in range(6):
                group.create_task(write(mesh, controller, writer))
        assert [proxy.revision for proxy in proxies] == [controller.revision] * 3 == [1 + 6 * 20] * 3
        assert proxies[0].versions == proxies[1].versions == proxies[2].versions
        found = controller.proxy(ProxyId("a-1", "shop"))
        assert found is not None and found["sync"] == "SYNCED"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.close()

    asyncio.run(asyncio.wait_for(main(), 60))
