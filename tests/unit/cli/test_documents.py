# SPDX-License-Identifier: Apache-2.0
"""YAML files: what they become, and with which file and line the bad ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.cli.documents import Document, Unreadable, read
from meshwright.errors import MeshwrightError, TooLarge

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10))

BAD = [
    ("a: 1\nb: 2\na: 3\n", 3, "the key 'a' is there twice in the document"),
    ("spec:\n  http:\n  - route: 1\n    route: 2\n", 4, "the key 'route' is there twice in spec.http[0]"),
    ("a: 1\n---\nb: {c: 1,\n    c: 2}\n", 4, "the key 'c' is there twice in b"),
    (BOMB, 6, "aliases written out"),
    ("a: &a [*a]\n", 1, "contains itself"),
    ("a: *nobody\n", 1, "not YAML: found undefined alias"),
    ("[" * 70 + "]" * 70, 1, "nested deeper than 64"),
    ("[" * 500, 0, "nested deeper than 64"),
    ("a: 1\nb: [1\n", 3, "not YAML"),
    ("a: b: c\n", 1, "not YAML"),
    ("a:\n\t- x\n", 2, "not YAML"),
    ("a: .nan\n", 1, "no number that JSON has"),
    ("a: -.inf\n", 1, "no number that JSON has"),
    ("a: 1e999\n", 1, "64 bits"),
    ("x: 1\na: 18446744073709551616\n", 2, "64 bits"),
    ("a: !!binary aGk=\n", 1, "has no meaning here"),
    ("a: !run ls\n", 1, "the tag !run has no meaning here"),
    ("a: !!python/object/apply:os.system [ls]\n", 1, "python"),
    ("? [a]\n: b\n", 1, "a key of the document is not a plain text"),
    ("a: {<<: 7}\n", 1, "must be followed by a mapping"),
    ("a: !!int x\n", 1, "a: 'x'"),
    ("a: \0\n", 0, "not YAML"),
]


@pytest.mark.parametrize(("text", "line", "words"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_bad_yaml_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(text)
    (violation,) = caught.value.violations
    assert words in violation.message
    assert violation.path == (f"<text>:{line}" if line else "<text>")
    assert caught.value.line == line
    assert len(violation.message) < 400


def test_documents_of_a_stream_with_their_lines() -> None:
    assert read("# first\na: 1\n---\n---\n# nothing\n---\nb: [x, {c: d}]\n...\n") == [
        Document("<text>", 2, {"a": 1}),
        Document("<text>", 7, {"b": ["x", {"c": "d"}]}),
    ]
    assert read("") == []


def test_words_mean_what_yaml_1_2_says() -> None:
    text = "[1.2.3.4, 001:db8::, 0x10, 0o17, 017, -3, yes, 'no', on, true, False, 2030-01-01, 12:30:45, ~, null, 1.5, 1e3, '7', !!str 8]"
    assert read(text)[0].object == [
        *("1.2.3.4", "001:db8::", 16, 15, 17, -3, "yes", "no", "on", True, False),
        *("2030-01-01", "12:30:45", None, None, 1.5, 1000.0, "7", "8"),
    ]


def test_aliases_and_merges_within_reason() -> None:
    text = "x: &x {a: 1, b: 2}\ny: *x\nz: {<<: *x, b: 3}\nw: {<<: [{a: 9}, *x]}\n"
    assert read(text)[0].object == {"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 2}, "z": {"a": 1, "b": 3}, "w": {"a": 9, "b": 2}}
    assert read("[&a 1, &a 2, *a]")[0].object == [1, 2, 2]


def test_a_list_is_its_items() -> None:
    assert [d.object for d in read("kind: List\nitems: [{a: 1}, {b: 2}]\n")] == [{"a": 1}, {"b": 2}]


def test_files(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("a: 1\na: 2\n")
    with pytest.raises(Unreadable, match=r"rules\.yaml:2: the key 'a'"):
        read(file)
    other = tmp_path / "rules.json"
    other.write_text('{"a": "\\u00e9"}')
    assert read(other) == [Document(str(other), 1, {"a": "é"})]
    other.write_text('{"a": {"b": 1, "b": 2}}')
    with pytest.raises(Unreadable, match=r"rules\.json: the key \"b\" is there twice \(at a\.b\)"):
        read(other)
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(Unreadable, match=r"rules\.yaml:2: not UTF-8"):
        read(file)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.yaml")


def test_ten_megabytes_are_refused_unread() -> None:
    with pytest.raises(TooLarge, match="10485760 bytes"):
        read("x" * (10 << 20))


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@#,? \n\t01.~<", max_size=40))
def test_garbage_ends_in_our_own_errors(text: str) -> None:
    try:
        read(text)
    except MeshwrightError as error:
        assert error.message
