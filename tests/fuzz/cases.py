# SPDX-License-Identifier: Apache-2.0
"""Where cases come from: corpus/TARGET.txt, a case a line in Base64 (kept, small, each reaches something the others don't), and plain
mutations of these, the same in every run."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def kept(target: str) -> list[bytes]:
    """The committed cases."""
    path = CORPUS / f"{target}.txt"
    return [base64.b64decode(line) for line in path.read_text("ascii").splitlines()] if path.exists() else []


def keep(target: str, cases: Iterable[bytes]) -> None:
    lines = sorted({base64.b64encode(case).decode() for case in cases}, key=lambda line: (len(line), line))
    (CORPUS / f"{target}.txt").write_text("".join(f"{line}\n" for line in lines), "ascii")


def mutated(cases: list[bytes], seed: int, longest: int) -> Iterator[bytes]:
    """For ever; without looking at what is reached."""
    chance = random.Random(seed)
    while True:
        made = bytearray(chance.choice(cases))
        for _ in range(chance.choice((1, 1, 2, 4, 8))):
            _change(made, chance, cases)
        yield bytes(made[:longest])


def _change(data: bytearray, chance: random.Random, cases: list[bytes]) -> None:
    at = chance.randint(0, len(data))
    end = min(len(data), at + chance.randint(1, 8))
    match chance.randrange(6):
        case 0:
            data[at:end] = b""
        case 1:
            data[at:at] = chance.randbytes(chance.randint(1, 4))
        case 2:
            data[at:end] = bytes(byte ^ (1 << chance.randrange(8)) for byte in data[at:end])
        case 3:
            data[at:at] = data[at:end] * chance.choice((1, 2, 50))
        case 4:
            other = chance.choice(cases)
            start = chance.randint(0, len(other))
            data[at:at] = other[start : start + chance.randint(1, 64)]
        case _:
            data[at:end] = chance.choice((b"\x00", b"\xff\xff\xff\xff", b"\x7f", b'"', b"\\", b"{", b"[", b"-1", b"99999999999999999999"))
