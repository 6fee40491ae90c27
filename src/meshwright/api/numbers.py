# SPDX-License-Identifier: Apache-2.0
"""Which number, and so which loopback address, each host of a ServiceEntry gets when it is stored. Decided from the store and not from
the World, which is behind it by the hold-off: two services stored one after the other must not get one number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

from meshwright.errors import TooLarge
from meshwright.model.meta import AddressStatus, Resource
from meshwright.store.base import Store

FIRST, LAST = 2, 65535
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
        self._used: set[int] | None = None

    async def complete(self, resource: Resource) -> Resource:
        """The resource with an address for each of its hosts; those that it has are kept. Nothing is given yet: see `keep`.
        Raises TooLarge when there are none left."""
        have = {address.host for address in resource.status.addresses}
        missing = [host for host in resource.spec.hosts if host not in have]
        if not missing:
            return resource
        if self._used is None or len(self._used) + len(missing) > LAST - FIRST:
            self._used = await self._stored()
        taken = set(self._used)
        added = tuple(AddressStatus(value=_address(_take(taken, host)), host=host) for host in missing)
        status = msgspec.structs.replace(resource.status, addresses=(*resource.status.addresses, *added))
        return msgspec.structs.replace(resource, status=status)

    def keep(self, resource: Resource) -> None:
        """These addresses are given now. Called before they are stored: one given in vain is better than one given twice."""
        if self._used is not None:
            self._used.update(_numbers_of(resource.status.addresses))

    async def _stored(self) -> set[int]:
        records, _ = await self._store.list(_ENTRIES)
        stored = (msgspec.json.decode(record.value, type=_Stored).status.addresses for record in records)
        return {number for addresses in stored for number in _numbers_of(addresses)}


def _take(used: set[int], host: str) -> int:
    """The one that the host's hash says, or the next that is free: mostly, a service that is made anew gets its address again."""
    span = LAST - FIRST + 1
    start = int.from_bytes(hashlib.sha256(host.encode()).digest()[:4], "big")
    for step in range(span):
        number = FIRST + (start + step) % span
        if number not in used:
            used.add(number)
            return number
    raise TooLarge(f"all {span} addresses of services are given: delete ServiceEntries that nobody needs")


def _numbers_of(addresses: Iterable[AddressStatus]) -> Iterator[int]:
    for address in addresses:
        if address.value.startswith(PREFIX):
            high, _, low = address.value.removeprefix(PREFIX).partition(".")
            yield int(high) << 8 | int(low)


def _address(number: int) -> str:
    return f"{PREFIX}{number >> 8}.{number & 255}"
