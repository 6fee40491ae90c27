# SPDX-License-Identifier: Apache-2.0
"""AuthorizationPolicies in a real Envoy against what Istio's documentation says they mean, written down here a second time. Many random
policies, each in a filter chain of its own. PROOF=1: ten times as many."""

from __future__ import annotations

import os
import random
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from envoy.config.listener.v3 import listener_pb2

from meshwright.model.decode import decode
from meshwright.model.meta import Ref, Resource
from meshwright.model.proxy import ProxySettings
from meshwright.model.service import Protocol, ServicePort
from meshwright.model.snapshot import ResourceSet, Snapshot, TypeUrl, XdsResource
from meshwright.translate.inbound import InboundView, Served, clusters, listeners
from meshwright.translate.names import server_name
from tests.envoy.static_mesh import DEADLINE, Applications, Authority, Envoy, free_port

pytestmark = pytest.mark.envoy
SETS = 400 if os.environ.get("PROOF") else 16
CALLERS = (("shop", "web"), ("shop", "web2"), ("ops", "end"))
VOCABULARY = {
    "principals": ["cluster.local/ns/shop/sa/web", "cluster.local/ns/shop/*", "*/sa/end", "*", "cluster.local/ns/shop/sa/we", "*b"],
    "namespaces": ["shop", "sho", "sho*", "*ps", "*", "ops"],
    "hosts": ["a.example", "A.Example", "a.*", "*.example", "*", "b.example:81", "example"],
    "methods": ["GET", "DELETE", "G*", "*E", "*"],
    "paths": ["/a", "/a*", "*/b", "*", "/A", "/a/b", "/"],
}
REQUESTS = [
    ("GET", "a.example", "/a"),
    ("GET", "A.EXAMPLE", "/a/b?c=/x"),
    ("DELETE", "a.example:8080", "/"),
    ("GET", "b.example:81", "/A"),
    ("GET", "b.example.", "/a?x=/admin"),
    ("DELETE", "b.example", "/b"),
    ("GET", "xexample", "/ab"),
]
# What Envoy makes of a path before a policy sees it.
NORMAL = {"/x/../a": "/a", "//a": "/a", "/%61": "/a", "/./a//b": "/a/b", "/a%2fb": "/a%2fb"}


class Request(NamedTuple):
    namespace: str
    account: str
    method: str
    host: str
    path: str


# -- what the documentation says ---------------------------------------


def matches(value: str, given: str) -> bool:
    if value == "*":
        return given != ""
    if value.startswith("*"):
        return given.endswith(value[1:])
    return given.startswith(value[:-1]) if value.endswith("*") else given == value


def host_matches(value: str, given: str, *, every_spelling: bool) -> bool:
    value, given = value.lower(), given.lower()
    if matches(value, given):
        return True
    bare = given.partition(":")[0].removesuffix(".")
    return every_spelling and (matches(value, given.partition(":")[0]) or matches(value, bare))


def all_hold(said: dict[str, list[str]], request: Request, *, denies: bool) -> bool:
    given = {
        "principals": f"cluster.local/ns/{request.namespace}/sa/{request.account}",
        "namespaces": request.namespace,
        "methods": request.method,
        "paths": request.path.partition("?")[0],
    }
    for key, values in said.items():
        negative = key.startswith("not")
        field = key[3].lower() + key[4:] if negative else key
        if field == "hosts":
            found = any(host_matches(value, request.host, every_spelling=denies != negative) for value in values)
        else:
            found = any(matches(value, given[field]) for value in values)
        if found is negative:
            return False
    return True


def rule_matches(rule: dict[str, Any], request: Request, *, denies: bool) -> bool:
    sources = [item["source"] for item in rule.get("from", [])]
    operations = [item["operation"] for item in rule.get("to", [])]
    return all(not group or any(all_hold(said, request, denies=denies) for said in group) for group in (sources, operations))


def allowed(policies: list[dict[str, Any]], request: Request) -> bool:
    def any_rule(action: str) -> bool:
        chosen = [policy for policy in policies if policy.get("action", "ALLOW") == action]
        return any(rule_matches(rule, request, denies=action == "DENY") for policy in chosen for rule in policy.get("rules", []))

    if any_rule("DENY"):
        return False
    return any_rule("ALLOW") or not any(policy.get("action", "ALLOW") == "ALLOW" for policy in policies)


# -- policies by chance ---------------------------------------


def some(chance: random.Random, *fields: str) -> dict[str, list[str]]:
    names = chance.sample([*fields, *(f"not{field[0].upper()}{field[1:]}" for field in fields)], chance.randrange(1, 4))
    return {name: chance.sample(VOCABULARY[_field(name)], chance.randrange(1, 3)) for name in names}


def _field(name: str) -> str:
    return name[3].lower() + name[4:] if name.startswith("not") else name


def policy(chance: random.Random) -> dict[str, Any]:
    rules = []
    for _ in range(chance.randrange(3)):
        rule: dict[str, Any] = {}
        if chance.random() < 0.6:
            rule["from"] = [{"source": some(chance, "principals", "namespaces")} for _ in range(chance.randrange(1, 3))]
        if chance.random() < 0.7:
            rule["to"] = [{"operation": some(chance, "hosts", "methods", "paths")} for _ in range(chance.randrange(1, 3))]
        rules.append(rule)
    return {"action": chance.choice(["ALLOW", "DENY"]), "rules": rules}


def resource(spec: dict[str, Any], name: str) -> Resource:
    metadata = {"name": name, "namespace": "shop"}
    return decode({"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec})


# -- in Envoy ---------------------------------------


def view(host: str, port: int, target: int, policies: list[dict[str, Any]]) -> InboundView:
    served = Served(host, ServicePort(80, "http", Protocol.HTTP, target), target, Ref("ServiceEntry", "shop", "s"))
    kept = tuple(resource(spec, f"p{number}") for number, spec in enumerate(policies))
    return InboundView(ProxySettings(inbound_port=port), (served,), kept, "cluster.local")


class Fence:
    """One Envoy, one filter chain for each set of policies."""

    def __init__(self, root: Path, sets: list[list[dict[str, Any]]], target: int) -> None:
        self.port = free_port()
        authority = Authority(root / "ca")
        self.identities = {caller: authority.issue(caller[1], namespace=caller[0]) for caller in CALLERS}
        merged = listener_pb2.Listener()
        for number, policies in enumerate(sets):
            made = view(f"s{number}.shop.mesh", self.port, target, policies)
            one = listener_pb2.Listener.FromString(listeners(made)[0].body)
            chains = [*merged.filter_chains, *one.filter_chains]
            merged = one
            del merged.filter_chains[:]
            merged.filter_chains.extend(chains)
        body = merged.SerializeToString()
        first = clusters(view("s0.shop.mesh", self.port, target, []))
        sets_by_type = {
            TypeUrl.CLUSTER: (ResourceSet(TypeUrl.CLUSTER, {found.name: found for found in first}),),
            TypeUrl.LISTENER: (ResourceSet(TypeUrl.LISTENER, {"inbound": XdsResource(TypeUrl.LISTENER, "inbound", body, ())}),),
        }
        self.envoy = Envoy(root / "envoy", Snapshot(sets_by_type), authority.issue("reviews"))

    def ask(self, number: int, caller: tuple[str, str], requests: list[tuple[str, str, str]]) -> list[int]:
        """The statuses, over one connection."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self.identities[caller] / "svid.pem", self.identities[caller] / "svid.key")
        found = []
        with (
            socket.create_connection(("127.0.0.1", self.port), DEADLINE) as plain,
            context.wrap_socket(plain, server_hostname=server_name(80, f"s{number}.shop.mesh")) as tls,
            tls.makefile("rb") as lines,
        ):
            for method, host, path in requests:
                tls.sendall(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                found.append(int(lines.readline().split()[1]))
                length = 0
                while (line := lines.readline().strip()) != b"":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                lines.read(length)
        return found


@pytest.fixture(scope="module")
def sets() -> list[list[dict[str, Any]]]:
    chance = random.Random(7)
    fixed: list[list[dict[str, Any]]] = [
        [],
        [{}],
        [{"action": "DENY"}],
        [{"rules": [{}]}],
        [{"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/a*"]}}]}]}],
        [{"action": "DENY", "rules": [{"to": [{"operation": {"hosts": ["a.example", "*.EXAMPLE"]}}]}]}],
        [{"rules": [{"to": [{"operation": {"notHosts": ["a.example", "b.example"]}}]}]}],
        [{"rules": [{"to": [{"operation": {"hosts": ["a.example", "b.example"]}}]}]}],
    ]
    return [*fixed, *([policy(chance) for _ in range(chance.randrange(1, 4))] for _ in range(SETS))]


@pytest.fixture(scope="module")
def fence(tmp_path_factory: pytest.TempPathFactory, sets: list[list[dict[str, Any]]]) -> Iterator[Fence]:
    applications = Applications()
    made = Fence(tmp_path_factory.mktemp("fence"), sets, applications.http_port)
    try:
        made.envoy.wait_until_live()
        yield made
    finally:
        made.envoy.stop()
        applications.stop()


def test_envoy_decides_as_the_documentation_says(fence: Fence, sets: list[list[dict[str, Any]]]) -> None:
    asked = [*REQUESTS, *(("GET", "a.example", path) for path in NORMAL)]
    seen = set()
    for number, policies in enumerate(sets):
        for caller in CALLERS:
            statuses = fence.ask(number, caller, asked)
            for (method, host, path), status in zip(asked, statuses, strict=True):
                seen.add(status)
                expected = allowed(policies, Request(*caller, method, host, NORMAL.get(path, path)))
                assert (status != 403) is expected, (caller, method, host, path, status, policies)
    assert 403 in seen
    assert 200 in seen
