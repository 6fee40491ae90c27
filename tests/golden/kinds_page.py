# SPDX-License-Identifier: Apache-2.0
"""docs/reference/kinds.md, written from the table of kinds and the structs: `GOLDEN_REWRITE=1` (make golden) rewrites it."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec

from meshwright.model.duration import Duration
from meshwright.model.kinds import FIELDS_NOT_YET, KINDS, KINDS_NOT_YET, WORDS_NOT_YET, Kind
from meshwright.model.networking import Spec

HEAD = """# The rule API's kinds

Written from `src/meshwright/model` (`make golden`). Fields and their meaning are Istio's. A field of Istio's listed as not supported yet
is refused by that name (`NotSupported`), any other unknown field as unknown: nothing is ever ignored.

Kinds of Istio that are refused for now: {kinds}.
"""


def page() -> str:
    lines = [HEAD.format(kinds=", ".join(sorted(KINDS_NOT_YET)))]
    told: set[type] = set()
    for kind in KINDS.values():
        lines += _kind(kind, told)
    return "\n".join(lines).rstrip() + "\n"


def _kind(kind: Kind, told: set[type]) -> Iterator[str]:
    yield f"## {kind.name}\n"
    yield f"`{kind.group}` {', '.join(kind.versions)}; `/apis/{kind.group}/v1/namespaces/NAMESPACE/{kind.plural}/NAME`\n"
    for struct in _reachable(kind.spec):
        if struct in told:
            if struct is kind.spec:
                yield f"`{struct.__name__}` is above.\n"
            continue
        told.add(struct)
        yield from _struct(struct)


def _reachable(struct: type) -> list[type]:
    found, todo = [], [struct]
    while todo:
        one = todo.pop(0)
        if one not in found:
            found.append(one)
            hints = typing.get_type_hints(one)
            todo += [inner for field in msgspec.structs.fields(one) for inner in _structs(hints[field.name])]
    return found


def _structs(hint: Any) -> list[type]:
    if isinstance(hint, type) and issubclass(hint, Spec):
        return [hint]
    return [found for inner in typing.get_args(hint) for found in _structs(inner)]


def _struct(struct: type[Any]) -> Iterator[str]:
    yield f"### {struct.__name__}\n"
    hints = typing.get_type_hints(struct)
    yield "| field | type | |\n|---|---|---|"
    for field in msgspec.structs.fields(struct):
        yield f"| `{field.encode_name}` | {_type(hints[field.name])} | {'required' if field.required else ''} |"
    missing = FIELDS_NOT_YET.get(struct)
    yield f"\nNot supported yet: {', '.join(f'`{name}`' for name in sorted(missing))}.\n" if missing else ""


def _type(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _type(inner[0])
    if origin in (typing.Union, types.UnionType):
        return _type(next(one for one in inner if one is not type(None)))
    if origin is tuple:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"map of text to {_type(inner[1])}"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        later = [f"{word} (not yet)" for word in sorted(WORDS_NOT_YET.get(hint, ()))]
        return ", ".join([*(word.name for word in hint), *later])
    names = {str: "text", int: "whole number", bool: "true or false", float: "number", Duration: "duration (`1h30m`, `2.5s`, `100ms`)"}
    return names.get(hint, hint.__name__)
