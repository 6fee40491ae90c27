# SPDX-License-Identifier: Apache-2.0
"""What mutmut made in a copy of the tree: which mutants there are, where each differs from the source, and how its trial ended."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_PROSE = re.compile(r"""(['"])(?:(?!\1)[^\\]|\\.)* (?:(?!\1)[^\\]|\\.)*\1""")
_NAME = re.compile(r"(?:.*\.)?xǁ(?P<cls>\w+)ǁ(?P<method>\w+)__mutmut_\d+|(?:.*\.)?x_(?P<function>\w+)__mutmut_\d+")


class Mutant(NamedTuple):
    """`file` and `line` in the source, `before` and `after` that line; `status` of its trial: None (not tried), 0 (survived), 33 (no
    test reaches it), anything else: found."""

    name: str
    file: str
    line: int
    before: str
    after: str
    status: int | None

    @property
    def wording(self) -> bool:
        """Only a text for people is another one (it has a space): what messages say is nothing that tests should hold fast."""
        return _PROSE.sub("''", self.before) == _PROSE.sub("''", self.after)


def found(tree: Path) -> Iterator[Mutant]:
    """All mutants below `tree`/mutants, in a fixed order."""
    for meta in sorted((tree / "mutants").rglob("*.py.meta")):
        made = meta.with_suffix("")
        file = str(made.relative_to(tree / "mutants"))
        lines = made.read_text("utf-8").splitlines()
        spans = json.loads(made.with_suffix(".py.spans").read_text("utf-8"))["spans"]
        places = _places((tree / file).read_text("utf-8"))
        for name, status in sorted(json.loads(meta.read_text("utf-8"))["exit_code_by_key"].items()):
            short = name.rpartition(".")[2]
            original = spans[re.sub(r"__mutmut_\d+$", "__mutmut_orig", short)]
            before, after = (_unmarked(lines[begin - 1 : end]) for begin, end in (original, spans[short]))
            at = next(i for i, line in enumerate(before) if after[i : i + 1] != [line])
            line = places[_plain(short)] + at - next(i for i, text in enumerate(before) if "def " in text)
            yield Mutant(name, file, line, before[at].strip(), "".join(after[at : at + 1]).strip(), status)


def _unmarked(lines: list[str]) -> list[str]:
    return [re.sub(r"__mutmut_(orig|\d+)", "", line) for line in lines]


def _plain(short: str) -> str:
    """`x_parts__mutmut_3` is of `parts`, `xǁWorldǁhaving__mutmut_1` of `World.having`."""
    match = _NAME.fullmatch(short)
    assert match is not None, short
    return match["function"] or f"{match['cls']}.{match['method']}"


def _places(source: str) -> dict[str, int]:
    """Function -> line of its def."""
    places = {}
    for node in ast.parse(source).body:
        below = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        places |= {prefix + one.name: one.lineno for one in below if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    return places
