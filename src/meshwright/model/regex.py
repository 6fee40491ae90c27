# SPDX-License-Identifier: Apache-2.0
"""RE2's syntax, checked before a pattern is stored: Envoy's engine has no backreferences and no lookaround, and bounds its programs.

Source: https://github.com/google/re2/wiki/Syntax. The size is an estimate of RE2's instructions, enough to refuse what explodes.
"""

from __future__ import annotations

import functools

MAX_LENGTH = 1024
MAX_SIZE = 10_000
MAX_REPEAT = 1000
MAX_NESTING = 64

_CLASS_ESCAPES = "dDsSwW"
_EMPTY_ESCAPES = "AbBz"
_CHAR_ESCAPES = "aftnrv"
_POSIX_NAMES = "alnum alpha ascii blank cntrl digit graph lower print punct space upper word xdigit"
_POSIX = frozenset(_POSIX_NAMES.split())


class _Bad(ValueError):
    """What is wrong, for a person."""


@functools.lru_cache(maxsize=4096)
def problem(pattern: str) -> str | None:
    """What is wrong with an RE2 pattern, or None."""
    if len(pattern) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters"
    reader = _Reader(pattern)
    try:
        size = reader.alternatives(0)
        if reader.at < len(pattern):
            raise _Bad("has a ) without (")
    except _Bad as error:
        return str(error)
    return f"is too big: its repetitions make about {size} steps, the limit is {MAX_SIZE}" if size > MAX_SIZE else None


class _Reader:
    """A recursive-descent reader; every method returns the estimated size of what it read."""

    __slots__ = ("at", "names", "repeats", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.names: set[str] = set()
        self.repeats = 1  # the most that {n,m} repeat in what is being read, one in the other multiplied

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _take(self, token: str) -> bool:
        if self.text.startswith(token, self.at):
            self.at += len(token)
            return True
        return False

    def alternatives(self, depth: int) -> int:
        if depth > MAX_NESTING:
            raise _Bad(f"is nested deeper than {MAX_NESTING}")
        size = self._sequence(depth)
        while self._take("|"):
            size += 1 + self._sequence(depth)
        return size

    def _sequence(self, depth: int) -> int:
        size = 1
        while self._peek() not in ("", "|", ")"):
            if self._peek() in "*+?" or self._bounds() is not None:
                raise _Bad("has a repetition with nothing before it to repeat")
            outside, self.repeats = self.repeats, 1
            atom = self._atom(depth)
            if atom:
                size += self._repeats(atom)
            self.repeats = max(outside, self.repeats)
        return size

    def _repeats(self, size: int) -> int:
        repeated = False
        while True:
            start = self.at
            if self._take("*") or self._take("+") or self._take("?"):
                factor = 1
            else:
                bounds = self._bounds()
                if bounds is None:
                    return size
                factor = max(bounds)
                self.repeats *= max(factor, 1)
                if self.repeats > MAX_REPEAT:
                    raise _Bad(f"repeats {self.repeats} times with its repetitions in each other, the limit is {MAX_REPEAT}")
            self._take("?")
            if repeated:
                raise _Bad(f"repeats a repetition at {start + 1}, which RE2 doesn't have")
            repeated = True
            size = size * max(factor, 1) + 1

    def _bounds(self) -> tuple[int, ...] | None:
        """`{n}`, `{n,}`, `{n,m}`; anything else that starts with `{` is a plain character, as in RE2."""
        end = self.text.find("}", self.at)
        if self._peek() != "{" or end < 0:
            return None
        low, comma, high = self.text[self.at + 1 : end].partition(",")
        if not (low.isascii() and low.isdigit() and (not high or (high.isascii() and high.isdigit()))):
            return None
        bounds = (int(low[:6]), int(high[:6])) if comma and high else (int(low[:6]),)
        if max(bounds) > MAX_REPEAT or bounds[0] > bounds[-1]:
            raise _Bad(f"has the repetition {self.text[self.at : end + 1][:20]}: bounds go from low to high, up to {MAX_REPEAT}")
        self.at = end + 1
        return bounds

    def _atom(self, depth: int) -> int:
        char = self._peek()
        if char == "(":
            return self._group(depth)
        if char == "[":
            return self._class()
        if char == "\\":
            return self._escape(in_class=False)
        self.at += 1
        return 1 if char.isascii() else 4

    def _group(self, depth: int) -> int:
        self.at += 1
        if self._take("?"):
            behind = self.text.startswith(("<=", "<!"), self.at)
            if self._take("P<") or (not behind and self._take("<")):
                self._name()
            elif self._flags():
                return 0  # sets flags and is nothing that could be repeated
        size = self.alternatives(depth + 1)
        if not self._take(")"):
            raise _Bad("has a ( without )")
        return size + 2

    def _name(self) -> None:
        end = self.text.find(">", self.at)
        name = self.text[self.at : max(end, self.at)]
        if not name or not name.isascii() or not name.replace("_", "a").isalnum():
            raise _Bad("has a group with a bad name")
        if name in self.names:
            raise _Bad(f"has two groups of the name {name[:32]}")
        self.names.add(name)
        self.at = end + 1

    def _flags(self) -> bool:
        """`(?i)` (True: the group is over) or `(?i:` (False)."""
        start = self.at
        for refused, what in (("=", "lookahead"), ("!", "lookahead"), ("<=", "lookbehind"), ("<!", "lookbehind"), ("P=", "backreference")):
            if self.text.startswith(refused, start):
                raise _Bad(f"has a {what} (?{refused}, which RE2 doesn't have")
        while self._peek() in ("i", "m", "s", "U", "-"):
            self.at += 1
        flags = self.text[start : self.at]
        if flags.count("-") > 1 or flags.endswith("-"):
            raise _Bad("has a group with bad flags")
        if self._take(":"):
            return False
        if self._take(")"):
            return True
        raise _Bad(f"has the group (?{self.text[start : start + 8]}, which RE2 doesn't have")

    def _class(self) -> int:
        self.at += 1
        self._take("^")
        first = True
        size = 1
        while first or self._peek() != "]":
            if not self._peek():
                raise _Bad("has a [ without ]")
            first = False
            if self._take("[:"):
                end = self.text.find(":]", self.at)
                if end < 0 or self.text[self.at : end].removeprefix("^") not in _POSIX:
                    raise _Bad("has an unknown class [:...:]")
                self.at = end + 2
                continue
            low = self._class_char()
            if self._peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self._class_char()
                if low is None or high is None or high < low:
                    raise _Bad("has a bad range in [...]")
            size += 1
        self.at += 1
        return size

    def _class_char(self) -> int | None:
        """Reads one character of a class; its code, or None where it stands for many."""
        start = self.at
        if self._peek() != "\\":
            self.at += 1
            return ord(self.text[start])
        self._escape(in_class=True)
        body = self.text[start + 1 : self.at]
        if body[0] in _CLASS_ESCAPES or body[0] in "pP":
            return None
        if body[0] == "x":
            return int(body[1:].strip("{}"), 16)
        return _ESCAPED.get(body[0], ord(body[0])) if not body[0].isdigit() else int(body, 8)

    def _escape(self, *, in_class: bool) -> int:
        self.at += 1
        char = self._peek()
        if not char:
            raise _Bad("ends in a \\")
        self.at += 1
        if char in _CLASS_ESCAPES or char in _CHAR_ESCAPES:
            return 3
        if (char in _EMPTY_ESCAPES or char in "CQ") and not in_class:
            return self._quoted() if char == "Q" else 1
        if char in "pP":
            return self._property()
        if char == "x":
            return self._hex()
        if char.isdigit() and char.isascii():
            return self._octal(char)
        if char.isalnum() or not char.isascii():
            raise _Bad(f"has the escape \\{char}, which RE2 doesn't have")
        return 1

    def _quoted(self) -> int:
        end = self.text.find("\\E", self.at)
        length = (len(self.text) if end < 0 else end) - self.at
        if not length:
            raise _Bad("has an empty \\Q...\\E")
        self.at += length + (0 if end < 0 else 2)
        return length

    def _property(self) -> int:
        """`\\pL`, `\\p{Greek}`, `\\p{^Greek}`: the name itself is left to Envoy."""
        if self._take("{"):
            end = self.text.find("}", self.at)
            name = self.text[self.at : max(end, self.at)].removeprefix("^")
            if name not in _SCRIPTS_AND_CATEGORIES:
                raise _Bad(f"has the unknown Unicode class \\p{{{name[:32]}}}")
            self.at = end + 1
            return 100
        if self._peek() not in ("C", "L", "M", "N", "P", "S", "Z"):
            raise _Bad("has an unknown Unicode class after \\p")
        self.at += 1
        return 100

    def _hex(self) -> int:
        digits = self.text[self.at : self.at + 2]
        length = 2
        if self._peek() == "{":
            end = self.text.find("}", self.at)
            digits, length = self.text[self.at + 1 : max(end, self.at + 1)], end + 1 - self.at
        if not digits or (length == 2 and len(digits) != 2) or len(digits) > 6 or any(c not in "0123456789abcdefABCDEF" for c in digits):
            raise _Bad("has a \\x without hexadecimal digits")
        if int(digits, 16) > 0x10FFFF:
            raise _Bad("has a \\x beyond Unicode")
        self.at += length
        return 1

    def _octal(self, first: str) -> int:
        """`\\0`, `\\012`, `\\123`; a single digit from 1 on is a backreference."""
        rest = self.text[self.at : self.at + 2]
        octal = "01234567"
        if first != "0" and (first not in octal or not rest or rest[0] not in octal):
            raise _Bad(f"has the backreference \\{first}, which RE2 doesn't have")
        for char in rest:
            if char not in octal:
                break
            self.at += 1
        return 1


_ESCAPED = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_UNICODE_NAMES = (
    "Any C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs "
    "Arabic Armenian Bengali Bopomofo Cyrillic Devanagari Georgian Greek Gujarati Gurmukhi Han Hangul Hebrew Hiragana Kannada "
    "Katakana Khmer Lao Latin Malayalam Mongolian Myanmar Sinhala Tamil Telugu Thai Tibetan Common Inherited"
)
_SCRIPTS_AND_CATEGORIES = frozenset(_UNICODE_NAMES.split())
