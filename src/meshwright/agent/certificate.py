# SPDX-License-Identifier: Apache-2.0
"""From when to when a certificate is valid, read from its DER by hand (RFC 5280 4.1): all that the serving agent wants to know of one."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime, timezone
from typing import NamedTuple

_SEQUENCE, _INTEGER, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x02, 0x17, 0x18, 0xA0


class Life(NamedTuple):
    """`serial` in hex."""

    serial: str
    not_before: datetime
    not_after: datetime

    def left(self, now: datetime) -> float:
        """The share of the life that is left, 1.0 to 0.0 (below when it is over)."""
        return (self.not_after - now) / (self.not_after - self.not_before)


def life(pem: bytes) -> Life:
    """Of the first certificate in `pem`. Raises ValueError."""
    _, found, rest = pem.partition(b"-----BEGIN CERTIFICATE-----")
    text, closed, _ = rest.partition(b"-----END CERTIFICATE-----")
    if not found or not closed:
        raise ValueError("no certificate in PEM")
    try:
        der = base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    certificate, _ = _take(der, _SEQUENCE)
    body, _ = _take(certificate, _SEQUENCE)
    if body[:1] == bytes([_VERSION]):
        _, body = _take(body, _VERSION)
    serial, body = _take(body, _INTEGER)
    _, body = _take(body, _SEQUENCE)  # signature algorithm
    _, body = _take(body, _SEQUENCE)  # issuer
    validity, _ = _take(body, _SEQUENCE)
    start, rest_of_validity = _time(validity)
    end, _ = _time(rest_of_validity)
    if end <= start:
        raise ValueError("it ends before it begins")
    return Life(f"{int.from_bytes(serial, 'big'):x}", start, end)


def _take(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """(content of the first element, which must have this tag; what follows it)."""
    if len(data) < 2 or data[0] != tag:
        raise ValueError("not a certificate")
    length, at = data[1], 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4:
            raise ValueError("not a certificate")
        length, at = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if at + length > len(data):
        raise ValueError("cut short")
    return data[at : at + length], data[at + length :]


def _time(data: bytes) -> tuple[datetime, bytes]:
    tag = data[0] if data else 0
    if tag not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("not a certificate")
    content, rest = _take(data, tag)
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year: 1950 to 2049
        text = ("19" if text[:2] >= "50" else "20") + text
    if len(text) != 15 or not text[:14].isdigit() or text[14] != "Z":
        raise ValueError("not a certificate")
    year, month, day, hour, minute, second = int(text[:4]), *(int(text[at : at + 2]) for at in range(4, 14, 2))
    return datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc), rest
