# SPDX-License-Identifier: Apache-2.0
"""A snapshot as one static bootstrap: what Envoy would run, for `envoy --mode validate` and for people. Endpoints and routes stand inline,
identity and roots are static secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf import json_format

from meshwright.model.snapshot import Snapshot, TypeUrl, XdsResource
from meshwright.translate import names

MESSAGES: Mapping[TypeUrl, Any] = {
    TypeUrl.CLUSTER: cluster_pb2.Cluster,
    TypeUrl.ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
    TypeUrl.LISTENER: listener_pb2.Listener,
    TypeUrl.ROUTE: route_pb2.RouteConfiguration,
}


def as_json(resource: XdsResource) -> dict[str, Any]:
    """The resource as proto JSON (camelCase). NAMES: `{"lines": [...]}`."""
    if resource.type is TypeUrl.NAMES:
        return {"lines": resource.body.decode().splitlines()}
    message = MESSAGES[resource.type]()
    message.ParseFromString(resource.body)
    made: dict[str, Any] = json_format.MessageToDict(message)
    return made


def snapshot_json(snapshot: Snapshot) -> dict[str, list[dict[str, Any]]]:
    """`{"clusters", "endpoints", "listeners", "routes", "names"}`, each sorted by name."""
    return {
        key: [as_json(found) for name in snapshot.names(type) if (found := snapshot.get(type, name)) is not None]
        for key, type in (
            ("clusters", TypeUrl.CLUSTER),
            ("endpoints", TypeUrl.ENDPOINT),
            ("listeners", TypeUrl.LISTENER),
            ("routes", TypeUrl.ROUTE),
            ("names", TypeUrl.NAMES),
        )
    }


def file_secrets(state_dir: str) -> list[dict[str, Any]]:
    """The static secrets of a workload whose agent keeps its identity in `state_dir`."""
    return [
        {
            "name": names.IDENTITY_SECRET,
            "tlsCertificate": {
                "certificateChain": {"filename": f"{state_dir}/svid.pem"},
                "privateKey": {"filename": f"{state_dir}/svid.key"},
            },
        },
        {"name": names.TRUST_SECRET, "validationContext": {"trustedCa": {"filename": f"{state_dir}/bundle.pem"}}},
    ]


def static_bootstrap(snapshot: Snapshot, secrets: list[dict[str, Any]]) -> dict[str, Any]:
    """Envoy's Bootstrap as proto JSON. `secrets`: a tlsCertificate by the name `default`, a validationContext by the name `ROOTCA`."""
    parts = snapshot_json(snapshot)
    endpoints = {assignment["clusterName"]: assignment for assignment in parts["endpoints"]}
    routes = {configuration["name"]: configuration for configuration in parts["routes"]}
    resources = {
        "clusters": [_static_cluster(cluster, endpoints) for cluster in parts["clusters"]],
        "listeners": [_with_routes(listener, routes) for listener in parts["listeners"]],
        "secrets": secrets,
    }
    return {"node": {"id": "static", "cluster": "static"}, "staticResources": _without_discovery(resources)}


def _static_cluster(cluster: dict[str, Any], endpoints: Mapping[str, Any]) -> dict[str, Any]:
    if cluster.get("type") != "EDS":
        return cluster
    rest = {key: value for key, value in cluster.items() if key != "edsClusterConfig"}
    name = cluster["name"]
    return {**rest, "type": "STATIC", "loadAssignment": endpoints.get(name, {"clusterName": name})}


def _with_routes(value: Any, routes: Mapping[str, Any]) -> Any:
    """`rds` replaced by the route configuration that it names; the empty one where there is none."""
    if isinstance(value, list):
        return [_with_routes(item, routes) for item in value]
    if not isinstance(value, dict):
        return value
    made = {key: _with_routes(item, routes) for key, item in value.items() if key != "rds"}
    if "rds" in value:
        name = value["rds"]["routeConfigName"]
        made["routeConfig"] = routes.get(name, {"name": name})
    return made


def _without_discovery(value: Any) -> Any:
    """Without `sdsConfig`: a secret is then looked up among the static ones."""
    if isinstance(value, list):
        return [_without_discovery(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _without_discovery(item) for key, item in value.items() if key != "sdsConfig"}
