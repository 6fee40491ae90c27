# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
from envoy.config.rbac.v3 import rbac_pb2
from google.protobuf import json_format

from meshwright.translate.authz import Chain, decide, selected
from tests.unit.translate.small_world import document

HTTP = Chain(9080, http=True, trust_domain="cluster.local")
TCP = Chain(5432, http=False, trust_domain="cluster.local")


def policy(spec: dict[str, Any], name: str = "p", namespace: str = "shop") -> Any:
    return document("AuthorizationPolicy", name, spec, namespace)


def one(spec: dict[str, Any], chain: Chain = HTTP) -> dict[str, Any]:
    """The only rule's policy, as JSON; {} when it is not there."""
    (rbac,) = decide((policy(spec),), chain).rules
    found: dict[str, Any] = json_format.MessageToDict(rbac).get("policies", {})
    return next(iter(found.values()), {})


def asked(operation: dict[str, Any], chain: Chain = HTTP, action: str = "DENY") -> Any:
    made = one({"action": action, "rules": [{"to": [{"operation": operation}]}]}, chain)
    return made.get("permissions")


def asking(source: dict[str, Any], chain: Chain = HTTP) -> Any:
    return one({"rules": [{"from": [{"source": source}]}]}, chain)["principals"]


def matcher(principal: dict[str, Any]) -> Any:
    return principal["andIds"]["ids"][0]["orIds"]["ids"][0]["authenticated"]["principalName"]


def test_without_policies_nothing_is_decided() -> None:
    assert decide((), HTTP).rules == ()


def test_allow_without_rules_allows_nothing() -> None:
    (rbac,) = decide((policy({}),), HTTP).rules
    assert rbac.action == rbac_pb2.RBAC.ALLOW
    assert not rbac.policies


def test_deny_without_rules_denies_nothing() -> None:
    assert decide((policy({"action": "DENY"}),), HTTP).rules == ()


def test_an_empty_rule_is_for_everything() -> None:
    assert one({"rules": [{}]}) == {"permissions": [{"any": True}], "principals": [{"any": True}]}


def test_names_say_where_a_rule_stands() -> None:
    (rbac,) = decide((policy({"rules": [{}, {"from": [{"source": {"namespaces": ["a"]}}]}]}, "p", "ns"),), HTTP).rules
    assert sorted(rbac.policies) == ["ns[ns]-policy[p]-rule[0]", "ns[ns]-policy[p]-rule[1]"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("cluster.local/ns/a/sa/b", {"exact": "spiffe://cluster.local/ns/a/sa/b"}),
        ("other/ns/a/sa/b", {"exact": "spiffe://other/ns/a/sa/b"}),
        ("cluster.local/ns/a/*", {"prefix": "spiffe://cluster.local/ns/a/"}),
        ("*/sa/b", {"safeRegex": {"regex": "spiffe://.*/sa/b"}}),
        ("*", {"prefix": "spiffe://"}),
    ],
)
def test_principals(value: str, expected: dict[str, Any]) -> None:
    assert matcher(asking({"principals": [value]})[0]) == expected


def test_cluster_local_stands_for_the_mesh_s_own_trust_domain() -> None:
    chain = Chain(1, http=True, trust_domain="prod.example")
    assert matcher(asking({"principals": ["cluster.local/ns/a/sa/b"]}, chain)[0]) == {"exact": "spiffe://prod.example/ns/a/sa/b"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a", {"prefix": "spiffe://cluster.local/ns/a/"}),
        ("a*", {"prefix": "spiffe://cluster.local/ns/a"}),
        ("*a", {"safeRegex": {"regex": "spiffe://cluster\\.local/ns/[^/]*a/sa/.+"}}),
        ("*", {"prefix": "spiffe://cluster.local/ns/"}),
    ],
)
def test_namespaces(value: str, expected: dict[str, Any]) -> None:
    assert matcher(asking({"namespaces": [value]})[0]) == expected


def test_sources_are_alternatives_and_what_one_says_holds_together() -> None:
    rules = [{"from": [{"source": {"namespaces": ["a"], "notPrincipals": ["td/ns/a/sa/x"]}}, {"source": {"namespaces": ["b"]}}]}]
    principals = one({"rules": rules})["principals"]
    assert len(principals) == 2
    assert [sorted(item) for item in principals[0]["andIds"]["ids"]] == [["notId"], ["orIds"]]


def test_operations_are_alternatives_and_what_one_says_holds_together() -> None:
    operation = {"hosts": ["A.example"], "methods": ["GET", "P*"], "notPaths": ["/admin*"]}
    permissions = asked(operation)
    hosts, methods, paths = permissions[0]["andRules"]["rules"]
    assert hosts["orRules"]["rules"][0]["header"] == {
        "name": ":authority",
        "stringMatch": {"safeRegex": {"regex": "(?i)A\\.example\\.?(:[0-9]*)?"}},
    }
    assert [m["header"]["stringMatch"] for m in methods["orRules"]["rules"]] == [{"exact": "GET"}, {"prefix": "P"}]
    assert paths["notRule"]["orRules"]["rules"][0] == {"urlPath": {"path": {"prefix": "/admin"}}}


@pytest.mark.parametrize(
    ("value", "expected"),
    [("/a", {"exact": "/a"}), ("/a*", {"prefix": "/a"}), ("*/a", {"suffix": "/a"}), ("*", {"safeRegex": {"regex": ".+"}})],
)
def test_paths(value: str, expected: dict[str, Any]) -> None:
    (permission,) = asked({"paths": [value]})
    assert permission["andRules"]["rules"][0]["orRules"]["rules"][0]["urlPath"]["path"] == expected


@pytest.mark.parametrize(
    ("operation", "matches"),
    [({"ports": ["9080"]}, True), ({"ports": ["80"]}, False), ({"notPorts": ["9080"]}, False), ({"notPorts": ["80"]}, True)],
)
def test_ports_are_those_of_the_application(operation: dict[str, Any], matches: bool) -> None:
    rbac = decide((policy({"action": "DENY", "rules": [{"to": [{"operation": operation}]}]}),), HTTP).rules
    assert bool(rbac) is matches


def test_an_allow_rule_for_another_port_allows_nothing_here() -> None:
    assert one({"rules": [{"to": [{"operation": {"ports": ["80"]}}]}]}) == {}


def test_on_tcp_an_allow_rule_about_requests_allows_nothing() -> None:
    assert one({"rules": [{"to": [{"operation": {"methods": ["GET"]}}, {"operation": {"ports": ["5432"]}}]}]}, TCP) == {}
    assert one({"rules": [{"to": [{"operation": {"ports": ["5432"]}}]}]}, TCP)["permissions"] == [{"any": True}]


def test_on_tcp_a_deny_rule_denies_whatever_the_request() -> None:
    assert asked({"paths": ["/admin"], "ports": ["5432"]}, TCP) == [{"any": True}]
    assert decide((policy({"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/a"], "ports": ["1"]}}]}]}),), TCP).rules == ()


def test_who_a_policy_is_for() -> None:
    everyone = policy({}, "everyone")
    root = policy({}, "root", "meshwright-system")
    web = policy({"selector": {"matchLabels": {"tier": "web"}}}, "web")
    both = policy({"selector": {"matchLabels": {"tier": "web", "app": "x"}}}, "both")
    foreign = policy({}, "foreign", "other")
    strict = document("PeerAuthentication", "strict", {"mtls": {"mode": "STRICT"}})
    found = selected((web, both, foreign, root, everyone, strict), {"tier": "web"}, "meshwright-system", "shop")
    assert [r.metadata.name for r in found] == ["root", "everyone", "web"]


def test_all_policies_for_a_workload_are_its_origins() -> None:
    decision = decide((policy({"action": "DENY"}, "deny"), policy({}, "allow")), HTTP)
    assert [ref.name for ref in decision.origins] == ["deny", "allow"]
