# Copyright (c) 2026, Meshwright contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documents of the rule API: what may be given, where each lives, what of it is the user's."""

from __future__ import annotations

import copy
import json
import typing as t

from ansible_collections.meshwright.mesh.plugins.module_utils.api_client import ApiError, segment

# kind -> API group, plural. Every kind is stored and answered as v1.
KINDS: dict[str, tuple[str, str]] = {
    "ServiceEntry": ("networking.istio.io", "serviceentries"),
    "WorkloadEntry": ("networking.istio.io", "workloadentries"),
    "VirtualService": ("networking.istio.io", "virtualservices"),
    "DestinationRule": ("networking.istio.io", "destinationrules"),
    "PeerAuthentication": ("security.istio.io", "peerauthentications"),
    "AuthorizationPolicy": ("security.istio.io", "authorizationpolicies"),
}
SERVER_METADATA = ("uid", "resourceVersion", "generation", "creationTimestamp")


class Document(t.NamedTuple):
    """One document that a user wrote, checked as far as it takes to know where it belongs."""

    kind: str
    version: str
    namespace: str
    name: str
    body: dict[str, t.Any]

    @property
    def path(self) -> str:
        return resource_path(self.kind, self.namespace, self.name, self.version)

    @property
    def label(self) -> str:
        return "%s/%s/%s" % (self.kind, self.namespace, self.name)


def resource_path(kind: str, namespace: str | None = None, name: str | None = None, version: str = "v1") -> str:
    """`/apis/GROUP/VERSION[/namespaces/NS]/PLURAL[/NAME]`. Raises ApiError for a kind that the API does not have."""
    if kind not in KINDS:
        raise ApiError("kind %r is not known; known are: %s" % (kind, ", ".join(KINDS)), reason="Usage")
    group, plural = KINDS[kind]
    path = "/apis/%s/%s" % (group, segment(version))
    if namespace:
        path += "/namespaces/%s" % segment(namespace)
    path += "/%s" % plural
    return path + "/%s" % segment(name) if name else path


def parse_documents(given: t.Any) -> list[Document]:
    """Documents of a dictionary, a list of them, or a `kind: List`. Empty ones (of `---` lines) are left out. Raises ApiError."""
    if isinstance(given, dict) and given.get("kind") == "List":
        given = given.get("items")
    items = given if isinstance(given, (list, tuple)) else [given]
    found = [_document(index, item) for index, item in enumerate(items) if item is not None]
    seen: set[str] = set()
    for document in found:
        if document.label in seen:
            raise ApiError("%s is there twice" % document.label, reason="Usage")
        seen.add(document.label)
    return found


def _document(index: int, item: t.Any) -> Document:
    where = "document %d" % (index + 1)
    if not isinstance(item, dict):
        raise ApiError("%s is not a dictionary but %s" % (where, type(item).__name__), reason="Usage")
    kind, api_version, metadata = item.get("kind"), item.get("apiVersion"), item.get("metadata")
    if kind not in KINDS:
        raise ApiError("%s: kind %r is not known; known are: %s" % (where, kind, ", ".join(KINDS)), reason="Usage")
    group, _slash, version = str(api_version or "").partition("/")
    if group != KINDS[kind][0] or not version:
        raise ApiError("%s: apiVersion of a %s is %s/v1, not %r" % (where, kind, KINDS[kind][0], api_version), reason="Usage")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise ApiError("%s (%s): metadata.name is missing" % (where, kind), reason="Usage")
    body = copy.deepcopy(item)
    body["metadata"].setdefault("namespace", "default")
    body.pop("status", None)
    return Document(kind, version, str(body["metadata"]["namespace"]), metadata["name"], body)


def user_part(resource: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    """A stored document without what the server adds: what a diff shows. {} for None."""
    if not resource:
        return {}
    shown = {key: value for key, value in resource.items() if key != "status"}
    shown["metadata"] = {key: value for key, value in (resource.get("metadata") or {}).items() if key not in SERVER_METADATA}
    return shown


def text_diff(header: str, before: t.Mapping[str, t.Any], after: t.Mapping[str, t.Any]) -> dict[str, str]:
    """One entry of a task's `diff`."""
    return {"before_header": header, "after_header": header, "before": _text(before), "after": _text(after)}


def _text(value: t.Mapping[str, t.Any]) -> str:
    return json.dumps(value, indent=2, sort_keys=True) + "\n" if value else ""
