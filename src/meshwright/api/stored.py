# SPDX-License-Identifier: Apache-2.0
"""Where a resource is kept, and how a record becomes what the API answers: the document, its version, the conditions of now."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from meshwright.api.call import Call
from meshwright.errors import BadRequest, NotFound
from meshwright.model.identity import is_dns_label, is_dns_subdomain
from meshwright.model.kinds import Kind, by_plural
from meshwright.model.meta import Condition, Ref
from meshwright.store.base import Record


class Target(NamedTuple):
    """What a path names: one resource, or with `name` '' those of a namespace, or with `namespace` '' too all of the kind."""

    kind: Kind
    namespace: str = ""
    name: str = ""

    @property
    def ref(self) -> Ref:
        return Ref(self.kind.name, self.namespace, self.name)

    @property
    def key(self) -> str:
        return f"resources/{self.kind.name}/{self.namespace}/{self.name}"

    @property
    def prefix(self) -> str:
        return f"resources/{self.kind.name}/{self.namespace}/" if self.namespace else f"resources/{self.kind.name}/"


def target_of(call: Call) -> Target:
    """Raises NotFound for a kind or version that isn't served, BadRequest for what can't be a name."""
    params = call.request.path_params
    group, version, plural = params["group"], params["version"], params["plural"]
    kind = by_plural(group, plural)
    if kind is None or version not in kind.versions:
        raise NotFound(f"there is no {plural[:64]!r} in {group[:64]}/{version[:64]}; see /openapi.json for what is served")
    namespace, name = params.get("namespace", ""), params.get("name", "")
    if "namespace" in params and not is_dns_label(namespace):
        raise BadRequest(
            f"{namespace[:64]!r} can't be a namespace: lower-case letters, digits and '-', at most 63", path="metadata.namespace"
        )
    if "name" in params and not is_dns_subdomain(name):
        raise BadRequest(f"{name[:64]!r} can't be a name: lower-case letters, digits, '-' and '.', at most 253", path="metadata.name")
    return Target(kind, namespace, name)


def document_of(record: Record) -> dict[str, Any]:
    """As stored, with its version."""
    document: dict[str, Any] = msgspec.json.decode(record.value)
    if record.revision:  # 0: a dry run of something new
        document["metadata"]["resourceVersion"] = str(record.revision)
    return document


def shown(document: dict[str, Any], conditions: tuple[Condition, ...]) -> dict[str, Any]:
    """As answered: with what is true of it now."""
    status = dict(document.get("status") or {})
    status["conditions"] = [msgspec.to_builtins(condition) for condition in conditions]
    return {**document, "status": status}


def answer_of(call: Call, target: Target, record: Record) -> dict[str, Any]:
    return shown(document_of(record), call.parts.controller.conditions(target.ref))


def missing(target: Target) -> NotFound:
    return NotFound(f"there is no {target.kind.name} {target.name!r} in namespace {target.namespace!r}")


def selector_of(text: str) -> dict[str, str]:
    """`a=b,c==d` -> labels. Raises BadRequest for other forms of selectors."""
    wanted: dict[str, str] = {}
    for term in text.split(",") if text else ():
        key, equals, value = term.partition("=")
        value = value.removeprefix("=")
        if not equals or not key.strip() or key.strip().endswith("!") or "=" in value or " " in key.strip():
            raise BadRequest(f"labelSelector {text[:200]!r}: only equality is understood, like app=web,tier=front", path="labelSelector")
        wanted[key.strip()] = value.strip()
    return wanted


def selected(document: dict[str, Any], wanted: dict[str, str]) -> bool:
    labels = document["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in wanted.items())
