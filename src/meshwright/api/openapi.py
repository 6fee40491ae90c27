# SPDX-License-Identifier: Apache-2.0
"""The OpenAPI document: from the table of policy, the parameters, and the structs that bodies are really decoded into."""

from __future__ import annotations

import functools
import re
from typing import Any

import msgspec

from meshwright.api.auth import WorkloadName
from meshwright.api.handlers.tokens import ApiTokenRequest, JoinTokenRequest
from meshwright.api.parameters import PARAMETERS, Parameter
from meshwright.api.policy import TABLE, Rule
from meshwright.model.kinds import KINDS, Kind, json_schemas
from meshwright.model.meta import Metadata, Status
from meshwright.model.proxy import Node

_REF = "#/components/schemas/{name}"
_PARAM = re.compile(r"\{(\w+)\}")
_LABEL = {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "maxLength": 63}
_NAME = {"type": "string", "pattern": r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", "maxLength": 253}
_ERRORS = {"400", "401", "403", "404", "405", "409", "410", "413", "422", "429", "500", "503"}
_HEADERS = {
    "Meshwright-Revision": {"schema": {"type": "string"}, "description": "the revision at which this holds"},
    "Meshwright-Changed": {"schema": {"type": "string", "enum": ["true", "false"]}},
}


@functools.cache
def document() -> bytes:
    """OpenAPI 3.1, JSON."""
    schemas = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for rule in TABLE:
        for path, kind in _expanded(rule):
            paths.setdefault(path, {})[rule.method.lower()] = _operation(rule, path, kind)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "Meshwright", "version": "1", "description": "Rules and operation of the mesh."},
            "paths": paths,
            "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
            "security": [{"token": []}],
        }
    )


def _expanded(rule: Rule) -> list[tuple[str, Kind | None]]:
    """A route for all kinds is one path a kind and version."""
    if "{plural}" not in rule.path:
        return [(rule.path, None)]
    return [
        (rule.path.replace("{group}", kind.group).replace("{version}", version).replace("{plural}", kind.plural), kind)
        for kind in KINDS.values()
        for version in kind.versions
    ]


def _operation(rule: Rule, path: str, kind: Kind | None) -> dict[str, Any]:
    parameters = [_path_parameter(name, path) for name in _PARAM.findall(path)]
    parameters += [_query_parameter(parameter) for parameter in PARAMETERS.get((rule.method, rule.path), ())]
    operation: dict[str, Any] = {
        "operationId": f"{rule.method.lower()}{re.sub('[^A-Za-z0-9]+', '_', path)}",
        "description": _who(rule),
        "parameters": parameters,
        "responses": _responses(rule, kind),
    }
    if rule.anonymous:
        operation["security"] = []
    if rule.body:
        media = "application/merge-patch+json" if rule.method == "PATCH" else "application/json"
        operation["requestBody"] = {"required": True, "content": {media: {"schema": _request_schema(rule, kind)}}}
    return operation


def _who(rule: Rule) -> str:
    if rule.anonymous:
        return "Anybody."
    scope = " A namespace-editor only in its namespaces." if rule.scoped else ""
    return f"Roles: {', '.join(sorted(role.value for role in rule.roles))}.{scope}"


def _path_parameter(name: str, path: str) -> dict[str, Any]:
    schema = {
        "namespace": _LABEL,
        "name": _NAME,
        "revision": {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
        "id": {"type": "string", "pattern": r"^[a-z0-9.-]+\.[a-z0-9-]+$"} if "proxies" in path else {"type": "string", "minLength": 1},
    }[name]
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameter(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if parameter.kind == "choice":
        schema = {"type": "string", "enum": list(parameter.choices)}
    elif parameter.kind == "number":
        schema = {"type": "integer", "minimum": parameter.low, "maximum": parameter.high}
    return {"name": parameter.name, "in": "query", "description": parameter.description, "schema": schema}


def _request_schema(rule: Rule, kind: Kind | None) -> dict[str, Any]:
    if kind is not None:
        return {"type": "object"} if rule.method == "PATCH" else _ref(f"{kind.name}Document")
    return _ref({"/mesh/v1/nodes/{name}": "Node", "/mesh/v1/tokens": "TokenRequest", "/mesh/v1/attest/nonce": "NonceRequest"}.get(
        rule.path, "AttestRequest"))  # fmt: skip


_ANSWERS = {
    "/healthz": "Health",
    "/readyz": "Health",
    "/mesh/v1/rollouts/{revision}": "Rollout",
    "/mesh/v1/proxies": "ProxyList",
    "/mesh/v1/proxies/{id}": "Proxy",
    "/mesh/v1/proxies/{id}/config": "ProxyConfig",
    "/mesh/v1/nodes": "NodeList",
    "/mesh/v1/nodes/{name}": "NodeAnswer",
    "/mesh/v1/ca": "Ca",
    "/mesh/v1/audit": "Audit",
    "/mesh/v1/attest/nonce": "Nonce",
    "/mesh/v1/attest": "Issued",
    "/mesh/v1/tokens/{id}": "Token",
}


def _responses(rule: Rule, kind: Kind | None) -> dict[str, Any]:
    answer = {"description": "Done.", "content": {"application/json": {"schema": _answer_schema(rule, kind)}}}
    if rule.path == "/metrics":
        answer["content"] = {"text/plain": {"schema": {"type": "string"}}}
    if rule.audited and "attest" not in rule.path:
        answer["headers"] = _HEADERS
    statuses = ["201"] if (rule.method, rule.path) == ("POST", "/mesh/v1/tokens") else ["200"]
    if rule.method == "PUT":
        statuses.append("201")
    error = {"description": "Refused; `error` says why.", "content": {"application/json": {"schema": _ref("Error")}}}
    return {**dict.fromkeys(statuses, answer), **dict.fromkeys(sorted(_ERRORS), error)}


def _answer_schema(rule: Rule, kind: Kind | None) -> dict[str, Any]:
    if kind is None:
        if rule.path == "/mesh/v1/tokens":
            return _ref("TokenList" if rule.method == "GET" else "NewToken")
        return _ref(_ANSWERS[rule.path]) if rule.path in _ANSWERS else {"type": "object"}
    return _ref(f"{kind.name}Answer" if rule.path.endswith("{name}") else f"{kind.name}List")


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _schemas() -> dict[str, Any]:
    specs, schemas = json_schemas(_REF)
    shapes = [Metadata, Status, Node, JoinTokenRequest, ApiTokenRequest, WorkloadName]
    schemas.update(msgspec.json.schema_components(shapes, ref_template=_REF)[1])
    for kind in KINDS.values():
        schemas.update(_kind_schemas(kind, specs[kind.name]))
    schemas["TokenRequest"] = {"oneOf": [_ref("JoinTokenRequest"), _ref("ApiTokenRequest")]}
    schemas["NodeAnswer"] = {"type": "object", "required": ["name", "sshHostKeys", "workloads", "banned"]}
    node = schemas["Node"]
    node["required"], node["properties"]["resourceVersion"] = [], {"type": "string"}
    schemas.update(_plain_schemas())
    return schemas


def _kind_schemas(kind: Kind, spec: dict[str, Any]) -> dict[str, Any]:
    versions = [f"{kind.group}/{version}" for version in kind.versions]
    properties = {
        "apiVersion": {"type": "string", "enum": versions},
        "kind": {"type": "string", "enum": [kind.name]},
        "metadata": _ref("Metadata"),
        "spec": spec,
    }
    answered = {**properties, "apiVersion": {"const": kind.api_version}, "status": _ref("Status")}
    answer = {"type": "object", "properties": answered, "required": ["apiVersion", "kind", "metadata", "spec", "status"]}
    request = {"type": "object", "properties": {**properties, "metadata": {"type": "object"}, "status": {"type": "object"}}}
    listing = {
        "apiVersion": {"const": kind.api_version},
        "kind": {"const": f"{kind.name}List"},
        "metadata": {"type": "object", "properties": {"resourceVersion": {"type": "string"}}, "required": ["resourceVersion"]},
        "items": {"type": "array", "items": _ref(f"{kind.name}Answer")},
    }
    # A watch answers JSON lines of {"type", "object"} under the same path: both are objects.
    listed = {"type": "object", "properties": listing}
    return {f"{kind.name}Answer": answer, f"{kind.name}Document": request, f"{kind.name}List": listed}


def _plain_schemas() -> dict[str, Any]:
    text, number = {"type": "string"}, {"type": "integer"}
    violation = _object({"path": text, "reason": text, "message": text})
    error = _object({"reason": text, "message": text, "path": text, "violations": {"type": "array", "items": violation}})
    items = {"type": "array", "items": {"type": "object"}}
    return {
        "Error": _object({"error": error}),
        "Health": _object({"status": text}),
        "Rollout": _object({"revision": number, "state": {"enum": ["pending", "done", "rejected"]}, "proxies": {"type": "object"}}),
        "Proxy": _object({"id": text, "namespace": text, "name": text}),
        "ProxyList": _object({"items": {"type": "array", "items": _ref("Proxy")}}),
        "ProxyConfig": _object({"revision": number, "clusters": items, "endpoints": items, "listeners": items, "routes": items}),
        "NodeList": _object({"items": {"type": "array", "items": _ref("NodeAnswer")}, "resourceVersion": text}),
        "Ca": _object({"trustDomain": text, "bundle": text, "active": _object({"serial": text, "notAfter": text})}),
        "Audit": _object({"items": items, "head": text}),
        "Nonce": _object({"nonce": text, "expiresIn": {"type": "number"}, "trustDomain": text}),
        "NonceRequest": _object({"node": text}),
        "AttestRequest": _object({"node": text, "workload": _ref("WorkloadName"), "csr": text, "nonce": text, "method": text}),
        "Issued": _object({"certificate": text, "bundle": text, "notBefore": text, "notAfter": text, "spiffeId": text, "proxyId": text}),
        "Token": _object({"id": text, "kind": text, "createdAt": text}),
        "TokenList": _object({"items": {"type": "array", "items": _ref("Token")}}),
        "NewToken": _object({"token": text, "id": text, "expiresAt": text}),
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}
