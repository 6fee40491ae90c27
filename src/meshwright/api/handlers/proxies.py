# SPDX-License-Identifier: Apache-2.0
"""The sidecars: which are connected, what they run, what they were told to run."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from meshwright.api.answers import JSON, json_answer
from meshwright.api.call import Call
from meshwright.errors import BadRequest, NotFound
from meshwright.model.identity import ProxyId
from meshwright.model.snapshot import Snapshot, TypeUrl

_FIELDS = {TypeUrl.CLUSTER: "clusters", TypeUrl.ENDPOINT: "endpoints", TypeUrl.LISTENER: "listeners", TypeUrl.ROUTE: "routes"}


async def listing(call: Call) -> Response:
    return json_answer({"items": call.parts.controller.proxies()})


async def get(call: Call) -> Response:
    return json_answer(_proxy(call, _id_of(call)))


async def config(call: Call) -> Response:
    id = _id_of(call)
    snapshot = call.parts.controller.snapshot(id)
    if snapshot is None:
        _proxy(call, id)
        raise NotFound(f"the proxy {id} has no configuration yet")
    return Response(_config(call.parts.controller.revision, snapshot), 200, None, JSON)


def _id_of(call: Call) -> ProxyId:
    try:
        return ProxyId.parse(call.param("id"))
    except ValueError as error:
        raise BadRequest(str(error), path="id") from None


def _proxy(call: Call, id: ProxyId) -> dict[str, Any]:
    found = call.parts.controller.proxy(id)
    if found is None:
        raise NotFound(f"there is no proxy {id}: `meshwright proxies` lists those that are enrolled")
    return found


def _config(revision: int, snapshot: Snapshot) -> bytes:
    """`{"revision", "clusters", "endpoints", "listeners", "routes", "names"}` in proto JSON."""
    answer: dict[str, Any] = {"revision": revision}
    for type, field in _FIELDS.items():
        answer[field] = [message_json(snapshot, type, name) for name in snapshot.names(type)]
    answer["names"] = [
        {"name": name, "text": found.body.decode("utf-8", "replace")}
        for name in snapshot.names(TypeUrl.NAMES)
        if (found := snapshot.get(TypeUrl.NAMES, name)) is not None
    ]
    return msgspec.json.encode(answer)


def message_json(snapshot: Snapshot, type: TypeUrl, name: str) -> Any:
    """One resource as proto JSON. Envoy's messages are loaded at the first call; `compile` registers every type that we emit in an Any."""
    from google.protobuf import json_format, symbol_database

    import meshwright.translate.compile  # noqa: F401

    found = snapshot.get(type, name)
    if found is None:
        raise NotFound(f"there is no {name!r} any more")
    message = symbol_database.Default().GetSymbol(type.value.rpartition("/")[2])()
    message.ParseFromString(found.body)
    return json_format.MessageToDict(message)
