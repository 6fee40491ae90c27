# SPDX-License-Identifier: Apache-2.0
"""`-f PATH...` -> documents, in order: files as named, directories by the names of what is in them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from meshwright.cli.documents import Document, read
from meshwright.cli.failure import Unusable

SUFFIXES = (".yaml", ".yml", ".json")


def documents(paths: Iterable[str]) -> list[Document]:
    """Raises Unusable for a path that isn't there or can't be read, and what `read` raises for a file that is no YAML."""
    found: list[Document] = []
    for path in files(paths):
        try:
            found.extend(read(path))
        except OSError as error:
            raise Unusable(f"{path}: can't be read: {error.strerror}") from error
    return found


def files(paths: Iterable[str]) -> list[Path]:
    found: list[Path] = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
            if not inside:
                raise Unusable(f"{path}: has no file that ends in {', '.join(SUFFIXES)}")
            found.extend(inside)
        elif path.exists():
            found.append(path)
        else:
            raise Unusable(f"{path}: there is no such file or directory")
    return found
