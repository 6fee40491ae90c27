# SPDX-License-Identifier: Apache-2.0
"""The persistent map against a plain dict."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.model.shards import Draft, Shards

STEPS = st.lists(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 5) | st.none()), max_size=40), max_size=8)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(STEPS)
def test_every_version_stays_as_it_was(steps: list[list[tuple[int, int | None]]]) -> None:
    versions: list[tuple[Shards[int, int], dict[int, int]]] = [(Shards(), {})]
    for step in steps:
        draft, model = Draft(versions[-1][0]), dict(versions[-1][1])
        for key, value in step:
            draft.put(key, value)
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
            assert draft.get(key) == model.get(key)
            assert (key in draft, len(draft)) == (key in model, len(model))
        versions.append((draft.done(), model))
    for made, model in versions:
        assert dict(made) == model
        assert list(made) == sorted(model)
        assert len(made) == len(model)
        assert dict(made.unsorted()) == model
        assert all(made[key] == made.get(key) == value for key, value in model.items())
        assert 999 not in made


def test_many_keys_spread_out() -> None:
    made = Shards.of((i, str(i)) for i in range(5_000))
    assert len(made) == 5_000
    assert made[4_321] == "4321"
    assert list(made) == list(range(5_000))


def test_nothing_changed_is_the_same_map() -> None:
    made = Shards.of([("a", 1)])
    draft = Draft(made)
    draft.pop("b")
    assert draft.get("a") == 1
    assert draft.done() is made


def test_a_draft_goes_on_after_it_gave_a_map() -> None:
    draft = Draft(Shards.of([("a", 1)]))
    draft["b"] = 2
    first = draft.done()
    draft["b"] = 3
    assert (first["b"], draft.done()["b"]) == (2, 3)


def test_a_small_change_shares_what_it_does_not_touch() -> None:
    big = Shards.of((i, i) for i in range(2_000))
    draft = Draft(big)
    draft[7] = 0
    small = draft.done()
    shared = sum(mine is theirs for mine, theirs in zip(big._buckets, small._buckets, strict=True))
    assert shared == len(big._buckets) - 1
