# SPDX-License-Identifier: Apache-2.0
"""A model Envoy: keeps what it takes of the responses, subscribes as Envoy does and refuses what is bad, in Envoy's ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse

from meshwright.model.snapshot import ResourceSet, Snapshot, TypeUrl, XdsResource
from meshwright.xds.frames import Frames
from meshwright.xds.request import Request
from meshwright.xds.session import Effects, Session

BAD = b"bad"
_TYPES = {type.value: type for type in TypeUrl}


def resource(type: TypeUrl, name: str, content: str = "1") -> XdsResource:
    return XdsResource(type, name, content.encode(), ())


def resources(type: TypeUrl, **contents: str) -> ResourceSet:
    return ResourceSet(type, {name: resource(type, name, content) for name, content in contents.items()})


def snapshot(*layers: ResourceSet) -> Snapshot:
    found: dict[TypeUrl, tuple[ResourceSet, ...]] = {}
    for layer in layers:
        found[layer.type] = (*found.get(layer.type, ()), layer)
    return Snapshot(found)


class Response(NamedTuple):
    type: TypeUrl
    nonce: str
    upserts: dict[str, bytes]
    versions: dict[str, str]
    removed: tuple[str, ...]


def read(message: bytes) -> Response:
    proto = DeltaDiscoveryResponse.FromString(message)
    upserts = {r.name: r.resource.value for r in proto.resources}
    assert len(upserts) == len(proto.resources), "a name twice: Envoy refuses that"
    assert not upserts.keys() & set(proto.removed_resources)
    assert all(r.resource.type_url == proto.type_url for r in proto.resources)
    versions = {r.name: r.version for r in proto.resources}
    return Response(_TYPES[proto.type_url], proto.nonce, upserts, versions, tuple(proto.removed_resources))


class Verdict(NamedTuple):
    """How the model refuses: `names`: does it say which; `all`: every bad one, or the first only; `partial`: does it take the good ones."""

    names: bool = True
    all: bool = True
    partial: bool = True


class Client:
    """One stream of one proxy; `state` survives into the next stream."""

    def __init__(self, frames: Frames, shot: Snapshot, revision: int, *, verdict: Verdict | None = None) -> None:
        self.verdict = verdict or Verdict()
        self.has: dict[TypeUrl, dict[str, bytes]] = {t: {} for t in TypeUrl}
        self.versions: dict[TypeUrl, dict[str, str]] = {t: {} for t in TypeUrl}
        self.known: dict[TypeUrl, set[str]] = {t: set() for t in TypeUrl}
        self.now = 100.0
        self.connect(frames, shot, revision)

    def connect(self, frames: Frames, shot: Snapshot, revision: int) -> None:
        self.session = Session(frames, shot, revision)
        self.acked: list[int] = []
        self.inbox: list[Response] = []
        self.log: list[Response] = []
        self.refused: dict[tuple[TypeUrl, str], bytes] = {}
        self.reported: set[tuple[TypeUrl, str]] = set()
        self.subscribed: dict[TypeUrl, set[str]] = {}
        self.wake: float | None = None

    # what happens

    def take(self, effects: Effects) -> list[Response]:
        fresh = [read(w) for w in effects.writes]
        for response in fresh:
            for name, content in response.upserts.items():
                assert self.refused.get((response.type, name)) != content, f"refused content came again: {name} of {response}"
        self.inbox += fresh
        self.log += fresh
        self.reported |= {(r.type, r.name) for r in effects.refusals}
        if effects.acked:
            self.acked.append(effects.acked)
        self.wake = effects.wake
        return fresh

    def say(self, request: Request) -> list[Response]:
        return self.take(self.session.request(request, self.now))

    def offer(self, shot: Snapshot, revision: int) -> list[Response]:
        return self.take(self.session.offer(shot, revision, self.now))

    def wait(self, seconds: float) -> list[Response]:
        self.now += seconds
        return self.take(self.session.tick(self.now))

    def wildcard(self, type: TypeUrl, *, star: bool = False) -> list[Response]:
        self.subscribed[type] = {"*"}
        return self.say(Request(type, subscribe=("*",) if star else (), versions=dict(self.versions[type]), node="web.shop"))

    def subscribe(self, type: TypeUrl, *names: str) -> list[Response]:
        first = type not in self.subscribed
        self.subscribed.setdefault(type, set()).update(names)
        versions = {n: v for n, v in self.versions[type].items() if n in names} if first else {}
        return self.say(Request(type, subscribe=names, versions=versions))

    def unsubscribe(self, type: TypeUrl, *names: str) -> list[Response]:
        self.subscribed[type] -= set(names)
        for name in names:
            self._lose(type, name)
            self.refused.pop((type, name), None)
        return self.say(Request(type, unsubscribe=names))

    def answer(self, response: Response) -> list[Response]:
        """Applies one response and ACKs or NACKs it."""
        self.inbox.remove(response)
        bad = [name for name, body in response.upserts.items() if body.startswith(BAD)]
        taken = response.upserts.keys() - set(bad) if not bad or self.verdict.partial else set()
        asked = self.subscribed[response.type]
        for name in taken if "*" in asked else taken & asked:  # what nobody watches any more is passed over
            self.has[response.type][name] = response.upserts[name]
            self.versions[response.type][name] = response.versions[name]
            self.known[response.type].add(name)
        for name in response.removed:
            self._lose(response.type, name)
        if not bad:
            return self.say(Request(response.type, nonce=response.nonce))
        for name in self._blamed(response, bad) if "*" in asked else asked.intersection(self._blamed(response, bad)):
            self.refused[response.type, name] = response.upserts[name]
        return self.say(Request(response.type, nonce=response.nonce, error=self._words(bad)))

    def settle(self, between: Callable[[], None] = lambda: None) -> None:
        """Answers until there is nothing left to answer, then lets all time limits pass."""
        for _ in range(10_000):
            between()
            if self.inbox:
                self.answer(self.inbox[0])
            elif self.wake is not None:
                self.now = max(self.now, self.wake)
                self.take(self.session.tick(self.now))
            else:
                return
        raise AssertionError("never at rest")

    # inside

    def _lose(self, type: TypeUrl, name: str) -> None:
        self.has[type].pop(name, None)
        self.versions[type].pop(name, None)

    def _blamed(self, response: Response, bad: list[str]) -> list[str]:
        """Which ones the other side can know of."""
        if len(response.upserts) == 1 or (self.verdict.names and self.verdict.all):
            return bad
        return bad[:1] if self.verdict.names else []

    def _words(self, bad: list[str]) -> str:
        if not self.verdict.names:
            return "Proto constraint validation failed"
        named = bad if self.verdict.all else bad[:1]
        return "Error adding/updating: " + "\n".join(f"{name}: no good" for name in named)
