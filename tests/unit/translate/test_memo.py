# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshwright.translate.memo import Latest, Memo


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 8))
def test_a_memo_answers_right_and_stays_bounded(keys: list[int], limit: int) -> None:
    memo: Memo[int, str] = Memo(limit)
    for key in keys:
        assert memo.get(key, lambda key=key: str(key)) == str(key)  # type: ignore[misc]
        assert len(memo) <= 2 * limit


def test_what_is_in_use_is_made_once() -> None:
    made = []
    memo: Memo[int, int] = Memo(2)

    def make(key: int) -> int:
        made.append(key)
        return key

    for other in range(2, 50):
        memo.get(1, lambda: make(1))
        memo.get(other, lambda other=other: make(other))  # type: ignore[misc]
    assert made.count(1) == 1


def test_the_latest_values_stay() -> None:
    latest: Latest[str, int] = Latest(2)
    latest.put("a", 1)
    latest.put("b", 2)
    assert latest.get("a") == 1
    latest.put("c", 3)
    assert (latest.get("a"), latest.get("b"), latest.get("c"), len(latest)) == (1, None, 3, 2)
