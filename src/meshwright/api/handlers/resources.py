# SPDX-License-Identifier: Apache-2.0
"""GET, PUT, PATCH and DELETE of one resource of the rule API."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from starlette.responses import Response

from meshwright.api.answers import error_answer, json_answer, write_headers
from meshwright.api.auth import rfc3339
from meshwright.api.call import Call
from meshwright.api.reach import refuse_reach
from meshwright.api.stored import Target, answer_of, document_of, missing, shown, target_of
from meshwright.api.write import commit
from meshwright.errors import BadRequest, Conflict, Invalid, Violation
from meshwright.model.conditions import world_checks
from meshwright.model.decode import decode, encode, load
from meshwright.model.jsontext import parse_json
from meshwright.model.meta import Resource
from meshwright.store.base import Delete, Put, Record

MAX_ATTEMPTS = 10
Make = Callable[[Record | None], dict[str, Any]]


async def get(call: Call) -> Response:
    target = target_of(call)
    record = await call.parts.store.get(target.key)
    if record is None:
        raise missing(target)
    return json_answer(answer_of(call, target, record))


async def put(call: Call) -> Response:
    target = target_of(call)
    document = _object_of(call.body)
    _address(document, call, target)

    def make(record: Record | None) -> dict[str, Any]:
        return document

    return await _write(call, target, make)


async def patch(call: Call) -> Response:
    target = target_of(call)
    change = _object_of(call.body)

    def make(record: Record | None) -> dict[str, Any]:
        if record is None:
            raise missing(target)
        document = document_of(record)
        if not (isinstance(change.get("metadata"), dict) and "resourceVersion" in change["metadata"]):
            del document["metadata"]["resourceVersion"]
        merged: dict[str, Any] = merge_patch(document, change)
        if not isinstance(merged.get("metadata"), dict):
            raise BadRequest("metadata can't be taken away", path="metadata")
        _address(merged, call, target)
        return merged

    return await _write(call, target, make)


async def delete(call: Call) -> Response:
    target = target_of(call)
    for _ in range(MAX_ATTEMPTS):
        record = await call.parts.store.get(target.key)
        if record is None:
            revision = await current_revision(call)
            return error_answer(missing(target), write_headers(revision, changed=False))
        wanted = call.query.get("resourceVersion", "")
        if wanted and int(wanted) != record.revision:
            raise _moved(target, record)
        gone = answer_of(call, target, record)
        if call.dry_run:
            return json_answer(gone, headers=write_headers(await current_revision(call), changed=True))
        try:
            revision = await commit(call, Delete(target.key, expected=record.revision), record)
        except Conflict:
            continue
        call.api.census.gone(target.namespace, record.value)
        return json_answer(gone, headers=write_headers(revision, changed=True))
    raise Conflict(f"{target.ref} changes faster than it can be deleted: try again")


async def current_revision(call: Call) -> int:
    """The store's, without reading anything of it."""
    return (await call.parts.store.list("no-such-prefix/"))[1]


def merge_patch(document: Any, change: Any) -> Any:
    """RFC 7396. Bodies have bounded depth, so recursion has too."""
    if not isinstance(change, dict):
        return change
    merged = dict(document) if isinstance(document, dict) else {}
    for key, value in change.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def _object_of(body: bytes) -> dict[str, Any]:
    document = parse_json(body)
    if isinstance(document, dict):
        return document
    raise BadRequest("the body must be a JSON object")


def _address(document: dict[str, Any], call: Call, target: Target) -> None:
    """Fills what the path says and the document doesn't; both must agree. Raises Invalid."""
    group_version = f"{target.kind.group}/{call.param('version')}"
    given = document.setdefault("apiVersion", group_version)
    versions = {f"{target.kind.group}/{version}" for version in target.kind.versions}
    metadata = document.setdefault("metadata", {})
    found = [] if given in versions else [_disagree("apiVersion", given, group_version)]
    if document.setdefault("kind", target.kind.name) != target.kind.name:
        found.append(_disagree("kind", document["kind"], target.kind.name))
    if isinstance(metadata, dict):
        for key, value in (("name", target.name), ("namespace", target.namespace)):
            if metadata.setdefault(key, value) != value:
                found.append(_disagree(f"metadata.{key}", metadata[key], value))
    if found:
        raise Invalid(tuple(found))


def _disagree(path: str, given: object, wanted: str) -> Violation:
    return Violation(path, "Mismatch", f"the path of the request says {wanted!r}, the document {str(given)[:100]!r}")


class _Step(NamedTuple):
    """What is there and what is to be."""

    record: Record | None
    previous: Resource | None
    resource: Resource

    @property
    def same(self) -> bool:
        if self.previous is None:
            return False
        old, new = self.previous.metadata, self.resource.metadata
        return old.labels == new.labels and old.annotations == new.annotations and self.previous.spec == self.resource.spec


async def _write(call: Call, target: Target, make: Make) -> Response:
    for _ in range(MAX_ATTEMPTS):
        record = await call.parts.store.get(target.key)
        document = make(record)
        version = _version_of(document)
        _check_version(target, version, record)
        step = _step(document, record)
        if step.same and record is not None:
            return json_answer(answer_of(call, target, record), headers=write_headers(record.revision, changed=False))
        refuse_reach(call, step.resource, step.previous)
        try:
            return await _store(call, target, step)
        except Conflict:
            if version:
                raise
    raise Conflict(f"{target.ref} changes faster than it can be written: try again")


def _version_of(document: dict[str, Any]) -> str:
    """Taken out of the document: the server keeps the version, the store's revision is its only source."""
    metadata = document.get("metadata")
    version = metadata.get("resourceVersion", "") if isinstance(metadata, dict) else ""
    if not isinstance(version, str) or not (version == "" or (version.isascii() and version.isdigit() and len(version) <= 19)):
        raise Invalid((Violation("metadata.resourceVersion", "InvalidValue", "must be the text of a version that the API answered"),))
    return version


def _check_version(target: Target, version: str, record: Record | None) -> None:
    if version and (record is None or int(version) != record.revision):
        raise _moved(target, record)


def _moved(target: Target, record: Record | None) -> Conflict:
    if record is None:
        return Conflict(
            f"{target.ref} is not there any more: leave metadata.resourceVersion out to make it anew", path="metadata.resourceVersion"
        )
    return Conflict(f"{target.ref} is at version {record.revision} now: read it again", path="metadata.resourceVersion")


def _step(document: dict[str, Any], record: Record | None) -> _Step:
    previous = load(document_of(record)) if record is not None else None
    return _Step(record, previous, decode(document, previous))


async def _store(call: Call, target: Target, step: _Step) -> Response:
    if target.kind.name == "ServiceEntry":
        async with call.api.numbering:
            return await _store_managed(call, target, step)
    return await _store_managed(call, target, step)


async def _store_managed(call: Call, target: Target, step: _Step) -> Response:
    resource = _managed(call, step)
    if target.kind.name == "ServiceEntry":
        resource = await call.api.numbers.complete(call.parts.controller.world, resource)
    value = msgspec.json.encode(_storable(resource))
    expected = step.record.revision if step.record else 0
    before = step.record.value if step.record else None
    if call.dry_run:
        await call.api.census.check(target.namespace, before, value)
        revision = await current_revision(call)
        made = Record(target.key, value, expected, expected)
    else:
        async with call.api.census.place(target.namespace, before, value):
            call.api.numbers.keep(resource)
            revision = await commit(call, Put(target.key, value, expected=expected), step.record)
        made = Record(target.key, value, revision, step.record.created if step.record else revision)
    status = 200 if step.record else 201
    conditions = world_checks(call.parts.controller.world, resource)
    return json_answer(shown(document_of(made), conditions), status, write_headers(revision, changed=True))


def _managed(call: Call, step: _Step) -> Resource:
    """With the metadata that the server keeps."""
    metadata, previous = step.resource.metadata, step.previous
    if previous is None:
        uid = str(uuid.UUID(bytes=call.parts.random_bytes(16), version=4))
        kept = msgspec.structs.replace(
            metadata, uid=uid, generation=1, creation_timestamp=rfc3339(call.parts.clock.now()), resource_version=""
        )
    else:
        old = previous.metadata
        generation = old.generation + (previous.spec != step.resource.spec)
        kept = msgspec.structs.replace(
            metadata, uid=old.uid, generation=generation, creation_timestamp=old.creation_timestamp, resource_version=""
        )
    return msgspec.structs.replace(step.resource, metadata=kept)


def _storable(resource: Resource) -> dict[str, Any]:
    """Conditions are of the moment, the version is the store's: neither is kept in the document."""
    document = encode(resource)
    document["metadata"].pop("resourceVersion", None)
    status = document.get("status")
    if isinstance(status, dict):
        status.pop("conditions", None)
        if not status:
            del document["status"]
    return document
