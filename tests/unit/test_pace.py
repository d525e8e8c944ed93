"""The size of transactions: it follows what they take, and every row has its turn."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from state.pace import LEAST, MOST, TURN, Pace


def test_what_takes_long_is_divided_at_once_and_what_is_short_grows_again() -> None:
    pace = Pace(1_000)
    pace.took(1_000, 4 * TURN)
    assert pace.size == 250
    pace.took(250, TURN)
    assert pace.size == 250
    for _ in range(20):
        pace.took(pace.size, 0.0)
    assert pace.size == MOST
    pace.took(MOST, 1e6)
    assert pace.size == LEAST


def test_a_short_last_part_proves_nothing() -> None:
    pace = Pace(1_000)
    pace.took(10, 0.0)
    assert pace.size == 1_000
    pace.took(10, 2 * TURN)  # but a dear one does
    assert pace.size == LEAST


@given(st.lists(st.integers(), max_size=400), st.lists(st.integers(1, 50), min_size=1))
def test_parts_are_the_whole_in_order_whatever_their_sizes_become(rows: list[int], sizes: list[int]) -> None:
    pace, found, ends = Pace(sizes[0]), list[int](), list[bool]()
    for number, (part, last) in enumerate(pace.slices(rows)):
        found += part
        ends.append(last)
        pace.size = sizes[number % len(sizes)]
    assert found == rows
    assert ends == [False] * (len(ends) - 1) + [True]  # an empty page has a last part, too: it brings the cursor


def test_the_time_is_that_of_the_job_alone() -> None:
    pace = Pace(1_000)

    def job(conn: Any) -> str:
        time.sleep(2 * TURN)  # waiting is not work
        return "done"
    assert pace.over(1_000, job)(None) == "done"
    assert pace.size == 2_000

    def works(conn: Any, most: int) -> int:
        end = time.thread_time() + 2 * TURN
        while time.thread_time() < end:
            pass
        return most
    assert pace.until_done(works)(None) == 2_000
    assert LEAST <= pace.size < 2_000
