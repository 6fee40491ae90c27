# SPDX-License-Identifier: Apache-2.0
"""JSON text into plain objects, strictly: what two readers could read differently is refused here, once, at the edge.

The standard library's scanner is used and not msgspec's, because msgspec lets the last of two equal keys win.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

from meshwright.errors import BadRequest, TooLarge

_MAX_SHOWN = 64
# Escapes that may be NUL or half a character; a whole pair of surrogates is found here too and let pass by the closer look.
_SUSPICIOUS = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_BAD_TEXT = re.compile("[\0\ud800-\udfff]")


class JsonLimits(NamedTuple):
    """`max_bytes` of the text; `max_depth` of arrays and objects in each other."""

    max_bytes: int = 1 << 20
    max_depth: int = 64


DEFAULT_LIMITS = JsonLimits()


class _Pairs(list[tuple[str, Any]]):
    """An object with all its keys, the repeated ones too."""


class _DuplicateKey(ValueError):
    """Somewhere in the text; the second reading finds out where."""


def parse_json(data: bytes, limits: JsonLimits = DEFAULT_LIMITS) -> object:
    """The object that the text is. Raises TooLarge, or BadRequest with the path of a repeated key, of a number beyond 64 bits or of text
    that is not Unicode, or the line and column of what is not JSON."""
    if len(data) > limits.max_bytes:
        raise TooLarge(f"the document has {len(data)} bytes, the limit is {limits.max_bytes}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"not UTF-8 at byte {error.start}") from error
    try:
        value = _STRICT.decode(text)
    except _DuplicateKey as error:
        raise _duplicate(text) from error
    except RecursionError as error:
        raise _too_deep(limits) from error
    except json.JSONDecodeError as error:
        raise BadRequest(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})") from error
    except _Refused as error:
        raise BadRequest(str(error)) from error
    if data.count(b"{") + data.count(b"[") > limits.max_depth and _deeper(value, limits.max_depth):
        raise _too_deep(limits)
    if _SUSPICIOUS.search(data):
        _refuse_bad_text(value)
    return value


def _too_deep(limits: JsonLimits) -> BadRequest:
    return BadRequest(f"nested deeper than {limits.max_depth}")


class _Refused(ValueError):
    """A token that JSON or 64 bits don't have."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _DuplicateKey
    return made


def _integer(text: str) -> int:
    if len(text) <= 20:
        value = int(text)
        if -(1 << 63) <= value < 1 << 64:
            return value
    raise _Refused(f"the number {text[:_MAX_SHOWN]} is beyond 64 bits")


def _number(text: str) -> float:
    value = float(text)
    if math.isfinite(value):
        return value
    raise _Refused(f"the number {text[:_MAX_SHOWN]} is beyond 64 bits")


def _constant(text: str) -> Any:
    raise _Refused(f"{text} is not JSON")


_STRICT = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_number, parse_constant=_constant)
_PAIRS = json.JSONDecoder(object_pairs_hook=_Pairs, parse_int=str, parse_float=str, parse_constant=str)


def child(path: str, key: str | int) -> str:
    """The path one step down: `spec.http[0]`; a key that is not a plain word is quoted: `spec.labels["a.b/c"]`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if key.replace("_", "a").replace("-", "a").isalnum() and key.isascii() and len(key) <= _MAX_SHOWN:
        return f"{path}.{key}" if path else key
    return f"{path}[{json.dumps(key[:_MAX_SHOWN])}]"


def _duplicate(text: str) -> BadRequest:
    """The error that says where the first repeated key is."""
    try:
        waiting: list[tuple[str, object]] = [("", _PAIRS.decode(text))]
    except (RecursionError, ValueError):
        return BadRequest("a key is there twice, and the rest is not JSON")
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, _Pairs):
            seen: set[str] = set()
            for key, _ in node:
                if key in seen:
                    return BadRequest(f"the key {json.dumps(key[:_MAX_SHOWN])} is there twice", path=child(path, key))
                seen.add(key)
            waiting.extend((child(path, key), below) for key, below in reversed(node) if isinstance(below, list))
        elif isinstance(node, list):
            waiting.extend((f"{path}[{i}]", node[i]) for i in range(len(node) - 1, -1, -1) if isinstance(node[i], list))
    return BadRequest("a key is there twice")


def _deeper(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            below
            for node in level
            for below in (node.values() if isinstance(node, dict) else node if isinstance(node, list) else ())
            if isinstance(below, dict | list)
        ]
        if not level:
            return False
    return True


def _refuse_bad_text(value: object) -> None:
    """Raises BadRequest with the path of the first text with NUL or with half a character."""
    waiting: list[tuple[str, object]] = [("", value)]
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, dict):
            for key, below in node.items():
                _check_text(path, key)
                waiting.append((child(path, key), below))
        elif isinstance(node, list):
            waiting.extend((f"{path}[{i}]", below) for i, below in enumerate(node))
        elif isinstance(node, str):
            _check_text(path, node)


def _check_text(path: str, text: str) -> None:
    if _BAD_TEXT.search(text):
        raise BadRequest("text with a NUL character or half a surrogate pair", path=path)
