# SPDX-License-Identifier: Apache-2.0
"""The checks of PeerAuthentication and AuthorizationPolicy, each a pure function of the spec."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from meshwright.errors import Violation
from meshwright.model import labels
from meshwright.model.security import AuthorizationPolicy, Operation, PeerAuthentication, Source

MAX_TEXT = 2048
# Of one policy: it is compiled for each port of each workload that it is for.
MAX_VALUES = 2048
MAX_CHARACTERS = 65_536
_METHOD = re.compile(r"\*?[A-Z][A-Z0-9_-]*\*?|\*")
_NAMESPACE = re.compile(r"\*?[a-z0-9-]*\*?")
_HOST = re.compile(r"\*?[A-Za-z0-9.:_\[\]-]*\*?")


def selector(spec: PeerAuthentication | AuthorizationPolicy) -> Iterator[Violation]:
    if spec.selector is not None:
        yield from labels.check_labels("spec.selector.matchLabels", spec.selector.match_labels)


def rules(spec: AuthorizationPolicy) -> Iterator[Violation]:
    values = list(_all_values(spec))
    characters = sum(map(len, values))
    if len(values) + len(spec.rules) > MAX_VALUES or characters > MAX_CHARACTERS:
        told = f"{len(spec.rules)} rules with {len(values)} values of {characters} characters"
        yield Violation("spec.rules", "OutOfRange", f"has {told}, the limits are {MAX_VALUES} together and {MAX_CHARACTERS}")
        return
    for index, rule in enumerate(spec.rules):
        path = f"spec.rules[{index}]"
        for number, caller in enumerate(rule.from_):
            yield from _source(f"{path}.from[{number}].source", caller.source)
        for number, target in enumerate(rule.to):
            yield from _operation(f"{path}.to[{number}].operation", target.operation)


def _all_values(spec: AuthorizationPolicy) -> Iterator[str]:
    for rule in spec.rules:
        for source in (item.source for item in rule.from_):
            for sources in (source.principals, source.not_principals, source.namespaces, source.not_namespaces):
                yield from sources
        for asked in (item.operation for item in rule.to):
            for wanted in (asked.hosts, asked.not_hosts, asked.ports, asked.not_ports):
                yield from wanted
            for wanted in (asked.methods, asked.not_methods, asked.paths, asked.not_paths):
                yield from wanted


def _source(path: str, source: Source) -> Iterator[Violation]:
    if source == Source():
        yield Violation(path, "Required", "must name some callers; leave `from` out to mean any")
    yield from _values(f"{path}.principals", source.principals, _principal)
    yield from _values(f"{path}.notPrincipals", source.not_principals, _principal)
    yield from _values(f"{path}.namespaces", source.namespaces, _plain)
    yield from _values(f"{path}.notNamespaces", source.not_namespaces, _plain)


def _operation(path: str, operation: Operation) -> Iterator[Violation]:
    if operation == Operation():
        yield Violation(path, "Required", "must name some operations; leave `to` out to mean any")
    yield from _values(f"{path}.hosts", operation.hosts, _host)
    yield from _values(f"{path}.notHosts", operation.not_hosts, _host)
    yield from _values(f"{path}.ports", operation.ports, _port)
    yield from _values(f"{path}.notPorts", operation.not_ports, _port)
    yield from _values(f"{path}.methods", operation.methods, _method)
    yield from _values(f"{path}.notMethods", operation.not_methods, _method)
    yield from _values(f"{path}.paths", operation.paths, _path)
    yield from _values(f"{path}.notPaths", operation.not_paths, _path)


def _values(path: str, values: tuple[str, ...], problem: Callable[[str], str | None]) -> Iterator[Violation]:
    for index, value in enumerate(values):
        wrong = _form(value) or problem(value)
        if wrong is not None:
            yield Violation(f"{path}[{index}]", "Invalid", f"{value[:64]!r} {wrong}")


def _form(value: str) -> str | None:
    """Istio's four forms: exact, `prefix*`, `*suffix`, `*`."""
    if not value:
        return "must not be empty"
    if len(value) > MAX_TEXT:
        return f"is longer than {MAX_TEXT} characters"
    if "{" in value or "}" in value:
        return "has a template in braces, which is not supported yet"
    if "*" in value[1:-1] or value == "**" or (len(value) > 2 and value[0] == value[-1] == "*"):
        return "may have one `*`, at its beginning or at its end"
    return None


def _plain(value: str) -> str | None:
    return None if _NAMESPACE.fullmatch(value) else "is not a namespace"


def _principal(value: str) -> str | None:
    if "://" in value:
        return "must be written without the scheme: cluster.local/ns/NAMESPACE/sa/ACCOUNT"
    if not value.isascii() or any(c.isspace() or c == "," for c in value):
        return "is not a principal: cluster.local/ns/NAMESPACE/sa/ACCOUNT"
    return None


def _host(value: str) -> str | None:
    return None if _HOST.fullmatch(value) else "is not a host"


def _port(value: str) -> str | None:
    if value.isascii() and value.isdigit() and len(value) <= 5 and value[0] != "0" and int(value) <= 65535:
        return None
    return "is not a port: a number from 1 to 65535"


def _method(value: str) -> str | None:
    return None if _METHOD.fullmatch(value) else "is not an HTTP method: upper-case, like GET"


def _path(value: str) -> str | None:
    if value[0] not in "/*":
        return "must begin with / or *"
    if "?" in value or "#" in value or any(c.isspace() for c in value):
        return "must be a path only, without query, fragment or blanks"
    return None


PEER_AUTHENTICATION = (selector,)
AUTHORIZATION_POLICY = (selector, rules)
