# SPDX-License-Identifier: Apache-2.0
"""The small grammars: durations, hosts, labels, identities, patterns, the table of kinds."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.model import hosts, labels, regex
from meshwright.model.duration import Duration
from meshwright.model.identity import ProxyId, SpiffeId
from meshwright.model.kinds import FIELDS_NOT_YET, KINDS, by_kind, by_plural, json_schemas

MILLISECOND = 1_000_000


@pytest.mark.parametrize(
    ("text", "nanoseconds", "shortest"),
    [
        ("1h30m", 5_400_000 * MILLISECOND, "90m"),
        ("2.5s", 2_500 * MILLISECOND, "2500ms"),
        ("100ms", 100 * MILLISECOND, "100ms"),
        ("0s", 0, "0s"),
        ("1.0000005s", 1_000_000_500, "1000000500ns"),
        ("1500us", 1_500_000, "1500us"),
    ],
)
def test_durations(text: str, nanoseconds: int, shortest: str) -> None:
    made = Duration.parse(text)
    assert made == Duration(nanoseconds)
    assert str(made) == shortest
    assert Duration.parse(str(made)) == made


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1 s", "1d", "0.5ms", "10001h", "1s ", "\u0661s", "1e3s", "9" * 40 + "s", "1.s"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|shorter|longer"):
        Duration.parse(text)


def test_a_duration_is_a_value() -> None:
    one, two = Duration(1), Duration(2)
    assert one < two
    assert {one, Duration(1)} == {one}
    assert pickle.loads(pickle.dumps(two)) == two
    with pytest.raises(AttributeError):
        one.nanoseconds = 5  # type: ignore[misc]


@pytest.mark.parametrize("text", ["a", "a.b", "a-b.example.com", "1.example.com", "x" * 63 + ".com"])
def test_good_hosts(text: str) -> None:
    assert hosts.problem(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("A.example.com", "lower case: a.example.com"),
        ("a..b", "not a DNS name"),
        (".a", "not a DNS name"),
        ("a.", "not a DNS name"),
        ("-a.b", "not a DNS name"),
        ("a_b.c", "not a DNS name"),
        ("x" * 64 + ".com", "not a DNS name"),
        ("a.b" * 100, "longer than 253"),
        ("10.0.0.1", "number"),
        ("*.example.com", "wildcard"),
        ("a.*.com", "leading"),
        ("a*.com", "leading"),
        ("bücher.example", "not a DNS name"),
        ("a\nb", "not a DNS name"),
        ("../x", "not a DNS name"),
        ("fe80::1%eth0", "not a DNS name"),
    ],
)
def test_bad_hosts(text: str, words: str) -> None:
    assert words in (hosts.problem(text) or "")


def test_wildcards_only_where_allowed_and_only_in_front() -> None:
    assert hosts.problem("*.example.com", wildcard=True) is None
    assert hosts.problem("*", wildcard=True) is None
    assert hosts.problem("*a.com", wildcard=True) is not None
    assert hosts.problem("*.*.com", wildcard=True) is not None
    assert hosts.problem("*.", wildcard=True) is not None
    assert "dot" in (hosts.problem("a", short=False) or "")


def test_one_service_of_the_mesh_has_many_spellings() -> None:
    first = {
        hosts.candidates(text, "shop")[0] for text in ("web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "web.shop.mesh")
    }
    assert first == {"web.shop.mesh"}
    assert hosts.candidates("www.example.com", "shop") == ("www.example.com",)
    assert hosts.candidates("*.shop.mesh", "shop") == ("*.shop.mesh",)
    assert hosts.candidates("web", "shop") != hosts.candidates("web", "billing")


def test_whose_a_host_is() -> None:
    assert hosts.owner_namespace("web.shop.mesh") == "shop"
    assert hosts.owner_namespace("web.shop.svc.cluster.local") == "shop"
    assert hosts.owner_namespace("www.example.com") is None
    assert hosts.owner_namespace("example.com") is None


def test_wildcards_of_a_host_from_special_to_general() -> None:
    assert hosts.wildcards("a.b.c") == ("*.b.c", "*.c", "*")


@pytest.mark.parametrize(
    ("text", "is_ip"), [("10.0.0.1", True), ("2001:db8::1", True), ("2001:0db8::1", False), ("fe80::1%e", False), ("a", False)]
)
def test_addresses_have_one_form(text: str, is_ip: bool) -> None:
    assert hosts.is_ip(text) is is_ip


@pytest.mark.parametrize(
    ("key", "good"),
    [("app", True), ("a.b/c", True), ("A_b.c-d", True), ("", False), ("/a", False), ("a/", False), ("a/b/c", False), ("x" * 64, False)],
)
def test_keys_of_labels(key: str, good: bool) -> None:
    assert labels.is_key(key) is good


@pytest.mark.parametrize(("value", "good"), [("", True), ("v1", True), ("-a", False), ("a b", False), ("x" * 64, False)])
def test_values_of_labels(value: str, good: bool) -> None:
    assert labels.is_value(value) is good


@pytest.mark.parametrize(
    "pattern",
    [
        ".*",
        "a|b",
        "(?i)abc",
        "(?P<x>a+)b*?",
        "[^/]+/[a-z]{2,5}",
        r"\d{3}-\w+\.x",
        r"[\d\-]",
        r"\x{1F600}",
        r"\p{Greek}\pL",
        r"\Qa*b\E",
        "a{,3}",
        "(a{9}){99}a{999}(b{1000})*",
        "",
        r"[]a]",
        r"\012",
        "(?s-i:x)",
        "[[:alpha:]_]+",
    ],
)
def test_patterns_that_re2_has(pattern: str) -> None:
    assert regex.problem(pattern) is None


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(?=a)", "lookahead"),
        ("(?!a)", "lookahead"),
        ("(?<=a)b", "lookbehind"),
        ("(?<!a)b", "lookbehind"),
        (r"(a)\1", "backreference"),
        ("(?P<n>a)(?P=n)", "backreference"),
        ("(?>a)", "doesn't have"),
        ("(?#comment)", "doesn't have"),
        ("a++", "repeats a repetition"),
        ("*a", "nothing before it"),
        ("{2}", "nothing before it"),
        ("a{1001}", "up to 1000"),
        ("a{5,2}", "low to high"),
        ("(a", "without )"),
        ("a)", "without ("),
        ("[a", "without ]"),
        ("[z-a]", "range"),
        ("a\\", "ends in"),
        (r"\Z", "escape"),
        (r"\p{Klingon}", "Unicode"),
        (r"\xZZ", "hexadecimal"),
        ("[[:nope:]]", "unknown class"),
        ("(?P<a>x)(?P<a>y)", "two groups"),
        ("(" * 70 + ")" * 70, "nested"),
        ("a" * 1025, "longer than 1024"),
        ("((a{30}){30}){2}", "repeats 1800 times"),
        ("(?:a{3}|(?:b{9}){9}c{2}){20}", "repeats 1620 times"),
        (r"\pL{900}", "too big"),
    ],
)
def test_patterns_that_re2_does_not_have(pattern: str, words: str) -> None:
    assert words in (regex.problem(pattern) or "")


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.text(alphabet="ab(){}[]|*+?\\.^$,1234567890:<>=!PiQEpx-é", max_size=30))
def test_no_pattern_breaks_the_reader(pattern: str) -> None:
    told = regex.problem(pattern)
    assert told is None or told


def test_identities() -> None:
    text = "spiffe://cluster.local/ns/shop/sa/web"
    assert str(SpiffeId.parse(text)) == text
    assert SpiffeId.parse(text).principal == "cluster.local/ns/shop/sa/web"
    for bad in ("spiffe://x/../y", text + "/", text.replace("shop", "Shop"), "spiffe:///ns/a/sa/b", text + "?x"):
        with pytest.raises(ValueError, match="is not spiffe"):
            SpiffeId.parse(bad)


def test_proxy_ids() -> None:
    made = ProxyId.parse("web.v1.shop")
    assert made == ProxyId("web.v1", "shop")
    assert ProxyId.from_dns_san(made.dns_san("cluster.local"), "cluster.local") == made
    for bad in ("shop", ".shop", "web.", "web.Shop", "x" * 300 + ".a"):
        with pytest.raises(ValueError, match=r"NAME\.NAMESPACE"):
            ProxyId.parse(bad)


def test_kinds_are_found_by_route_and_by_name() -> None:
    for kind in KINDS.values():
        assert by_plural(kind.group, kind.plural) is kind
        assert by_kind(kind.group, kind.name) is kind
        assert kind.versions[0] == "v1"
    assert by_plural("networking.istio.io", "peerauthentications") is None
    assert by_kind("security.istio.io", "VirtualService") is None


def test_a_field_is_supported_or_not_but_not_both() -> None:
    for struct, names in FIELDS_NOT_YET.items():
        assert names.isdisjoint(struct.__struct_encode_fields__)


def test_schemas_for_openapi() -> None:
    refs, components = json_schemas()
    assert set(refs) == set(KINDS)
    assert components["HTTPRetry"]["properties"]["perTryTimeout"]["anyOf"][0]["format"] == "duration"
    assert components["ServicePort"]["properties"]["number"] == {"type": "integer", "minimum": 1, "maximum": 65535}
    assert components["VirtualService"]["additionalProperties"] is False
