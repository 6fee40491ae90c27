# SPDX-License-Identifier: Apache-2.0
"""The kept cases and some hundred plain mutations of them; `python -m tests.fuzz` goes on from there, guided."""

from __future__ import annotations

import itertools

import pytest

from tests.fuzz import cases
from tests.fuzz.__main__ import NAMES
from tests.fuzz.targets import TARGETS

MUTATIONS = 500


def test_every_target_is_run() -> None:
    assert tuple(TARGETS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_kept_cases(name: str) -> None:
    found = cases.kept(name)
    assert len(found) > 10
    for case in found:
        TARGETS[name].one(case)


@pytest.mark.parametrize("name", NAMES)
def test_mutations(name: str) -> None:
    for case in itertools.islice(cases.mutated(cases.kept(name), 0, TARGETS[name].longest), MUTATIONS):
        TARGETS[name].one(case)
