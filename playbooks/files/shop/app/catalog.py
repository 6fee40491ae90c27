# SPDX-License-Identifier: Apache-2.0
"""catalog.py WHERE: what the shop sells."""

from __future__ import annotations

import sys
from typing import Any

from answer import Handler, serve

ITEMS = {"1": "a kettle", "2": "a lamp", "3": "a chair"}


class Catalog(Handler):
    service = "catalog"

    def answer(self, path: str) -> dict[str, Any] | None:
        return {"items": ITEMS} if path == "/items" else None


if __name__ == "__main__":
    serve(Catalog, sys.argv[1])
