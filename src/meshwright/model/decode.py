# SPDX-License-Identifier: Apache-2.0
"""Documents in Kubernetes' shape into Resources, strictly, and back.

The good path is one msgspec conversion, the checks and one canonical encoding; only a document that fails is walked a second time, to list
everything that is wrong with it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from meshwright.errors import Invalid
from meshwright.model import labels, walk
from meshwright.model.canonical import digest, from_text, to_spec_json
from meshwright.model.checks import check_spec
from meshwright.model.identity import is_dns_label, is_dns_subdomain
from meshwright.model.jsontext import JsonLimits, child, parse_json
from meshwright.model.kinds import KINDS, KINDS_NOT_YET, Kind
from meshwright.model.meta import Metadata, Resource, Status
from meshwright.model.networking import ServiceEntry, Spec

__all__ = ["JsonLimits", "decode", "digest", "encode", "load", "parse_json", "to_spec_json"]

_TOP = ("apiVersion", "kind", "metadata", "spec", "status")
_MANAGED = ("uid", "resourceVersion", "generation", "creationTimestamp")
_IGNORED = frozenset({*_MANAGED, "managedFields", "selfLink"})
_METADATA_NOT_YET = frozenset({"ownerReferences", "finalizers", "generateName", "deletionTimestamp", "deletionGracePeriodSeconds"})
_METADATA = ("name", "namespace", "labels", "annotations")
# What the canonical JSON of a spec with control characters or a DEL in its texts contains.
_ESCAPED_CONTROLS = re.compile(rb"\\[unrtbf]|\x7f")


def decode(document: object, previous: Resource | None = None) -> Resource:
    """A user's document as a Resource. What the server manages (uid, resourceVersion, generation, creationTimestamp, status) is taken from
    `previous`, the resource as it is stored, never from the document. Raises Invalid with every violation at once."""
    report = walk.Report()
    if not isinstance(document, dict):
        report.add("", "WrongType", f"a document must be an object, not {walk.kind_of(document)}")
        raise Invalid(tuple(report.violations))
    kind = _kind(document, report)
    for key in document:
        if key not in _TOP and not report.full:
            report.add(child("", key) if isinstance(key, str) else "", "UnknownField", walk.unknown(key, _TOP))
    metadata = _metadata(document.get("metadata"), report)
    if kind is None:
        raise Invalid(tuple(report.violations))
    spec, text = _spec(kind.spec, document.get("spec", {}), report)
    report.extend(check_spec(spec))
    if report.violations:
        raise Invalid(tuple(report.violations))
    status = Status()
    if previous is not None:
        old = previous.metadata
        metadata = msgspec.structs.replace(
            metadata,
            uid=old.uid,
            resource_version=old.resource_version,
            generation=old.generation,
            creation_timestamp=old.creation_timestamp,
        )
        status = _kept(spec, previous.status)
    return _resource(kind, metadata, spec, status, text)


def load(document: Mapping[str, Any]) -> Resource:
    """What `encode` made and the store kept, read back whole: server-managed metadata and status too, without the checks.
    Raises msgspec.ValidationError or KeyError when it is not what `encode` made."""
    kind = KINDS[document["kind"]]
    metadata = msgspec.convert(document["metadata"], Metadata)
    spec = msgspec.convert(document.get("spec", {}), kind.spec, dec_hook=from_text)
    status = msgspec.convert(document.get("status", {}), Status)
    return _resource(kind, metadata, spec, status, to_spec_json(spec))


def encode(resource: Resource) -> dict[str, Any]:
    """The document as the API answers and the store keeps it; empty and default fields are left out."""
    metadata, status = msgspec.json.decode(msgspec.json.encode((resource.metadata, resource.status)))
    document = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {"name": resource.metadata.name, "namespace": resource.metadata.namespace, **metadata},
        "spec": msgspec.json.decode(to_spec_json(resource.spec)),
    }
    if status:
        document["status"] = status
    return document


def _resource(kind: Kind, metadata: Metadata, spec: Spec, status: Status, spec_json: bytes) -> Resource:
    made = digest(kind.name, metadata, spec_json, status.addresses)
    return Resource(kind.api_version, kind.name, metadata, spec, status, made)


def _kind(document: Mapping[str, Any], report: walk.Report) -> Kind | None:
    name, version = document.get("kind"), document.get("apiVersion")
    for key, value in (("apiVersion", version), ("kind", name)):
        if value is None:
            report.add(key, "Required", "is required")
        elif not isinstance(value, str):
            report.add(key, "WrongType", f"must be a string, not {walk.kind_of(value)}")
    if not isinstance(name, str):
        return None
    kind = KINDS.get(name)
    if kind is None:
        if name in KINDS_NOT_YET:
            report.add("kind", "NotSupported", f"{name} is not supported yet; supported: {', '.join(KINDS)}")
        else:
            close = difflib.get_close_matches(name[:64], KINDS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(KINDS)}"
            report.add("kind", "NotAllowed", f"unknown kind {walk.shown(name)}; {hint}")
        return None
    if isinstance(version, str) and version not in kind.api_versions:
        served = kind.api_versions
        report.add("apiVersion", "NotAllowed", f"{name} is served as {', '.join(served)}, not {walk.shown(version)}")
    return kind


def _metadata(value: object, report: walk.Report) -> Metadata:
    if not isinstance(value, dict):
        what = "is required" if value is None else f"must be an object, not {walk.kind_of(value)}"
        report.add("metadata", "Required" if value is None else "WrongType", what)
        return Metadata("")
    for key in value:
        if report.full:
            break
        if key in _METADATA_NOT_YET:
            report.add(f"metadata.{key}", "NotSupported", f"{key} is not supported yet")
        elif key not in _METADATA and key not in _IGNORED:
            report.add(child("metadata", key) if isinstance(key, str) else "metadata", "UnknownField", walk.unknown(key, _METADATA))
    given = {key: value[key] for key in _METADATA if value.get(key) is not None}
    try:
        made: Metadata = msgspec.convert(given, Metadata)
    except msgspec.ValidationError:
        made = walk.read(Metadata, given, "metadata", report)
        if not isinstance(value.get("name"), str):
            return made
    if not is_dns_subdomain(made.name):
        report.add("metadata.name", "Invalid", f"{walk.shown(made.name)} is not a name: lower-case letters, digits, - and ., at most 253")
    if not is_dns_label(made.namespace):
        report.add(
            "metadata.namespace", "Invalid", f"{walk.shown(made.namespace)} is not a namespace: lower-case letters, digits, -, at most 63"
        )
    report.extend(
        [*labels.check_labels("metadata.labels", made.labels), *labels.check_annotations("metadata.annotations", made.annotations)]
    )
    return made


def _spec(cls: type[Spec], value: object, report: walk.Report) -> tuple[Spec, bytes]:
    """The spec and its canonical JSON (empty when something is wrong with it)."""
    try:
        spec = msgspec.convert(value, cls, dec_hook=from_text)
        if isinstance(spec, ServiceEntry):
            spec = _upper(spec)
        text = to_spec_json(spec)
        if _ESCAPED_CONTROLS.search(text) is None:
            return spec, text
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        first = str(error)
        text = b""
    else:
        first = ""
    before = len(report.violations)
    spec = walk.read(cls, value, "spec", report)
    if first and len(report.violations) == before and not report.full:
        # The walker knows less than msgspec: still an error, if a terse one.
        report.add("spec", "Invalid", first)
    return (_upper(spec) if isinstance(spec, ServiceEntry) else spec), text


def _upper(spec: ServiceEntry) -> ServiceEntry:
    if all(port.protocol.isupper() or not port.protocol for port in spec.ports):
        return spec
    ports = tuple(msgspec.structs.replace(port, protocol=port.protocol.upper()) for port in spec.ports)
    return msgspec.structs.replace(spec, ports=ports)


def _kept(spec: Spec, old: Status) -> Status:
    """The status that stays: addresses of hosts that are still there; conditions are said anew."""
    if not isinstance(spec, ServiceEntry):
        return Status(conditions=old.conditions)
    hosts = frozenset(spec.hosts)
    return Status(conditions=old.conditions, addresses=tuple(a for a in old.addresses if a.host in hosts))
