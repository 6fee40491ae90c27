# SPDX-License-Identifier: Apache-2.0
"""frontend.py PORT: the page, put together from catalog and reviews, which are called by their mesh names in plain HTTP: the Envoys on both
sides do the rest."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from typing import Any

from answer import Handler, serve

CATALOG = "http://catalog.shop.mesh/items"
REVIEWS = "http://reviews.shop.mesh/reviews/{}"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str) -> dict[str, Any]:
    with DIRECT.open(url, timeout=5) as answer:
        return dict(json.load(answer))


class Frontend(Handler):
    service = "frontend"

    def answer(self, path: str) -> dict[str, Any] | None:
        if path == "/healthz":
            return {}
        if path != "/":
            return None
        try:
            catalog = fetch(CATALOG)
            reviews = [fetch(REVIEWS.format(item)) for item in catalog["items"]]
        except (OSError, urllib.error.URLError) as error:
            return {"status": 502, "error": str(error)}
        return {"catalog": catalog, "reviews": reviews}


if __name__ == "__main__":
    serve(Frontend, int(sys.argv[1]))
