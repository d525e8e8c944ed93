"""A chunk of people is the same however its records are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from state import ledger, people
from tests.unit.state_lab import StateLab, contact

ROWS = st.lists(st.builds(
    lambda n, email, deleted, merged: contact(n, email=email, deleted=deleted, merged=merged), st.integers(1, 9),
    st.sampled_from([None, *(f"p{n}@mail.example" for n in range(4))]), st.sampled_from([0, 0, 1]),
    st.sampled_from([None, None, "c1"])), max_size=10)
SAID = st.lists(st.integers(1, 9), max_size=8)
DIRTY = st.sets(st.integers(1, 14), min_size=1)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StateLab]:
    found = StateLab(tmp_path)
    yield found
    found.close()


def chunk(conn: Any) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = conn.execute("SELECT * FROM chunk ORDER BY person").fetchall()
    return found


@given(rows=ROWS, said=SAID, dirty=DIRTY, most=st.integers(1, 12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_people_are_the_same_from_a_range_and_one_by_one(lab: StateLab, rows: list[dict[str, Any]], said: list[int],
                                                         dirty: set[int], most: int) -> None:
    lab.put(*rows)
    lab.identify()
    for record in {*said} & {row[0] for row in lab.rows("SELECT id FROM record")}:
        for _ in range(said.count(record)):
            lab.say("opt_in", record=record)

    def job(conn: Any) -> None:
        conn.execute("DELETE FROM dirty")
        conn.executemany("INSERT INTO dirty VALUES (?)", ((person,) for person in dirty))
        found = []
        for near in (0, 100):
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(people, "NEAR", near)
                assert people.take(conn, lab.rel, most) == min(most, len(dirty))
            found.append(chunk(conn))
        assert found[0] == found[1]
        assert [row[0] for row in found[0]] == sorted(dirty)[:most]
        people.take_these(conn, lab.rel, sorted(dirty)[:most])
        former = {row[0] for row in conn.execute("SELECT id FROM record")}
        assert chunk(conn) == [row for row in found[0] if row[2] or row[0] in former]
        for person, live, records, record, position in found[0]:
            ids = [row[0] for row in conn.execute("SELECT id FROM record WHERE person = ? ORDER BY deleted, id", (person,))]
            living = conn.execute("SELECT count(*) FROM record WHERE person = ? AND deleted = 0", (person,)).fetchone()[0]
            spoken = [row[0] for row in conn.execute("SELECT position FROM entry WHERE record = ?", (record,))]
            assert (live, records) == (living, len(ids))
            assert record == (ids[0] if ids else None)
            assert position == (None if records != 1 or len(spoken) > 1 else spoken[0] if spoken else 0)
    lab.store.write(job)


@given(keys=st.lists(st.sampled_from(["c1", "c2", "c3", "k4", "k5", "k6"]), max_size=8), others=st.integers(0, 6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_words_under_a_key_find_their_people_from_either_side(tmp_path_factory: pytest.TempPathFactory, keys: list[str],
                                                              others: int) -> None:
    """Whether there are fewer such words than people in the chunk, or more."""
    lab = StateLab(tmp_path_factory.mktemp("state"))
    lab.put(*(contact(n) for n in range(1, 4 + others)))
    lab.identify()
    lab.evaluate()
    positions = {lab.say("opt_out", key=key): key for key in keys}

    def job(conn: Any) -> None:
        people.take_these(conn, lab.rel, range(1, 4 + others))
        ledger.bind_chunk(conn, lab.esp)
    lab.store.write(job)
    bound = dict(lab.rows("SELECT e.position, r.rid FROM entry e JOIN record r ON r.id = e.record"))
    assert bound == {position: key for position, key in positions.items() if key.startswith("c")}
    lab.close()
