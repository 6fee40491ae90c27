# SPDX-License-Identifier: Apache-2.0
"""Which handler serves which route of the table (api/policy.py)."""

from __future__ import annotations

from collections.abc import Mapping

from meshwright.api.call import Handler
from meshwright.api.handlers import attest, audit, ca, health, nodes, proxies, resources, rollouts, tokens, watch

_KINDS = "/apis/{group}/{version}"
_LIST = _KINDS + "/namespaces/{namespace}/{plural}"
_ONE = _LIST + "/{name}"
_NODE = "/mesh/v1/nodes/{name}"

ROUTES: Mapping[tuple[str, str], Handler] = {
    ("GET", "/healthz"): health.healthz,
    ("GET", "/readyz"): health.readyz,
    ("GET", "/metrics"): health.metrics,
    ("GET", "/openapi.json"): health.openapi_json,
    ("GET", _KINDS + "/{plural}"): watch.list_or_watch,
    ("GET", _LIST): watch.list_or_watch,
    ("GET", _ONE): resources.get,
    ("PUT", _ONE): resources.put,
    ("PATCH", _ONE): resources.patch,
    ("DELETE", _ONE): resources.delete,
    ("GET", "/mesh/v1/rollouts/{revision}"): rollouts.get,
    ("GET", "/mesh/v1/proxies"): proxies.listing,
    ("GET", "/mesh/v1/proxies/{id}"): proxies.get,
    ("GET", "/mesh/v1/proxies/{id}/config"): proxies.config,
    ("GET", "/mesh/v1/nodes"): nodes.listing,
    ("GET", _NODE): nodes.get,
    ("PUT", _NODE): nodes.put,
    ("DELETE", _NODE): nodes.delete,
    ("POST", "/mesh/v1/tokens"): tokens.create,
    ("GET", "/mesh/v1/tokens"): tokens.listing,
    ("DELETE", "/mesh/v1/tokens/{id}"): tokens.delete,
    ("GET", "/mesh/v1/ca"): ca.get,
    ("GET", "/mesh/v1/audit"): audit.listing,
    ("POST", "/mesh/v1/attest/nonce"): attest.nonce,
    ("POST", "/mesh/v1/attest"): attest.attest,
}
