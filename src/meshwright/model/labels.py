# SPDX-License-Identifier: Apache-2.0
"""Labels and annotations as Kubernetes allows them (its "Labels and Selectors" and "Annotations")."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from meshwright.errors import Violation
from meshwright.model.identity import is_dns_subdomain
from meshwright.model.jsontext import child

MAX_LABELS = 100
MAX_ANNOTATION_BYTES = 256 * 1024
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


def is_key(text: str) -> bool:
    """`app`, `app.kubernetes.io/name`."""
    prefix, slash, name = text.rpartition("/")
    return _NAME.fullmatch(name) is not None and (not slash or is_dns_subdomain(prefix))


def is_value(text: str) -> bool:
    return _VALUE.fullmatch(text) is not None


def check_labels(path: str, labels: Mapping[str, str]) -> Iterator[Violation]:
    if len(labels) > MAX_LABELS:
        yield Violation(path, "OutOfRange", f"has {len(labels)} labels, the limit is {MAX_LABELS}")
        return
    for key, value in labels.items():
        if not is_key(key):
            yield Violation(
                path, "Invalid", f"{json.dumps(key[:64])} is not a label's key: [prefix/]name, name of letters, digits, -_. up to 63"
            )
        if not is_value(value):
            yield Violation(child(path, key), "Invalid", f"{json.dumps(value[:64])} is not a label's value: letters, digits, -_. up to 63")


def check_annotations(path: str, annotations: Mapping[str, str]) -> Iterator[Violation]:
    if sum(len(key) + len(value) for key, value in annotations.items()) > MAX_ANNOTATION_BYTES:
        yield Violation(path, "OutOfRange", f"is longer than {MAX_ANNOTATION_BYTES} bytes in all")
    for key, value in annotations.items():
        if not is_key(key.lower()):
            yield Violation(path, "Invalid", f"{json.dumps(key[:64])} is not an annotation's key: [prefix/]name")
        if _NOT_TEXT.search(value):
            yield Violation(child(path, key), "Invalid", "has a NUL character or half a surrogate pair in it")
