# SPDX-License-Identifier: Apache-2.0
"""One type on one stream of the incremental xDS protocol. Sans-IO: requests go in, messages come out, time is an argument.

What the client has is described by pointers: `sent` (the resource sets that were sent last, shared with all other sessions) as far as
`names` goes. What doesn't fit this is out of the ordinary and stands in `doomed` (the client has it, the sets don't), `owed` (names that it
asked for and has no answer to yet) and `rare` (after a NACK or a reconnect: names whose content at the client is another)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from meshwright.model.snapshot import TypeUrl, XdsResource
from meshwright.xds.blame import culprits
from meshwright.xds.frames import Frames, Layers, Names, Part

MAX_NAMES = 20_000
MAX_UNANSWERED = 8
ACK_PATIENCE = 5.0


class Broken(Exception):
    """The client doesn't keep to the protocol: the stream ends with InvalidArgument and these words."""


class Pending(NamedTuple):
    """A response that was neither ACKed nor refused yet. `answer`: it answers a subscription."""

    nonce: str
    parts: tuple[Part, ...]
    removed: tuple[str, ...]
    sent_at: float
    answer: bool
    revision: int

    def upserts(self) -> dict[str, XdsResource]:
        return {r.name: r for part in self.parts for r in part.upserts}


class Rare:
    """`stale`: names of which the client has not what `sent` says. `refused`: name -> version that it refused. `groups`: names of a
    response that it refused without saying which was wrong: sent again in halves until that is known."""

    __slots__ = ("groups", "refused", "stale")

    def __init__(self) -> None:
        self.stale: set[str] = set()
        self.refused: dict[str, str] = {}
        self.groups: deque[tuple[str, ...]] = deque()

    def drop(self, names: Iterable[str]) -> None:
        for name in names:
            self.stale.discard(name)
            self.refused.pop(name, None)

    def grouped(self) -> set[str]:
        return {name for group in self.groups for name in group}


class Refused(NamedTuple):
    """`resource` None: what was refused can't be said (a removal, or nothing at all)."""

    resource: XdsResource | None
    message: str
    revision: int


class Subscription:
    """Calls: `subscribe` and `acknowledge` for what the client says, `push` and `remove` when the session finds it is time."""

    __slots__ = ("_frames", "doomed", "names", "owed", "pending", "rare", "sent", "type")

    def __init__(self, type: TypeUrl, frames: Frames) -> None:
        self.type = type
        self._frames = frames
        self.names: Names = frames.none
        self.sent: Layers = ()
        self.doomed: frozenset[str] = frozenset()
        self.owed: Names | None = None
        self.pending: list[Pending] = []
        self.rare: Rare | None = None

    # what the client says

    def start(self, subscribe: Iterable[str], versions: Mapping[str, str], target: Layers) -> None:
        """The first request of this type on the stream. No names: everything (the protocol's old form of `*`). `versions`: what the
        client kept from an earlier stream; that is not sent again. Raises Broken."""
        wanted = frozenset(subscribe) or frozenset("*")
        if not versions:
            self.subscribe(wanted, (), target)
            return
        self.names = self._checked(wanted - {"*"}, "*" in wanted)
        self.sent = target
        current = _merged(target)
        names: Iterable[str] = current.keys() | self.names.names if self.names.wild else self.names.names
        stale = {n for n in names if n in current and versions.get(n) != current[n].version}
        absent = frozenset(n for n in self.names.names if n not in current and n not in versions)
        self.doomed = frozenset(n for n in versions if n not in current and n in self.names)
        self.owed = self._frames.names(absent) if absent else None
        if stale:
            self.rare = Rare()
            self.rare.stale = stale

    def subscribe(self, names: Iterable[str], gone: Iterable[str], target: Layers) -> None:
        """Names to add and to give up; each name that is asked for is sent, whether the client has it or not. Raises Broken."""
        added, dropped = frozenset(names), frozenset(gone)
        if not self.names:
            self.sent = target
        wild = ("*" in added) or (self.names.wild and "*" not in dropped)
        explicit = (self.names.names - dropped) | (added - {"*"})
        before = self.names
        self.names = self._checked(explicit, wild)
        # Who gives up a name but keeps `*` is told its state again, like who asks for it.
        again = added if not wild else added | (dropped & before.names)
        if dropped and not wild:
            self._forget()
        if again:
            self.owe(again)

    def acknowledge(self, nonce: str, error: str | None) -> list[Refused]:
        """ACK (error None) or NACK of one response. Unknown nonces (of another stream, said twice) are ignored."""
        for pending in self.pending:
            if pending.nonce == nonce:
                self.pending.remove(pending)
                return [] if error is None else self._refuse(pending, error)
        return []

    # what the session does

    def current(self, target: Layers) -> bool:
        """Nothing to push (removals aside)."""
        return self.sent == target and self.owed is None and (self.rare is None or not self._restless(self.rare))

    def ready(self, now: float) -> bool:
        """May something be sent? One response at a time; who doesn't answer in time gets the next one nevertheless (a cluster that
        never warms holds Envoy's answers back, and only newer content can help it). Raises Broken when that happened too often."""
        if not self.pending:
            return True
        if now - self.pending[-1].sent_at < ACK_PATIENCE:
            return False
        if len(self.pending) >= MAX_UNANSWERED:
            raise Broken(f"{MAX_UNANSWERED} responses of type {self.type.value} without an answer")
        return True

    def push(self, target: Layers, revision: int, now: float) -> tuple[bytes | None, list[Part]]:
        """Everything but removals that brings the client to `target`: (the message, None if nothing is to be sent, and its parts)."""
        owed, self.owed = self.owed, None
        absent: list[str] = []
        if self.rare is not None or (owed is not None and self.sent != target and owed is not self.names):
            parts, absent = self._push_rare(target, owed)
        else:
            parts = self._frames.steps(self.sent, target, self.names)
            for part in parts:
                if part.removed:
                    self.doomed |= part.removed
            if owed is not None:
                parts = self._frames.everything(target, owed)
                absent = _absent(owed, parts, target)
        self.sent = target
        parts = [part for part in parts if part.upserts]
        # Who asks for everything is told, even that there is nothing: Envoy waits for it.
        if not parts and not absent and not (owed is not None and owed.wild):
            return None, []
        return self._send(parts, tuple(absent), owed is not None, (revision, now)), parts

    def remove(self, target: Layers, revision: int, now: float) -> bytes | None:
        """Takes from the client what is not in `target`."""
        names = tuple(sorted(n for n in self.doomed if n in self.names and _find(target, n) is None))
        self.doomed = frozenset()
        return self._send([], names, False, (revision, now)) if names else None

    def answering(self) -> bool:
        """A subscription is not answered, or the answer not ACKed."""
        return self.owed is not None or any(p.answer for p in self.pending)

    def refuses(self) -> bool:
        return self.rare is not None and bool(self.rare.refused)

    # inside

    def _checked(self, names: frozenset[str], wild: bool) -> Names:
        if len(names) > MAX_NAMES:
            raise Broken(f"more than {MAX_NAMES} names of type {self.type.value}")
        return self._frames.names(names, wild=wild)

    def owe(self, names: frozenset[str]) -> None:
        """These are to be sent, whether the client has them or not; `*`: all."""
        if not names:
            return
        explicit = names - {"*"}
        wild = "*" in names
        if self.owed is not None:
            explicit, wild = explicit | self.owed.names, wild or self.owed.wild
        self.owed = self._frames.names(explicit, wild=wild)

    def _forget(self) -> None:
        """What is not subscribed to any more is out of mind."""
        names = self.names.names
        self.doomed &= names
        if self.owed is not None:
            left = self.owed.names & names
            self.owed = self._frames.names(left) if left else None
        if self.rare is not None:
            self.rare.drop((self.rare.stale | self.rare.refused.keys()) - names)
            self._calm()

    def _send(self, parts: list[Part], removed: tuple[str, ...], answer: bool, stamp: tuple[int, float]) -> bytes:
        nonce, message = self._frames.message(self.type, parts, removed, stamp[0])
        self.pending.append(Pending(nonce, tuple(parts), removed, stamp[1], answer, stamp[0]))
        return message

    def _push_rare(self, target: Layers, owed: Names | None) -> tuple[list[Part], list[str]]:
        """Name by name: what changed, what the client lacks, what it asked for; not what it refused."""
        rare = self.rare or Rare()
        steps = self._frames.steps(self.sent, target, self.names)
        asked = owed.names if owed is not None else frozenset[str]()
        if owed is not None and owed.wild:
            asked |= _merged(target).keys()
        touched = {r.name for step in steps for r in step.upserts} | rare.stale | asked
        touched -= rare.grouped() - asked
        upserts, absent = [], []
        gone: set[str] = set().union(*(step.removed for step in steps))
        for name in sorted(touched):
            resource = _find(target, name)
            if resource is None:
                rare.drop((name,))
                if name in asked:
                    absent.append(name)
                else:
                    gone.add(name)
            elif rare.refused.get(name) == resource.version:
                rare.stale.add(name)
            else:
                upserts.append(resource)
        rare.drop(gone)
        if not upserts and not absent:
            upserts = self._next_group(rare, target)
        rare.drop(r.name for r in upserts)
        self.rare = rare
        self._calm()
        self.doomed |= gone
        return ([self._frames.single(upserts)] if upserts else []), absent

    def _next_group(self, rare: Rare, target: Layers) -> list[XdsResource]:
        while rare.groups:
            found = [_find(target, name) for name in rare.groups.popleft() if name in self.names]
            upserts = [r for r in found if r is not None and rare.refused.get(r.name) != r.version]
            if upserts:
                return upserts
        return []

    def _refuse(self, pending: Pending, message: str) -> list[Refused]:
        """The good ones of the response are sent again without the bad; if it can't be said which those are, in halves."""
        sent = pending.upserts()
        if not sent:
            return [Refused(None, message, pending.revision)]
        newer = {name: r.version for later in self.pending for name, r in later.upserts().items()}
        resources = {name: r for name, r in sent.items() if newer.get(name, r.version) == r.version}
        guilty = set(sent) if len(sent) == 1 else culprits(message, sent)
        subscribed = {name for name in resources if name in self.names}
        rare = self.rare = self.rare or Rare()
        if not guilty:
            names = tuple(sorted(subscribed))
            half = len(names) // 2
            rare.groups.extendleft(group for group in (names[half:], names[:half]) if group)
        bad = guilty & resources.keys()
        known = {name for name in bad if rare.refused.get(name) == resources[name].version}
        for name in bad & subscribed:
            rare.refused[name] = resources[name].version
        if guilty:
            rare.stale |= subscribed
        self._calm()
        return [Refused(resources[name], message, pending.revision) for name in sorted(bad - known)]

    def _restless(self, rare: Rare) -> bool:
        return bool(rare.groups) or not rare.stale <= rare.refused.keys()

    def _calm(self) -> None:
        if self.rare is not None and not (self.rare.stale or self.rare.refused or self.rare.groups):
            self.rare = None


def _find(layers: Layers, name: str) -> XdsResource | None:
    for layer in layers:
        found = layer.resources.get(name)
        if found is not None:
            return found
    return None


def _merged(layers: Layers) -> Mapping[str, XdsResource]:
    if len(layers) == 1:
        return layers[0].resources
    return {name: resource for layer in layers for name, resource in layer.resources.items()}


def _absent(owed: Names, parts: list[Part], target: Layers) -> list[str]:
    """Names that were asked for and aren't there."""
    if not owed.names or (not owed.wild and sum(len(p.upserts) for p in parts) == len(owed.names)):
        return []
    return sorted(n for n in owed.names if _find(target, n) is None)
