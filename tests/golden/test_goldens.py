# SPDX-License-Identifier: Apache-2.0
"""Given documents in, golden files out. With GOLDEN_REWRITE=1 (make golden) the files are written instead of compared."""

from __future__ import annotations

import os

import pytest

from tests.golden.case import CASES, case_names, expected_files
from tests.golden.rewrite import rewrite


@pytest.fixture(scope="module", autouse=True)
def rewritten() -> None:
    if os.environ.get("GOLDEN_REWRITE"):
        rewrite()


@pytest.mark.parametrize("case", case_names())
def test_golden(case: str) -> None:
    wanted = expected_files(case)
    there = {path: path.read_text() for path in (CASES / case / "out").glob("*")}
    assert sorted(path.name for path in there) == sorted(path.name for path in wanted)
    for path, text in sorted(wanted.items()):
        assert there[path] == text, f"{path} differs: make golden, and look at the diff"
