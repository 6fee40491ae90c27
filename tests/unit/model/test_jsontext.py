# SPDX-License-Identifier: Apache-2.0
"""What JSON text is refused, and where in it the fault is said to be."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.errors import BadRequest, MeshwrightError, TooLarge
from meshwright.model.jsontext import JsonLimits, child, parse_json

BAD = [
    (b'{"a": 1, "a": 2}', "a", "twice"),
    (b'{"spec": {"http": [{}, {"route": 1, "route": 1}]}}', "spec.http[1].route", "twice"),
    (b'{"a": {"x/y": 1, "x/y": 2}}', 'a["x/y"]', "twice"),
    (b'{"a": 1, "a": ', "", "not JSON"),
    (b'{"a": 1, "\\u0061": 2}', "a", "twice"),
    (b'{"a": {"b": "x\\u0000y"}}', "a.b", "NUL"),
    (b'{"a": ["\\ud800"]}', "a[0]", "surrogate"),
    (b'{"\\udfff": 1}', "", "surrogate"),
    (b'{"a": NaN}', "", "NaN"),
    (b'{"a": -Infinity}', "", "-Infinity"),
    (b'{"a": 1e400}', "", "64 bits"),
    (b'{"a": 18446744073709551616}', "", "64 bits"),
    (b'{"a": -9223372036854775809}', "", "64 bits"),
    (b'{"a": ' + b"9" * 5000 + b"}", "", "64 bits"),
    (b'{"a": 1', "", "column 8"),
    (b"", "", "not JSON"),
    (b"{} {}", "", "not JSON"),
    (b"{'a': 1}", "", "not JSON"),
    (b'{"a": 01}', "", "not JSON"),
    (b'{"a": "x\ny"}', "", "not JSON"),
    (b"\xef\xbb\xbf{}", "", "not JSON"),
    (b"\xff", "", "UTF-8"),
    (b"[" * 65 + b"]" * 65, "", "deeper than 64"),
    (b'{"a":' * 65 + b"1" + b"}" * 65, "", "deeper than 64"),
    (b"[" * 400_000 + b"]" * 400_000, "", "deeper than 64"),
    (b'{"a": 1, "a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "", "deeper than 64"),
]


@pytest.mark.parametrize(("text", "path", "words"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_text_is_refused_with_its_place(text: bytes, path: str, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_json(text)
    assert caught.value.path == path
    assert words in caught.value.message
    assert len(caught.value.message) < 300


def test_ten_megabytes_are_refused_unread() -> None:
    with pytest.raises(TooLarge, match="10485760 bytes"):
        parse_json(b"[" * (10 << 20))


def test_the_limits_are_the_callers() -> None:
    assert parse_json(b"[[1]]", JsonLimits(max_bytes=5, max_depth=2)) == [[1]]
    with pytest.raises(TooLarge):
        parse_json(b"[[1]] ", JsonLimits(max_bytes=5, max_depth=2))


def test_depth_64_is_still_read() -> None:
    assert parse_json(b"[" * 64 + b"]" * 64) == json.loads("[" * 64 + "]" * 64)


def test_numbers_to_the_edge_of_64_bits() -> None:
    assert parse_json(b"[18446744073709551615, -9223372036854775808, 1.5]") == [(1 << 64) - 1, -(1 << 63), 1.5]


def test_whole_pairs_of_surrogates_are_text() -> None:
    assert parse_json(b'["\\ud83d\\ude00"]') == ["\U0001f600"]


@pytest.mark.parametrize(
    ("path", "key", "made"), [("", "a", "a"), ("a", "b-c", "a.b-c"), ("a", 3, "a[3]"), ("a", "b.c", 'a["b.c"]'), ("a", "", 'a[""]')]
)
def test_paths(path: str, key: str | int, made: str) -> None:
    assert child(path, key) == made


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=20,
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(TREES)
def test_what_json_can_say_is_read_as_json_reads_it(tree: object) -> None:
    text = json.dumps(tree).encode()
    if b"\\u0000" in text:
        with pytest.raises(BadRequest):
            parse_json(text)
    else:
        assert parse_json(text) == tree


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:01eE+-.\\u tfnNI', max_size=60).map(str.encode))
def test_garbage_ends_in_our_own_errors(data: bytes) -> None:
    try:
        parse_json(data)
    except MeshwrightError as error:
        assert error.message
