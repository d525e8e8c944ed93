"""Attributes from records: what is as it should be is not written, what nobody gives any more goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.state_lab import StateLab, contact, contacts


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StateLab]:
    found = StateLab(tmp_path)
    found.put(*contacts(3))
    found.step()
    yield found
    found.close()


def attributes(lab: StateLab) -> dict[str, tuple[object, ...]]:
    return {rid: tuple(rest) for rid, *rest in lab.rows(
        'SELECT r.rid, a."name", a."spent", a.due FROM attr a JOIN record r ON r.id = a.record ORDER BY r.rid')}


def again(lab: StateLab) -> None:
    lab.store.write(lambda conn: conn.execute("INSERT OR IGNORE INTO dirty SELECT person FROM record").rowcount)
    lab.step()


def test_only_a_row_that_differs_is_written(lab: StateLab) -> None:
    lab.put(contact(2, name="Other"))
    again(lab)
    assert [values[0] for values in attributes(lab).values()] == ["Name 1", "Other", "Name 3"]
    before = lab.store.write(lambda conn: conn.total_changes)
    lab.store.write(lambda conn: conn.execute("CREATE TEMP TRIGGER written BEFORE UPDATE ON main.attr"
                                              " BEGIN SELECT raise(ABORT, 'written'); END").rowcount)
    again(lab)
    assert lab.store.write(lambda conn: conn.total_changes) > before, "they were looked at"


def test_whoever_has_no_record_left_has_no_attributes(lab: StateLab) -> None:
    lab.put(contact(2, deleted=1))
    lab.step()
    assert set(attributes(lab)) == {"c1", "c3"}


def test_whoever_is_filtered_out_has_no_attributes_and_gets_them_back(lab: StateLab) -> None:
    [source] = lab.rel.sources
    lab.rel = replace(lab.rel, sources=(replace(source, where='x."spent" > 15000'),))
    again(lab)
    assert set(attributes(lab)) == {"c2", "c3"}
    lab.put(contact(1, spent=20_000))
    lab.step()
    assert set(attributes(lab)) == {"c1", "c2", "c3"}


def test_what_the_mapping_no_longer_names_is_emptied(lab: StateLab) -> None:
    lab.store.write(lambda conn: conn.execute("UPDATE attr SET due = 1").rowcount)
    audience = replace(lab.rel.audiences[0], fields=lab.rel.audiences[0].fields[:1])
    lab.rel = replace(lab.rel, attributes=lab.rel.attributes[:1], audiences=(audience,))
    again(lab)
    assert set(attributes(lab).values()) == {(f"Name {n}", None, None) for n in (1, 2, 3)}
