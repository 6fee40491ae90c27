# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshwright.translate import names

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
HOST = st.lists(LABEL, min_size=1, max_size=5).map(".".join) | LABEL.map(lambda label: f"*.{label}.com")
PORT = st.integers(1, 65535)
SUBSET = st.just("") | LABEL

NAME = st.one_of(
    st.builds(names.OutboundCluster, PORT, SUBSET, HOST),
    st.builds(names.InboundCluster, PORT),
    st.builds(names.HttpListener, PORT, st.just("") | HOST),
    st.builds(names.TcpListener, PORT, HOST),
    st.builds(names.InboundListener),
    st.builds(names.OutboundRoute, PORT, st.just("") | HOST),
    st.builds(names.RuleName, LABEL, HOST, st.text(max_size=20)),
)


@given(NAME)
def test_what_is_formatted_is_parsed_back(name: names.Name) -> None:
    back = names.parse(str(name))
    assert back == name
    assert type(back) is type(name)


@given(NAME, NAME)
def test_two_names_never_look_alike(one: names.Name, other: names.Name) -> None:
    assert (str(one) == str(other)) == ((type(one), one) == (type(other), other))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "outbound",
        "outbound|x",
        "outbound|080||a",
        "outbound|-1||a",
        "inbound|80|x|",
        "outbound|80||",
        "outbound|udp|80|a",
        "a|b",
        "a#b",
        "x/y",
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        names.parse(text)


def test_a_server_name_has_port_and_host_but_no_subset() -> None:
    assert names.server_name(80, "reviews.shop.mesh") == "outbound_.80_._.reviews.shop.mesh"


@given(PORT, HOST | st.text("abc.", min_size=200, max_size=253))
def test_a_server_name_is_one_that_envoy_takes(port: int, host: str) -> None:
    name = names.server_name(port, host)
    assert len(name) <= 255
    assert "*" not in name


def test_hosts_too_long_for_a_server_name_stay_apart() -> None:
    long = "a" * 250
    assert names.server_name(80, f"{long}b") != names.server_name(80, f"{long}c")


def test_aliases_depend_on_the_namespace_that_looks() -> None:
    assert names.aliases("reviews.shop.mesh", "shop", "mesh") == (
        "reviews.shop.svc.cluster.local",
        "reviews.shop.svc",
        "reviews.shop",
        "reviews",
    )
    assert "reviews" not in names.aliases("reviews.shop.mesh", "other", "mesh")


@pytest.mark.parametrize("host", ["api.example.com", "a.b.c.mesh", "*.shop.mesh", "reviews.shop", "mesh"])
def test_other_hosts_have_no_aliases(host: str) -> None:
    assert names.aliases(host, "shop", "mesh") == ()


@given(LABEL, LABEL, LABEL)
def test_a_host_is_a_rival_of_itself_and_of_who_may_want_its_aliases(name: str, home: str, viewer: str) -> None:
    mesh, local = f"{name}.{home}.mesh", f"{name}.{home}.svc.cluster.local"
    assert {mesh, local} <= names.rivals(mesh, viewer, "mesh")
    assert {mesh, local} <= names.rivals(local, viewer, "mesh")
    assert set(names.aliases(mesh, home, "mesh")) <= names.spellings(mesh, "mesh")
