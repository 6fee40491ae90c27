# SPDX-License-Identifier: Apache-2.0
"""The one byte form of a document, and the digest by which Resources are equal."""

from __future__ import annotations

import functools
import hashlib

import msgspec

from meshwright.model.duration import Duration
from meshwright.model.meta import AddressStatus, Metadata
from meshwright.model.networking import Spec


def to_text(value: object) -> object:
    """For msgspec's encoders: what a value of our own is in JSON."""
    if isinstance(value, Duration):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def from_text(type_: type, value: object) -> object:
    """For msgspec's decoders. Raises ValueError."""
    if type_ is Duration and isinstance(value, str):
        return _parse(value)
    raise ValueError("not a duration")


_parse = functools.lru_cache(maxsize=1024)(Duration.parse)
_encoder = msgspec.json.Encoder(enc_hook=to_text, order="deterministic")


def to_spec_json(spec: Spec) -> bytes:
    """A spec as canonical JSON: fields in the order of the struct, keys of maps sorted, defaults left out."""
    return _encoder.encode(spec)


def digest(kind: str, metadata: Metadata, spec_json: bytes, addresses: tuple[AddressStatus, ...] = ()) -> bytes:
    """sha256 over what makes two documents the same: kind, namespace, name, labels, annotations, spec, and the addresses in status."""
    head = (kind, metadata.namespace, metadata.name, metadata.labels, metadata.annotations, addresses)
    return hashlib.sha256(_encoder.encode(head) + spec_json).digest()
