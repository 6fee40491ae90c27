# SPDX-License-Identifier: Apache-2.0
"""Frames, blame, requests, admission."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest
from hypothesis import given
from hypothesis import strategies as st

from meshwright.errors import Forbidden, Limited
from meshwright.model.identity import ProxyId
from meshwright.model.snapshot import ResourceSet, TypeUrl, XdsResource
from meshwright.xds.admission import Caps, TokenBucket, proven
from meshwright.xds.blame import MAX_MESSAGE, culprits
from meshwright.xds.frames import Frames
from meshwright.xds.request import parse
from meshwright.xds.subscription import Broken
from tests.unit.xds.client import read, resource, resources

CDS = TypeUrl.CLUSTER


# frames


def test_the_same_step_is_made_for_the_first_and_once_for_all_others() -> None:
    frames = Frames()
    before = resources(CDS, a="1", b="1")
    after = before.replace([resource(CDS, "a", "2")], ["b"])
    first, part = (frames.part(before, after, frames.wild) for _ in range(2))
    assert frames.part(before, after, frames.wild) is part
    assert first is not part, "what only one asks for is not kept"
    assert ([r.name for r in part.upserts], part.removed, part.added) == (["a"], {"b"}, frozenset())
    assert part.message(CDS, 1) is part.message(CDS, 2)


def test_names_are_interned() -> None:
    frames = Frames()
    names = frames.names(frozenset("ab"))
    assert frames.names(frozenset("ba")) is names
    assert frames.names(frozenset("ab"), wild=True) is not names


def test_sets_without_kinship_are_compared() -> None:
    frames = Frames()
    part = frames.part(resources(CDS, a="1", b="1", c="1"), resources(CDS, b="1", c="2", d="1"), frames.wild)
    assert ([r.name for r in part.upserts], part.removed, part.added) == (["c", "d"], {"a"}, {"d"})


class Counting(Mapping[str, XdsResource]):
    """Counts what is looked up, and refuses to be walked over."""

    def __init__(self, inner: Mapping[str, XdsResource]) -> None:
        self.inner = inner
        self.looked_up = 0

    def __getitem__(self, name: str) -> XdsResource:
        self.looked_up += 1
        return self.inner[name]

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("walked over everything")

    def __len__(self) -> int:
        return len(self.inner)


def test_a_neighbour_costs_what_changed() -> None:
    frames = Frames()
    old = resources(CDS, **{f"n{i}": "1" for i in range(10_000)})
    new = old.replace([resource(CDS, "n7", "2")])
    before, after = (ResourceSet(CDS, Counting(s.resources)) for s in (old, new))
    after.parent_key, after.changed = before.key, new.changed
    assert [r.name for r in frames.part(before, after, frames.wild).upserts] == ["n7"]
    for layer in (before, after):
        assert isinstance(layer.resources, Counting)
        assert layer.resources.looked_up == 1


def test_the_memo_is_bounded() -> None:
    frames = Frames(budget=10_000)
    sets = [resources(CDS, a="x" * 1_000 + str(i)) for i in range(20)]
    parts = [frames.part(None, s, frames.wild) for s in sets for _ in range(2)]
    assert frames.part(None, sets[-1], frames.wild) is parts[-1]
    assert frames.part(None, sets[0], frames.wild) not in parts


@given(
    st.dictionaries(st.text(max_size=20), st.binary(max_size=300), max_size=5),
    st.lists(st.text(max_size=20), unique=True),
    st.integers(0, 2**60),
)
def test_a_response_is_what_protobuf_reads(contents: dict[str, bytes], removed: list[str], revision: int) -> None:
    frames = Frames()
    made = [XdsResource(CDS, name, body, ()) for name, body in contents.items()]
    gone = [name for name in removed if name not in contents]
    parts = [frames.single(made[:2]), frames.part(None, ResourceSet(CDS, {r.name: r for r in made[2:]}), frames.wild)]
    parts[1].message(CDS, 1)  # framed before: its bytes are used again
    nonce, message = frames.message(CDS, parts, gone, revision)
    response = read(message)
    assert (response.type, response.nonce, response.upserts, list(response.removed)) == (CDS, nonce, contents, gone)
    assert response.versions == {r.name: r.version for r in made}


# blame


@pytest.mark.parametrize(
    ("message", "names", "found"),
    [
        ("Error adding/updating listener(s) l2: cannot bind '127.0.0.1:80': Address already in use\nl4: no", "l2 l4 l3", "l2 l4"),
        ("Error adding/updating cluster(s) c.bad2: must have a single host, c.bad3: so", "c.bad2 c.bad3 c.bad c", "c.bad2 c.bad3"),
        ("Only a single wildcard domain is permitted in route http.80", "http.80 http http.8 80", "http.80"),
        ("unknown cluster 'outbound|80||a.shop.mesh'.", "outbound|80||a.shop.mesh outbound|80||a.shop", "outbound|80||a.shop.mesh"),
        ('name: "r1"\nvirtual_hosts {', "r1 all", ""),
        ("80: no", "80", "80"),
        ("port 80 is taken", "80", ""),
        ("malformed IP address: nope", "reviews ratings", ""),
        ("", "a", ""),
    ],
)
def test_who_is_meant(message: str, names: str, found: str) -> None:
    assert culprits(message, names.split()) == set(found.split())


# requests


def test_a_request_is_read() -> None:
    message = DeltaDiscoveryRequest(
        type_url=CDS.value, resource_names_subscribe=["a"], resource_names_unsubscribe=["b"], response_nonce="n"
    )
    message.initial_resource_versions["a"] = "1"
    message.node.id = "web.shop"
    message.node.user_agent_build_version.version.major_number = 1
    message.node.user_agent_build_version.version.minor_number = 40
    request = parse(message.SerializeToString())
    assert (request.type, request.subscribe, request.unsubscribe, request.nonce, request.error) == (CDS, ("a",), ("b",), "n", None)
    assert (request.versions, request.node, request.envoy_version) == ({"a": "1"}, "web.shop", "1.40.0")


def test_the_words_of_a_refusal_are_cut() -> None:
    message = DeltaDiscoveryRequest(type_url=CDS.value, response_nonce="n", error_detail={"message": "x" * 10_000})
    assert parse(message.SerializeToString()).error == "x" * MAX_MESSAGE


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_read(data: bytes) -> None:
    try:
        parse(data)
    except Broken:
        pass


@pytest.mark.parametrize("name", ["", "x" * 513])
def test_names_have_bounds(name: str) -> None:
    with pytest.raises(Broken, match="empty or longer"):
        parse(DeltaDiscoveryRequest(type_url=CDS.value, resource_names_unsubscribe=[name]).SerializeToString())


# admission


class Watch:
    """A Clock that stands."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return self.seconds


def test_the_bucket_lets_a_burst_in_then_its_rate_then_nobody() -> None:
    clock = Watch()
    bucket = TokenBucket(10, 5, clock)
    assert [bucket.reserve(1.0) for _ in range(5)] == [0.0] * 5
    waits = [bucket.reserve(1.0) for _ in range(10)]
    assert waits == pytest.approx([0.1 * (i + 1) for i in range(10)])
    with pytest.raises(Limited):
        bucket.reserve(1.0)
    clock.seconds += 1.1
    assert bucket.reserve(1.0) == 0.0
    clock.seconds += 1_000
    assert [bucket.reserve(0.0) for _ in range(5)] == [0.0] * 5


def test_no_rate_no_limit() -> None:
    bucket = TokenBucket(0, 1, Watch())
    assert {bucket.reserve(0.0) for _ in range(1_000)} == {0.0}


def test_caps_count_each_proxy_for_itself() -> None:
    caps, web, api = Caps(2), ProxyId("web", "shop"), ProxyId("api", "shop")
    caps.enter(web)
    caps.enter(web)
    caps.enter(api)
    with pytest.raises(Limited):
        caps.enter(web)
    caps.leave(web)
    caps.enter(web)


@pytest.mark.parametrize("sans", [[], [b"spiffe://cluster.local/ns/shop/sa/default"], [b"\xff://", b"\xfe"]])
def test_no_proof(sans: list[bytes]) -> None:
    with pytest.raises(Forbidden):
        proven({"x509_subject_alternative_name": sans}, "cluster.local")
