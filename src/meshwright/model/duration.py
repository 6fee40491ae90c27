# SPDX-License-Identifier: Apache-2.0
"""Durations as the rule API writes them: Go's form (`1h30m`, `2.5s`, `100ms`), at least 1 ms, at most 10,000 h."""

from __future__ import annotations

import functools
import re

_UNITS = {"h": 3_600_000_000_000, "m": 60_000_000_000, "s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "µs": 1_000, "ns": 1}
_TERM = re.compile(r"(\d+)(?:\.(\d+))?(h|ms|us|µs|ns|m|s)", re.ASCII)
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?(?:h|ms|us|µs|ns|m|s))+", re.ASCII)
MAX_TEXT = 32


@functools.total_ordering
class Duration:
    """Whole nanoseconds; immutable. Not a tuple: msgspec would read it as an array."""

    __slots__ = ("nanoseconds",)
    nanoseconds: int

    def __init__(self, nanoseconds: int) -> None:
        object.__setattr__(self, "nanoseconds", nanoseconds)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("a Duration can't be changed")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and other.nanoseconds == self.nanoseconds

    def __lt__(self, other: Duration) -> bool:
        return self.nanoseconds < other.nanoseconds

    def __hash__(self) -> int:
        return hash(self.nanoseconds)

    def __repr__(self) -> str:
        return f"Duration({self})"

    def __reduce__(self) -> tuple[type[Duration], tuple[int]]:
        return Duration, (self.nanoseconds,)

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Raises ValueError with what is wrong; `0s` is allowed (Istio uses it to switch a timeout off)."""
        if len(text) > MAX_TEXT or not _WHOLE.fullmatch(text):
            raise ValueError(f"{text[:MAX_TEXT]!r} is not a duration: write it like 1h30m, 2.5s or 100ms")
        total = 0
        for whole, fraction, unit in _TERM.findall(text):
            scale = _UNITS[unit]
            total += int(whole) * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)
        if 0 < total < 1_000_000:
            raise ValueError(f"{text!r} is shorter than 1ms")
        if total > 10_000 * _UNITS["h"]:
            raise ValueError(f"{text!r} is longer than 10000h")
        return cls(total)

    def __str__(self) -> str:
        """The shortest single-unit form: `90m`, `2500ms`."""
        if not self.nanoseconds:
            return "0s"
        for unit in ("h", "m", "s", "ms", "us"):
            if self.nanoseconds % _UNITS[unit] == 0:
                return f"{self.nanoseconds // _UNITS[unit]}{unit}"
        return f"{self.nanoseconds}ns"
