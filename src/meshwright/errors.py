# SPDX-License-Identifier: Apache-2.0
"""The exception tree. Every error says why in one CamelCase word (`reason`) and, for documents, where (`path`)."""

from __future__ import annotations

from typing import ClassVar, NamedTuple


class Violation(NamedTuple):
    """One thing wrong with one document: `path` is like `spec.http[0].route[1].weight` ('' for the whole document)."""

    path: str
    reason: str
    message: str


class MeshwrightError(Exception):
    """Base of all errors that a user can cause or should read. `http_status` is what the API answers for it."""

    reason: ClassVar[str] = "Error"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.path = path


class Invalid(MeshwrightError):
    """A document that says what can't be: every violation at once."""

    reason = "Invalid"
    http_status = 422

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{first.path}: {first.message}{more}" if first.path else first.message + more, path=first.path)
        self.violations = violations


class BadRequest(MeshwrightError):
    """A request that can't be read at all: not JSON, duplicate keys, too deep, a query parameter out of range."""

    reason = "BadRequest"
    http_status = 400


class Unauthenticated(MeshwrightError):
    """No proof, or a wrong or expired one. The message never says which."""

    reason = "Unauthenticated"
    http_status = 401


class Forbidden(MeshwrightError):
    """A known caller that may not do this."""

    reason = "Forbidden"
    http_status = 403


class NotFound(MeshwrightError):
    """The thing named is not there."""

    reason = "NotFound"
    http_status = 404


class Conflict(MeshwrightError):
    """The thing moved since it was read (optimistic locking), or is there already."""

    reason = "Conflict"
    http_status = 409


class Compacted(MeshwrightError):
    """The revision asked for is older than what is kept: list again."""

    reason = "Compacted"
    http_status = 410


class TooLarge(MeshwrightError):
    """A body, a document or a list beyond its limit."""

    reason = "TooLarge"
    http_status = 413


class Limited(MeshwrightError):
    """Too much at once from one caller."""

    reason = "TooManyRequests"
    http_status = 429


class Full(MeshwrightError):
    """As much is kept as the settings allow. Asking again doesn't help; deleting something does."""

    reason = "LimitReached"
    http_status = 403


class Unavailable(MeshwrightError):
    """Not ready yet, or something it needs is away."""

    reason = "Unavailable"
    http_status = 503


class ConfigError(MeshwrightError):
    """A settings file or a command line that can't be used; the message says how to mend it."""

    reason = "ConfigError"
