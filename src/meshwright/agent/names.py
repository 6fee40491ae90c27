# SPDX-License-Identifier: Apache-2.0
"""The mesh's names as lines of a hosts file, kept in the run directory for the root-owned service that copies them into /etc/hosts."""

from __future__ import annotations

import hashlib
from pathlib import Path

from meshwright.agent import wire
from meshwright.agent.session import NAMES_RESOURCE
from meshwright.agent.state import write_atomic

MAX_NAMES_FILE = 8 * 1024 * 1024


class BadNames(ValueError):
    """Refused; the message goes to the control plane."""


class NamesFile:
    """`version` is the control plane's for what the file holds ('' when it can't be known): its versions are the first 16 hex digits of the
    content's sha256, so an agent that restarts finds its own from the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.version = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        except OSError:
            self.version = ""

    def take(self, response: wire.Response) -> None:
        """Raises BadNames; then the file stays as it is."""
        for resource in response.resources:
            if resource.name == NAMES_RESOURCE:
                self._write(_checked(resource.body), resource.version)
        if NAMES_RESOURCE in response.removed:
            self._write(b"", "")

    def _write(self, content: bytes, version: str) -> None:
        try:
            write_atomic(self._path, content, 0o644)
        except OSError as error:
            raise BadNames(f"{self._path} can't be written: {error.strerror}") from error
        self.version = version


def _checked(content: bytes) -> bytes:
    if len(content) > MAX_NAMES_FILE:
        raise BadNames(f"longer than {MAX_NAMES_FILE} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise BadNames("not UTF-8") from error
    if any(ord(c) < 32 and c not in "\n\t" for c in text):
        raise BadNames("control characters")
    return content
