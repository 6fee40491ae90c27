# SPDX-License-Identifier: Apache-2.0
"""The ledger, case by case."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from meshwright.control.ports import PeerIdentity, Refusal
from meshwright.control.rollout import Ledger
from meshwright.control.session import Session
from meshwright.control.step import Step
from meshwright.errors import Compacted
from meshwright.model.identity import ProxyId, SpiffeId
from meshwright.model.meta import Ref
from meshwright.model.snapshot import ResourceSet, Snapshot, TypeUrl, XdsResource
from tests.feature.control.clockwork import FakeTime

A, B, C = (ProxyId(name, "shop") for name in "abc")
RULE, OTHER, SERVICE = Ref("VirtualService", "shop", "rule"), Ref("VirtualService", "shop", "other"), Ref("ServiceEntry", "shop", "web")
ROUTE = TypeUrl.ROUTE


class Book:
    """A ledger, with few words."""

    def __init__(self, *ids: ProxyId, history: int = 100) -> None:
        self.time = FakeTime()
        self.settled = 0
        self.ledger = Ledger(self.time, self._count, history)
        self.ledger.enrol(ids or (A, B, C))
        self.streams: dict[ProxyId, Session] = {}

    def _count(self) -> None:
        self.settled += 1

    def pass_time(self, seconds: float) -> None:
        self.time._now += seconds

    def attach(self, *ids: ProxyId) -> None:
        for id in ids:
            self.streams[id] = self.ledger.attach(PeerIdentity(id, SpiffeId("cluster.local", "shop", "default"), "192.0.2.1:1", "1.40.0"))

    def begin(self, changes: dict[int, Iterable[Ref]]) -> Step:
        return self.ledger.begin(max(changes), self.ledger.now(), {revision: frozenset(refs) for revision, refs in changes.items()})

    def step(self, changes: dict[int, Iterable[Ref]], concerned: Iterable[ProxyId], content: dict[str, str] | None = None) -> Step:
        """Begun, offered to all it concerns that are connected, closed."""
        step = self.begin(changes)
        for id in concerned:
            if id in self.streams and self.streams[id].open:
                self.ledger.offered(self.streams[id], snapshot(content or {}), step.last)
        self.ledger.close(step, [frozenset(concerned)])
        return step

    def ack(self, id: ProxyId, revision: int) -> None:
        self.ledger.acked(self.streams[id], revision)

    def refuse(self, id: ProxyId, revision: int, content: str, name: str = "r", words: str = "bad") -> None:
        version = snapshot({name: content}).get(ROUTE, name).version if name else ""  # type: ignore[union-attr]
        self.ledger.rejected(self.streams[id], Refusal(ROUTE, name, version, words, revision))

    def rollout(self, revision: int) -> dict[str, Any]:
        return self.ledger.rollout(revision)

    def state(self, revision: int) -> str:
        return self.ledger.state_of(revision)

    def proxies(self, revision: int) -> tuple[int, list[str], list[str]]:
        found = self.rollout(revision)["proxies"]
        assert found["total"] == found["acked"] + len(found["pending"]) + len(found["away"])
        return found["acked"], found["pending"], found["away"]

    def refs(self, revision: int) -> list[list[str]]:
        return [rejection["refs"] for rejection in self.rollout(revision)["rejections"]]


def snapshot(content: dict[str, str], origins: tuple[Ref, ...] = (RULE, OTHER, SERVICE)) -> Snapshot:
    """Routes by name."""
    return Snapshot(
        {ROUTE: (ResourceSet(ROUTE, {name: XdsResource(ROUTE, name, text.encode(), origins) for name, text in content.items()}),)}
    )


def test_done_when_every_connected_proxy_concerned_has_acked() -> None:
    book = Book()
    book.attach(A, B, C)
    book.step({5: [RULE]}, [A, B])
    assert book.state(5) == "pending"
    assert book.proxies(5) == (0, ["a.shop", "b.shop"], [])
    book.ack(A, 5)
    assert (book.state(5), book.proxies(5)) == ("pending", (1, ["b.shop"], []))
    book.ack(B, 5)
    assert (book.state(5), book.proxies(5)) == ("done", (2, [], []))


def test_times_of_a_rollout() -> None:
    book = Book()
    book.attach(A)
    book.step({5: [RULE]}, [A])
    book.pass_time(1.5)
    assert (book.rollout(5)["startedAt"], book.rollout(5)["finishedAt"], book.rollout(5)["seconds"]) == (
        "2030-01-01T00:00:00.000Z",
        None,
        1.5,
    )
    book.pass_time(0.25)
    book.ack(A, 5)
    book.pass_time(60)
    assert (book.rollout(5)["finishedAt"], book.rollout(5)["seconds"]) == ("2030-01-01T00:00:01.750Z", 1.75)


def test_a_revision_that_concerns_nobody_is_done_at_once() -> None:
    book = Book()
    book.attach(A)
    book.step({5: [RULE]}, [])
    assert (book.state(5), book.proxies(5)) == ("done", (0, [], []))


def test_a_revision_that_changed_nothing_in_the_world_is_done_when_it_is_served() -> None:
    book = Book()
    book.step({5: [RULE]}, [])
    assert book.state(6) == "pending"
    before = book.settled
    book.ledger.serve(6)
    assert (book.state(6), book.state(3), book.state(4)) == ("done", "done", "done")
    assert book.settled > before


def test_the_store_is_ahead() -> None:
    book = Book()
    book.attach(A)
    found = book.rollout(9)
    assert (found["state"], found["proxies"]["total"], found["startedAt"]) == ("pending", 0, None)
    step = book.begin({9: [RULE]})
    assert book.state(9) == "pending"
    book.ledger.close(step, [])
    assert book.state(9) == "done"


def test_a_later_revision_that_holds_it_completes_an_earlier_one() -> None:
    book = Book()
    book.attach(A, B)
    book.step({5: [RULE]}, [A, B])
    book.step({6: [RULE]}, [A])
    book.ack(A, 6)  # 5 was skipped
    assert book.proxies(5) == (1, ["b.shop"], [])
    book.ack(B, 5)
    assert (book.state(5), book.state(6)) == ("done", "done")


def test_an_earlier_ack_completes_nothing_later() -> None:
    book = Book()
    book.attach(A)
    book.step({5: [RULE]}, [A])
    book.step({6: [RULE]}, [A])
    book.ack(A, 5)
    assert (book.state(5), book.state(6)) == ("done", "pending")


def test_revisions_that_were_taken_together() -> None:
    book = Book()
    book.attach(A)
    book.step({5: [RULE], 7: [OTHER]}, [A])
    assert [book.state(revision) for revision in (5, 6, 7)] == ["pending", "done", "pending"]
    book.ack(A, 7)
    assert [book.state(revision) for revision in (5, 6, 7)] == ["done", "done", "done"]


def test_who_is_away_is_not_waited_for() -> None:
    book = Book()
    book.attach(A)
    book.step({5: [RULE]}, [A, B, C])
    assert book.proxies(5) == (0, ["a.shop"], ["b.shop", "c.shop"])
    book.ack(A, 5)
    assert (book.state(5), book.proxies(5)) == ("done", (1, [], ["b.shop", "c.shop"]))


def test_who_leaves_while_pending_is_away() -> None:
    book = Book()
    book.attach(A, B)
    book.step({5: [RULE]}, [A, B])
    book.ack(A, 5)
    book.ledger.detach(book.streams[B])
    assert (book.state(5), book.proxies(5)) == ("done", (1, [], ["b.shop"]))
    book.ledger.detach(book.streams[A])
    assert book.proxies(5) == (1, [], ["b.shop"])


def test_who_comes_back_while_others_are_pending_is_pending_too() -> None:
    book = Book()
    book.attach(A, B)
    book.step({5: [RULE]}, [A, B])
    book.ledger.detach(book.streams[B])
    book.attach(B)
    assert book.proxies(5) == (0, ["a.shop", "b.shop"], [])
    book.ack(A, 5)
    assert book.state(5) == "pending"
    book.ack(B, 5)
    assert book.state(5) == "done"


def test_who_comes_back_after_the_end_stays_away_until_it_acks() -> None:
    book = Book()
    book.attach(A)
    book.step({5: [RULE]}, [A, B])
    book.ack(A, 5)
    book.attach(B)
    assert (book.state(5), book.proxies(5)) == ("done", (1, [], ["b.shop"]))
    book.ack(B, 5)
    assert book.proxies(5) == (2, [], [])


def test_who_is_removed_counts_nowhere() -> None:
    book = Book()
    book.attach(A, B)
    book.step({5: [RULE]}, [A, B, C])
    book.ledger.remove(B)
    book.ledger.remove(C)
    assert (book.state(5), book.proxies(5)) == ("pending", (0, ["a.shop"], []))
    book.ledger.remove(A)
    assert (book.state(5), book.proxies(5)) == ("done", (0, [], []))
    book.ack(A, 5)  # a last word that nobody hears
    book.refuse(A, 5, "x")
    assert book.state(5) == "done"
    assert book.ledger.state(A) is None


def test_all_streams_of_a_proxy_must_ack() -> None:
    book = Book()
    book.attach(A)
    first = book.streams[A]
    book.attach(A)
    book.step({5: [RULE]}, [A])
    book.ack(A, 5)
    assert book.state(5) == "pending"
    book.ledger.acked(first, 5)
    assert book.state(5) == "done"


def test_a_stream_that_ends_no_longer_holds_up_its_proxy() -> None:
    book = Book()
    book.attach(A)
    first = book.streams[A]
    book.attach(A)
    book.step({5: [RULE]}, [A])
    book.ack(A, 5)
    book.ledger.detach(first)
    book.ledger.detach(first)
    assert (book.state(5), book.proxies(5)) == ("done", (1, [], []))


def test_an_old_ack_changes_nothing() -> None:
    book = Book()
    book.attach(A)
    book.step({5: [RULE]}, [A])
    book.ack(A, 5)
    book.step({6: [RULE]}, [A])
    book.ack(A, 4)
    assert book.state(6) == "pending"


# -- refusals ---------------------------------------


def test_a_refusal_blames_what_changed_since_the_proxy_was_well() -> None:
    book = Book()
    book.attach(A, B)
    book.step({5: [SERVICE]}, [A, B], {"r": "good"})
    book.ack(A, 5)
    book.ack(B, 5)
    book.step({6: [RULE]}, [A, B], {"r": "bad"})
    book.refuse(A, 6, "bad", words="unknown cluster")
    assert book.state(6) == "rejected"
    found = book.rollout(6)
    assert found["rejections"] == [
        {"proxy": "a.shop", "type": ROUTE.value, "name": "r", "message": "unknown cluster", "refs": ["VirtualService/shop/rule"]}
    ]
    assert found["proxies"]["pending"] == ["a.shop", "b.shop"]
    assert [id for id, _ in book.ledger.blamed(RULE)] == [A]
    assert book.ledger.blamed(SERVICE) == []
    book.ack(A, 6)
    book.ack(B, 6)
    assert (book.state(6), book.state(5)) == ("rejected", "done")
    assert book.proxies(6) == (2, [], [])


def test_of_two_changes_taken_together_only_the_cause_is_rejected() -> None:
    book = Book()
    book.attach(A)
    book.step({4: [SERVICE]}, [A], {"r": "good"})
    book.ack(A, 4)
    unrelated = Ref("VirtualService", "shop", "unrelated")
    book.step({5: [unrelated], 6: [RULE]}, [A], {"r": "bad"})
    book.refuse(A, 6, "bad")
    book.ack(A, 6)
    assert (book.state(5), book.state(6)) == ("done", "rejected")


def test_a_cause_that_was_skipped_is_still_the_cause() -> None:
    """Two steps were made before the proxy came to say what it thinks."""
    book = Book()
    book.attach(A)
    book.step({4: [SERVICE]}, [A], {"r": "good"})
    book.ack(A, 4)
    book.step({5: [RULE]}, [A], {"r": "bad"})
    book.step({6: [Ref("ServiceEntry", "shop", "unrelated")]}, [A], {"r": "bad", "other": "fine"})
    book.refuse(A, 6, "bad")
    book.ack(A, 6)
    assert (book.state(5), book.state(6)) == ("rejected", "done")
    assert book.refs(5) == [["VirtualService/shop/rule"]]


def test_without_a_last_good_all_origins_are_blamed() -> None:
    book = Book()
    book.attach(A)
    book.step({5: [RULE]}, [A], {"r": "bad"})
    book.refuse(A, 5, "bad")
    assert book.refs(5) == [["ServiceEntry/shop/web", "VirtualService/shop/other", "VirtualService/shop/rule"]]


def test_when_no_origin_changed_all_are_blamed() -> None:
    book = Book()
    book.attach(A)
    book.step({4: [SERVICE]}, [A], {"r": "good"})
    book.ack(A, 4)
    book.step({5: []}, [A], {"r": "bad"})  # a node was enrolled, say
    book.refuse(A, 5, "bad")
    assert len(book.refs(5)[0]) == 3


def test_a_second_try_that_is_refused_too_is_blamed_since_the_last_good() -> None:
    book = Book()
    book.attach(A)
    book.step({4: [SERVICE]}, [A], {"r": "good"})
    book.ack(A, 4)
    book.step({5: [RULE]}, [A], {"r": "bad"})
    book.refuse(A, 5, "bad")
    book.ack(A, 5)
    book.step({6: [OTHER]}, [A], {"r": "worse"})
    book.refuse(A, 6, "worse")
    book.ack(A, 6)
    assert book.refs(6) == [["VirtualService/shop/other", "VirtualService/shop/rule"]]
    assert book.state(6) == "rejected"


def test_a_refusal_stands_until_other_content_is_acked() -> None:
    book = Book()
    book.attach(A)
    book.step({5: [RULE]}, [A], {"r": "bad"})
    book.refuse(A, 5, "bad")
    book.ack(A, 5)
    book.step({6: [SERVICE]}, [A], {"r": "bad", "more": "1"})
    book.ack(A, 6)
    assert len(book.ledger.blamed(RULE)) == 1
    book.step({7: [RULE]}, [A], {"r": "good", "more": "1"})
    assert len(book.ledger.blamed(RULE)) == 1
    book.ack(A, 7)
    assert book.ledger.blamed(RULE) == []
    assert (book.state(5), book.state(7)) == ("rejected", "done")


def test_a_refusal_of_what_is_no_longer_sent_is_cleared() -> None:
    book = Book()
    book.attach(A)
    book.step({5: [RULE]}, [A], {"r": "bad"})
    book.refuse(A, 5, "bad")
    book.ack(A, 5)
    book.step({6: [RULE]}, [A], {})
    book.ack(A, 6)
    assert book.ledger.blamed(RULE) == []


def test_refused_content_that_comes_back_before_it_was_acked_away_stands() -> None:
    book = Book()
    book.attach(A)
    book.step({5: [RULE]}, [A], {"r": "bad"})
    book.refuse(A, 5, "bad")
    book.ack(A, 5)
    book.step({6: [RULE]}, [A], {"r": "good"})
    book.step({7: [RULE]}, [A], {"r": "bad"})
    book.ack(A, 7)
    assert len(book.ledger.blamed(RULE)) == 1
    assert book.state(7) == "rejected"


def test_touching_a_refused_rule_without_effect_is_rejected_again() -> None:
    """The proxy is not asked again, but its answer still holds."""
    book = Book()
    book.attach(A)
    book.step({4: [SERVICE]}, [A], {"r": "good"})
    book.ack(A, 4)
    book.step({5: [RULE]}, [A], {"r": "bad"})
    book.refuse(A, 5, "bad")
    book.ack(A, 5)
    book.step({6: [RULE]}, [A], {"r": "bad", "more": "1"})
    assert book.state(6) == "rejected"


def test_the_same_refusal_after_a_reconnect_blames_the_same() -> None:
    book = Book()
    book.attach(A)
    book.step({4: [SERVICE]}, [A], {"r": "good"})
    book.ack(A, 4)
    book.step({5: [RULE]}, [A], {"r": "bad"})
    book.refuse(A, 5, "bad")
    book.ack(A, 5)
    book.ledger.detach(book.streams[A])
    assert book.ledger.blamed(RULE) == []
    book.attach(A)
    book.ledger.offered(book.streams[A], snapshot({"r": "bad"}), 5)
    book.refuse(A, 5, "bad")
    assert book.refs(5) == [["VirtualService/shop/rule"]]
    assert len(book.ledger.blamed(RULE)) == 1


def test_what_the_stream_before_refused_counts_until_the_new_one_is_well() -> None:
    book = Book()
    book.attach(A)
    book.step({4: [SERVICE]}, [A], {"r": "good"})
    book.ack(A, 4)
    book.step({5: [RULE]}, [A], {"r": "bad"})
    book.refuse(A, 5, "bad")
    book.ledger.detach(book.streams[A])
    book.attach(A)
    book.step({6: [SERVICE]}, [A], {"r": "worse"})
    book.refuse(A, 6, "worse")
    assert book.refs(6) == [["ServiceEntry/shop/web", "VirtualService/shop/rule"]]
    book.step({7: [RULE]}, [A], {"r": "good"})
    book.ack(A, 7)
    book.ledger.detach(book.streams[A])
    book.attach(A)
    book.step({8: [OTHER]}, [A], {"r": "bad"})
    book.refuse(A, 8, "bad")
    assert book.refs(8) == [["VirtualService/shop/other"]]


def test_what_the_new_stream_takes_the_old_refusal_is_forgotten() -> None:
    book = Book()
    book.attach(A)
    book.step({4: [SERVICE]}, [A], {"r": "good"})
    book.ack(A, 4)
    book.step({5: [RULE]}, [A], {"r": "bad"})
    book.refuse(A, 5, "bad")
    book.ledger.detach(book.streams[A])
    book.attach(A)
    book.ledger.offered(book.streams[A], snapshot({"r": "bad"}), 5)
    book.ack(A, 5)  # another Envoy, it takes it
    book.step({6: [OTHER]}, [A], {"r": "worse"})
    book.refuse(A, 6, "worse")
    assert book.refs(6) == [["VirtualService/shop/other"]]


def test_only_the_newest_offer_is_timed() -> None:
    book = Book()
    book.attach(A)
    book.step({5: [RULE]}, [A])
    book.pass_time(1)
    book.step({6: [RULE]}, [A])
    book.ack(A, 5)
    assert book.ledger.push_seconds.count == 0
    book.pass_time(0.5)
    book.ack(A, 6)
    assert (book.ledger.push_seconds.count, book.ledger.push_seconds.sum) == (1, 0.5)


def test_a_refusal_without_a_name_blames_what_changed() -> None:
    book = Book()
    book.attach(A)
    book.step({4: [SERVICE]}, [A], {"r": "good"})
    book.ack(A, 4)
    book.step({5: [RULE]}, [A], {"r": "bad"})
    book.refuse(A, 5, "", name="")
    book.ack(A, 5)
    assert book.refs(5) == [["VirtualService/shop/rule"]]
    book.step({6: [RULE]}, [A], {"r": "good again"})
    book.ack(A, 6)
    assert book.ledger.blamed(RULE) == []


def test_a_proxy_that_was_away_refuses_after_the_end() -> None:
    book = Book()
    book.step({5: [RULE]}, [A])
    assert book.state(5) == "done"
    book.attach(A)
    book.ledger.offered(book.streams[A], snapshot({"r": "bad"}), 5)
    book.refuse(A, 5, "bad")
    assert book.state(5) == "rejected"


def test_who_is_not_concerned_does_not_reject() -> None:
    book = Book()
    book.attach(A, B)
    book.step({4: [SERVICE]}, [A, B], {"r": "good"})
    book.ack(A, 4)
    book.ack(B, 4)
    book.step({5: [OTHER]}, [A], {"r": "good", "x": "1"})
    book.step({6: [RULE]}, [B], {"r": "bad"})
    book.refuse(B, 6, "bad")
    assert (book.state(5), book.state(6)) == ("pending", "rejected")


def test_envoys_words_are_bounded() -> None:
    book = Book()
    book.attach(A)
    book.step({5: [RULE]}, [A], {"r": "bad"})
    book.refuse(A, 5, "bad", words="x" * 100_000)
    assert len(book.rollout(5)["rejections"][0]["message"]) == 2_000


# -- the past ---------------------------------------


def test_what_was_before_the_start_is_done_when_all_have_taken_it_in() -> None:
    book = Book()
    book.attach(A)
    step = book.ledger.begin(40, book.ledger.now(), None)
    book.ledger.close(step, [frozenset((A, B))])
    assert (book.state(12), book.state(40), book.state(41)) == ("pending", "pending", "pending")
    book.ack(A, 40)
    assert (book.state(12), book.state(40)) == ("done", "done")
    assert book.proxies(12) == (1, [], ["b.shop"])


def test_after_a_gap_every_revision_in_it_is_in_the_step() -> None:
    book = Book()
    book.attach(A)
    book.ledger.close(book.ledger.begin(3, book.ledger.now(), None), [])
    step = book.ledger.begin(9, book.ledger.now(), None)
    book.ledger.close(step, [frozenset((A,))])
    assert [book.state(revision) for revision in (3, 4, 9, 10)] == ["done", "pending", "pending", "pending"]


def test_the_past_is_bounded() -> None:
    book = Book(history=3)
    for revision in range(1, 8):
        book.step({revision: [RULE]}, [])
    for revision in (1, 2, 3, 4):
        with pytest.raises(Compacted):
            book.rollout(revision)
    assert [book.state(revision) for revision in (5, 6, 7)] == ["done"] * 3
    with pytest.raises(Compacted):
        book.rollout(-1)


def test_what_is_forgotten_leaves_the_rest_in_its_place() -> None:
    book = Book(history=3)
    book.attach(A)
    for revision in range(1, 8):
        book.step({revision: [RULE]}, [A] if revision == 5 else [])
    assert [book.state(revision) for revision in (5, 6, 7)] == ["pending", "done", "done"]


def test_a_push_lasts_from_its_first_offer() -> None:
    book = Book()
    book.attach(A)
    book.step({1: [RULE]}, [A], {"r": "x"})
    book.pass_time(2)
    book.ledger.offered(book.streams[A], snapshot({"r": "x"}), 1)
    book.pass_time(1)
    book.ack(A, 1)
    assert (book.ledger.push_seconds.count, book.ledger.push_seconds.sum) == (1, 3)


def test_an_unfinished_step_is_remembered_longer_but_not_for_ever() -> None:
    book = Book(history=3)
    book.attach(A)
    book.step({1: [RULE]}, [A])
    for revision in range(2, 7):
        book.step({revision: [OTHER]}, [])
    assert book.state(1) == "pending"
    for revision in range(7, 12):
        book.step({revision: [OTHER]}, [])
    with pytest.raises(Compacted):
        book.state(1)
    book.ack(A, 11)
    assert book.ledger.unfinished == 0


def test_a_forgotten_past_blames_all_origins() -> None:
    book = Book(history=2)
    book.attach(A)
    book.step({1: [SERVICE]}, [A], {"r": "good"})
    book.ack(A, 1)
    for revision in range(2, 6):
        book.step({revision: [Ref("ServiceEntry", "shop", "x")]}, [])
    book.step({6: [RULE]}, [A], {"r": "bad"})
    book.refuse(A, 6, "bad")
    assert len(book.refs(6)[0]) == 3
