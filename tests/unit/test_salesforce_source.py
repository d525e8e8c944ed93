"""Bulk results are split as the csv module would split them, whatever is in the values."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.salesforce.records.source import Source

VALUES = st.text(alphabet='a,"\n\r;é', max_size=5)


def source(width: int) -> Source:
    """Columns c0, c1, … as the wire has them."""
    names = tuple(f"c{i}" for i in range(width))
    return Source("Contact", "", names, lambda column: list(zip(*(column(n, None) for n in names), strict=True)))


@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.tuples(*[VALUES] * width), min_size=1, max_size=6)))
def test_every_value_survives(rows: list[tuple[str, ...]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(source(len(rows[0])).select)
    writer.writerows(rows)
    assert source(len(rows[0])).from_csv(text.getvalue(), first=True) == rows


@pytest.mark.parametrize("text", ['"c0","c1"\n"a","b","c"\n', '"c0","c1"\n"a"\n'])
def test_a_row_of_another_width_is_a_cut_page(text: str) -> None:
    from connectors.errors import CursorLost

    with pytest.raises(CursorLost, match="cut"):
        source(2).from_csv(text, first=True)
