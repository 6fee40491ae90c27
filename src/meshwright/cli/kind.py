# SPDX-License-Identifier: Apache-2.0
"""Kinds as people write them, and the paths of the API that belong to them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from meshwright.cli.failure import Unusable
from meshwright.model.kinds import KINDS, Kind

_SHORT = {
    "se": "ServiceEntry",
    "we": "WorkloadEntry",
    "vs": "VirtualService",
    "dr": "DestinationRule",
    "pa": "PeerAuthentication",
    "ap": "AuthorizationPolicy",
}


def kind_of(text: str) -> Kind:
    """`VirtualService`, `virtualservice`, `virtualservices` or `vs`. Raises Unusable."""
    wanted = text.lower()
    for kind in KINDS.values():
        if wanted in (kind.name.lower(), kind.plural) or _SHORT.get(wanted) == kind.name:
            return kind
    known = ", ".join(f"{name} ({short})" for short, name in _SHORT.items())
    raise Unusable(f"{text!r} is not a kind; known: {known}")


def path_of(kind: Kind, namespace: str = "", name: str = "") -> str:
    """The route of one resource, of a namespace's, or of all."""
    path = f"/apis/{kind.api_version}"
    if namespace:
        path += f"/namespaces/{quote(namespace, safe='')}"
    path += f"/{kind.plural}"
    return f"{path}/{quote(name, safe='')}" if name else path


def label(document: Any) -> str:
    """`Kind/namespace/name` of whatever a document says."""
    metadata = document.get("metadata") if isinstance(document, dict) else None
    metadata = metadata if isinstance(metadata, dict) else {}
    kind = document.get("kind", "?") if isinstance(document, dict) else "?"
    return f"{kind}/{metadata.get('namespace', 'default')}/{metadata.get('name', '?')}"
