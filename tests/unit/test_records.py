"""A page of records is what its rows are one by one: the same people, the same statements, the same values."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.ledger import verify
from syncd.statements import Requests, from_first_sight, from_flags
from tests.unit.state_lab import NOW, StateLab

ROWS = st.lists(st.fixed_dictionaries({
    "id": st.sampled_from([f"c{n}" for n in range(9)]),
    "email": st.sampled_from([None, "nobody", *(f"p{n}@mail.example" for n in range(5))]),
    "name": st.sampled_from(["Ann", "Bo"]), "offers": st.sampled_from([0, 1, None]),
    "deleted": st.sampled_from([0, 0, 0, 1]), "merged": st.sampled_from([None, None, None, "c1"]),
}), min_size=1, max_size=8, unique_by=lambda row: str(row["id"]))


def put(lab: StateLab, rows: list[dict[str, Any]]) -> None:
    """As a first link does it."""
    requests = Requests()
    lab.put(*rows, first=True, meet=lambda source, found: from_first_sight(source, found, lab.crm, NOW, requests),
            speak=lambda source, changed: from_flags(source, changed, connection=lab.crm, since=None, now=NOW,
                                                     requests=requests))
    lab.identify()


def facts(lab: StateLab) -> tuple[Any, ...]:
    """What a state says, whatever numbers it uses."""
    together: dict[int, set[str]] = {}
    for rid, person in lab.persons().items():
        together.setdefault(person, set()).add(rid)
    values = lab.rows("SELECT r.rid, r.deleted, r.merged_into, a.email, x.email, x.name, x.offers FROM record r"
                      f" LEFT JOIN address a ON a.id = r.address LEFT JOIN rec_{lab.stream} x ON x.record = r.id")
    said = lab.rows("SELECT r.rid, a.hash, u.said, u.baseline, e.said_lo FROM entry e JOIN utterance u ON u.id = e.utterance"
                    " LEFT JOIN record r ON r.id = e.record LEFT JOIN address a ON a.id = e.address")
    dirty = {person for person, in lab.rows("SELECT person FROM dirty")}
    return (set(map(frozenset, together.values())), Counter(values), Counter(said),
            {frozenset(rids) for person, rids in together.items() if person in dirty})


@given(pages=st.lists(ROWS, min_size=1, max_size=3))
@settings(max_examples=80)
def test_a_page_is_its_rows(tmp_path_factory: pytest.TempPathFactory, pages: list[list[dict[str, Any]]]) -> None:
    whole, single = StateLab(tmp_path_factory.mktemp("whole")), StateLab(tmp_path_factory.mktemp("single"))
    try:
        for page in pages:
            put(whole, page)
            for row in page:
                put(single, [row])
        assert facts(whole) == facts(single)
        assert whole.rows("SELECT 1 FROM record WHERE address > 0 AND address NOT IN (SELECT id FROM address)") == []
        with whole.store.reading() as conn:
            assert verify(conn)[1] == []
    finally:
        whole.close()
        single.close()


def test_of_a_row_that_comes_twice_the_last_counts(tmp_path: Path) -> None:
    lab = StateLab(tmp_path)
    put(lab, [{"id": "c1", "email": "a@mail.example", "offers": 1}, {"id": "c2", "email": "b@mail.example"},
              {"id": "c1", "email": "b@mail.example", "offers": 0}])
    assert lab.rows("SELECT r.rid, a.email FROM record r JOIN address a ON a.id = r.address ORDER BY r.rid") == [
        ("c1", "b@mail.example"), ("c2", "b@mail.example")]
    assert len(lab.rows("SELECT 1 FROM entry")) == 2
    lab.close()
