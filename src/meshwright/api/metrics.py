# SPDX-License-Identifier: Apache-2.0
"""What Prometheus reads: the controller's numbers as they are at the scrape, and the API's own counts. No global registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from meshwright.api.policy import Rule
from meshwright.api.ports import Controller

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """One registry for one API."""

    def __init__(self, controller: Controller) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter("meshwright_api_requests", "Requests answered", ("method", "route", "code"), registry=self._registry)
        self._seconds = Histogram(
            "meshwright_api_seconds", "From request to answer", ("method", "route"), buckets=_SECONDS, registry=self._registry
        )
        self._registry.register(_Stats(controller))

    def observe(self, rule: Rule, status: int, seconds: float) -> None:
        self._requests.labels(rule.method, rule.path, str(status)).inc()
        self._seconds.labels(rule.method, rule.path).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _Stats(Collector):
    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def describe(self) -> list[Metric]:
        """Nothing: the names are known only at the scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        for name, value in sorted(self._controller.stats().items()):
            yield _family(f"meshwright_{name}", value)


def _family(name: str, value: Any) -> Metric:
    labelled = isinstance(value, Mapping)
    family: CounterMetricFamily | GaugeMetricFamily
    if name.endswith("_total"):
        family = CounterMetricFamily(name.removesuffix("_total"), name, labels=("kind",) if labelled else ())
    else:
        family = GaugeMetricFamily(name, name, labels=("kind",) if labelled else ())
    if labelled:
        for label, number in sorted(value.items()):
            family.add_metric((str(label),), float(number))
    else:
        family.add_metric((), float(value))
    return family
