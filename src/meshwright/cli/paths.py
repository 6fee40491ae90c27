# SPDX-License-Identifier: Apache-2.0
"""`-f PATH...` -> documents, in order: files as named, directories by the names of what is in them, `-` for the standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from meshwright.cli.documents import Document, read
from meshwright.cli.failure import Unusable

SUFFIXES = (".yaml", ".yml", ".json")
STDIN = Path("-")


def documents(paths: Iterable[str]) -> list[Document]:
    """Raises Unusable for a path that isn't there or can't be read, Unreadable for one that is no YAML."""
    return [document for path in files(paths) for document in read_one(path)]


def read_one(path: Path) -> list[Document]:
    try:
        if path == STDIN:
            text = sys.stdin.read()
            return [document._replace(file="-") for document in read(text)]
        return read(path)
    except OSError as error:
        raise Unusable(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unusable(f"{path}: is not UTF-8: {error}") from error


def files(paths: Iterable[str]) -> list[Path]:
    found: list[Path] = []
    for text in paths:
        path = Path(text)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES and p.is_file())
            if not inside:
                raise Unusable(f"{path}: has no file that ends in {', '.join(SUFFIXES)}")
            found.extend(inside)
        elif path == STDIN or path.exists():
            found.append(path)
        else:
            raise Unusable(f"{path}: there is no such file or directory")
    return found
