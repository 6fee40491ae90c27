# SPDX-License-Identifier: Apache-2.0
"""Bad documents: each line of the table is one fault, with the path and the reason it must be answered with, and no other violation."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from meshwright.errors import Invalid, Violation
from meshwright.model import walk
from meshwright.model.decode import decode
from meshwright.model.kinds import FIELDS_NOT_YET
from meshwright.model.walk import MAX_VIOLATIONS
from tests.unit.model.samples import document

SPECS: dict[str, Any] = {
    "ServiceEntry": {
        "hosts": ["web.shop.mesh"],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 80, "name": "http"}, {"number": 81, "name": "tcp"}],
        "endpoints": [{"address": "10.0.0.1"}],
    },
    "WorkloadEntry": {"address": "10.0.0.1", "labels": {"app": "web"}},
    "VirtualService": {
        "hosts": ["web"],
        "http": [
            {
                "match": [{"uri": {"prefix": "/"}, "headers": {"x-a": {"exact": "b"}}}],
                "route": [{"destination": {"host": "web"}, "weight": 50}, {"destination": {"host": "web", "subset": "v2"}, "weight": 50}],
                "retries": {"attempts": 2},
            }
        ],
    },
    "DestinationRule": {
        "host": "web",
        "trafficPolicy": {"tls": {"mode": "SIMPLE"}, "loadBalancer": {}},
        "subsets": [{"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}}],
    },
    "PeerAuthentication": {"mtls": {"mode": "STRICT"}, "selector": {"matchLabels": {"app": "web"}}},
    "AuthorizationPolicy": {
        "rules": [{"from": [{"source": {"namespaces": ["shop"]}}], "to": [{"operation": {"methods": ["GET"], "paths": ["/"]}}]}],
        "selector": {"matchLabels": {"app": "web"}},
    },
}
S, W, V, D, P, A = SPECS
DELETE = object()

# kind, path of what is changed, what it becomes, path of the violation ('' the same), reason, words of the message
TABLE: list[tuple[str, str, Any, str, str, str]] = [
    (S, "spec.host", ["a.b"], "", "UnknownField", "did you mean `hosts`?"),
    (S, "spec.hosts", DELETE, "", "Required", "is required"),
    (S, "spec.hosts", [], "", "Required", "at least one host"),
    (S, "spec.hosts", "web.shop.mesh", "", "WrongType", "must be a list, not a string"),
    (S, "spec.hosts", [7], "spec.hosts[0]", "WrongType", "in quotes"),
    (S, "spec.hosts", ["web"], "spec.hosts[0]", "Invalid", "full name"),
    (S, "spec.hosts", ["*.example.com"], "spec.hosts[0]", "NotSupported", "wildcard"),
    (S, "spec.hosts", ["a.*.com"], "spec.hosts[0]", "Invalid", "wildcard"),
    (S, "spec.hosts", ["a.b", "a.b"], "spec.hosts[1]", "Duplicate", "twice"),
    (S, "spec.hosts", [f"h{i}.b" for i in range(129)], "", "OutOfRange", "128"),
    (S, "spec.hosts", ["a\r\nb.c"], "spec.hosts[0]", "Invalid", "control character"),
    (S, "spec.addresses", ["10.0.0.1"], "", "NotSupported", "addresses is not supported yet"),
    (S, "spec.ports", [], "", "Required", "at least one port"),
    (S, "spec.ports", [{"number": 1 + i, "name": f"p{i}"} for i in range(257)], "", "OutOfRange", "257 ports"),
    (S, "spec.ports[0].number", 0, "", "OutOfRange", "from 1 to 65535, not 0"),
    (S, "spec.ports[0].number", 65536, "", "OutOfRange", "65535"),
    (S, "spec.ports[0].number", "80", "", "WrongType", "must be an integer, not a string"),
    (S, "spec.ports[0].number", 80.5, "", "WrongType", "not a number"),
    (S, "spec.ports[0].number", True, "", "WrongType", "not a boolean"),
    (S, "spec.ports[0].number", None, "", "WrongType", "not null"),
    (S, "spec.ports[0].number", DELETE, "", "Required", "is required"),
    (S, "spec.ports[0].targetPort", -1, "", "OutOfRange", "from 0 to 65535"),
    (S, "spec.ports[1].number", 80, "", "Duplicate", "80 is there twice"),
    (S, "spec.ports[1].name", "http", "", "Duplicate", "twice"),
    (S, "spec.ports[0].name", "HTTP!", "", "Invalid", "not a port's name"),
    (S, "spec.ports[0].protocol", "SMTP", "", "NotAllowed", "HTTP, HTTP2, GRPC, TCP, TLS, HTTPS"),
    (S, "spec.ports[0].protocol", "udp", "", "NotSupported", "UDP"),
    (S, "spec.location", "MOON", "", "NotAllowed", "MESH_EXTERNAL, MESH_INTERNAL"),
    (S, "spec.location", 1, "", "WrongType", "MESH_EXTERNAL, MESH_INTERNAL"),
    (S, "spec.resolution", "NONE", "", "NotSupported", "STATIC, DNS"),
    (S, "spec.resolution", DELETE, "", "NotSupported", "STATIC, DNS"),
    (S, "spec.resolution", "DYNAMIC_DNS", "", "NotSupported", "not supported yet"),
    (S, "spec.endpoints[0].address", "host.example.com", "", "Invalid", "IP address when resolution is STATIC"),
    (S, "spec.endpoints[0].ports", {"nope": 80}, "spec.endpoints[0].ports.nope", "Invalid", "not the name of a port"),
    (S, "spec.workloadSelector", {"labels": {"app": "web"}}, "", "Invalid", "beside endpoints"),
    (S, "spec.exportTo", ["~"], "spec.exportTo[0]", "NotSupported", "~"),
    (S, "spec.exportTo", ["*", "a"], "", "Invalid", "alone"),
    (S, "spec.exportTo", ["Not/Ok"], "spec.exportTo[0]", "Invalid", "namespace"),
    (S, "spec.subjectAltNames", [""], "spec.subjectAltNames[0]", "Invalid", "1 to 2048"),
    (W, "spec.address", DELETE, "", "Required", "is required"),
    (W, "spec.address", "", "", "Invalid", "empty"),
    (W, "spec.address", "10.0.0.256", "", "Invalid", "neither"),
    (W, "spec.address", "fe80::1%eth0", "", "Invalid", "zone"),
    (W, "spec.address", "2001:0DB8::1", "", "Invalid", "2001:db8::1"),
    (W, "spec.address", "0.0.0.0", "", "Invalid", "no instance"),
    (W, "spec.address", "ff02::1", "", "Invalid", "no instance"),
    (W, "spec.address", "unix:///run/x.sock", "", "NotSupported", "unix sockets"),
    (W, "spec.ports", {"http": 0}, "spec.ports.http", "OutOfRange", "from 1"),
    (W, "spec.ports", {80: 8080}, "", "WrongType", "must be a string"),
    (W, "spec.ports", {"A": 80}, "spec.ports.A", "Invalid", "port's name"),
    (W, "spec.weight", -1, "", "OutOfRange", "from 0 to 1000000"),
    (W, "spec.weight", 1 << 64, "", "OutOfRange", "from 0 to 1000000"),
    (W, "spec.labels", {"a b": "c"}, "", "Invalid", "label's key"),
    (W, "spec.labels", {"a": "b c"}, "spec.labels.a", "Invalid", "label's value"),
    (W, "spec.labels", {"version": 1}, "spec.labels.version", "WrongType", "put it in quotes"),
    (W, "spec.labels", {f"k{i}": "v" for i in range(101)}, "", "OutOfRange", "100"),
    (W, "spec.locality", "a/b/c/d", "", "Invalid", "region/zone/subzone"),
    (W, "spec.locality", "a//c", "", "Invalid", "region/zone/subzone"),
    (W, "spec.network", "a b", "", "Invalid", "letters"),
    (W, "spec.serviceAccount", "a/b", "", "Invalid", "service account"),
    (V, "spec.hosts", [], "", "Required", "at least one host"),
    (V, "spec.hosts", ["We.b"], "spec.hosts[0]", "Invalid", "lower case: we.b"),
    (V, "spec.gateways", ["mesh", "front"], "spec.gateways[1]", "NotSupported", "only `mesh`"),
    (V, "spec.http", DELETE, "spec", "Required", "http or tcp"),
    (V, "spec.tls", [], "", "NotSupported", "tls is not supported yet"),
    (V, "spec.http[0].rout", [], "", "UnknownField", "did you mean `route`?"),
    (V, "spec.http[0].fault", {}, "", "NotSupported", "fault is not supported yet"),
    (V, "spec.http[0].route", [], "", "Required", "at least one destination"),
    (V, "spec.http[0].route[1].weight", 49, "spec.http[0].route", "OutOfRange", "add up to 100, they add up to 99"),
    (V, "spec.http[0].route[1].weight", -1, "", "OutOfRange", "from 0 to 100, not -1"),
    (V, "spec.http[0].route[1].weight", "50", "", "WrongType", "integer"),
    (V, "spec.http[0].route[1].weight", DELETE, "spec.http[0].route", "OutOfRange", "50"),
    (V, "spec.http[0].route[0].headers", {}, "", "NotSupported", "headers is not supported yet"),
    (V, "spec.http[0].route[0].destination", DELETE, "", "Required", "is required"),
    (V, "spec.http[0].route[0].destination.host", "*.a", "", "Invalid", "not a wildcard"),
    (V, "spec.http[0].route[0].destination.subset", "v 1", "", "Invalid", "subset's name"),
    (V, "spec.http[0].route[0].destination.port", {"number": 0}, "spec.http[0].route[0].destination.port.number", "OutOfRange", "from 1"),
    (V, "spec.http[0].match[0].uri", {}, "", "Invalid", "exactly one of exact, prefix, regex; it has none"),
    (V, "spec.http[0].match[0].uri", {"exact": "/", "prefix": "/"}, "", "Invalid", "it has exact and prefix"),
    (V, "spec.http[0].match[0].uri", {"exakt": "/"}, "spec.http[0].match[0].uri.exakt", "UnknownField", "did you mean `exact`?"),
    (V, "spec.http[0].match[0].uri", {"prefix": ""}, "spec.http[0].match[0].uri.prefix", "Invalid", "empty"),
    (V, "spec.http[0].match[0].uri", {"regex": r"(a)\1"}, "spec.http[0].match[0].uri.regex", "Invalid", "backreference"),
    (V, "spec.http[0].match[0].uri", {"regex": "a" * 1025}, "spec.http[0].match[0].uri.regex", "Invalid", "1024"),
    (V, "spec.http[0].match[0].uri", {"exact": "/" * 5000}, "spec.http[0].match[0].uri.exact", "OutOfRange", "4096"),
    (V, "spec.http[0].match[0].headers", {"a b": {"exact": "x"}}, 'spec.http[0].match[0].headers["a b"]', "Invalid", "header's name"),
    (V, "spec.http[0].match[0].headers", {":path": {"exact": "x"}}, 'spec.http[0].match[0].headers[":path"]', "NotSupported", "uri"),
    (V, "spec.http[0].match[0].headers.x-a.exact", "b\r\nx: y", "", "Invalid", "control character"),
    (V, "spec.http[0].match[0].queryParams", {"": {"exact": "x"}}, 'spec.http[0].match[0].queryParams[""]', "Invalid", "query parameter"),
    (V, "spec.http[0].match", [{"uri": {"regex": "a" * 1000}}] * 33, "spec.http", "OutOfRange", "33000 characters"),
    (V, "spec.http[0].match[0].gateways", ["mesh"], "", "NotSupported", "gateways is not supported yet"),
    (V, "spec.http[0].match[0].ignoreUriCase", "yes", "", "WrongType", "true or false"),
    (V, "spec.http[0].timeout", "5", "", "Invalid", "write it like 1h30m"),
    (V, "spec.http[0].timeout", 5, "", "WrongType", "duration"),
    (V, "spec.http[0].retries.attempts", -1, "", "OutOfRange", "from 0"),
    (V, "spec.http[0].retries.perTryTimeout", "0s", "", "OutOfRange", "1ms"),
    (V, "spec.http[0].retries.retryOn", "5xx,nonsense", "", "NotAllowed", "Envoy"),
    (V, "spec.http[0].retries.backoff", "1s", "", "NotSupported", "backoff"),
    (V, "spec.tcp", [{}], "spec.tcp[0].route", "Required", "destination"),
    (D, "spec.host", DELETE, "", "Required", "is required"),
    (D, "spec.host", "a_b", "", "Invalid", "DNS name"),
    (D, "spec.subsets[1].name", "v1", "", "Duplicate", "v1 is there twice"),
    (D, "spec.subsets[1].name", "", "", "Invalid", "subset's name"),
    (D, "spec.subsets[1].labels", {"a": "é"}, "spec.subsets[1].labels.a", "Invalid", "label's value"),
    (D, "spec.trafficPolicy.outlierDetection", {}, "", "NotSupported", "outlierDetection is not supported yet"),
    (D, "spec.trafficPolicy.tls.mode", "MUTUAL", "", "NotSupported", "MUTUAL is not supported yet"),
    (D, "spec.trafficPolicy.tls.mode", "SIMPEL", "", "NotAllowed", "DISABLE, SIMPLE, ISTIO_MUTUAL"),
    (D, "spec.trafficPolicy.tls.sni", "*", "", "Invalid", "not a wildcard"),
    (D, "spec.trafficPolicy.tls.caCertificates", "ca.pem", "", "Invalid", "absolute path"),
    (D, "spec.trafficPolicy.tls.caCertificates", "/etc/../root", "", "Invalid", "absolute path"),
    (D, "spec.trafficPolicy.tls.subjectAltNames", [""], "spec.trafficPolicy.tls.subjectAltNames[0]", "Invalid", "1 to 2048"),
    (
        D,
        "spec.trafficPolicy.tls",
        {"mode": "DISABLE", "sni": "a"},
        "spec.trafficPolicy.tls.sni",
        "Invalid",
        "no meaning in the mode DISABLE",
    ),
    (D, "spec.trafficPolicy.tls.insecureSkipVerify", True, "", "NotSupported", "insecureSkipVerify"),
    (D, "spec.trafficPolicy.loadBalancer.simple", "PASSTHROUGH", "", "NotSupported", "PASSTHROUGH"),
    (P, "spec.mtls.mode", "PERMISSIVE", "", "NotSupported", "PERMISSIVE is not supported yet"),
    (P, "spec.mtls.mode", "DISABLE", "", "NotSupported", "DISABLE is not supported yet"),
    (P, "spec.mtls.mode", "strict", "", "NotAllowed", "UNSET, STRICT"),
    (P, "spec.portLevelMtls", {}, "", "NotSupported", "portLevelMtls"),
    (P, "spec.selector.matchLabels", {"": "x"}, "", "Invalid", "label's key"),
    (A, "spec.action", "AUDIT", "", "NotSupported", "AUDIT is not supported yet"),
    (A, "spec.provider", {}, "", "NotSupported", "provider"),
    (A, "spec.rules[0].when", [], "", "NotSupported", "when is not supported yet"),
    (A, "spec.rules[0].from[0].source", {}, "", "Required", "callers"),
    (A, "spec.rules[0].from[0].source", DELETE, "", "Required", "is required"),
    (A, "spec.rules[0].from[0].source", {"ipBlocks": ["10.0.0.0/8"]}, "spec.rules[0].from[0].source.ipBlocks", "NotSupported", "ipBlocks"),
    (
        A,
        "spec.rules[0].from[0].source.namespaces",
        ["a*b"],
        "spec.rules[0].from[0].source.namespaces[0]",
        "Invalid",
        "beginning or at its end",
    ),
    (A, "spec.rules[0].from[0].source.namespaces", ["*a*"], "spec.rules[0].from[0].source.namespaces[0]", "Invalid", "one `*`"),
    (A, "spec.rules[0].from[0].source.namespaces", [""], "spec.rules[0].from[0].source.namespaces[0]", "Invalid", "empty"),
    (
        A,
        "spec.rules[0].from[0].source.principals",
        ["spiffe://cluster.local/ns/a/sa/b"],
        "spec.rules[0].from[0].source.principals[0]",
        "Invalid",
        "without the scheme",
    ),
    (A, "spec.rules[0].to[0].operation", {}, "", "Required", "operations"),
    (A, "spec.rules[0].to[0].operation.methods", ["get"], "spec.rules[0].to[0].operation.methods[0]", "Invalid", "upper-case"),
    (A, "spec.rules[0].to[0].operation.ports", ["http"], "spec.rules[0].to[0].operation.ports[0]", "Invalid", "1 to 65535"),
    (A, "spec.rules[0].to[0].operation.ports", [80], "spec.rules[0].to[0].operation.ports[0]", "WrongType", "put it in quotes"),
    (A, "spec.rules[0].to[0].operation.ports", ["65536"], "spec.rules[0].to[0].operation.ports[0]", "Invalid", "1 to 65535"),
    (A, "spec.rules[0].to[0].operation.paths", ["items"], "spec.rules[0].to[0].operation.paths[0]", "Invalid", "begin with / or *"),
    (A, "spec.rules[0].to[0].operation.paths", ["/{*}"], "spec.rules[0].to[0].operation.paths[0]", "Invalid", "template"),
    (A, "spec.rules[0].to[0].operation.paths", ["/a?b"], "spec.rules[0].to[0].operation.paths[0]", "Invalid", "query"),
    (A, "spec.rules[0].to[0].operation.hosts", ["a b"], "spec.rules[0].to[0].operation.hosts[0]", "Invalid", "not a host"),
    (W, "spec", None, "", "WrongType", "must be an object, not null"),
    (W, "spec", [], "", "WrongType", "must be an object, not a list"),
    (W, "metadata", DELETE, "", "Required", "is required"),
    (W, "metadata.name", DELETE, "", "Required", "is required"),
    (W, "metadata.name", 7, "", "WrongType", "put it in quotes"),
    (W, "metadata.name", "Web", "", "Invalid", "not a name"),
    (W, "metadata.name", "a" * 254, "", "Invalid", "not a name"),
    (W, "metadata.name", "a/../b", "", "Invalid", "not a name"),
    (W, "metadata.namespace", "a.b", "", "Invalid", "not a namespace"),
    (W, "metadata.labels", {"a": "b c"}, "metadata.labels.a", "Invalid", "label's value"),
    (W, "metadata.labels", [], "", "WrongType", "must be an object"),
    (W, "metadata.annotations", {"a b": ""}, "", "Invalid", "annotation's key"),
    (W, "metadata.annotations", {"a": "x" * 300_000}, "", "OutOfRange", "262144"),
    (W, "metadata.annotations", {"a": "\ud800"}, "metadata.annotations.a", "Invalid", "surrogate"),
    (W, "metadata.lables", {}, "", "UnknownField", "did you mean `labels`?"),
    (W, "metadata.finalizers", [], "", "NotSupported", "finalizers"),
    (W, "sepc", {}, "", "UnknownField", "did you mean `spec`?"),
    (W, "kind", DELETE, "", "Required", "is required"),
    (W, "kind", "WorkloadEntrie", "", "NotAllowed", "did you mean WorkloadEntry?"),
    (W, "kind", "Gateway", "", "NotSupported", "Gateway is not supported yet"),
    (W, "kind", ["WorkloadEntry"], "", "WrongType", "must be a string"),
    (W, "apiVersion", DELETE, "", "Required", "is required"),
    (W, "apiVersion", "networking.istio.io/v2", "", "NotAllowed", "networking.istio.io/v1, "),
    (P, "apiVersion", "security.istio.io/v1alpha3", "", "NotAllowed", "security.istio.io/v1beta1"),
    (W, "apiVersion", "security.istio.io/v1", "", "NotAllowed", "networking.istio.io/v1"),
]


def changed(kind: str, path: str, value: Any) -> dict[str, Any]:
    whole = document(kind, "web", copy.deepcopy(SPECS[kind]))
    steps: list[Any] = []
    for word in path.split("."):
        name, *indexes = word.replace("]", "").split("[")
        steps += [name, *map(int, indexes)]
    node: Any = whole
    for step in steps[:-1]:
        node = node[step]
    if value is DELETE:
        del node[steps[-1]]
    else:
        node[steps[-1]] = value
    return whole


def violations(given: object) -> tuple[Violation, ...]:
    with pytest.raises(Invalid) as caught:
        decode(given)
    return caught.value.violations


@pytest.mark.parametrize(("kind", "path", "value", "where", "reason", "words"), TABLE, ids=[f"{i}-{row[1]}" for i, row in enumerate(TABLE)])
def test_one_fault_one_violation(kind: str, path: str, value: Any, where: str, reason: str, words: str) -> None:
    (violation,) = violations(changed(kind, path, value))
    assert (violation.path, violation.reason) == (where or path, reason)
    assert words in violation.message
    assert len(violation.message) < 400


@pytest.mark.parametrize("kind", SPECS)
def test_the_documents_of_the_table_are_good_before(kind: str) -> None:
    assert decode(document(kind, "web", SPECS[kind])).kind == kind


def test_everything_wrong_is_told_at_once() -> None:
    rows = [row for row in TABLE if row[0] == V and row[1].startswith("spec.http[0].match[0].") and row[2] is not DELETE]
    whole = document(V, "Web", copy.deepcopy(SPECS[V]), labels={"a": "b c"})
    routes = whole["spec"]["http"]
    for row in rows:
        routes.append(changed(*row[:3])["spec"]["http"][0])
    found = {(v.path, v.reason) for v in violations(whole)}
    expected = {((row[3] or row[1]).replace("http[0]", f"http[{i}]"), row[4]) for i, row in enumerate(rows, start=1)}
    assert found == expected | {("metadata.name", "Invalid"), ("metadata.labels.a", "Invalid")}


@pytest.mark.parametrize("struct", FIELDS_NOT_YET, ids=lambda struct: struct.__name__)
def test_every_field_that_is_not_supported_yet_is_refused_by_name(struct: type[Any]) -> None:
    names = FIELDS_NOT_YET[struct]
    report = walk.Report()
    walk.read(struct, dict.fromkeys(names, 1), "spec", report)
    told = {v.path: v.message for v in report.violations if v.reason == "NotSupported"}
    assert told == {f"spec.{name}": f"{name} is not supported yet" for name in names}


@pytest.mark.parametrize("given", [None, [], "x", 7, True, 1.5])
def test_what_is_no_object_is_no_document(given: object) -> None:
    (violation,) = violations(given)
    assert violation.reason == "WrongType"
    assert violation.path == ""


def test_a_flood_of_faults_is_cut() -> None:
    spec = {**SPECS[W], **{f"unknown{i}": i for i in range(50_000)}}
    assert len(violations(document(W, "web", spec))) == MAX_VIOLATIONS
    assert len(violations({**document(W, "web", SPECS[W]), **{f"unknown{i}": i for i in range(50_000)}})) == MAX_VIOLATIONS


def test_a_stand_in_is_not_held_against_the_user() -> None:
    spec = copy.deepcopy(SPECS[V])
    spec["http"][0]["route"][1]["weight"] = "50"
    spec["http"][0]["route"][0]["destination"] = {}
    assert {v.path for v in violations(document(V, "web", spec))} == {
        "spec.http[0].route[1].weight",
        "spec.http[0].route[0].destination.host",
    }
