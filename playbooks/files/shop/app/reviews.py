# SPDX-License-Identifier: Apache-2.0
"""reviews.py WHERE VERSION: what buyers say. v2 has stars, too."""

from __future__ import annotations

import sys
from typing import Any

from answer import Handler, serve

TEXTS = {"1": "Boils water.", "2": "Bright enough.", "3": "One can sit on it."}
STARS = {"1": 5, "2": 4, "3": 3}


class Reviews(Handler):
    service = "reviews"

    def answer(self, path: str) -> dict[str, Any] | None:
        kind, _slash, item = path.strip("/").partition("/")
        if kind != "reviews" or item not in TEXTS:
            return None
        return {"text": TEXTS[item]} | ({"stars": STARS[item]} if self.version == "v2" else {})


if __name__ == "__main__":
    Reviews.version = sys.argv[2]
    serve(Reviews, sys.argv[1])
