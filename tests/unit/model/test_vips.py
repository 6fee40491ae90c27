# SPDX-License-Identifier: Apache-2.0
"""The numbers of services."""

from __future__ import annotations

import msgspec
import pytest

from meshwright.errors import Invalid
from meshwright.model.decode import decode, encode
from meshwright.model.meta import AddressStatus, Status
from meshwright.model.world import LAST_VIP, World, allocate_vips
from tests.unit.model.samples import put, service


def values(made: object) -> list[tuple[str, str]]:
    return [(address.host, address.value) for address in made.status.addresses]  # type: ignore[attr-defined]


def test_the_lowest_free_numbers_from_two_on() -> None:
    world = World.empty()
    first = allocate_vips(world, service("a", hosts=["a.shop.mesh", "b.shop.mesh"]))
    assert values(first) == [("a.shop.mesh", "240.240.0.2"), ("b.shop.mesh", "240.240.0.3")]
    world, _ = world.apply(put(first), 1)
    assert world.services["b.shop.mesh"].vip == 3
    assert values(allocate_vips(world, service("c"))) == [("c.shop.mesh", "240.240.0.4")]


def test_numbers_that_were_given_stay() -> None:
    first = allocate_vips(World.empty(), service("a", hosts=["a.shop.mesh", "b.shop.mesh"]))
    world, _ = World.empty().apply(put(first), 1)
    changed = decode(encode(service("a", hosts=["c.shop.mesh", "b.shop.mesh"])), first)
    assert values(allocate_vips(world, changed)) == [("c.shop.mesh", "240.240.0.4"), ("b.shop.mesh", "240.240.0.3")]
    assert allocate_vips(world, first) is first


def test_a_number_that_became_free_is_given_again() -> None:
    a, b = (allocate_vips(World.empty(), service(name), taken) for name, taken in (("a", ()), ("b", (2,))))
    world, _ = World.empty().apply(put(b), 1)
    assert values(a)[0][1] == values(allocate_vips(world, service("c")))[0][1] == "240.240.0.2"


def test_numbers_given_a_moment_ago_are_taken_too() -> None:
    assert values(allocate_vips(World.empty(), service("a"), taken={2, 3, 5})) == [("a.shop.mesh", "240.240.0.4")]


def test_a_loser_of_a_host_keeps_its_number() -> None:
    winner = allocate_vips(World.empty(), service("a", hosts=["x.example.com"], created="2030-01-01T00:00:00Z"))
    loser = allocate_vips(World.empty(), service("b", hosts=["x.example.com"], created="2031-01-01T00:00:00Z"), taken={2})
    world, _ = World.empty().apply(put(winner, loser), 1)
    assert values(allocate_vips(world, service("c"))) == [("c.shop.mesh", "240.240.0.4")]


def test_the_second_octet() -> None:
    made = allocate_vips(World.empty(), service("a"), taken=range(258))
    assert values(made) == [("a.shop.mesh", "240.240.1.2")]
    assert World.empty().apply(put(made), 1)[0].services["a.shop.mesh"].vip == 258


def test_no_number_left() -> None:
    with pytest.raises(Invalid, match="65533 service numbers"):
        allocate_vips(World.empty(), service("a"), taken=range(LAST_VIP + 1))


def test_the_digest_follows_the_numbers() -> None:
    bare = service("a")
    made = allocate_vips(World.empty(), bare)
    assert made.digest != bare.digest
    assert made.spec == bare.spec


@pytest.mark.parametrize("value", ["10.0.0.1", "240.240.x.1", "240.240.0", "240.240.0.2.3", "240.240.999.1", "240.240.0.0"])
def test_other_addresses_are_no_numbers(value: str) -> None:
    odd = msgspec.structs.replace(service("a"), status=Status((), (AddressStatus(value, "a.shop.mesh"),)))
    assert World.empty().apply(put(odd), 1)[0].services["a.shop.mesh"].vip == 0
    assert values(allocate_vips(World.empty(), odd)) == [("a.shop.mesh", "240.240.0.2")]
