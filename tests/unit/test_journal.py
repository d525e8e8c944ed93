"""The journal that is lost, taken away, or another's: nothing is written where nobody finds it, and what is lacking is told
again."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from state import db, inbox, journal, suppressions
from state.inbox import Kept
from state.journal import Line
from state.ledger import Utterance
from syncd.model import Notice
from tests.unit.state_lab import HASHED, StateLab, contact, contacts


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StateLab]:
    found = StateLab(tmp_path)
    found.put(*contacts(3), contact(4, email="d@mail.example"))
    found.say("opt_out", record=1)
    found.say("opt_in", email="c2@mail.example", evidence="ev-1", knowledge=1)
    found.say("opt_out", key="legacy-9", email="x@mail.example")
    found.say("opt_out", key="y@mail.example", email="y@mail.example")
    yield found
    found.close()


def log(lab: StateLab) -> Path:
    return lab.store.path.parent / "j.log"


def told(lab: StateLab) -> list[Line]:
    return journal.read(log(lab), 0)


@pytest.mark.parametrize("left", ["nothing", "an old copy", "an empty file"])
def test_what_the_journal_lost_is_written_to_it_again(lab: StateLab, tmp_path: Path, left: str) -> None:
    lab.store.write(lambda conn: inbox.receive(conn, lab.store.book, lab.esp, b"1" * 20, [
        Kept(Notice("unsubscribe", 1, key="17", email="y@mail.example"), HASHED("y@mail.example").hex())], 5))
    words = Utterance(None, "import", "import", 0, 1, '[["master",null,"opt_out"]]')
    lab.store.write(lambda conn: suppressions.take(conn, lab.store.book, words, [], [b"d" * 32], evidence="list",
                                                   now=5, dry_run=False))
    before, notes = told(lab), list(journal.notes(log(lab)))
    lab.close()
    lines = log(lab).read_bytes().splitlines(keepends=True)
    log(lab).unlink()
    if left != "nothing":
        log(lab).write_bytes(b"".join(lines[:2]) if left == "an old copy" else b"")
    again = StateLab(tmp_path)
    assert again.store.retold == (2 if left == "an old copy" else 4)
    assert told(again) == before
    assert [*journal.notes(log(again))] == notes
    again.say("opt_in", record=1)
    assert [line.position for line in told(again)] == [1, 2, 3, 4, 5]
    again.close()
    whole = StateLab(tmp_path)
    assert whole.store.retold == 0
    whole.close()


def test_what_was_erased_is_told_again_as_blanks(lab: StateLab, tmp_path: Path) -> None:
    lab.store.write(lambda conn: conn.execute(
        "UPDATE entry SET salt = NULL, utterance = NULL, record = NULL, address = NULL, key = NULL, said_hi = NULL,"
        " seen_at = NULL, evidence = NULL, knowledge = NULL WHERE position = 2").rowcount)
    lab.close()
    log(lab).unlink()
    again = StateLab(tmp_path)
    assert [line.spoken[0] for line in told(again)] == ["mc", "erased", "mc", "mc"]
    assert told(again)[1][2:] == (None, None, None, None, 0, None, None, None, 0)
    again.close()


def test_another_states_journal_is_refused_and_left_as_it_is(lab: StateLab, tmp_path: Path) -> None:
    other = StateLab(tmp_path / "other")
    other.say("opt_out", email="z@mail.example")
    other.close()
    lab.close()
    shutil.copy(log(other), log(lab))
    with pytest.raises(db.StateDamaged, match="another state's"):
        StateLab(tmp_path)
    assert log(lab).read_bytes() == log(other).read_bytes()


def test_nothing_is_written_to_a_journal_that_was_taken_away(lab: StateLab, tmp_path: Path) -> None:
    """Its directory was renamed, or its disk unmounted: the open file would take it, and nobody would find it again."""
    before = told(lab)
    log(lab).rename(tmp_path / "away")
    with pytest.raises(OSError, match="taken away") as lost:
        lab.say("opt_out", record=2)
    assert (lost.value.errno, lost.value.filename) == (errno.ENOENT, str(log(lab)))
    log(lab).write_bytes(b"")
    with pytest.raises(OSError, match="another file"):
        lab.say("opt_out", record=2)
    assert lab.rows("SELECT count(*) FROM entry") == [(len(before),)]
    (tmp_path / "away").rename(log(lab))
    assert told(lab) == before
    lab.say("opt_out", record=2)
    assert [line.position for line in told(lab)] == [1, 2, 3, 4, 5]


def test_a_copy_that_was_put_in_its_place_is_gone_on_with(lab: StateLab, tmp_path: Path) -> None:
    """As after a move to another disk."""
    shutil.copy(log(lab), tmp_path / "copy")
    (tmp_path / "copy").rename(log(lab))
    lab.say("opt_out", record=2)
    assert [line.position for line in told(lab)] == [1, 2, 3, 4, 5]
    with pytest.raises(db.StateLocked):
        journal.Journal(log(lab))
