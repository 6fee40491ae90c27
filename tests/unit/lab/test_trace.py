# SPDX-License-Identifier: Apache-2.0
"""Comparing a host with itself: what came and what went are both said."""

from __future__ import annotations

from tests.lab.trace import difference


def test_nothing_to_say() -> None:
    assert difference({"users": ["root"]}, {"users": ["root"]}) == []


def test_what_came_and_what_went() -> None:
    before = {"users": ["root", "shop"], "files": ["/etc/hosts 644 1"]}
    after = {"users": ["meshwright", "root"], "files": ["/etc/hosts 644 2"]}
    assert difference(before, after) == [
        "users: + meshwright",
        "users: - shop",
        "files: + /etc/hosts 644 2",
        "files: - /etc/hosts 644 1",
    ]
