# SPDX-License-Identifier: Apache-2.0
"""The Store protocol: etcd's semantics (one global revision, compare-and-swap, watch after a revision, compaction signalled).

Keys are paths without a leading slash:
  resources/KIND/NAMESPACE/NAME   a document as stored (JSON)
  nodes/NAME                      model.proxy.Node (JSON)
  tokens/SHA256HEX                API and join tokens, hashed
  svids/NAME.NAMESPACE            the last SVID issued to a proxy: serial, not_before, not_after (never a key)
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol


class Record(NamedTuple):
    """`revision` of the last write to this key; `created` of its first since it was last absent."""

    key: str
    value: bytes
    revision: int
    created: int


class Event(NamedTuple):
    """One change, in order of revision. `value` None: deleted."""

    key: str
    value: bytes | None
    revision: int
    created: int


class Put(NamedTuple):
    """`expected`: None any, 0 must be absent, else the revision that the key must have."""

    key: str
    value: bytes
    expected: int | None = None


class Delete(NamedTuple):
    """`expected` as in Put; deleting what is absent with expected None is no error and no write."""

    key: str
    expected: int | None = None


class Store(Protocol):
    """Errors: Conflict (an expectation failed; nothing was written), Compacted, Unavailable (disk full, read-only ...)."""

    async def get(self, key: str) -> Record | None: ...

    async def list(self, prefix: str) -> tuple[list[Record], int]:
        """All records below the prefix, sorted by key, and the store's revision at that moment."""
        ...

    async def commit(self, operations: Sequence[Put | Delete]) -> int:
        """All or nothing, durable when it returns; the new revision (the current one if nothing was written)."""
        ...

    def watch(self, prefix: str, after: int) -> AsyncIterator[Event]:
        """Every event below the prefix with a revision greater than `after`, without gap; ends only by error or cancellation. The events of
        one commit come without a pause in between. Compacted: `after` is older than what is kept, or newer than what there is (another
        life of the store), or the watcher fell too far behind: list again."""
        ...

    async def compact(self, revision: int) -> None: ...

    async def close(self) -> None: ...
