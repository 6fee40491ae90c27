# SPDX-License-Identifier: Apache-2.0
"""The table that is the law: which route exists, who may use it, in which scope, how often, with how large a body, audited or not.

The application refuses to start with a route that is not here, or without one that is.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Role(enum.Enum):
    """`reader` reads all but tokens and the audit. `namespace-editor` reads as a reader and writes resources in its namespaces.
    `mesh-admin` writes everything but API tokens. `security-admin` enrols nodes, makes tokens, reads the audit, writes no resources."""

    READER = "reader"
    NAMESPACE_EDITOR = "namespace-editor"
    MESH_ADMIN = "mesh-admin"
    SECURITY_ADMIN = "security-admin"


class Rate(enum.Enum):
    """Which bucket a request is taken from. ATTEST counts by source address, the others by principal."""

    FREE = "free"
    READ = "read"
    WRITE = "write"
    ATTEST = "attest"


class Rule(NamedTuple):
    """One route. `roles` empty: anybody, without a token. `scoped`: a namespace-editor only in its own namespaces (`{namespace}` of the
    path). `body`: bytes that are read at most; 0: none is read."""

    method: str
    path: str
    roles: frozenset[Role]
    rate: Rate
    body: int = 0
    audited: bool = False
    scoped: bool = False

    @property
    def anonymous(self) -> bool:
        return not self.roles


ANYBODY: frozenset[Role] = frozenset()
READERS = frozenset(Role)
WRITERS = frozenset({Role.NAMESPACE_EDITOR, Role.MESH_ADMIN})
ADMINS = frozenset({Role.MESH_ADMIN, Role.SECURITY_ADMIN})
SECURITY = frozenset({Role.SECURITY_ADMIN})

MAX_BODY = 1024 * 1024
SMALL_BODY = 64 * 1024

_KINDS = "/apis/{group}/{version}"
_LIST = _KINDS + "/namespaces/{namespace}/{plural}"
_ONE = _LIST + "/{name}"

TABLE: tuple[Rule, ...] = (
    Rule("GET", "/healthz", ANYBODY, Rate.FREE),
    Rule("GET", "/readyz", ANYBODY, Rate.FREE),
    Rule("GET", "/metrics", READERS, Rate.READ),
    Rule("GET", "/openapi.json", READERS, Rate.READ),
    Rule("GET", _KINDS + "/{plural}", READERS, Rate.READ),
    Rule("GET", _LIST, READERS, Rate.READ),
    Rule("GET", _ONE, READERS, Rate.READ),
    Rule("PUT", _ONE, WRITERS, Rate.WRITE, MAX_BODY, audited=True, scoped=True),
    Rule("PATCH", _ONE, WRITERS, Rate.WRITE, MAX_BODY, audited=True, scoped=True),
    Rule("DELETE", _ONE, WRITERS, Rate.WRITE, audited=True, scoped=True),
    Rule("GET", "/mesh/v1/rollouts/{revision}", READERS, Rate.READ),
    Rule("GET", "/mesh/v1/proxies", READERS, Rate.READ),
    Rule("GET", "/mesh/v1/proxies/{id}", READERS, Rate.READ),
    Rule("GET", "/mesh/v1/proxies/{id}/config", READERS, Rate.READ),
    Rule("GET", "/mesh/v1/nodes", READERS, Rate.READ),
    Rule("GET", "/mesh/v1/nodes/{name}", READERS, Rate.READ),
    Rule("PUT", "/mesh/v1/nodes/{name}", ADMINS, Rate.WRITE, MAX_BODY, audited=True),
    Rule("DELETE", "/mesh/v1/nodes/{name}", ADMINS, Rate.WRITE, audited=True),
    # A mesh-admin may make join tokens only: who makes API tokens decides who is admin (handlers.tokens).
    Rule("POST", "/mesh/v1/tokens", ADMINS, Rate.WRITE, SMALL_BODY, audited=True),
    Rule("GET", "/mesh/v1/tokens", SECURITY, Rate.READ),
    Rule("DELETE", "/mesh/v1/tokens/{id}", SECURITY, Rate.WRITE, audited=True),
    Rule("GET", "/mesh/v1/ca", READERS, Rate.READ),
    Rule("GET", "/mesh/v1/audit", SECURITY, Rate.READ),
    Rule("POST", "/mesh/v1/attest/nonce", ANYBODY, Rate.ATTEST, SMALL_BODY),
    Rule("POST", "/mesh/v1/attest", ANYBODY, Rate.ATTEST, SMALL_BODY, audited=True),
)


def allowed(rule: Rule, roles: frozenset[Role], namespaces: frozenset[str], namespace: str) -> bool:
    """Whether a caller with these roles, editor of these namespaces, may use the route for `namespace` ('' when the path has none)."""
    held = rule.roles & roles
    if not held:
        return rule.anonymous
    if rule.scoped and held == {Role.NAMESPACE_EDITOR}:
        return namespace in namespaces
    return True
