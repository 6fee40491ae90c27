# SPDX-License-Identifier: Apache-2.0
"""Documents for the model's tests: builders, and one rich document of every kind, in YAML as people write them."""

from __future__ import annotations

import copy
from typing import Any

import msgspec

from meshwright.cli.documents import read
from meshwright.model.decode import decode
from meshwright.model.kinds import KINDS
from meshwright.model.meta import Resource
from meshwright.model.proxy import EnrolledWorkload, Node, ProxySettings
from meshwright.model.world import Change, World, allocate_vips

SAMPLES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: catalogue, namespace: shop, labels: {app.kubernetes.io/name: catalogue}, annotations: {note: "two\\nlines"}}
spec:
  hosts: [catalogue.shop.mesh]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {number: 80, name: http, protocol: http, targetPort: 8080}
  - {number: 6379, name: tcp-cache}
  workloadSelector: {labels: {app: catalogue}}
  exportTo: [".", billing]
---
apiVersion: networking.istio.io/v1beta1
kind: ServiceEntry
metadata: {name: rates, namespace: shop}
spec:
  hosts: [rates.example.com, rates.example.org]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 443, name: https, protocol: HTTPS}]
  endpoints:
  - {address: eu.rates.example.com, locality: eu/north/a, ports: {https: 8443}, weight: 3}
  - {address: 2001:db8::7, locality: us}
  subjectAltNames: [spiffe://elsewhere/rates]
---
apiVersion: networking.istio.io/v1alpha3
kind: WorkloadEntry
metadata: {name: catalogue-1, namespace: shop, creationTimestamp: null}
spec:
  address: 192.0.2.11
  ports: {http: 8081}
  labels: {app: catalogue, version: v2}
  locality: eu/north/a
  network: backbone
  weight: 7
  serviceAccount: catalogue
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: catalogue, namespace: shop}
spec:
  hosts: [catalogue, "*.tenants.example.com"]
  gateways: [mesh]
  http:
  - name: testers
    match:
    - name: by-header
      uri: {prefix: /items}
      method: {exact: GET}
      authority: {regex: "catalogue(\\\\..*)?"}
      headers: {x-group: {exact: testers}, x-trace: {regex: "[0-9a-f]{16}"}}
      withoutHeaders: {x-robot: {prefix: bot}}
      queryParams: {lang: {exact: de}}
      port: 80
      ignoreUriCase: true
    - uri: {exact: /new}
    route: [{destination: {host: catalogue, subset: v2, port: {number: 80}}}]
    timeout: 1m30s
    retries: {attempts: 2, perTryTimeout: 250ms, retryOn: "5xx,reset, 503"}
  - route:
    - {destination: {host: catalogue, subset: v1}, weight: 95}
    - {destination: {host: catalogue.shop.svc.cluster.local, subset: v2}, weight: 5}
    timeout: 0s
  tcp:
  - match: [{port: 6379}]
    route: [{destination: {host: catalogue.shop.mesh}}]
  exportTo: ["*"]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: catalogue, namespace: shop}
spec:
  host: catalogue
  trafficPolicy: {loadBalancer: {simple: LEAST_REQUEST}, tls: {mode: ISTIO_MUTUAL, subjectAltNames: [spiffe://cluster.local/ns/shop/sa/x]}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: rates, namespace: shop}
spec:
  host: rates.example.com
  trafficPolicy: {tls: {mode: SIMPLE, sni: rates.example.com, subjectAltNames: [rates.example.com], caCertificates: /etc/ssl/rates.pem}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: meshwright-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata: {name: catalogue, namespace: shop}
spec:
  selector: {matchLabels: {app: catalogue}}
  action: DENY
  rules:
  - from:
    - source: {principals: [cluster.local/ns/shop/sa/front, "*/sa/tester"], notNamespaces: [legacy]}
    - source: {namespaces: ["team-*"], notPrincipals: ["*"]}
    to:
    - operation: {methods: [GET, "P*"], notMethods: [PATCH], paths: [/items*, "*/raw", "*"], notPaths: [/items/secret]}
    - operation: {ports: ["8080"], notPorts: ["1"], hosts: [catalogue.shop.mesh, "*.example.com:80"], notHosts: [x]}
  - {}
"""


_READ = [document.object for document in read(SAMPLES)]


def documents() -> list[Any]:
    """The samples; a fresh copy."""
    return copy.deepcopy(_READ)


def document(kind: str, name: str, spec: Any, namespace: str = "shop", **metadata: Any) -> dict[str, Any]:
    """A document of the stored version."""
    return {
        "apiVersion": KINDS[kind].api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": spec,
    }


def resource(kind: str, name: str, spec: Any, namespace: str = "shop", created: str = "") -> Resource:
    """Decoded, as if created at `created`."""
    return aged(decode(document(kind, name, spec, namespace)), created)


def aged(made: Resource, created: str) -> Resource:
    return msgspec.structs.replace(made, metadata=msgspec.structs.replace(made.metadata, creation_timestamp=created))


def service(name: str, namespace: str = "shop", **spec: Any) -> Resource:
    """A ServiceEntry of an inside service that selects `app: NAME`, with one HTTP port."""
    created = spec.pop("created", "")
    whole = {
        "hosts": [f"{name}.{namespace}.mesh"],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 80, "name": "http", "targetPort": 8080}],
        "workloadSelector": {"labels": {"app": name}},
        **spec,
    }
    return resource("ServiceEntry", name, {key: value for key, value in whole.items() if value is not None}, namespace, created)


def instance(name: str, app: str, address: str, namespace: str = "shop", **spec: Any) -> Resource:
    labels = {"app": app, **spec.pop("labels", {})}
    return resource("WorkloadEntry", name, {"address": address, "labels": labels, **spec}, namespace)


def node(name: str, *workloads: str, account: str = "", banned: bool = False, port: int = 15006) -> Node:
    """Workloads as `NAME.NAMESPACE`; the service account is `account`, else `sa-NAME`."""
    enrolled = []
    for text in workloads:
        workload, _, namespace = text.rpartition(".")
        settings = ProxySettings(inbound_port=port)
        enrolled.append(EnrolledWorkload(workload, namespace, account or f"sa-{workload}", {"workload": workload}, settings))
    return Node(name, (), tuple(enrolled), banned)


def put(*things: Resource | Node) -> list[Change]:
    return [Change(node_name=t.name, node=t) if isinstance(t, Node) else Change(ref=t.ref, resource=t) for t in things]


def gone(*things: Resource | Node) -> list[Change]:
    return [Change(node_name=t.name) if isinstance(t, Node) else Change(ref=t.ref) for t in things]


def world_of(*things: Resource | Node) -> World:
    return World.empty().apply(put(*things), 1)[0]


def numbered(world: World, made: Resource) -> Resource:
    return allocate_vips(world, made)
