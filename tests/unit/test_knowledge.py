"""What an author could know when something was said: a ledger position."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from state.ledger import Knew, NewEntry, Utterance, verify
from tests.unit.state_lab import NOW, SECOND, StateLab, contact

OUT = Utterance(2, "mc", "person", 1, 0, '[["topic","offers","opt_out"]]')


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StateLab]:
    found = StateLab(tmp_path)
    yield found
    found.close()


def came_back(lab: StateLab, at: int, connection: int = 2, tolerance: int = 0) -> int | None:
    """A person-made opt-in of record 1 at an instant; the knowledge it is given. ``tolerance``: between its connection's
    clock and the others."""
    utterance = Utterance(connection, "x", "web", 1, 0, '[["topic","offers","opt_in"]]')
    lab.store.write(lambda conn: lab.store.book.append(conn, [
        NewEntry(utterance, 1, None, at, at, knew=Knew(at, at - tolerance))], at))
    [(knowledge,)] = lab.rows("SELECT knowledge FROM entry ORDER BY position DESC LIMIT 1")
    return None if knowledge is None else int(knowledge)


def test_an_author_knows_what_was_said_before_at_the_same_place(lab: StateLab) -> None:
    lab.put(contact(1))
    lab.say("opt_out", record=1)
    assert came_back(lab, NOW + SECOND) == 1
    assert came_back(lab, NOW - SECOND) == 0
    assert came_back(lab, NOW) == 0, "a tie is no"
    assert came_back(lab, NOW + SECOND, tolerance=60 * SECOND) == 1, "both by one clock"
    assert came_back(lab, NOW + SECOND, connection=1) == 0
    with lab.store.reading() as conn:
        assert verify(conn) == (6, [])


def test_what_another_clock_dated_was_said_before_only_beyond_the_tolerance(lab: StateLab) -> None:
    """A box that was found ticked: it was so when the poll that read it began, by the clock of syncd's host."""
    lab.put(contact(1))
    ticked = NewEntry(Utterance(2, "x", "flag", 0, 0, OUT.said), 1, None, NOW - 9 * SECOND, NOW)
    lab.store.write(lambda conn: lab.store.book.append(conn, [ticked], NOW))
    assert came_back(lab, NOW + 60 * SECOND, tolerance=60 * SECOND) == 0
    assert came_back(lab, NOW + 61 * SECOND, tolerance=60 * SECOND) == 1


def test_an_author_knows_what_was_written_to_the_place_before(lab: StateLab) -> None:
    lab.put(contact(1, offers=1))
    lab.say("opt_out", record=1)
    lab.step()
    sealed = lab.seal(lab.crm)
    assert sealed is not None
    assert came_back(lab, NOW + 60 * SECOND, connection=1) == 0
    lab.record(sealed, "done", now=NOW + 90 * SECOND)
    assert came_back(lab, NOW + 60 * SECOND, connection=1) == 0
    assert came_back(lab, NOW + 120 * SECOND, connection=1) == 1
    assert came_back(lab, NOW + 120 * SECOND, connection=1, tolerance=30 * SECOND) == 0, "acknowledged by our clock"
    assert came_back(lab, NOW + 121 * SECOND, connection=1, tolerance=30 * SECOND) == 1


def test_knowing_a_later_refusal_is_not_knowing_an_earlier_one_made_elsewhere(lab: StateLab) -> None:
    lab.put(contact(1))
    elsewhere = Utterance(1, "sf.Contact", "flag", 0, 0, '[["master",null,"opt_out"]]')
    lab.store.write(lambda conn: lab.store.book.append(conn, [NewEntry(elsewhere, 1, None, NOW, NOW)], NOW))
    lab.say("opt_out", record=1)
    assert came_back(lab, NOW + SECOND) == 0


def test_refusals_of_the_same_page_are_known(lab: StateLab) -> None:
    lab.put(contact(1), contact(2))
    back = Utterance(2, "mc", "resubscribe", 1, 0, '[["topic","offers","opt_in"]]')
    entries = [NewEntry(OUT, 1, None, NOW, NOW), NewEntry(OUT, 2, None, NOW, NOW),
               NewEntry(back, 1, None, NOW + 5, NOW + 5, knew=Knew(NOW + 5, NOW + 5)),
               NewEntry(back, 2, None, NOW - 5, NOW - 5, knew=Knew(NOW - 5, NOW - 5))]
    lab.store.write(lambda conn: lab.store.book.append(conn, entries, NOW))
    assert lab.rows("SELECT knowledge FROM entry ORDER BY position") == [(None,), (None,), (1,), (0,)]
