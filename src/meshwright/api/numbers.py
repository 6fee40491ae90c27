# SPDX-License-Identifier: Apache-2.0
"""Which numbers, and so which loopback addresses, the hosts of ServiceEntries have been given. The World is behind the store by the
hold-off: two services stored one after the other must not get one number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from meshwright.errors import Invalid
from meshwright.model.meta import AddressStatus, Resource
from meshwright.model.world import World, allocate_vips
from meshwright.store.base import Store

PREFIX = "240.240."
_ENTRIES = "resources/ServiceEntry/"


class _Status(msgspec.Struct):
    addresses: tuple[AddressStatus, ...] = ()


class _Stored(msgspec.Struct):
    """As much of a stored document as is needed here."""

    status: _Status = msgspec.field(default_factory=_Status)


class Numbers:
    """Those given so far. The only writer of ServiceEntries is this process, one at a time, so what it remembers is true; numbers that
    became free are given again only when there are no others, because names are cached."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._given: set[int] | None = None

    async def complete(self, world: World, resource: Resource) -> Resource:
        """The resource with an address for each of its hosts. Nothing is given yet: see `keep`. Raises Invalid when there are none left."""
        if self._given is None:
            self._given = await self._stored()
        try:
            return allocate_vips(world, resource, self._given)
        except Invalid:
            self._given = await self._stored()
            return allocate_vips(world, resource, self._given)

    def keep(self, resource: Resource) -> None:
        """These addresses are given now. Called before they are stored: one given in vain is better than one given twice."""
        if self._given is not None:
            self._given.update(_numbers_of(resource.status.addresses))

    async def _stored(self) -> set[int]:
        records, _ = await self._store.list(_ENTRIES)
        stored = (msgspec.json.decode(record.value, type=_Stored).status.addresses for record in records)
        return {number for addresses in stored for number in _numbers_of(addresses)}


def _numbers_of(addresses: Iterable[AddressStatus]) -> Iterator[int]:
    for address in addresses:
        if address.value.startswith(PREFIX):
            high, _, low = address.value.removeprefix(PREFIX).partition(".")
            yield int(high) << 8 | int(low)
