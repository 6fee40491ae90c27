# SPDX-License-Identifier: Apache-2.0
"""One Envoy's stream against coming and going streams of the control plane, without I/O."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshwright.agent import wire
from meshwright.agent.session import NAMES, Cache, Session
from meshwright.model.wire import delimited

CDS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
EDS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
RDS = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
NODE = wire.Node("web.shop", delimited(1, "web.shop"))
NACK = wire.status(13, "no")


def request(type_url: str = CDS, **parts: object) -> wire.Request:
    return wire.Request(type_url, **parts)  # type: ignore[arg-type]


def opened(session: Session) -> dict[str, wire.Request]:
    requests = [wire.decode_request(raw) for raw in session.open()]
    assert [r.node is not None for r in requests] == [True] + [False] * (len(requests) - 1)
    return {r.type_url: r for r in requests}


def offer(session: Session, nonce: str, *names: str, type_url: str = CDS, version: str = "1", removed: tuple[str, ...] = ()) -> str:
    """The control plane sends; the nonce that Envoy sees."""
    frames = [wire.resource_frame(name, version, type_url, b"body") for name in names]
    raw = wire.encode_response(type_url, nonce, frames, removed)
    return wire.decode_response(session.from_upstream(raw, wire.decode_response(raw))).nonce


def forwarded(session: Session, given: wire.Request) -> wire.Request | None:
    raw = session.from_envoy(given)
    return None if raw is None else wire.decode_request(raw)


def served(session: Session) -> list[tuple[str, str, list[str]]]:
    responses = [wire.decode_response(raw) for raw in session.from_cache()]
    return [(r.type_url, r.nonce, [x.name for x in r.resources]) for r in responses]


def started(cache: Cache | None = None, **first: object) -> Session:
    session = Session(cache or Cache())
    assert session.from_envoy(request(node=NODE, **first)) is None
    return session


def test_the_first_stream_says_what_envoy_said() -> None:
    session = started(versions={"a": "1"})
    first = opened(session)
    assert first[CDS].subscribe == () and dict(first[CDS].versions) == {"a": "1"}
    assert first[NAMES].subscribe == ("names",)
    assert first[CDS].node == NODE


def test_answers_go_to_the_stream_they_belong_to() -> None:
    session = started()
    opened(session)
    seen = offer(session, "n1", "a")
    assert seen != "n1"
    acked = forwarded(session, request(nonce=seen))
    assert acked is not None and (acked.nonce, acked.error) == ("n1", None)
    assert forwarded(session, request(nonce=seen)) is None, "said twice"
    refused = forwarded(session, request(nonce=offer(session, "n2", "a", version="2"), error=NACK))
    assert refused is not None and (refused.nonce, refused.error) == ("n2", NACK)


def test_an_answer_to_an_earlier_stream_stays_here_but_counts() -> None:
    session = started()
    opened(session)
    seen = offer(session, "n1", "a")
    session.close()
    opened(session)
    assert forwarded(session, request(nonce=seen)) is None
    session.close()
    assert dict(opened(session)[CDS].versions) == {"a": "1"}


def test_the_next_stream_is_opened_with_what_envoy_has() -> None:
    session = started()
    opened(session)
    session.from_envoy(request(nonce=offer(session, "n1", "a", "b", "c")))
    session.from_envoy(request(nonce=offer(session, "n2", "a", version="2")))
    session.from_envoy(request(nonce=offer(session, "n3", "b", version="2"), error=NACK))
    session.from_envoy(request(nonce=offer(session, "n4", removed=("c",))))
    offer(session, "n5", "d")  # not answered
    session.close()
    assert dict(opened(session)[CDS].versions) == {"a": "2", "b": "1"}


def test_subscriptions_survive_and_unsubscribed_names_are_forgotten() -> None:
    session = started()
    opened(session)
    assert forwarded(session, request(EDS, subscribe=("x", "y"))) is not None
    session.from_envoy(request(EDS, nonce=offer(session, "n1", "x", "y", type_url=EDS)))
    session.close()
    assert session.from_envoy(request(EDS, subscribe=("z",), unsubscribe=("y",))) is None
    first = opened(session)
    assert first[EDS].subscribe == ("x", "z") and dict(first[EDS].versions) == {"x": "1"}


def test_nothing_subscribed_any_more_is_not_opened_as_everything() -> None:
    session = started()
    opened(session)
    session.from_envoy(request(EDS, subscribe=("x",)))
    session.from_envoy(request(EDS, unsubscribe=("x",)))
    session.close()
    assert EDS not in opened(session)


def test_what_is_asked_for_again_is_not_claimed_to_be_there() -> None:
    session = started()
    opened(session)
    session.from_envoy(request(EDS, subscribe=("x",)))
    session.from_envoy(request(EDS, nonce=offer(session, "n1", "x", type_url=EDS)))
    session.close()
    session.from_envoy(request(EDS, subscribe=("x",)))
    assert dict(opened(session)[EDS].versions) == {}


def test_an_explicit_wildcard_with_names() -> None:
    session = started(subscribe=("*", "b"))
    assert opened(session)[CDS].subscribe == ("*", "b")
    session.from_envoy(request(unsubscribe=("*",)))
    session.close()
    assert opened(session)[CDS].subscribe == ("b",)


def test_a_restarted_envoy_is_served_from_what_was_accepted() -> None:
    cache = Cache()
    session = started(cache)
    opened(session)
    session.from_envoy(request(nonce=offer(session, "n1", "a", "b", "c")))
    session.from_envoy(request(nonce=offer(session, "n2", "a", version="2"), error=NACK))
    session.from_envoy(request(nonce=offer(session, "n3", removed=("c",))))

    restarted = started(cache)
    (response,) = served(restarted)
    assert response[2] == ["a", "b"]
    assert served(restarted) == [], "once"
    assert forwarded(restarted, request(nonce=response[1])) is None
    assert dict(opened(restarted)[CDS].versions) == {"a": "1", "b": "1"}


def test_the_cache_serves_what_is_asked_for_and_missing() -> None:
    cache = Cache()
    session = started(cache)
    opened(session)
    session.from_envoy(request(EDS, subscribe=("x", "y", "z")))
    session.from_envoy(request(EDS, nonce=offer(session, "n1", "x", "y", "z", type_url=EDS)))

    restarted = started(cache)
    assert served(restarted) == [], "nothing is known of clusters"
    restarted.from_envoy(request(EDS, subscribe=("x", "y", "w"), versions={"y": "1"}))
    assert [(t, names) for t, _, names in served(restarted)] == [(EDS, ["x"])]
    restarted.from_envoy(request(EDS, subscribe=("z",)))
    assert [names for _, _, names in served(restarted)] == [["z"]]


def test_what_envoy_refused_from_the_cache_is_not_given_again_until_asked_for() -> None:
    cache = Cache()
    session = started(cache)
    opened(session)
    session.from_envoy(request(EDS, subscribe=("x",)))
    session.from_envoy(request(EDS, nonce=offer(session, "n1", "x", type_url=EDS)))
    restarted = started(cache)
    restarted.from_envoy(request(EDS, subscribe=("x",)))
    ((_, nonce, _),) = served(restarted)
    restarted.from_envoy(request(EDS, nonce=nonce, error=NACK))
    assert served(restarted) == []
    restarted.from_envoy(request(EDS, subscribe=("x",)))
    assert len(served(restarted)) == 1


def test_nothing_at_all_is_said_once_because_envoy_waits_for_it() -> None:
    cache = Cache()
    session = started(cache)
    opened(session)
    session.from_envoy(request(nonce=offer(session, "n1")))
    restarted = started(cache)
    assert [names for _, _, names in served(restarted)] == [[]]
    assert served(restarted) == []


def test_names_keep_their_version() -> None:
    session = Session(Cache(), names_version="abc")
    session.from_envoy(request(node=NODE))
    assert dict(opened(session)[NAMES].versions) == {"names": "abc"}
    answer = wire.decode_request(session.acknowledge_names(wire.Response(NAMES, "n7"), "not UTF-8"))
    assert answer.nonce == "n7" and answer.error is not None and wire.status_message(answer.error) == "not UTF-8"


def test_unanswered_responses_are_bounded() -> None:
    session = started()
    opened(session)
    first = offer(session, "n0", "a")
    for number in range(1, 1000):
        offer(session, f"n{number}", "a", version=str(number))
    assert forwarded(session, request(nonce=first)) is None
    assert len(session._pending) <= 256


NAME = st.sampled_from("abc")
STEP = st.one_of(
    st.tuples(st.just("offer"), st.lists(NAME, unique=True), st.lists(NAME, unique=True), st.booleans()),
    st.tuples(st.just("break")),
    st.tuples(st.just("subscribe"), st.lists(NAME, unique=True)),
    st.tuples(st.just("unsubscribe"), st.lists(NAME, unique=True)),
)


@given(st.lists(STEP, max_size=20))
def test_a_new_stream_never_claims_what_envoy_has_not(steps: list[tuple[object, ...]]) -> None:
    """A model of Envoy beside it: what it accepted and is subscribed to."""
    session = Session(Cache())
    session.from_envoy(request(EDS, node=NODE, subscribe=("a",)))
    opened(session)
    wanted, has, version = {"a"}, {}, 0
    for step in steps:
        if step[0] == "break":
            session.close()
            assert dict(opened(session)[EDS].versions) == has if wanted else EDS not in opened(session)
            continue
        names = tuple(step[1])  # type: ignore[arg-type]
        if step[0] == "subscribe" and names:
            session.from_envoy(request(EDS, subscribe=names))
            wanted |= set(names)
            has = {n: v for n, v in has.items() if n not in names}
        elif step[0] == "unsubscribe":
            session.from_envoy(request(EDS, unsubscribe=names))
            wanted -= set(names)
            has = {n: v for n, v in has.items() if n in wanted}
        elif step[0] == "offer":
            version += 1
            removed = tuple(set(step[2]) - set(names))  # type: ignore[call-overload]
            seen = offer(session, f"n{version}", *names, type_url=EDS, version=str(version), removed=removed)
            session.from_envoy(request(EDS, nonce=seen, error=None if step[3] else NACK))
            if step[3]:
                has |= {n: str(version) for n in names if n in wanted}
                has = {n: v for n, v in has.items() if n not in removed}


def test_a_type_of_which_nothing_is_wanted_any_more_hides_no_other() -> None:
    session = started(subscribe=("*",))
    session.from_envoy(request(EDS, subscribe=("a",)))
    session.from_envoy(request(EDS, unsubscribe=("a",)))
    session.from_envoy(request(RDS, subscribe=("b",)))
    assert opened(session).keys() == {CDS, RDS, NAMES}


def test_what_envoy_has_of_a_new_type_is_told_once() -> None:
    session = started()
    opened(session)
    first = forwarded(session, request(EDS, subscribe=("a",), versions={"a": "7"}))
    again = forwarded(session, request(EDS, subscribe=("b",), versions={"a": "7"}))
    assert first is not None and dict(first.versions) == {"a": "7"}
    assert again is not None and dict(again.versions) == {}


def test_every_answer_from_the_cache_has_a_nonce_of_its_own() -> None:
    cache = Cache()
    before = started(cache, subscribe=("*",))
    before.from_envoy(request(EDS, subscribe=("a",)))
    opened(before)
    for type_url in (CDS, EDS):
        before.from_envoy(request(type_url, nonce=offer(before, "n", "a", type_url=type_url)))
    after = started(cache, subscribe=("*",))
    after.from_envoy(request(EDS, subscribe=("a",)))
    nonces = [nonce for _, nonce, _ in served(after)]
    assert len(nonces) == len(set(nonces)) == 2
