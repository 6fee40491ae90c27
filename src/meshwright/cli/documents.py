# SPDX-License-Identifier: Apache-2.0
"""YAML (and JSON) files into plain documents, strictly: what the API would read as something else than the author is refused here, with
file and line.

The nodes are turned into objects here and not by ruamel: only what JSON has comes out, each key once, and an alias can't blow up.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from meshwright.errors import BadRequest, Invalid, TooLarge, Violation
from meshwright.model.jsontext import child, parse_json

MAX_BYTES = 4 << 20
MAX_DEPTH = 64
MAX_NODES = 100_000
_TAG = "tag:yaml.org,2002:"


class Document(NamedTuple):
    """One document of a stream: where it begins (`line` counts from 1) and what it says. `object` is plain: dict, list, str, int, float,
    bool, None."""

    file: str
    line: int
    object: Any


class Unreadable(Invalid):
    """A file that is no YAML, or says something twice. `path` of its violation is `FILE:LINE`."""

    def __init__(self, file: str, line: int, reason: str, message: str) -> None:
        super().__init__((Violation(f"{file}:{line}" if line else file, reason, message),))
        self.file = file
        self.line = line


def read(source: Path | str) -> list[Document]:
    """The documents of a file (Path) or of a text (str, called `<text>`), without the empty ones; a List is its items.
    Raises Unreadable, TooLarge, and OSError for the file itself."""
    file = str(source) if isinstance(source, Path) else "<text>"
    data = source.read_bytes() if isinstance(source, Path) else source.encode("utf-8", "surrogatepass")
    if len(data) > MAX_BYTES:
        raise TooLarge(f"{file} has {len(data)} bytes, the limit is {MAX_BYTES}")
    is_json = isinstance(source, Path) and source.suffix == ".json"
    found = [Document(file, 1, _json(file, data))] if is_json else list(_yaml(file, data))
    return [item for document in found if document.object is not None for item in _items(document)]


def _json(file: str, data: bytes) -> Any:
    try:
        return parse_json(data)
    except BadRequest as error:
        where = f" (at {error.path})" if error.path else ""
        raise Unreadable(file, 0, error.reason, error.message + where) from error


def _items(document: Document) -> Iterator[Document]:
    """A `List`, as tools export it, stands for what is in it."""
    value = document.object
    if isinstance(value, dict) and value.get("kind") == "List" and isinstance(value.get("items"), list):
        yield from (Document(document.file, document.line, item) for item in value["items"])
    else:
        yield document


def _yaml(file: str, data: bytes) -> Iterator[Document]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(file, data[: error.start].count(b"\n") + 1, "BadRequest", "not UTF-8") from error
    nodes: list[Node] = []
    try:
        with warnings.catch_warnings():
            # A name may be given to another anchor later on in the same stream.
            warnings.simplefilter("ignore", ReusedAnchorWarning)
            nodes.extend(node for node in YAML(typ="safe", pure=True).compose_all(text) if node is not None)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(str(error.problem or error.context or "not YAML").split())
        raise Unreadable(file, mark.line + 1 if mark is not None else 0, "BadRequest", f"not YAML: {message}") from error
    except RecursionError as error:
        raise Unreadable(file, 0, "BadRequest", f"nested deeper than {MAX_DEPTH}") from error
    except (YAMLError, ValueError) as error:
        raise Unreadable(file, 0, "BadRequest", f"not YAML: {' '.join(str(error).split())[:200]}") from error
    for node in nodes:
        reader = _Reader(file)
        reader.measure(node, 0)
        yield Document(file, node.start_mark.line + 1, reader.value(node, ""))


class _Reader:
    """Turns the nodes of one document into objects."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def _error(self, node: Node, reason: str, message: str) -> Unreadable:
        return Unreadable(self._file, node.start_mark.line + 1, reason, message)

    def measure(self, node: Node, depth: int) -> int:
        """How many nodes it is with every alias written out. Raises Unreadable for too many, too deep, or an alias to itself."""
        if depth > MAX_DEPTH:
            raise self._error(node, "BadRequest", f"nested deeper than {MAX_DEPTH}")
        key = id(node)
        if key in self._open:
            raise self._error(node, "BadRequest", "an alias that contains itself")
        known = self._sizes.get(key)
        if known is not None:
            return known
        self._open.add(key)
        size = 1 + sum(self.measure(below, depth + 1) for below in _children(node))
        self._open.discard(key)
        if size > MAX_NODES:
            raise self._error(node, "BadRequest", f"more than {MAX_NODES} values with its aliases written out")
        self._sizes[key] = size
        return size

    def value(self, node: Node, path: str) -> Any:
        if not isinstance(node, ScalarNode) and _tag(node) not in ("map", "seq"):
            raise self._no_meaning(node, path)
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.value(below, f"{path}[{i}]") for i, below in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: MappingNode, path: str) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if _tag(key_node) == "merge":
                merged = {**self._merge(value_node, path), **merged}
                continue
            if not isinstance(key_node, ScalarNode):
                raise self._error(key_node, "BadRequest", f"a key of {path or 'the document'} is not a plain text")
            key = self._scalar(key_node, path)
            if key in made:
                raise self._error(key_node, "BadRequest", f"the key {str(key)[:64]!r} is there twice in {path or 'the document'}")
            made[key] = self.value(value_node, child(path, str(key)))
        return {**merged, **made}

    def _merge(self, node: Node, path: str) -> dict[Any, Any]:
        parts = node.value if isinstance(node, SequenceNode) else [node]
        merged: dict[Any, Any] = {}
        for part in reversed(parts):
            if not isinstance(part, MappingNode):
                raise self._error(part, "BadRequest", f"<< in {path or 'the document'} must be followed by a mapping")
            merged.update(self._mapping(part, path))
        return merged

    def _scalar(self, node: Node, path: str) -> Any:
        tag, text = _tag(node), str(node.value)
        try:
            match tag:
                case "str" | "timestamp":
                    return text
                case "null":
                    return None
                case "bool":
                    return text.lower() == "true"
                case "int":
                    return _integer(text)
                case "float":
                    return _float(text)
        except ValueError as error:
            raise self._error(node, "BadRequest", f"{path}: {text[:64]!r} {error}") from error
        raise self._no_meaning(node, path)

    def _no_meaning(self, node: Node, path: str) -> Unreadable:
        return self._error(node, "BadRequest", f"{path or 'the document'}: the tag {str(node.tag)[:64]} has no meaning here")


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, SequenceNode):
        yield from node.value


def _tag(node: Node) -> str:
    tag = str(node.tag)
    return tag.removeprefix(_TAG) if tag.startswith(_TAG) else tag


def _integer(text: str) -> int:
    """YAML 1.2: decimal with or without leading zeros, 0x, 0o."""
    digits = text.replace("_", "")
    if len(digits) > 24:
        raise ValueError("is beyond 64 bits")
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    base = {"0x": 16, "0o": 8, "0b": 2}.get(digits[:2].lower(), 10)
    value = sign * int(digits[2:] if base != 10 else digits, base)
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError("is beyond 64 bits")
    return value


def _float(text: str) -> float:
    if text.lower().lstrip("+-") in (".inf", ".nan"):
        raise ValueError("is no number that JSON has")
    value = float(text.replace("_", ""))
    if value in (float("inf"), float("-inf")):
        raise ValueError("is beyond 64 bits")
    return value
