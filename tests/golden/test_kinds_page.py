# SPDX-License-Identifier: Apache-2.0
"""The page of kinds says what the code takes."""

from __future__ import annotations

import os
from pathlib import Path

from tests.golden.kinds_page import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "kinds.md"


def test_the_page_is_current() -> None:
    if os.environ.get("GOLDEN_REWRITE"):
        PAGE.write_text(page(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make golden` and look at the difference"
