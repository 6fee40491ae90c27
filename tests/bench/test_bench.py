# SPDX-License-Identifier: Apache-2.0
"""The bench itself, small: both servers bring every fake proxy to rest and nobody is lost. Run with -s it prints the figures; for real
ones see `python -m tests.bench --help`."""

from __future__ import annotations

import pytest

from tests.bench.__main__ import figures


@pytest.mark.parametrize("options", [["--server", "bare"], ["--server", "full"], ["--server", "full", "--scoped", "--tls"]], ids=" ".join)
def test_every_proxy_gets_everything(options: list[str]) -> None:
    report = figures(["--services", "20", "--endpoints", "2", "--proxies", "20", "--repeats", "3", *options])
    print(report)
    concerned = 10 if "--scoped" in options else 20
    assert report["lost"] == []
    assert report["streams"] == 20
    assert [report[what]["concerned"] for what in ("endpoint", "route")] == [concerned, concerned]
    assert report["kb_per_proxy"] > 1


def test_every_renewal_gives_a_certificate() -> None:
    report = figures(["--renewals", "60", "--proxies", "20"])
    print(report)
    assert report["failed"] == []
    assert report["shape"] == "60 renewals, 20 connections"
    assert report["renewals_per_cpu_s"] > 0
