# SPDX-License-Identifier: Apache-2.0
"""What a proxy with a valid certificate may say to the discovery port. PROOF=1: many more cases."""

from __future__ import annotations

import os
import random

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from meshwright.model.snapshot import ResourceSet, Snapshot, TypeUrl, XdsResource
from meshwright.xds.frames import Frames
from meshwright.xds.request import parse
from meshwright.xds.session import Session
from meshwright.xds.subscription import MAX_NAMES, Broken

CASES = 20_000 if os.environ.get("PROOF") else 400


def test_words_of_a_proxy_hold_no_orders_for_a_terminal() -> None:
    request = DeltaDiscoveryRequest(type_url=TypeUrl.CLUSTER.value, response_nonce="1")
    request.error_detail.message = "bad\x1b]0;owned\x07 \x9b31m cluster\nsecond line\u202e"
    request.node.id = "web.shop"
    request.node.user_agent_version = "1.40\x1b[2J"
    read = parse(request.SerializeToString())
    assert read.error == "bad\ufffd]0;owned\ufffd \ufffd31m cluster\nsecond line\ufffd"
    assert read.envoy_version == "1.40\ufffd[2J"


@pytest.mark.parametrize("field", ["resource_names_subscribe", "resource_names_unsubscribe", "initial_resource_versions"])
def test_a_million_names_are_refused(field: str) -> None:
    request = DeltaDiscoveryRequest(type_url=TypeUrl.CLUSTER.value)
    if field == "initial_resource_versions":
        request.initial_resource_versions.update({f"n{i}": "1" for i in range(MAX_NAMES + 1)})
    else:
        getattr(request, field).extend(["a"] * 1_000_000)
    with pytest.raises(Broken, match="more than"):
        parse(request.SerializeToString())


def _request(chance: random.Random) -> bytes:
    """Anything that can be said, and one time in four with bytes changed, cut out, doubled or put in."""
    some = lambda most: chance.choices(["a", "b", "*", "gone", "\u00e9", "x" * 512], k=chance.randrange(most))  # noqa: E731
    request = DeltaDiscoveryRequest(
        type_url=chance.choice([type.value for type in TypeUrl]),
        resource_names_subscribe=some(4),
        resource_names_unsubscribe=some(3),
        response_nonce=chance.choice(["", "1", "2", "3", "7", "zz" * 100]),
    )
    for name in some(3):
        request.initial_resource_versions[name] = chance.choice(["", "0123456789abcdef", "\u00e9"])
    if chance.random() < 0.3:
        request.error_detail.message = chance.choice(["", "a: no", "b: no, a: no", "who knows", "\x1b"])
    data = bytearray(request.SerializeToString())
    while chance.random() < 0.25:
        at = chance.randrange(len(data) + 1)
        data[at : at + chance.randrange(4)] = chance.choice([b"", chance.randbytes(2), bytes(data[at : at + 16])])
    return bytes(data)


def _snapshot(*names: str) -> Snapshot:
    return Snapshot({t: (ResourceSet(t, {name: XdsResource(t, name, name.encode(), ()) for name in names}),) for t in TypeUrl})


def test_whatever_is_said_ends_in_an_answer_or_in_broken() -> None:
    chance = random.Random(20_000)
    snapshots = (_snapshot("a", "b"), _snapshot("b"), _snapshot())
    frames, read, answered = Frames(), 0, 0
    for case in range(CASES):
        session = Session(frames, snapshots[0], 1)
        try:
            for step in range(chance.randrange(1, 12)):
                now = float(step * chance.randrange(4))
                effects = session.request(parse(_request(chance)), now)
                read += 1
                answered += len(effects.writes)
                effects = session.offer(chance.choice(snapshots), case * 20 + step, now)
                assert sum(map(len, effects.writes)) < 10_000
        except Broken:
            continue
    assert read > CASES
    assert answered > CASES // 2
