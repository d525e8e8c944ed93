"""The ledger: chained, erasable, journalled, bound to people as they become known, and what an author could know."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from state import db, journal, people
from state.journal import Journal
from state.ledger import Alike, NewEntry, Utterance, unsaid, verify
from state.queries import load
from state.store import Store
from tests.unit.state_lab import HASHED, NOW, StateLab, contact, contacts, each

OUT = Utterance(2, "mc", "person", 1, 0, '[["topic","offers","opt_out"]]')


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StateLab]:
    found = StateLab(tmp_path)
    yield found
    found.close()


def checked(lab: StateLab) -> tuple[int, list[int]]:
    with lab.store.reading() as conn:
        return verify(conn)


def change(lab: StateLab, sql: str, *parameters: Any) -> None:
    lab.store.write(lambda conn: conn.execute(sql, parameters).rowcount)


# --------------------------------------------------------------------------- the chain

def test_an_empty_ledger_is_valid(lab: StateLab) -> None:
    assert checked(lab) == (0, [])


def test_every_entry_fits_its_commitment_and_the_chain(lab: StateLab) -> None:
    lab.put(*contacts(3))
    lab.say("opt_out", record=1)
    lab.say("opt_in", email="c2@mail.example", evidence="ev-1", knowledge=1)
    lab.say("opt_out", key="legacy-9", email="x@mail.example")
    lab.say("opt_out", key="y@mail.example", email="y@mail.example")
    lab.store.write(lambda conn: lab.store.book.append(conn, [NewEntry(OUT, n, None, None, NOW) for n in (1, 2, 3)], NOW))
    assert checked(lab) == (7, [])


def test_entries_alike_are_kept_as_if_they_had_come_alone(lab: StateLab) -> None:
    lab.put(*contacts(2), contact(3, id='c3"],["', email=None))
    whose = ([1, 2, 3], [1, None, None], ["c1", "c2", 'c3"],["'], [HASHED("c1@mail.example"), None, None])
    alone = NewEntry(OUT, 2, None, NOW, NOW, evidence="ev")
    together = Alike(OUT._replace(method="flag"), NOW, *whose)
    lab.store.write(lambda conn: lab.store.book.append(conn, [alone, together], NOW))
    lab.store.write(lambda conn: lab.store.book.append(conn, [*each([together]), alone], NOW))
    rows = lab.rows("SELECT utterance, record, address, key, said_lo, said_hi, seen_at, evidence FROM entry"
                    " ORDER BY position")
    assert rows[:4] == rows[4:]
    assert checked(lab) == (8, [])
    first, second = (orjson.loads(line) for line in (lab.store.path.parent / "j.log").read_bytes().splitlines())
    assert (first[0], second[0]) == (1, 5)
    assert first[1:] == second[1:]


@pytest.mark.parametrize("moved", [False, True], ids=["all at their record's number", "not all"])
@pytest.mark.parametrize("whose", [[2, 3, 4], [3, 4], [2, 4, 3]], ids=["all", "two", "in no order"])
def test_entries_at_addresses_with_the_number_of_their_record_are_those_one_by_one(lab: StateLab, whose: list[int],
                                                                                   moved: bool) -> None:
    lab.put(*contacts(4))
    lab.put(contact(3, email="moved@mail.example" if moved else "c3@mail.example"))
    found = {record: (address, rid, hash_) for record, address, rid, hash_ in lab.rows(
        "SELECT r.id, a.id, r.rid, a.hash FROM record r JOIN address a ON a.id = r.address")}
    assert all(address == record for record, (address, *_) in found.items()) != moved
    together = Alike(OUT, NOW, whose, *map(list, zip(*(found[n] for n in whose), strict=True)))
    lab.store.write(lambda conn: lab.store.book.append(conn, [together], NOW))
    lab.store.write(lambda conn: lab.store.book.append(conn, each([together]), NOW))
    rows = lab.rows("SELECT utterance, record, address, said_lo, said_hi, seen_at FROM entry ORDER BY position")
    assert rows[:len(whose)] == rows[len(whose):]
    assert [row[1:3] for row in rows[:len(whose)]] == [(n, found[n][0]) for n in whose]
    assert checked(lab) == (2 * len(whose), [])


@pytest.mark.parametrize("tamper", [
    "UPDATE entry SET said_hi = said_hi + 1 WHERE position = 2",
    "UPDATE entry SET evidence = 'other' WHERE position = 2",
    "UPDATE entry SET knowledge = 99 WHERE position = 2",
    "UPDATE entry SET record = 3 WHERE position = 2",
    "UPDATE entry SET commitment = zeroblob(32) WHERE position = 2",
    "UPDATE utterance SET said = '[[\"topic\",\"offers\",\"opt_in\"]]'"
    " WHERE id = (SELECT utterance FROM entry WHERE position = 2)",
    "DELETE FROM entry WHERE position = 2",
    "DELETE FROM entry WHERE position = 4",
    "DELETE FROM chain WHERE position = 4",
    "UPDATE chain SET value = zeroblob(32) WHERE position = 2",
])
def test_no_change_goes_unnoticed(lab: StateLab, tamper: str) -> None:
    lab.put(*contacts(3))
    for record in (1, 2, 3, 1):
        lab.say("opt_out", record=record)
    change(lab, tamper)
    _, bad = checked(lab)
    missing = lab.rows("SELECT count(*) FROM entry") == [(3,)]
    ends = lab.rows("SELECT max(position) FROM chain"), lab.rows("SELECT max(position) FROM entry")
    assert bad or (missing and ends[0] != ends[1])


def test_an_entry_cut_off_the_end_is_noticed_by_the_head(lab: StateLab) -> None:
    lab.put(contact(1))
    lab.say("opt_out", record=1)
    lab.say("opt_out", record=1)
    change(lab, "DELETE FROM entry WHERE position = 2")
    change(lab, "DELETE FROM chain WHERE position = 2")
    assert checked(lab) == (1, []), "only the journal can show this"
    assert len((lab.store.path.parent / "j.log").read_bytes().splitlines()) == 2


def test_erasing_the_personal_part_leaves_the_chain_whole(lab: StateLab) -> None:
    lab.put(*contacts(2))
    lab.say("opt_out", record=1, evidence="ev")
    lab.say("opt_out", record=2)
    change(lab, "UPDATE entry SET salt = NULL, utterance = NULL, record = NULL, address = NULL, key = NULL, said_lo = NULL,"
                " said_hi = NULL, seen_at = NULL, evidence = NULL WHERE position = 1")
    assert checked(lab) == (2, [])
    lab.say("opt_out", record=2)
    assert checked(lab) == (3, [])


def test_equal_words_are_kept_once(lab: StateLab) -> None:
    lab.put(*contacts(2))
    for record in (1, 2, 1):
        lab.say("opt_out", record=record)
    lab.say("opt_in", record=1)
    assert lab.rows("SELECT count(*) FROM utterance") == [(2,)]


def test_an_append_that_is_rolled_back_leaves_no_utterance_behind(lab: StateLab) -> None:
    lab.put(contact(1))

    def fails(conn: db.Connection) -> None:
        lab.store.book.append(conn, [NewEntry(OUT, 1, None, None, NOW)], NOW)
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        lab.store.write(fails)
    change(lab, "INSERT INTO utterance (source, channel, purpose, method, person_made, baseline, said) VALUES"
                " ('other', 'email', 'marketing', 'x', 0, 0, '[]')")
    lab.say("opt_out", record=1)
    assert lab.rows("SELECT u.source FROM entry e JOIN utterance u ON u.id = e.utterance") == [("mc",)]
    assert checked(lab) == (1, [])


# --------------------------------------------------------------------------- the journal

def test_the_journal_says_the_same_without_naming_anyone(lab: StateLab) -> None:
    lab.put(contact(1))
    lab.say("opt_out", record=1, email="c1@mail.example", evidence="ev-1")
    lab.say("opt_out", email="zoe@mail.example", key="zoe@mail.example")
    text = (lab.store.path.parent / "j.log").read_bytes()
    assert b"mail.example" not in text
    [first, second] = [orjson.loads(line) for line in text.splitlines()]
    position, [[number, *utterance]], [entry] = first
    assert (position, utterance[4]) == (1, '[["topic","offers","opt_out"]]')
    assert entry[:4] == [number, "c1", HASHED("c1@mail.example").hex(), None]
    assert entry[6] == "ev-1"
    assert second[2][0][1:4] == [None, HASHED("zoe@mail.example").hex(), None]


def test_an_entry_is_in_the_journal_before_it_is_in_the_state(lab: StateLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.put(contact(1))

    def broken(fd: int) -> None:
        raise OSError("no room on the journal's disk")
    monkeypatch.setattr(os, "fdatasync", broken)
    with pytest.raises(OSError, match="no room"):
        lab.say("opt_out", record=1)
    assert lab.rows("SELECT count(*) FROM entry") == [(0,)]


def test_half_a_line_that_could_not_be_written_spoils_nothing(lab: StateLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.put(contact(1))
    whole = os.write

    def full(fd: int, data: bytes) -> int:
        whole(fd, data[:9])
        raise OSError("no room on the journal's disk")
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="no room"):
        lab.say("opt_out", record=1)
    monkeypatch.undo()
    lab.say("opt_out", record=1)
    assert [line.position for line in journal.read(lab.store.path.parent / "j.log", 0)] == [1]


def test_what_a_rolled_back_append_wrote_is_not_read(lab: StateLab) -> None:
    """It was longer than the append that took its positions."""
    lab.put(*contacts(3))
    with pytest.raises(ZeroDivisionError):
        lab.store.write(lambda conn: lab.store.book.append(
            conn, [NewEntry(OUT, n, None, None, NOW) for n in (1, 2, 3)], NOW) / 0)
    lab.say("opt_in", record=1)
    path = lab.store.path.parent / "j.log"
    assert [(line.position, line.rid) for line in journal.read(path, 0)] == [(1, "c1")]
    assert len(path.read_bytes().splitlines()) == 2


def test_a_transaction_the_machine_did_not_live_to_commit_is_taken_in(tmp_path: Path) -> None:
    made = StateLab(tmp_path)
    made.put(*contacts(2))
    made.say("opt_in", record=2)
    with pytest.raises(ZeroDivisionError):
        made.store.write(lambda conn: made.store.book.append(
            conn, [NewEntry(OUT, n, None, None, NOW) for n in (1, 2)], NOW) / 0)
    made.close()
    again = StateLab(tmp_path)
    assert again.store.replayed == 2
    assert again.rows("SELECT r.rid, u.said LIKE '%opt_out%' FROM entry e JOIN record r ON r.id = e.record"
                      " JOIN utterance u ON u.id = e.utterance ORDER BY position") == [("c2", 0), ("c1", 1), ("c2", 1)]
    assert checked(again) == (3, [])
    assert again.say("opt_in", record=1) == 4
    again.close()


@pytest.mark.parametrize("key", ["c1", "c1@mail.example", None])
def test_what_was_taken_in_and_is_heard_once_more_is_not_said_twice(tmp_path: Path, key: str | None) -> None:
    """The source tells it again, as the page it came with was never stored. A key that is an address is not journalled."""
    made = StateLab(tmp_path)
    made.put(*contacts(2))
    said = NewEntry(OUT, 1, address_of(made, 1), NOW, NOW, key, evidence="ev")
    with pytest.raises(ZeroDivisionError):
        made.store.write(lambda conn: made.store.book.append(conn, [said], NOW) / 0)
    made.close()
    again = StateLab(tmp_path)
    assert again.store.replayed == 1
    others = [said._replace(said_lo=NOW + 1, said_hi=NOW + 1), said._replace(address=address_of(again, 2)),
              said._replace(evidence="other"), said._replace(key="c2")]
    assert again.store.write(lambda conn: unsaid(conn, [said, *others])) == others
    again.close()


def address_of(lab: StateLab, record: int) -> int:
    return int(lab.rows("SELECT address FROM record WHERE id = ?", record)[0][0])


def test_an_unfinished_last_line_is_cut_off(tmp_path: Path) -> None:
    made = StateLab(tmp_path)
    made.put(contact(1))
    made.say("opt_out", record=1)
    made.close()
    with (tmp_path / "j.log").open("ab") as stream:
        stream.write(b'[2,[[1,"mc"')
    again = StateLab(tmp_path)
    assert (again.store.journal.cut, again.store.replayed) == (11, 0)
    again.say("opt_out", record=1)
    assert [line.position for line in journal.read(tmp_path / "j.log", 0)] == [1, 2]
    again.close()


@pytest.mark.parametrize("lost", ["an old copy", "the file"])
def test_a_state_that_lacks_what_the_journal_tells_is_refused(tmp_path: Path, lost: str) -> None:
    made = StateLab(tmp_path)
    made.put(contact(1))
    made.say("opt_out", record=1)
    made.store.backup(tmp_path / "old.db")
    for _ in range(2):
        made.say("opt_out", record=1)
    made.close()
    (tmp_path / "s.db").unlink()
    if lost == "an old copy":
        (tmp_path / "old.db").rename(tmp_path / "s.db")
    with pytest.raises(db.StateDamaged, match=r"goes on to entry 3 .*`syncd restore`"):
        StateLab(tmp_path)
    assert (tmp_path / "s.db").exists() == (lost == "an old copy")


def test_an_empty_state_is_refused_beside_a_journal_of_one_line(tmp_path: Path) -> None:
    made = StateLab(tmp_path)
    made.put(contact(1))
    made.say("opt_out", record=1)
    made.close()
    (tmp_path / "s.db").unlink()
    with pytest.raises(db.StateDamaged, match="was lost"):
        StateLab(tmp_path)


def test_a_journal_belongs_to_one_state(tmp_path: Path) -> None:
    """Two states that share one, as after a copied configuration: the second is refused, also where it has no state yet."""
    first = Store(tmp_path / "first.db", journal=tmp_path / "j.log", hash_key=b"k")
    for _ in range(2):
        with pytest.raises(db.StateLocked, match="journal"):
            Store(tmp_path / "second.db", journal=tmp_path / "j.log", hash_key=b"k")
    first.close()
    Store(tmp_path / "second.db", journal=tmp_path / "j.log", hash_key=b"k").close()


def test_the_journal_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    made = Journal(tmp_path / "new" / "j.log")
    made.append([1])
    made.close()
    made.close()
    assert (tmp_path / "new" / "j.log").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    Journal(None).append([1])


# --------------------------------------------------------------------------- whose words they are

def test_words_under_a_record_id_that_comes_later_are_bound_to_it(lab: StateLab) -> None:
    lab.say("opt_out", key="c1")
    lab.put(contact(1))
    given = {"stream": lab.stream, "source": "crm.Contact", "streams": "[1]", "after": "", "upto": b""}
    lab.store.write(lambda conn: conn.execute(load("ledger")["bind"], given).fetchall())
    assert lab.rows("SELECT record FROM entry") == [(1,)]
    assert checked(lab) == (1, [])


def test_words_at_an_address_are_bound_to_its_only_holder_and_stay_valid(lab: StateLab) -> None:
    lab.put(*contacts(2), contact(3, email="c2@mail.example"))
    for n in (1, 2, 9):
        lab.say("opt_out", email=f"c{n}@mail.example")
    lab.store.write(lambda conn: conn.execute(load("ledger")["bind_by_address"], {"after": 0, "upto": 99}).rowcount)
    assert lab.rows("SELECT record FROM entry ORDER BY position") == [(1,), (None,), (None,)]
    assert checked(lab) == (3, [])


def test_a_case_holds_the_words_of_the_person_the_address_and_its_other_holders(lab: StateLab) -> None:
    lab.put(contact(1), contact(2, email="c1@mail.example"), contact(3))
    lab.say("opt_out", record=1, email="old@mail.example")
    lab.say("opt_out", record=2)
    lab.say("opt_out", email="c1@mail.example")
    lab.say("opt_out", record=3, email="c3@mail.example")
    [(address,)] = lab.rows("SELECT address FROM record WHERE id = 1")
    with lab.store.reading() as conn:
        case = people.case(conn, 1, address)
    assert sorted((s.position, s.person, s.address == address) for s in case.statements) == [
        (1, 1, False), (2, 2, False), (3, None, True)]
    assert case.holders == {address: frozenset({1, 2})}
