# SPDX-License-Identifier: Apache-2.0
"""The order of a change, waiting with an end, coalescing, and when an ACK is an ACK."""

from __future__ import annotations

import pytest

from meshwright.model.snapshot import ResourceSet, Snapshot, TypeUrl
from meshwright.xds.frames import Frames
from meshwright.xds.request import Request
from meshwright.xds.session import PATIENCE, SUBSCRIBE_PATIENCE, Session
from meshwright.xds.subscription import ACK_PATIENCE, MAX_UNANSWERED, Broken
from tests.unit.xds.client import Client, Response, Verdict, read, resource, resources, snapshot

CDS, EDS, LDS, RDS, NAMES = TypeUrl
BEFORE = snapshot(resources(CDS, old="1"), resources(EDS, old="1"), resources(LDS, front="1"), resources(RDS, main="old"))
AFTER = snapshot(resources(CDS, new="1"), resources(EDS, new="1"), resources(LDS, door="1"), resources(RDS, main="new"))


def _connected(shot: Snapshot = BEFORE, *, verdict: Verdict | None = None) -> Client:
    """A client that has everything and has said so."""
    client = Client(Frames(), shot, 1, verdict=verdict)
    client.wildcard(CDS)
    client.subscribe(EDS, *(shot.names(EDS) or ["none"]))
    client.wildcard(LDS)
    client.subscribe(RDS, *(shot.names(RDS) or ["none"]))
    client.settle()
    assert client.acked == [1]
    client.log.clear()
    return client


def _gist(responses: list[Response]) -> list[tuple[TypeUrl, list[str], list[str]]]:
    return [(r.type, sorted(r.upserts), sorted(r.removed)) for r in responses]


def _with(shot: Snapshot, *layers: ResourceSet) -> Snapshot:
    return Snapshot({**shot.layers, **snapshot(*layers).layers})


def test_make_before_break() -> None:
    client = _connected()
    assert _gist(client.offer(AFTER, 2)) == [(CDS, ["new"], [])]
    assert client.answer(client.inbox[0]) == []  # the client has not asked for its endpoints yet
    assert _gist(client.subscribe(EDS, "new")) == [(EDS, ["new"], [])]
    assert _gist(client.answer(client.inbox[0])) == [(LDS, ["door"], []), (RDS, ["main"], [])]
    assert client.answer(client.inbox[0]) == []
    assert _gist(client.answer(client.inbox[0])) == [(LDS, [], ["front"])]
    assert _gist(client.answer(client.inbox[0])) == [(CDS, [], ["old"])]
    assert client.unsubscribe(EDS, "old") == []
    assert client.acked == [1]
    assert client.answer(client.inbox[0]) == []
    assert client.acked == [1, 2]


def test_who_asks_for_everything_at_once_gets_it_in_this_order() -> None:
    client = Client(Frames(), BEFORE, 1)
    assert _gist(client.wildcard(CDS)) == [(CDS, ["old"], [])]
    assert client.subscribe(RDS, "main") == []
    assert client.wildcard(LDS) == []
    assert client.answer(client.inbox[0]) == []
    assert _gist(client.subscribe(EDS, "old")) == [(EDS, ["old"], [])]
    assert _gist(client.answer(client.inbox[0])) == [(LDS, ["front"], []), (RDS, ["main"], [])]


def test_endpoints_that_never_come_hold_the_rest_up_for_a_while_only() -> None:
    client = _connected()
    client.offer(AFTER, 2)
    client.answer(client.inbox[0])
    assert client.wake == client.now + PATIENCE
    assert client.wait(PATIENCE - 0.1) == []
    assert _gist(client.wait(0.1)) == [(LDS, ["door"], []), (RDS, ["main"], [])]


def test_a_new_change_does_not_prolong_the_wait() -> None:
    client = _connected()
    client.offer(AFTER, 2)
    client.answer(client.inbox[0])
    client.wait(PATIENCE - 1)
    client.offer(_with(AFTER, resources(RDS, main="newer")), 3)
    assert [r.upserts for r in client.wait(1)] == [{"door": b"1"}, {"main": b"newer"}]


def test_endpoints_alone_go_at_once_even_while_clusters_wait() -> None:
    client = _connected()
    assert _gist(client.offer(_with(BEFORE, resources(EDS, old="2")), 2)) == [(EDS, ["old"], [])]
    client.settle()
    assert client.acked == [1, 2]
    client.offer(AFTER, 3)
    both = snapshot(resources(EDS, old="3", new="1"))
    assert _gist(client.offer(Snapshot({**AFTER.layers, **both.layers}), 4)) == [(EDS, ["old"], [])]


def test_a_route_does_not_wait_for_endpoints_that_are_on_their_way() -> None:
    client = _connected()
    client.offer(_with(BEFORE, resources(EDS, old="2")), 2)
    assert _gist(client.offer(_with(BEFORE, resources(EDS, old="3"), resources(RDS, main="2")), 3)) == [(RDS, ["main"], [])]


def test_an_updated_cluster_gets_its_endpoints_again() -> None:
    """Envoy warms it and waits for them, though nothing about them has changed."""
    client = _connected()
    assert _gist(client.offer(_with(BEFORE, resources(CDS, old="2")), 2)) == [(CDS, ["old"], []), (EDS, ["old"], [])]


def test_a_cluster_that_changed_while_the_client_was_away_gets_its_endpoints_too() -> None:
    client = _connected()
    client.connect(Frames(), _with(BEFORE, resources(CDS, old="2")), 2)
    assert _gist(client.wildcard(CDS)) == [(CDS, ["old"], [])]
    assert _gist(client.subscribe(EDS, "old")) == [(EDS, ["old"], [])]


def test_only_the_newest_of_many_changes_is_sent() -> None:
    client = _connected()
    for turn in range(2, 6):
        client.offer(_with(BEFORE, resources(RDS, main=str(turn))), turn)
    assert [r.upserts for r in client.inbox] == [{"main": b"2"}]
    assert [r.upserts for r in client.answer(client.inbox[0])] == [{"main": b"5"}]
    client.settle()
    assert client.acked == [1, 5]


def test_the_same_again_is_acked_without_a_word() -> None:
    client = _connected()
    assert client.offer(BEFORE, 9) == []
    assert client.acked == [1, 9]


def test_what_changes_back_before_it_was_sent_is_not_sent() -> None:
    client = _connected()
    client.offer(_with(BEFORE, resources(RDS, main="2")), 2)
    client.offer(_with(BEFORE, resources(RDS, main="3")), 3)
    client.offer(_with(BEFORE, resources(RDS, main="2")), 4)
    assert client.answer(client.inbox[0]) == []
    assert client.acked == [1, 4]


def test_a_cluster_that_goes_and_comes_back_is_never_removed() -> None:
    client = _connected()
    without = _with(BEFORE, resources(CDS), resources(RDS, main="elsewhere"))
    client.offer(without, 2)
    client.offer(BEFORE, 3)
    client.settle()
    assert all("old" not in r.removed for r in client.log)
    assert client.has[CDS] == {"old": b"1"}


def test_clusters_stay_while_a_refused_route_may_still_need_them() -> None:
    client = _connected()
    client.offer(_with(AFTER, resources(RDS, main="bad")), 2)
    client.subscribe(EDS, "new")
    client.settle()
    assert client.acked == [1, 2]
    assert client.has[CDS].keys() == {"old", "new"}
    assert client.has[LDS].keys() == {"door"}
    client.offer(AFTER, 3)
    client.settle()
    assert client.has[CDS].keys() == {"new"}


def test_what_is_refused_is_reported_and_the_rest_is_acked() -> None:
    client = _connected()
    good = resources(LDS, front="1", side="2", taken="bad")
    effects = client.session.offer(_with(BEFORE, good), 2, client.now)
    response = read(effects.writes[0])
    words = "Error adding/updating listener(s) taken: cannot bind '127.0.0.1:80': Address already in use"
    effects = client.session.request(Request(LDS, nonce=response.nonce, error=words), client.now)
    assert [(r.type, r.name, r.version, r.message, r.revision) for r in effects.refusals] == [
        (LDS, "taken", good.resources["taken"].version, words, 2)
    ]
    again = read(effects.writes[0])
    assert again.upserts.keys() == {"side"}
    effects = client.session.request(Request(LDS, nonce=again.nonce), client.now)
    assert (effects.acked, effects.writes) == (2, ())


def test_a_silent_client_gets_newer_content_after_a_while_and_is_given_up_in_the_end() -> None:
    """A cluster that never warms holds Envoy's answers back; newer content can free it."""
    client = _connected()
    client.offer(_with(BEFORE, resources(CDS, old="2")), 2)
    assert client.offer(_with(BEFORE, resources(CDS, old="3")), 3) == []
    assert client.wake is not None
    assert [r.upserts for r in client.wait(ACK_PATIENCE) if r.type is CDS] == [{"old": b"3"}]
    with pytest.raises(Broken, match="without an answer"):
        for turn in range(MAX_UNANSWERED + 1):
            client.offer(_with(BEFORE, resources(CDS, old=f"{turn + 4}")), turn + 4)
            client.wait(ACK_PATIENCE)


def test_late_answers_count() -> None:
    client = _connected()
    client.offer(_with(BEFORE, resources(CDS, old="2")), 2)
    client.wait(1)
    client.offer(_with(BEFORE, resources(CDS, old="3")), 3)
    client.wait(ACK_PATIENCE)
    client.settle()
    assert client.acked == [1, 3]
    assert client.has[CDS] == {"old": b"3"}


@pytest.mark.parametrize("type", [CDS, LDS])
def test_envoy_waits_for_an_answer_even_when_there_is_nothing(type: TypeUrl) -> None:
    client = Client(Frames(), snapshot(ResourceSet(type, {})), 1)
    assert _gist(client.wildcard(type)) == [(type, [], [])]
    client.settle()
    assert client.acked == [1]


def test_an_ack_of_clusters_alone_is_not_yet_an_ack_of_everything() -> None:
    client = Client(Frames(), BEFORE, 1)
    client.wildcard(CDS)
    client.answer(client.inbox[0])
    assert client.acked == []
    client.wait(SUBSCRIBE_PATIENCE)
    assert client.acked == [1]  # it does not want more
    client.offer(BEFORE, 2)
    assert client.acked == [1, 2]  # nor is it asked again


def test_the_agents_names_are_a_session_of_their_own() -> None:
    client = Client(Frames(), _with(BEFORE, resources(NAMES, names="a")), 1)
    assert _gist(client.wildcard(NAMES, star=True)) == [(NAMES, ["names"], [])]
    client.settle()
    assert client.acked == [1]


def test_answers_to_nothing_are_ignored() -> None:
    client = Client(Frames(), BEFORE, 1)
    assert client.say(Request(CDS, nonce="7")) == []
    assert client.say(Request(CDS, nonce="7", error="no")) == []
    client.wildcard(CDS)
    assert client.say(Request(CDS, nonce="of another stream")) == []
    assert client.acked == []
    nonce = client.inbox[0].nonce
    client.answer(client.inbox[0])
    assert client.say(Request(CDS, nonce=nonce, error="said twice")) == []
    assert client.reported == set()


def test_sessions_get_the_very_same_bytes() -> None:
    frames = Frames()
    sessions = [Session(frames, BEFORE, 1) for _ in range(3)]
    first = [s.request(Request(CDS), 1.0).writes[0] for s in sessions]
    assert first[1] is first[2]
    for s, message in zip(sessions, first, strict=True):
        s.request(Request(CDS, nonce=read(message).nonce), 1.0)
    after = _with(BEFORE, BEFORE.layers[CDS][0].replace([resource(CDS, "old", "2")]))
    second = [s.offer(after, 2, 2.0).writes[0] for s in sessions]
    assert second[1] is second[2]
