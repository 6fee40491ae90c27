# SPDX-License-Identifier: Apache-2.0
"""The checks of what a route matches: texts, headers, and the words of retryOn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from meshwright.errors import Violation
from meshwright.model import regex
from meshwright.model.jsontext import child
from meshwright.model.networking import HTTPMatchRequest, StringMatch

MAX_TEXT = 4096
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_CONTROL = re.compile("[\x00-\x1f\x7f]")
# Envoy takes nonsense here without a word, so it is refused here.
RETRY_ON = frozenset(
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    }
)


def is_retry_on(text: str) -> bool:
    """Envoy's words and HTTP status codes, with commas between them; '' is Istio's default."""
    if not text:
        return True
    words = [word.strip() for word in text.split(",")]
    return all(word in RETRY_ON or (len(word) == 3 and word.isascii() and word.isdigit() and "100" <= word <= "599") for word in words)


def pattern_length(match: HTTPMatchRequest) -> int:
    """How many characters of patterns it has in all."""
    maps = (match.headers, match.without_headers, match.query_params)
    texts = [match.uri, match.method, match.authority, *(text for texts in maps for text in texts.values())]
    return sum(len(text.regex) for text in texts if text is not None and text.regex is not None)


def check_match(path: str, match: HTTPMatchRequest) -> Iterator[Violation]:
    for name, value in (("uri", match.uri), ("method", match.method), ("authority", match.authority)):
        if value is not None:
            yield from check_string(f"{path}.{name}", value)
    yield from _check_headers(f"{path}.headers", match.headers)
    yield from _check_headers(f"{path}.withoutHeaders", match.without_headers)
    for name, value in match.query_params.items():
        below = child(f"{path}.queryParams", name)
        if not name or _CONTROL.search(name):
            yield Violation(below, "Invalid", "must be the name of a query parameter")
        yield from check_string(below, value)


def _check_headers(path: str, headers: Mapping[str, StringMatch]) -> Iterator[Violation]:
    for name, value in headers.items():
        below = child(path, name)
        if name.startswith(":"):
            yield Violation(below, "NotSupported", "pseudo headers are matched by uri, method and authority")
        elif _TOKEN.fullmatch(name) is None:
            yield Violation(below, "Invalid", "is not a header's name")
        yield from check_string(below, value)


def check_string(path: str, match: StringMatch) -> Iterator[Violation]:
    """Exactly one of exact, prefix, regex, and that one sound."""
    given = [(name, text) for name, text in (("exact", match.exact), ("prefix", match.prefix), ("regex", match.regex)) if text is not None]
    if len(given) != 1:
        told = " and ".join(name for name, _ in given) or "none"
        yield Violation(path, "Invalid", f"must have exactly one of exact, prefix, regex; it has {told}")
        return
    name, text = given[0]
    below = f"{path}.{name}"
    if len(text) > MAX_TEXT:
        yield Violation(below, "OutOfRange", f"is longer than {MAX_TEXT} characters")
    elif _CONTROL.search(text):
        yield Violation(below, "Invalid", "has a control character (a line break, say) in it")
    elif not text and name != "exact":
        yield Violation(below, "Invalid", "must not be empty")
    elif name == "regex":
        wrong = regex.problem(text)
        if wrong is not None:
            yield Violation(below, "Invalid", f"the pattern {wrong}")
