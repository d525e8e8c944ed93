"""When a listing that may have been cut without a word is believed; and rows that are kept by column."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import Outage
from connectors.shapes import Columns
from syncd.model import Value
from syncd.pages import Read, whole


def judge(first: bool, *readings: str, silent: bool = True) -> tuple[bool, int]:
    """Whether readings that show these rows (a letter each) are believed, and how many were made; ``lacks`` as the second
    and later listings have it: a row of "abcdef" was in none of them."""
    shown: set[str] = set()
    made = 0

    def read() -> Read:
        nonlocal made, shown
        rows = set(readings[made])
        made += 1
        news = len(rows - shown)
        shown |= rows
        return Read(len(rows), news, True)
    connector: Any = SimpleNamespace(capabilities=SimpleNamespace(silent_cuts=silent))
    return whole(connector, first, read, lambda: not shown >= set("abcdef"), lambda: len(shown)), made


def test_two_readings_that_show_the_same_are_believed() -> None:
    assert judge(True, "abcdef", "abcdef") == (True, 2)
    assert judge(True, "abcdef", silent=False) == (True, 1)


def test_a_reading_that_shows_more_is_followed_by_another() -> None:
    assert judge(True, "abc", "abcdef", "abcdef") == (True, 3)


def test_readings_of_one_length_that_show_different_rows_do_not_agree() -> None:
    """Cut at the same place of different questions: each lacks what another one has."""
    with pytest.raises(Outage, match="lack each another's rows"):
        judge(True, "abc", "ade", "abf", "acd")


def test_news_while_it_is_read_does_not_hold_it_up() -> None:
    assert judge(True, "a", "ab", "abc", "abcd") == (True, 4)


def test_later_only_what_two_readings_lack_is_gone() -> None:
    assert judge(False, "abcdef") == (True, 1)
    assert judge(False, "abcde", "abcde") == (True, 2)
    assert judge(False, "abc", "abcdef") == (True, 2)
    with pytest.raises(Outage):
        judge(False, "abcd", "abe")


@given(rows=st.lists(st.tuples(st.text(max_size=2), st.integers() | st.none()), min_size=1, max_size=9),
       start=st.integers(0, 9), size=st.integers(0, 9))
def test_rows_by_column_are_rows(rows: list[tuple[Value, ...]], start: int, size: int) -> None:
    kept = Columns(list(zip(*rows, strict=True)))
    assert (len(kept), list(kept), kept[0], kept[-1]) == (len(rows), rows, rows[0], rows[-1])
    assert kept == rows
    assert kept != [*rows, rows[0]]
    part = kept[start:start + size]
    assert part == rows[start:start + size]
    assert bool(part) == bool(rows[start:start + size])
