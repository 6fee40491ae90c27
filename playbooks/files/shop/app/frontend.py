# SPDX-License-Identifier: Apache-2.0
"""frontend.py WHERE: the page, put together from catalog and reviews, which are called by their mesh names in plain HTTP: the Envoys on
both sides do the rest. Where these names can't be looked up, SHOP_ENVOY (ADDRESS:PORT) says where the Envoy is."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any

from answer import Handler, serve

CATALOG = "http://catalog.shop.mesh/items"
REVIEWS = "http://reviews.shop.mesh/reviews/{}"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str) -> dict[str, Any]:
    request = urllib.request.Request(url)  # noqa: S310 -- of this file's own URLs
    if "SHOP_ENVOY" in os.environ:
        request.add_header("host", request.host)
        request.host = os.environ["SHOP_ENVOY"]
    with DIRECT.open(request, timeout=5) as answer:
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
    serve(Frontend, sys.argv[1])
