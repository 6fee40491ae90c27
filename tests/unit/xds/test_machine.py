# SPDX-License-Identifier: Apache-2.0
"""Sessions against a model Envoy, in random order: what the model has in the end is the snapshot, without what it refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from meshwright.model.snapshot import ResourceSet, Snapshot, TypeUrl
from meshwright.xds.frames import Frames
from tests.unit.xds.client import BAD, Client, Verdict, resource, snapshot

POOL = ["alpha.mesh", "beta.mesh", "gamma.mesh", "delta.mesh", "epsilon.mesh"]
OWN = ["inbound-one", "inbound-two"]
WILD = (TypeUrl.CLUSTER, TypeUrl.LISTENER, TypeUrl.NAMES)
NAMED = (TypeUrl.ENDPOINT, TypeUrl.ROUTE)
types = st.sampled_from(list(TypeUrl))
contents = st.dictionaries(st.sampled_from(POOL), st.sampled_from(["1", "2", "3", "bad1", "bad2"]), max_size=5)
own = st.dictionaries(st.sampled_from(OWN), st.sampled_from(["1", "2", "bad3"]), max_size=2)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.frames = Frames(budget=3_000)  # so small that parts are thrown out while they are in use
        self.revision = 1
        empty = [ResourceSet(t, {}) for t in TypeUrl for _ in (0, 1)]
        self.shot = snapshot(*empty)
        self.clients: list[Client] = []

    @initialize(verdicts=st.lists(st.builds(Verdict, st.booleans(), st.booleans(), st.booleans()), min_size=2, max_size=2))
    def begin(self, verdicts: list[Verdict]) -> None:
        self.clients = [Client(self.frames, self.shot, self.revision, verdict=v) for v in verdicts]

    def _publish(self, shot: Snapshot) -> None:
        before, self.shot = self.shot, shot
        self.revision += 1
        for client in self.clients:
            for (type, name), content in list(client.refused.items()):
                bodies = [found.body if found else None for found in (before.get(type, name), shot.get(type, name))]
                if bodies != [content, content]:
                    del client.refused[type, name]  # another content was wanted meanwhile: the old one may be tried again
            client.offer(shot, self.revision)

    @rule(type=types, wanted=contents, mine=own, related=st.booleans())
    def change(self, type: TypeUrl, wanted: dict[str, str], mine: dict[str, str], related: bool) -> None:
        shared, inbound = self.shot.layers[type]
        new = [self._set(layer, wanted if layer is shared else mine, related) for layer in (shared, inbound)]
        self._publish(Snapshot({**self.shot.layers, type: tuple(new)}))

    def _set(self, layer: ResourceSet, wanted: dict[str, str], related: bool) -> ResourceSet:
        made = [resource(layer.type, name, content) for name, content in wanted.items()]
        if related:
            return layer.replace(made, layer.resources.keys() - wanted.keys())
        return ResourceSet(layer.type, {r.name: r for r in made})

    @rule()
    def same_again(self) -> None:
        self._publish(self.shot)

    @rule(data=st.data())
    def answer_one(self, data: Any) -> None:
        client = data.draw(st.sampled_from(self.clients))
        if client.inbox:
            client.answer(data.draw(st.sampled_from(client.inbox)))

    @rule(data=st.data(), seconds=st.sampled_from([0.1, 2.0, 6.0]))
    def time_passes(self, data: Any, seconds: float) -> None:
        client = data.draw(st.sampled_from(self.clients))
        if len(client.inbox) < 6:
            client.wait(seconds)

    @rule(data=st.data(), type=st.sampled_from(WILD), star=st.booleans())
    def subscribe_to_all(self, data: Any, type: TypeUrl, star: bool) -> None:
        client = data.draw(st.sampled_from(self.clients))
        if type not in client.subscribed:
            client.wildcard(type, star=star)

    @rule(data=st.data(), type=st.sampled_from(NAMED), names=st.sets(st.sampled_from(POOL + OWN + ["nowhere"]), min_size=1))
    def subscribe(self, data: Any, type: TypeUrl, names: set[str]) -> None:
        data.draw(st.sampled_from(self.clients)).subscribe(type, *sorted(names))

    @rule(data=st.data(), type=st.sampled_from(NAMED), names=st.sets(st.sampled_from(POOL), min_size=1))
    def unsubscribe(self, data: Any, type: TypeUrl, names: set[str]) -> None:
        client = data.draw(st.sampled_from(self.clients))
        if type in client.subscribed:
            client.unsubscribe(type, *sorted(names))

    @rule(data=st.data())
    def reconnect(self, data: Any) -> None:
        client: Client = data.draw(st.sampled_from(self.clients))
        before = {t: sorted(n) for t, n in client.subscribed.items()}
        client.connect(self.frames, self.shot, self.revision)
        for type, names in before.items():
            if names:
                had = dict(client.versions[type])
                client.wildcard(type) if names == ["*"] else client.subscribe(type, *names)
                warming = {n for r in client.log if r.type is TypeUrl.CLUSTER for n in r.upserts}
                for response in client.log:
                    again = [n for n, v in response.versions.items() if response.type is type and had.get(n) == v]
                    again = [n for n in again if type is not TypeUrl.ENDPOINT or n not in warming]
                    assert not again, "sent again although the client has it"

    @invariant()
    def acked_only_grows(self) -> None:
        for client in self.clients:
            assert client.acked == sorted(set(client.acked))

    def teardown(self) -> None:
        for client in self.clients:
            client.settle()
            self._compare(client)
            client.offer(self.shot, self.revision + 1)
            assert not client.inbox, "at rest, and yet something to say"

    def _compare(self, client: Client) -> None:
        for type, names in client.subscribed.items():
            wanted = {n: r.body for layer in self.shot.layers[type] for n, r in layer.resources.items()}
            if "*" not in names:
                wanted = {n: b for n, b in wanted.items() if n in names}
            good = {n: b for n, b in wanted.items() if not b.startswith(BAD)}
            bad = wanted.keys() - good.keys()
            have = client.has[type]
            assert {n: b for n, b in have.items() if n not in bad and self._removable(client, type, n, wanted)} == good
            assert {(type, n) for n in bad} <= client.reported
        if client.subscribed:
            assert client.acked
            assert client.acked[-1] == self.revision

    @staticmethod
    def _removable(client: Client, type: TypeUrl, name: str, wanted: dict[str, bytes]) -> bool:
        """Clusters and endpoints that are gone may stay while a listener or route is refused."""
        held = type in (TypeUrl.CLUSTER, TypeUrl.ENDPOINT) and any(t in (TypeUrl.LISTENER, TypeUrl.ROUTE) for t, _ in client.refused)
        return name in wanted or not held


Machine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
TestMachine = pytest.mark.filterwarnings("default::hypothesis.errors.HypothesisWarning")(Machine.TestCase)
