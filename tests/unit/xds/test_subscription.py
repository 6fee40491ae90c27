# SPDX-License-Identifier: Apache-2.0
"""One type on one stream: names and `*`, versions of an earlier stream, refusals. The rest is in test_machine."""

from __future__ import annotations

import pytest

from meshwright.model.snapshot import ResourceSet, TypeUrl
from meshwright.xds.frames import Frames, Layers
from meshwright.xds.subscription import MAX_NAMES, Broken, Subscription
from tests.unit.xds.client import Response, read, resource, resources

EDS = TypeUrl.ENDPOINT
SET: Layers = (resources(EDS, a="1", b="1", c="1"),)


class Talk:
    """A subscription and what it says, without a session."""

    def __init__(self, layers: Layers = SET) -> None:
        self.layers = layers
        self.subscription = Subscription(EDS, Frames())
        self.now = 0.0

    def start(self, *names: str, **versions: str) -> Response | None:
        self.subscription.start(names, versions, self.layers)
        return self.push()

    def subscribe(self, *names: str, gone: tuple[str, ...] = ()) -> Response | None:
        self.subscription.subscribe(names, gone, self.layers)
        return self.push()

    def push(self, layers: Layers | None = None) -> Response | None:
        self.layers = layers or self.layers
        if self.subscription.current(self.layers) or not self.subscription.ready(self.now):
            return None
        message, _ = self.subscription.push(self.layers, 1, self.now)
        return read(message) if message is not None else None

    def ack(self, response: Response | None) -> Response | None:
        assert response is not None
        assert self.subscription.acknowledge(response.nonce, None) == []
        return self.push()

    def nack(self, response: Response | None, words: str) -> list[str]:
        """The names that are refused."""
        assert response is not None
        return [r.resource.name if r.resource else "" for r in self.subscription.acknowledge(response.nonce, words)]


def _names(response: Response | None) -> tuple[list[str], list[str]]:
    return (sorted(response.upserts), sorted(response.removed)) if response else ([], [])


def test_only_what_is_asked_for() -> None:
    talk = Talk()
    first = talk.start("a", "b")
    assert _names(first) == (["a", "b"], [])
    talk.ack(first)
    assert talk.push((resources(EDS, a="1", b="1", c="2"),)) is None
    assert _names(talk.push((resources(EDS, a="2", b="1", c="2"),))) == (["a"], [])


def test_a_name_that_is_not_there_is_said_to_be_removed_and_comes_when_it_comes() -> None:
    talk = Talk()
    first = talk.start("a", "later")
    assert _names(first) == (["a"], ["later"])
    talk.ack(first)
    assert _names(talk.push((SET[0].replace([resource(EDS, "later")]),))) == (["later"], [])


def test_asking_again_is_answered_again() -> None:
    talk = Talk()
    talk.ack(talk.start("a", "b"))
    assert _names(talk.subscribe("a")) == (["a"], [])


def test_a_name_given_up_is_not_sent_any_more() -> None:
    talk = Talk()
    talk.ack(talk.start("a", "b"))
    assert talk.subscribe(gone=("a",)) is None
    assert talk.push((resources(EDS, a="2", b="1", c="1"),)) is None
    assert _names(talk.subscribe("a")) == (["a"], [])


def test_question_while_an_answer_is_on_its_way() -> None:
    talk = Talk()
    first = talk.start("a")
    assert talk.subscribe("b") is None
    assert talk.subscribe("c", gone=("b",)) is None
    assert _names(talk.ack(first)) == (["c"], [])


def test_question_and_change_at_once() -> None:
    talk = Talk()
    first = talk.start("a", "b")
    talk.subscribe("c", "nowhere")
    talk.layers = (resources(EDS, a="2", b="1", c="3"),)
    assert _names(talk.ack(first)) == (["a", "c"], ["nowhere"])


@pytest.mark.parametrize("names", [(), ("*",)])
def test_everything(names: tuple[str, ...]) -> None:
    talk = Talk()
    first = talk.start(*names)
    assert _names(first) == (["a", "b", "c"], [])
    talk.ack(first)
    assert _names(talk.push((SET[0].replace([resource(EDS, "d")]),))) == (["d"], [])


def test_everything_and_a_name_on_top() -> None:
    talk = Talk()
    talk.ack(talk.start("*"))
    extra = talk.subscribe("a", "nowhere")
    assert _names(extra) == (["a"], ["nowhere"])
    talk.ack(extra)
    told = talk.subscribe(gone=("a",))  # `*` still covers it: its state is told again
    assert _names(told) == (["a"], [])
    talk.ack(told)
    assert talk.subscribe("b", gone=("*",)) is not None
    assert _names(talk.push((resources(EDS, a="2", b="2", c="2"),))) == ([], [])


def test_after_star_is_given_up_only_the_names_count() -> None:
    talk = Talk()
    talk.ack(talk.start("*", "b"))
    assert talk.subscribe(gone=("*",)) is None
    assert _names(talk.push((resources(EDS, a="2", b="2", c="2"),))) == (["b"], [])


def test_what_the_client_kept_is_not_sent_again() -> None:
    talk = Talk()
    versions = {name: r.version for name, r in SET[0].resources.items()}
    assert talk.start("a", "b", "c", **versions) is None
    assert talk.subscription.current(SET)


def test_what_differs_from_what_the_client_kept() -> None:
    talk = Talk()
    assert _names(talk.start("a", "b", "gone", "nowhere", a=SET[0].resources["a"].version, b="other", gone="1")) == (["b"], ["nowhere"])
    message = talk.subscription.remove(SET, 1, 0)
    assert message is not None
    assert read(message).removed == ("gone",)


def test_removals_wait_until_they_are_called_for() -> None:
    talk = Talk()
    talk.ack(talk.start("*"))
    smaller = (SET[0].replace([], ["a", "b"]),)
    assert talk.push(smaller) is None
    back = (smaller[0].replace([resource(EDS, "b", "1")]),)
    talk.ack(talk.push(back))
    message = talk.subscription.remove(back, 1, 0)
    assert message is not None
    assert read(message).removed == ("a",)
    assert talk.subscription.remove(back, 1, 0) is None


def test_the_good_ones_come_again_without_the_bad_which_comes_when_it_is_another() -> None:
    talk = Talk()
    first = talk.start("*")
    assert talk.nack(first, "Error adding/updating cluster(s) b: no") == ["b"]
    second = talk.push()
    assert _names(second) == (["a", "c"], [])
    talk.ack(second)
    assert talk.subscription.current(SET)
    changed = (SET[0].replace([resource(EDS, "c", "2")]),)
    third = talk.push(changed)
    assert _names(third) == (["c"], [])
    talk.ack(third)
    fixed = (changed[0].replace([resource(EDS, "b", "2")]),)
    talk.ack(talk.push(fixed))
    assert talk.subscription.rare is None


@pytest.mark.parametrize("bad", [{"a"}, {"h"}, {"c", "d"}, {"a", "e", "h"}, set("abcdefgh")])
def test_when_envoy_does_not_say_which_it_is_found_out(bad: set[str]) -> None:
    talk = Talk((resources(EDS, **dict.fromkeys("abcdefgh", "1")),))
    response, found, taken, rounds = talk.start("*"), set[str](), set[str](), 0
    while response is not None:
        rounds += 1
        if bad & response.upserts.keys():
            found |= set(talk.nack(response, "Proto constraint validation failed"))
            response = talk.push()
        else:
            taken |= response.upserts.keys()
            response = talk.ack(response)
    assert found == bad
    assert taken == set("abcdefgh") - bad
    assert rounds <= 2 * len(bad) * 4 + 1


def test_a_removal_that_is_refused_is_nobodys_fault() -> None:
    talk = Talk()
    talk.ack(talk.start("*"))
    empty = (SET[0].replace([], ["a"]),)
    talk.push(empty)
    message = talk.subscription.remove(empty, 1, 0)
    assert message is not None
    assert talk.nack(read(message), "no") == [""]


def test_a_refused_name_that_is_replaced_already_is_forgotten() -> None:
    talk = Talk()
    first = talk.start("a")
    talk.now += 10
    second = talk.push((resources(EDS, a="2"),))
    assert talk.nack(first, "no") == []
    talk.ack(second)
    assert talk.subscription.current(talk.layers)
    assert talk.subscription.rare is None


def test_who_is_left_of_a_refused_response_is_not_guilty_for_that() -> None:
    """The bad one is replaced already when the refusal, which names nobody, comes: the other is sent again, not blamed."""
    talk = Talk()
    first = talk.start("a", "b")
    talk.now += 10
    second = talk.push((resources(EDS, a="1", b="2"),))
    assert _names(second) == (["b"], [])
    assert talk.nack(first, "no") == []
    again = talk.ack(second)
    assert _names(again) == (["a"], [])
    talk.ack(again)
    assert talk.subscription.current(talk.layers)


def test_too_many_names() -> None:
    talk = Talk()
    talk.start(*(f"n{i}" for i in range(MAX_NAMES)))
    with pytest.raises(Broken, match="more than"):
        talk.subscribe("one-more")


def test_a_resource_that_moves_between_layers_is_not_removed() -> None:
    own = ResourceSet(EDS, {})
    talk = Talk((SET[0], own))
    talk.ack(talk.start("*"))
    moved = (SET[0].replace([], ["a"]), own.replace([resource(EDS, "a", "2")]))
    assert _names(talk.push(moved)) == (["a"], [])
    assert talk.subscription.remove(moved, 1, 0) is None
