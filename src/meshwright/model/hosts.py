# SPDX-License-Identifier: Apache-2.0
"""Host names: which forms are valid, and which of them name one and the same service of the mesh.

A service NAME of namespace NS may be written NAME (in its own namespace), NAME.NS, NAME.NS.svc, NAME.NS.svc.cluster.local and
NAME.NS.mesh; every other host means itself.
"""

from __future__ import annotations

import functools
import ipaddress
import re

from meshwright.model.identity import is_dns_label

MESH_DOMAIN = "mesh"
CLUSTER_DOMAIN = "svc.cluster.local"
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
MAX_HOST = 253


def is_ip(text: str) -> bool:
    """A plain IPv4 or IPv6 address in its one canonical form, without a zone."""
    try:
        return "%" not in text and str(ipaddress.ip_address(text)) == text
    except ValueError:
        return False


@functools.lru_cache(maxsize=8192)
def problem(text: str, *, wildcard: bool = False, short: bool = True) -> str | None:
    """What is wrong with a host name, or None. `wildcard`: `*` and a leading `*.` are allowed; `short`: one label is enough."""
    if not text:
        return "must not be empty"
    if len(text) > MAX_HOST:
        return f"is longer than {MAX_HOST} characters"
    name = text
    if text == "*" or text.startswith("*."):
        if not wildcard:
            return "must be one host, not a wildcard"
        if text == "*":
            return None
        name = text[2:]
    if _HOST.fullmatch(name) is None:
        if "*" in name:
            return "may have a wildcard only as `*` or as a leading `*.`"
        lowered = text.lower()
        if lowered != text and _HOST.fullmatch(lowered.removeprefix("*.")):
            return f"must be in lower case: {lowered}"
        return "is not a DNS name (lower-case letters, digits and - in labels of at most 63 characters)"
    if name.rpartition(".")[2].isdigit():
        return "is not a DNS name: its last label is a number"
    if not short and "." not in name:
        return f"must be a full name with a dot, like {text}.default.{MESH_DOMAIN}"
    return None


def parts(host: str, namespace: str, domain: str = MESH_DOMAIN) -> tuple[str, str] | None:
    """(NAME, NAMESPACE) when the host is one of the forms of a service of the mesh as written in `namespace`, else None."""
    name, _, rest = host.partition(".")
    if not rest:
        return (name, namespace) if name and name != "*" else None
    if name == "*":
        return None
    owner, _, suffix = rest.partition(".")
    return (name, owner) if suffix in ("", domain, "svc", CLUSTER_DOMAIN) else None


def candidates(host: str, namespace: str, domain: str = MESH_DOMAIN) -> tuple[str, ...]:
    """The full hosts that `host`, written in a document of `namespace`, may mean: the first that is a service counts. The mesh's own
    form comes first, so that an outside host declared by somebody can't take the place of a service of the mesh."""
    found = parts(host, namespace, domain)
    if found is None:
        return (host,)
    stem = f"{found[0]}.{found[1]}"
    forms = (f"{stem}.{domain}", f"{stem}.{CLUSTER_DOMAIN}", f"{stem}.svc", stem)
    return forms if host in forms or "." not in host else (*forms, host)


def owner_namespace(host: str, domain: str = MESH_DOMAIN) -> str | None:
    """The namespace to which a host belongs by its form (`NAME.NS.mesh` and its aliases with a suffix), None for outside hosts."""
    if host.count(".") < 2:
        return None
    found = parts(host, "", domain)
    return found[1] if found is not None and is_dns_label(found[1]) else None


def wildcards(host: str) -> tuple[str, ...]:
    """The wildcards that cover a host, the most specific first: `*.b.c`, `*.c`, `*` for `a.b.c`."""
    labels = host.split(".")
    return (*(f"*.{'.'.join(labels[i:])}" for i in range(1, len(labels))), "*")
