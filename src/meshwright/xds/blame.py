# SPDX-License-Identifier: Apache-2.0
"""Which resources does Envoy mean? Its error messages are prose; the names of what it refuses stand in them."""

from __future__ import annotations

from collections.abc import Iterable

MAX_MESSAGE = 2_000
_INSIDE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-|/")


def culprits(message: str, names: Iterable[str]) -> set[str]:
    """The names that the message speaks of, each as a whole word. A name of fewer than three characters is too common in prose and is
    believed only where Envoy puts a colon behind it."""
    return {name for name in names if _mentions(message, name)}


def _mentions(message: str, name: str) -> bool:
    at = message.find(name)
    while at >= 0:
        end = at + len(name)
        if _whole(message, at, end) and (len(name) > 2 or message[end : end + 2] == ": "):
            return True
        at = message.find(name, at + 1)
    return False


def _whole(message: str, start: int, end: int) -> bool:
    """Nothing that could be part of a longer name stands next to it; a dot counts only with more of a name beyond it."""
    if start and message[start - 1] in _INSIDE:
        return False
    if start > 1 and message[start - 1] == "." and message[start - 2] in _INSIDE:
        return False
    if end < len(message) and message[end] in _INSIDE:
        return False
    return not (end + 1 < len(message) and message[end] == "." and message[end + 1] in _INSIDE)
