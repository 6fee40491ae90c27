# SPDX-License-Identifier: Apache-2.0
"""Enrolment: which hosts there are, by which SSH host keys they are known, which workloads they may run."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from meshwright.api.answers import error_answer, json_answer, write_headers
from meshwright.api.bodies import convert
from meshwright.api.call import Call
from meshwright.api.enrolment import normal, violations
from meshwright.api.handlers.resources import MAX_ATTEMPTS, current_revision
from meshwright.api.write import commit
from meshwright.errors import BadRequest, Conflict, Invalid, NotFound, Violation
from meshwright.model.identity import is_dns_subdomain
from meshwright.model.jsontext import parse_json
from meshwright.model.proxy import Node
from meshwright.store.base import Delete, Put, Record


async def listing(call: Call) -> Response:
    records, revision = await call.parts.store.list("nodes/")
    return json_answer({"items": [_shown(record) for record in records], "resourceVersion": str(revision)})


async def get(call: Call) -> Response:
    name = _name_of(call)
    record = await call.parts.store.get(f"nodes/{name}")
    if record is None:
        raise _missing(name)
    return json_answer(_shown(record))


async def put(call: Call) -> Response:
    name = _name_of(call)
    node, version = _read(call, name)
    async with call.api.enrolling:
        records, revision = await call.parts.store.list("nodes/")
        record = next((record for record in records if record.key == f"nodes/{name}"), None)
        if version and (record is None or int(version) != record.revision):
            now = f"is at version {record.revision} now: read it again" if record else "is not there any more"
            raise Conflict(f"the node {name!r} {now}", path="resourceVersion")
        if record is not None and _decode(record) == node:
            return json_answer(_shown(record), headers=write_headers(record.revision, changed=False))
        _refuse_taken(node, [_decode(other) for other in records if other is not record])
        value = msgspec.json.encode(node)
        if call.dry_run:
            return json_answer(msgspec.to_builtins(node), headers=write_headers(revision, changed=True))
        revision = await commit(call, Put(f"nodes/{name}", value, expected=record.revision if record else 0), record)
    made = Record(f"nodes/{name}", value, revision, revision)
    return json_answer(_shown(made), 200 if record else 201, write_headers(revision, changed=True))


async def delete(call: Call) -> Response:
    name = _name_of(call)
    for _ in range(MAX_ATTEMPTS):
        record = await call.parts.store.get(f"nodes/{name}")
        if record is None:
            return error_answer(_missing(name), write_headers(await current_revision(call), changed=False))
        wanted = call.query.get("resourceVersion", "")
        if wanted and int(wanted) != record.revision:
            raise Conflict(f"the node {name!r} is at version {record.revision} now: read it again", path="resourceVersion")
        if call.dry_run:
            return json_answer(_shown(record), headers=write_headers(await current_revision(call), changed=True))
        try:
            revision = await commit(call, Delete(record.key, expected=record.revision), record)
        except Conflict:
            continue
        return json_answer(_shown(record), headers=write_headers(revision, changed=True))
    raise Conflict(f"the node {name!r} changes faster than it can be deleted: try again")


def _name_of(call: Call) -> str:
    name = call.param("name")
    if not is_dns_subdomain(name):
        raise BadRequest(f"{name[:64]!r} can't be the name of a node: lower-case letters, digits, '-' and '.', at most 253", path="name")
    return name


def _read(call: Call, name: str) -> tuple[Node, str]:
    document = parse_json(call.body)
    if not isinstance(document, dict):
        raise BadRequest("the body must be a JSON object")
    version = document.pop("resourceVersion", "")
    if not isinstance(version, str) or not (version == "" or (version.isascii() and version.isdigit() and len(version) <= 19)):
        raise Invalid((Violation("resourceVersion", "InvalidValue", "must be the text of a version that the API answered"),))
    if document.setdefault("name", name) != name:
        raise Invalid((Violation("name", "Mismatch", f"the path of the request says {name!r}"),))
    node: Node = convert(document, Node)
    found = tuple(violations(node))
    if found:
        raise Invalid(found)
    return normal(node), version


def _refuse_taken(node: Node, others: list[Node]) -> None:
    """Two hosts with one key could be each other; one workload has one host. Raises Conflict."""
    keys, workloads = set(node.ssh_host_keys), {(w.namespace, w.name) for w in node.workloads}
    for other in others:
        if keys & set(other.ssh_host_keys):
            raise Conflict(
                f"the node {other.name!r} has the same SSH host key: give every host keys of its own (ssh-keygen -A after cloning)",
                path="sshHostKeys",
            )
        for workload in other.workloads:
            if (workload.namespace, workload.name) in workloads:
                raise Conflict(
                    f"the workload {workload.namespace}/{workload.name} is enrolled on the node {other.name!r}: take it away there first",
                    path="workloads",
                )


def _missing(name: str) -> NotFound:
    return NotFound(f"there is no node {name!r}")


def _decode(record: Record) -> Node:
    return msgspec.json.decode(record.value, type=Node)


def _shown(record: Record) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(_decode(record))
    return {**shown, "resourceVersion": str(record.revision)}
