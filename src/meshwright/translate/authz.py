# SPDX-License-Identifier: Apache-2.0
"""AuthorizationPolicies as Envoy's RBAC: DENY first, then ALLOW (only when an ALLOW policy is for the workload: then what no policy
allows is denied). Whatever can't be expressed errs towards denying."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from envoy.config.rbac.v3 import rbac_pb2
from envoy.type.matcher.v3 import string_pb2

from meshwright.model.identity import DEFAULT_TRUST_DOMAIN
from meshwright.model.meta import Ref, Resource
from meshwright.model.security import Action, AuthorizationPolicy, Operation, Rule, Source

_PORT = re.compile(r":[0-9]+$")


class Chain(NamedTuple):
    """The filter chain that a policy is compiled for: the application's port, and whether requests can be read."""

    target: int
    http: bool
    trust_domain: str


class Decision(NamedTuple):
    """RBAC messages in the order in which they decide, and the policies behind them."""

    rules: tuple[Any, ...]
    origins: tuple[Ref, ...]


def selected(policies: Iterable[Resource], labels: dict[str, str], root_namespace: str, namespace: str) -> tuple[Resource, ...]:
    """The AuthorizationPolicies for a workload: those of its namespace and of the root namespace whose selector matches its labels."""
    found = []
    for resource in policies:
        if resource.kind != "AuthorizationPolicy" or resource.metadata.namespace not in (namespace, root_namespace):
            continue
        selector = resource.spec.selector
        if selector is None or selector.match_labels.items() <= labels.items():
            found.append(resource)
    return tuple(sorted(found, key=lambda resource: resource.ref))


def decide(policies: tuple[Resource, ...], chain: Chain) -> Decision:
    """`policies` as `selected` gives them."""
    made = []
    for action, verdict in ((Action.DENY, rbac_pb2.RBAC.DENY), (Action.ALLOW, rbac_pb2.RBAC.ALLOW)):
        chosen = [resource for resource in policies if resource.spec.action is action]
        rbac = rbac_pb2.RBAC(action=verdict)
        for resource in chosen:
            for name, policy in _policies(resource, chain):
                rbac.policies[name].CopyFrom(policy)
        # ALLOW without any policy denies everything and is meant to; DENY without any does nothing.
        if rbac.policies or (chosen and action is Action.ALLOW):
            made.append(rbac)
    return Decision(tuple(made), tuple(resource.ref for resource in policies))


def _policies(resource: Resource, chain: Chain) -> Iterable[tuple[str, Any]]:
    spec: AuthorizationPolicy = resource.spec
    for index, rule in enumerate(spec.rules):
        policy = _policy(rule, spec.action, chain)
        if policy is not None:
            yield f"ns[{resource.metadata.namespace}]-policy[{resource.metadata.name}]-rule[{index}]", policy


def _policy(rule: Rule, action: Action, chain: Chain) -> Any:
    """None: the rule matches nothing on this chain."""
    operations = [to.operation for to in rule.to]
    if not chain.http and action is Action.ALLOW and any(_reads_requests(operation) for operation in operations):
        # Istio drops such a rule whole: what it would have allowed can't be told from what it would not.
        return None
    here = [operation for operation in operations if _on_port(operation, chain.target)]
    if operations and not here:
        return None
    policy = rbac_pb2.Policy()
    for operation in here or [Operation()]:
        policy.permissions.add().CopyFrom(_permission(operation, chain, denies=action is Action.DENY))
    for source in [item.source for item in rule.from_] or [Source()]:
        policy.principals.add().CopyFrom(_principal(source, chain.trust_domain))
    return policy


def _reads_requests(operation: Operation) -> bool:
    return any(
        (
            operation.hosts,
            operation.not_hosts,
            operation.methods,
            operation.not_methods,
            operation.paths,
            operation.not_paths,
        )
    )


def _on_port(operation: Operation, target: int) -> bool:
    """A chain is of one port, so ports are decided here and not by Envoy (which sees the sidecar's port)."""
    wanted = str(target)
    return (not operation.ports or wanted in operation.ports) and wanted not in operation.not_ports


# -- what is asked for ---------------------------------------


def _permission(operation: Operation, chain: Chain, *, denies: bool) -> Any:
    rules: list[Any] = []
    if chain.http:
        # What is matched in order to refuse is matched in every spelling, what in order to let pass only as written.
        for values, make, negative in (
            (operation.hosts, _any_spelling if denies else _host, False),
            (operation.not_hosts, _host if denies else _any_spelling, True),
            (operation.methods, _method, False),
            (operation.not_methods, _method, True),
            (operation.paths, _path, False),
            (operation.not_paths, _path, True),
        ):
            if values:
                one_of = rbac_pb2.Permission()
                one_of.or_rules.rules.extend([make(value) for value in values])
                rules.append(rbac_pb2.Permission(not_rule=one_of) if negative else one_of)
    if not rules:
        return rbac_pb2.Permission(any=True)
    all_of = rbac_pb2.Permission()
    all_of.and_rules.rules.extend(rules)
    return all_of


def _host(value: str) -> Any:
    return _header(":authority", value, ignore_case=True)


def _any_spelling(value: str) -> Any:
    """Also with a port or the dot of the root behind it, which callers add as they like and which change nothing."""
    if value.endswith("*") or _PORT.search(value):
        return _host(value)
    made = rbac_pb2.Permission()
    made.header.name = ":authority"
    start = ".*" if value.startswith("*") else ""
    made.header.string_match.CopyFrom(_regex(f"(?i){start}{re.escape(value.removeprefix('*'))}\\.?(:[0-9]*)?"))
    return made


def _method(value: str) -> Any:
    return _header(":method", value, ignore_case=False)


def _header(name: str, value: str, *, ignore_case: bool) -> Any:
    made = rbac_pb2.Permission()
    made.header.name = name
    if value == "*":
        made.header.present_match = True
    else:
        made.header.string_match.CopyFrom(_form(value, ignore_case))
    return made


def _path(value: str) -> Any:
    """The path without the query, after normalisation."""
    made = rbac_pb2.Permission()
    made.url_path.path.CopyFrom(_form(value, ignore_case=False))
    return made


def _form(value: str, ignore_case: bool) -> Any:
    """Istio's forms: exact, `prefix*`, `*suffix`, `*` (anything that is not empty)."""
    if value == "*":
        return _regex(".+")
    if value.startswith("*"):
        return string_pb2.StringMatcher(suffix=value[1:], ignore_case=ignore_case)
    if value.endswith("*"):
        return string_pb2.StringMatcher(prefix=value[:-1], ignore_case=ignore_case)
    return string_pb2.StringMatcher(exact=value, ignore_case=ignore_case)


# -- who asks ---------------------------------------


def _principal(source: Source, trust_domain: str) -> Any:
    rules: list[Any] = []
    for values, make, negative in (
        (source.principals, _identity, False),
        (source.not_principals, _identity, True),
        (source.namespaces, _namespace, False),
        (source.not_namespaces, _namespace, True),
    ):
        if values:
            one_of = rbac_pb2.Principal()
            for value in values:
                one_of.or_ids.ids.add().authenticated.principal_name.CopyFrom(make(value, trust_domain))
            rules.append(rbac_pb2.Principal(not_id=one_of) if negative else one_of)
    if not rules:
        return rbac_pb2.Principal(any=True)
    all_of = rbac_pb2.Principal()
    all_of.and_ids.ids.extend(rules)
    return all_of


def _identity(value: str, trust_domain: str) -> Any:
    """Matched against the URI SAN. Suffixes are anchored at the scheme: Envoy looks at DNS SANs too, which are not what is meant."""
    if value == "*":
        return string_pb2.StringMatcher(prefix="spiffe://")
    if value.startswith("*"):
        return _regex(f"spiffe://.*{re.escape(value[1:])}")
    # As in Istio, cluster.local in a policy stands for the mesh's own trust domain.
    if value.startswith(f"{DEFAULT_TRUST_DOMAIN}/"):
        value = trust_domain + value[len(DEFAULT_TRUST_DOMAIN) :]
    if value.endswith("*"):
        return string_pb2.StringMatcher(prefix=f"spiffe://{value[:-1]}")
    return string_pb2.StringMatcher(exact=f"spiffe://{value}")


def _namespace(value: str, trust_domain: str) -> Any:
    home = f"spiffe://{trust_domain}/ns/"
    if value == "*":
        return string_pb2.StringMatcher(prefix=home)
    if value.startswith("*"):
        return _regex(f"{re.escape(home)}[^/]*{re.escape(value[1:])}/sa/.+")
    if value.endswith("*"):
        return string_pb2.StringMatcher(prefix=home + value[:-1])
    return string_pb2.StringMatcher(prefix=f"{home}{value}/")


def _regex(pattern: str) -> Any:
    matcher = string_pb2.StringMatcher()
    matcher.safe_regex.regex = pattern
    return matcher
