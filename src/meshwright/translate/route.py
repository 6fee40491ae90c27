# SPDX-License-Identifier: Apache-2.0
"""Outbound routes: one virtual host a service and port, from its VirtualService; and route configurations put together from them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2
from google.protobuf import duration_pb2

from meshwright.model.duration import Duration
from meshwright.model.meta import Ref
from meshwright.model.networking import HTTPRetry, HTTPRoute
from meshwright.model.snapshot import TypeUrl, XdsResource
from meshwright.model.wire import delimited
from meshwright.translate import match, names
from meshwright.translate.view import ServiceView, Upstream, upstream
from meshwright.translate.wire import octets, packed

_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
_ATTEMPTS = 2


class HostPart(NamedTuple):
    """One virtual host as field 2 of a RouteConfiguration, and what it was made from."""

    body: bytes
    origins: tuple[Ref, ...]


def virtual_host(view: ServiceView, port: int) -> HostPart:
    """What calls to this service and port do. A service without a domain of its own (another has the better claim) gets no body."""
    host = view.service.host
    if not view.domains:
        return HostPart(b"", ())
    made = route_components_pb2.VirtualHost(name=host, domains=view.domains)
    made.retry_policy.CopyFrom(_default_retries())
    if view.http is None:
        route = made.routes.add(name="default")
        route.match.prefix = "/"
        route.route.cluster = str(names.OutboundCluster(port, "", host))
        route.route.timeout.SetInParent()
        return HostPart(delimited(2, octets(made)), (view.service.owner,))
    home = view.http.metadata.namespace
    for index, rule in enumerate(view.http.spec.http):
        label = names.RuleName(home, view.http.metadata.name, rule.name or str(index))
        if _add_routes(made, view, (rule, label), port):
            break
    return HostPart(delimited(2, octets(made)), (view.http.ref, view.service.owner))


def route_configuration(name: str, parts: Iterable[HostPart]) -> XdsResource:
    """The parts in this order, then the virtual host that refuses every other name (REGISTRY_ONLY). Nothing is serialised again."""
    parts = [part for part in parts if part.body]
    body = b"".join((delimited(1, name.encode()), *(part.body for part in parts), *_ending()))
    # VirtualServices first, then the owners: the most specific first.
    rules = {part.origins[0]: None for part in parts if len(part.origins) > 1}
    owners = {part.origins[-1]: None for part in parts}
    return XdsResource(TypeUrl.ROUTE, name, body, (*rules, *owners))


def _add_routes(made: Any, view: ServiceView, rule: tuple[HTTPRoute, names.RuleName], port: int) -> bool:
    """One Envoy route for each match; True when the rule takes everything, so that the rest can't be reached."""
    http, label = rule
    if not http.match:
        _action(made.routes.add(name=str(label), match=match.anything()), view, rule, port)
        return True
    for request in http.match:
        if request.port and request.port != port:
            continue
        route = made.routes.add(name=f"{label}.{request.name}" if request.name else str(label))
        match.fill(route.match, request)
        _action(route, view, rule, port)
        if route.match == match.anything():
            return True
    return False


def _action(route: Any, view: ServiceView, rule: tuple[HTTPRoute, names.RuleName], port: int) -> None:
    http, label = rule
    choices = [(upstream(view, label.namespace, choice.destination, port), choice.weight) for choice in http.route]
    if len(choices) > 1:
        choices = [choice for choice in choices if choice[1] > 0]
    if not any(to.exists for to, _ in choices):
        _refuse(route, [to for to, _ in choices])
        return
    action = route.route
    if len(choices) == 1:
        action.cluster = choices[0][0].cluster
    else:
        for to, weight in choices:
            action.weighted_clusters.clusters.add(name=to.cluster).weight.value = weight
        # The share of a destination that is not there fails, it does not go to the others.
        action.cluster_not_found_response_code = route_components_pb2.RouteAction.INTERNAL_SERVER_ERROR
    action.timeout.CopyFrom(seconds(http.timeout))
    if http.retries is not None:
        action.retry_policy.CopyFrom(_retries(http.retries))


def _refuse(route: Any, missing: list[Upstream]) -> None:
    route.direct_response.status = 500
    wanted = ", ".join(to.cluster for to in missing) or "no destination with a weight"
    # Envoy takes bodies of at most 4 KiB here.
    route.direct_response.body.inline_string = f"meshwright: route {route.name} leads nowhere: {wanted}"[:1_000] + "\n"


def seconds(duration: Duration | None) -> Any:
    """None is zero: no timeout."""
    whole, rest = divmod(duration.nanoseconds if duration is not None else 0, 1_000_000_000)
    return duration_pb2.Duration(seconds=whole, nanos=rest)


def _retries(retries: HTTPRetry) -> Any:
    """As Istio: no attempts, no retries; numbers in retryOn are status codes; no retryOn, the default conditions."""
    if retries.attempts == 0:
        return route_components_pb2.RetryPolicy()
    policy = route_components_pb2.RetryPolicy()
    policy.CopyFrom(_default_retries())
    policy.num_retries.value = retries.attempts
    if retries.retry_on:
        words = [word.strip() for word in retries.retry_on.split(",") if word.strip()]
        policy.retriable_status_codes.extend(sorted({int(word) for word in words if word.isdecimal()}))
        conditions = [word for word in words if not word.isdecimal()]
        if policy.retriable_status_codes and "retriable-status-codes" not in conditions:
            conditions.append("retriable-status-codes")
        policy.retry_on = ",".join(conditions)
    if retries.per_try_timeout is not None and retries.per_try_timeout.nanoseconds:
        policy.per_try_timeout.CopyFrom(seconds(retries.per_try_timeout))
    return policy


@cache
def _default_retries() -> Any:
    policy = route_components_pb2.RetryPolicy(retry_on=_RETRY_ON, host_selection_retry_max_attempts=5)
    policy.num_retries.value = _ATTEMPTS
    predicate = policy.retry_host_predicate.add(name="envoy.retry_host_predicates.previous_hosts")
    predicate.typed_config.CopyFrom(packed(previous_hosts_pb2.PreviousHostsPredicate()))
    return policy


@cache
def _ending() -> tuple[bytes, ...]:
    """The last virtual host, and the fields after the virtual hosts."""
    block = route_components_pb2.VirtualHost(name="block_all", domains=["*"])
    route = block.routes.add(name="block_all", match=match.anything())
    route.direct_response.status = 502
    tail = route_pb2.RouteConfiguration(ignore_port_in_host_matching=True)
    # A route may name a cluster that comes later, or one that is not there (see _action).
    tail.validate_clusters.SetInParent()
    return delimited(2, octets(block)), octets(tail)
