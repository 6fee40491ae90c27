# SPDX-License-Identifier: Apache-2.0
"""A second, patient reader of documents: walks the struct types beside the document and lists everything that is wrong with it.

msgspec stops at the first error; this is what runs after it has found one. Where the document is wrong the walker puts a stand-in, so that
the rest is still read and checked; `tainted` are the paths where the value is not the user's.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import inspect

from meshwright.errors import Violation
from meshwright.model.duration import Duration
from meshwright.model.jsontext import child
from meshwright.model.kinds import FIELDS_NOT_YET, WORDS_NOT_YET

MAX_VIOLATIONS = 100
_SHOWN = 64
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_NAMES = {dict: "an object", list: "a list", tuple: "a list", str: "a string", bool: "a boolean", int: "an integer", float: "a number"}


class Report:
    """The violations found so far; at most MAX_VIOLATIONS, then `full`."""

    __slots__ = ("tainted", "violations")

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.tainted: list[str] = []

    @property
    def full(self) -> bool:
        return len(self.violations) >= MAX_VIOLATIONS

    def add(self, path: str, reason: str, message: str) -> None:
        if not self.full:
            self.violations.append(Violation(path, reason, message))
            self.tainted.append(path)

    def extend(self, violations: Iterable[Violation]) -> None:
        """Adds what other checks found, but not what they say about stand-ins or about what contains one."""
        fences = tuple(self.tainted)
        for violation in violations:
            if self.full:
                return
            if not any(_touches(violation.path, fence) for fence in fences):
                self.violations.append(violation)


def _touches(path: str, tainted: str) -> bool:
    short, long = sorted((path, tainted), key=len)
    return long.startswith(short) and (len(long) == len(short) or long[len(short)] in ".[" or not short)


def shown(value: object) -> str:
    """A value in an error message: short, and never more than the user wrote."""
    if isinstance(value, str):
        return repr(value[:_SHOWN]) + ("..." if len(value) > _SHOWN else "")
    return str(value)[:_SHOWN] if isinstance(value, int | float) else kind_of(value)


def kind_of(value: object) -> str:
    if value is None:
        return "null"
    return _NAMES.get(type(value), type(value).__name__)


def unknown(name: object, known: Iterable[str]) -> str:
    """`unknown field; did you mean `route`?`"""
    close = difflib.get_close_matches(str(name)[:_SHOWN], list(known), n=1, cutoff=0.6)
    return f"unknown field; did you mean `{close[0]}`?" if close else f"unknown field; known here: {', '.join(sorted(known))}"


def read(cls: type[Any], document: object, path: str, report: Report) -> Any:
    """An instance of the struct `cls`, with stand-ins where the document is wrong."""
    return _read(inspect.type_info(cls), document, path, report)


def _read(type_: inspect.Type, value: object, path: str, report: Report) -> Any:
    if isinstance(type_, inspect.UnionType):
        if value is None:
            return None
        return _read(next(t for t in type_.types if not isinstance(t, inspect.NoneType)), value, path, report)
    return _READERS[type(type_)](type_, value, path, report)


def _wrong(expected: str, value: object, path: str, report: Report) -> None:
    hint = "; put it in quotes" if expected == "a string" and isinstance(value, int | float) else ""
    report.add(path, "WrongType", f"must be {expected}, not {kind_of(value)}{hint}")


def _read_struct(type_: inspect.StructType, value: object, path: str, report: Report) -> Any:
    cls = type_.cls
    fields = {field.encode_name: field for field in type_.fields}
    if not isinstance(value, dict):
        _wrong("an object", value, path, report)
        value = {}
        required: Iterable[str] = ()
    else:
        required = [name for name, field in fields.items() if field.required and name not in value]
    made: dict[str, Any] = {}
    for key, below in value.items():
        if report.full:
            break
        known = fields.get(key) if isinstance(key, str) else None
        if known is not None:
            made[known.name] = _read(known.type, below, child(path, key), report)
        else:
            _refuse_field(cls, key, fields, path, report)
    for name in required:
        report.add(child(path, name), "Required", "is required")
    for field in type_.fields:
        if field.required and field.name not in made:
            made[field.name] = _stand_in(field.type)
    return cls(**made)


def _refuse_field(cls: type[Any], key: object, known: Iterable[str], path: str, report: Report) -> None:
    where = child(path, key) if isinstance(key, str) else path
    if not isinstance(key, str):
        report.add(where, "WrongType", f"the key {shown(key)} must be a string, not {kind_of(key)}")
    elif key in FIELDS_NOT_YET.get(cls, ()):
        report.add(where, "NotSupported", f"{key} is not supported yet")
    else:
        report.add(where, "UnknownField", unknown(key, known))


def _stand_in(type_: inspect.Type) -> Any:
    if isinstance(type_, inspect.StructType):
        return type_.cls(**{field.name: _stand_in(field.type) for field in type_.fields if field.required})
    if isinstance(type_, inspect.UnionType):
        return None
    if isinstance(type_, inspect.EnumType):
        return next(iter(type_.cls))
    return _EMPTY[type(type_)]


def _read_list(type_: inspect.VarTupleType, value: object, path: str, report: Report) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        _wrong("a list", value, path, report)
        return ()
    made = []
    for index, below in enumerate(value):
        if report.full:
            break
        made.append(_read(type_.item_type, below, f"{path}[{index}]", report))
    return tuple(made)


def _read_dict(type_: inspect.DictType, value: object, path: str, report: Report) -> dict[str, Any]:
    if not isinstance(value, dict):
        _wrong("an object", value, path, report)
        return {}
    made = {}
    for key, below in value.items():
        if report.full:
            break
        if isinstance(key, str):
            where = child(path, key)
            _check_text(key, where, report)
            made[key] = _read(type_.value_type, below, where, report)
        else:
            report.add(path, "WrongType", f"the key {shown(key)} must be a string, not {kind_of(key)}; put it in quotes")
    return made


def _check_text(value: str, path: str, report: Report) -> bool:
    if _CONTROL.search(value):
        report.add(path, "Invalid", "has a control character or half a surrogate pair in it")
        return False
    return True


def _read_str(_type: inspect.StrType, value: object, path: str, report: Report) -> str:
    if not isinstance(value, str):
        _wrong("a string", value, path, report)
        return ""
    return value if _check_text(value, path, report) else ""


def _read_int(type_: inspect.IntType, value: object, path: str, report: Report) -> int:
    low, high = type_.ge, type_.le
    stand_in = low or 0
    if not isinstance(value, int) or isinstance(value, bool):
        _wrong("an integer", value, path, report)
        return stand_in
    if (low is not None and value < low) or (high is not None and value > high):
        report.add(path, "OutOfRange", f"must be from {low} to {high}, not {shown(value)}")
        return stand_in
    return value


def _read_bool(_type: inspect.BoolType, value: object, path: str, report: Report) -> bool:
    if not isinstance(value, bool):
        _wrong("true or false", value, path, report)
        return False
    return value


def _read_enum(type_: inspect.EnumType, value: object, path: str, report: Report) -> Any:
    words = [member.value for member in type_.cls]
    if isinstance(value, str) and value in words:
        return type_.cls(value)
    if not isinstance(value, str):
        _wrong(f"one of {', '.join(words)}", value, path, report)
    elif value in WORDS_NOT_YET.get(type_.cls, ()):
        report.add(path, "NotSupported", f"{value} is not supported yet; supported: {', '.join(words)}")
    else:
        report.add(path, "NotAllowed", f"must be one of {', '.join(words)}, not {shown(value)}")
    return next(iter(type_.cls))


def _read_custom(type_: inspect.CustomType, value: object, path: str, report: Report) -> Any:
    if not isinstance(value, str):
        _wrong("a duration like 2.5s", value, path, report)
        return _stand_in(type_)
    try:
        return Duration.parse(value)
    except ValueError as error:
        report.add(path, "Invalid", str(error))
        return _stand_in(type_)


_EMPTY: dict[type[Any], Any] = {
    inspect.StrType: "",
    inspect.IntType: 0,
    inspect.BoolType: False,
    inspect.VarTupleType: (),
    inspect.DictType: msgspec.UNSET,
    inspect.CustomType: Duration(1_000_000_000),
}
_READERS: dict[type[Any], Any] = {
    inspect.StructType: _read_struct,
    inspect.VarTupleType: _read_list,
    inspect.DictType: _read_dict,
    inspect.StrType: _read_str,
    inspect.IntType: _read_int,
    inspect.BoolType: _read_bool,
    inspect.EnumType: _read_enum,
    inspect.CustomType: _read_custom,
}
