"""Rows of a first plan travel in parcels: whatever happens to one of them happens as it would outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from state import drift, outbox, parcels
from state.outbox import Sealed
from state.queries import load
from syncd import guard
from syncd.guard import Limits
from syncd.model import Outcome
from tests.unit.state_lab import HASHED, LIMITS, NOW, SECOND, StateLab, contact, contacts


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StateLab]:
    """Nothing is approved at the ESP."""
    found = StateLab(tmp_path)
    found.store.write(lambda conn: conn.execute("UPDATE connection SET approved_at = NULL WHERE name = 'mc'").rowcount)
    yield found
    found.close()


def plan(lab: StateLab, *rows: dict[str, Any]) -> None:
    """These people are decided and planned, in one chunk."""
    lab.put(*rows)
    lab.identify()
    lab.evaluate()


def approve(lab: StateLab) -> None:
    lab.store.write(lambda conn: conn.execute("UPDATE connection SET approved_at = 1").rowcount)


def sent(lab: StateLab, count: int = 3) -> Sealed:
    """A first plan of so many people, all of them in flight."""
    plan(lab, *contacts(count))
    approve(lab)
    sealed = lab.seal()
    assert sealed is not None
    return sealed


def keys(sealed: Sealed | None) -> list[str]:
    assert sealed is not None
    return [op.key for op in sealed.batch.ops]


def states(lab: StateLab) -> dict[str, int]:
    return dict(lab.rows("SELECT key, state FROM operation ORDER BY id"))


def ranges(lab: StateLab) -> list[tuple[int, int, bool]]:
    return [(first, last, bool(out)) for first, last, out in lab.rows(
        "SELECT first, last, batch IS NOT NULL FROM parcel ORDER BY first")]


# --------------------------------------------------------------------------- the way of all of them

def test_a_row_has_no_state_of_its_own_until_it_is_done(lab: StateLab) -> None:
    plan(lab, *contacts(3))
    assert ranges(lab) == [(1, 3, False)]
    approve(lab)
    sealed = lab.seal()
    assert (keys(sealed), ranges(lab), set(states(lab).values())) == (["c1", "c2", "c3"], [(1, 3, True)], {parcels.PACKED})
    lab.record(sealed, "done")
    assert ranges(lab) == []
    assert lab.rows("SELECT DISTINCT state, batch, attempts, payload, closed_at FROM operation") == [(10, 1, 1, None, NOW)]
    assert lab.target() == {f"c{n}": (f"Name {n}", n * 10_000) for n in (1, 2, 3)}


def test_nothing_leaves_before_the_approval_nor_while_grants_may_not(lab: StateLab) -> None:
    plan(lab, *contacts(3))
    assert lab.seal() is None
    approve(lab)
    assert lab.seal(grants=False) is None
    assert keys(lab.seal()) == ["c1", "c2", "c3"]


def test_what_is_planned_next_lies_in_the_same_parcel(lab: StateLab) -> None:
    plan(lab, *contacts(2))
    plan(lab, contact(3), contact(4))
    assert ranges(lab) == [(1, 4, False)]


def test_batches_are_filled_from_several_parcels_in_order(lab: StateLab) -> None:
    lab.member("c3", "c3@mail.example")
    plan(lab, *contacts(2))
    lab.put(contact(3))
    lab.say("opt_out", record=lab.rows("SELECT id FROM record WHERE rid = 'c3'")[0][0])
    plan(lab, contact(4), contact(5))
    assert len(ranges(lab)) == 2, "an operation of another kind lies in between"
    approve(lab)
    order = []
    while (sealed := lab.seal(limits={**LIMITS, "upsert": 3})) is not None:
        order.append(keys(sealed))
        lab.record(sealed, "done")
    assert order == [["c1", "c2", "c4"], ["c5"]]


def test_few_rows_make_no_parcel(lab: StateLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parcels, "LEAST", 3)
    plan(lab, *contacts(2))
    assert (ranges(lab), set(states(lab).values())) == ([], {2})
    approve(lab)
    assert keys(lab.seal()) == ["c1", "c2"]


def test_the_queue_and_what_is_in_flight_are_counted(lab: StateLab) -> None:
    plan(lab, *contacts(3))

    def depth() -> tuple[int, int]:
        return lab.store.write(lambda conn: outbox.queued(conn, lab.esp, NOW))
    assert depth() == (0, 0)
    approve(lab)
    assert depth() == (3, 0)
    lab.seal(limits={**LIMITS, "upsert": 2})
    assert depth() == (1, 2)


# --------------------------------------------------------------------------- what happens to one of them

def test_a_newer_wish_takes_the_place_of_a_queued_one(lab: StateLab) -> None:
    plan(lab, *contacts(3))
    plan(lab, contact(2, name="Other"))
    approve(lab)
    sealed = lab.seal()
    assert keys(sealed) == ["c1", "c3", "c2"]
    lab.record(sealed, "done")
    assert lab.target()["c2"] == ("Other", 20_000)


def test_a_newer_wish_waits_for_what_is_in_flight(lab: StateLab) -> None:
    sealed = sent(lab)
    plan(lab, contact(2, name="Other"))
    assert states(lab) == {"c1": -1, "c2": 3, "c3": -1}
    assert lab.rows("SELECT person FROM waiting") == [(2,)]
    lab.record(sealed, "done")
    assert set(states(lab).values()) == {10}
    assert lab.target()["c2"] == ("Name 2", 20_000)
    assert lab.rows("SELECT person FROM dirty") == [(2,)]
    lab.step()
    lab.deliver()
    assert lab.target()["c2"] == ("Other", 20_000)


def test_who_refuses_while_the_row_is_in_flight_is_removed_again(lab: StateLab) -> None:
    sealed = sent(lab)
    lab.say("opt_out", record=2)
    lab.step()
    removal = lab.seal_only("remove")
    assert keys(removal) == ["c2"]
    lab.record(removal, "done")
    lab.record(sealed, "done")
    lab.step()
    lab.deliver()
    assert set(lab.target()) == {"c1", "c3"}


@pytest.mark.parametrize("taken_out", [False, True])
def test_rows_with_answers_of_their_own(lab: StateLab, taken_out: bool) -> None:
    sealed = sent(lab)
    if taken_out:
        plan(lab, contact(2, name="Other"))
    lab.record(sealed, "done", Outcome("rejected", "bad value"), Outcome("retry", retry_after=5.0))
    assert (states(lab), ranges(lab)) == ({"c1": 10, "c2": 11, "c3": 2}, [])
    assert lab.rows("SELECT key FROM quarantine") == [("c2",)]
    assert lab.seal(now=NOW + 4 * SECOND) is None or taken_out
    lab.record(lab.seal(now=NOW + 5 * SECOND), "done")
    assert {"c1", "c3"} <= set(lab.target())


def test_a_lost_reply_is_read_back_with_all_rows(lab: StateLab) -> None:
    sealed = sent(lab)
    plan(lab, contact(2, name="Other"))

    def again() -> Sealed | None:
        return lab.store.write(lambda conn: outbox.sealed_batch(conn, sealed.id, lambda: outbox.operations(conn, sealed.id)))
    found = again()
    assert found is not None
    assert (len(found.batch.ops), found.suppressing) == (3, False)
    assert lab.store.write(lambda conn: [op.key for op in outbox.operations(conn, sealed.id)]) == ["c1", "c2", "c3"]
    lab.record(sealed, "unknown")
    assert set(states(lab).values()) == {3}
    found = again()
    assert found is not None
    assert found.state == "unknown"
    lab.record(sealed, "done")
    assert len(lab.target()) == 3


def test_an_accepted_request_stays_in_its_parcel(lab: StateLab) -> None:
    sealed = sent(lab)
    lab.record(sealed, Outcome("accepted", request_id="r1"))
    assert set(states(lab).values()) == {parcels.PACKED}
    with lab.store.reading() as conn:
        assert [row[:2] for row in outbox.open_batches(conn, lab.esp)] == [(sealed.id, "accepted")]
        assert outbox.open_batches(conn, lab.esp, only_suppressions=True) == []
    lab.record(sealed, "done")
    assert set(states(lab).values()) == {10}


def test_what_is_with_the_provider_is_in_no_plan(lab: StateLab) -> None:
    def planned() -> list[int]:
        return [count.operations for count in guard.current_plan(lab.store, lab.rel, NOW).counts]
    plan(lab, *contacts(5))
    approve(lab)
    assert planned() == [5]
    first = lab.seal(limits={"upsert": 3})
    assert planned() == [2]
    second = lab.seal(limits={"upsert": 3})
    assert planned() == []
    assert first is not None
    assert second is not None
    lab.record(first, Outcome("accepted", request_id="r1"))
    lab.record(second, Outcome("retry", retry_after=0.0))
    assert planned() == [2]


def test_the_gate_stops_single_rows(lab: StateLab) -> None:
    plan(lab, *contacts(4))
    approve(lab)
    lab.say("opt_out", record=2)
    lab.store.write(lambda conn: conn.execute('UPDATE decision SET "mailable.offers" = 0 WHERE person = 3').rowcount)
    sealed = lab.seal()
    assert keys(sealed) == ["c1", "c4"]
    assert states(lab) == {"c1": -1, "c3": 12, "c4": -1}
    lab.record(sealed, "done")
    assert set(lab.target()) == {"c1", "c4"}


def test_a_batch_of_which_nothing_is_left_is_none(lab: StateLab) -> None:
    plan(lab, *contacts(2))
    approve(lab)
    lab.store.write(lambda conn: conn.execute('UPDATE decision SET "mailable.offers" = 0').rowcount)
    assert lab.seal() is None
    assert (ranges(lab), lab.rows("SELECT DISTINCT state FROM batch")) == ([], [("closed",)])


def test_a_row_waits_for_the_operation_it_depends_on(lab: StateLab) -> None:
    plan(lab, *contacts(3))
    approve(lab)
    first = lab.seal(limits={**LIMITS, "upsert": 1})
    lab.store.write(lambda conn: conn.execute("UPDATE operation SET depends_on = 1 WHERE key = 'c2'").rowcount)
    assert keys(lab.seal()) == ["c3"]
    assert states(lab)["c2"] == 2
    assert lab.seal() is None
    lab.record(first, "done")
    assert keys(lab.seal()) == ["c2"]


# --------------------------------------------------------------------------- who asks what is in flight

def test_a_listed_row_that_is_in_flight_is_ours(lab: StateLab) -> None:
    plan(lab, *contacts(2))
    approve(lab)
    lab.seal(limits={**LIMITS, "upsert": 1})
    page = [(f"c{n}", f"c{n}@mail.example", HASHED(f"c{n}@mail.example")) for n in (1, 2)]
    lab.store.write(lambda conn: drift.store(conn, lab.rel.audiences[0], page, 1, NOW))
    assert lab.rows("SELECT key FROM foreign_row") == [("c2",)]


def test_people_in_flight_are_known(lab: StateLab) -> None:
    plan(lab, *contacts(3))
    approve(lab)
    lab.seal(limits={**LIMITS, "upsert": 2})
    assert lab.rows(load("people")["in_flight"], "[1,2,3]") == [(1,), (2,)]


def test_who_is_forgotten_leaves_the_queue_and_not_the_air(lab: StateLab) -> None:
    plan(lab, *contacts(3))
    approve(lab)
    lab.seal(limits={**LIMITS, "upsert": 1})

    def forget(conn: Any) -> int:
        conn.execute("CREATE TEMP TABLE gone_person (id INTEGER PRIMARY KEY)")
        conn.execute("INSERT INTO gone_person VALUES (1), (2)")
        conn.execute("CREATE TEMP TABLE gone_address (id INTEGER PRIMARY KEY)")
        conn.execute("CREATE TEMP TABLE gone_key (connection INTEGER, key TEXT)")
        conn.execute(load("forget")["drop_wishes"])
        conn.execute(load("forget")["operations"])
        return int(conn.execute(load("forget")["in_flight"], {"connection": None}).fetchone()[0])
    assert lab.store.write(forget) == 1
    assert list(states(lab)) == ["c1", "c3"]


# --------------------------------------------------------------------------- the verdict

def test_a_rejected_first_plan_leaves_nothing_queued(lab: StateLab) -> None:
    plan(lab, *contacts(3))
    guard.step(lab.store, lab.rel, Limits(), NOW)
    found = guard.current_plan(lab.store, lab.rel, NOW)
    [hold] = found.holds
    assert (hold.operations, [(c.sort, c.state, c.operations) for c in found.counts]) == (3, [("add", "held", 3)])
    assert guard.decide_hold(lab.store, hold.id, "rejected", NOW) == 3
    assert set(states(lab).values()) == {12}
    approve(lab)
    assert lab.seal() is None
    assert ranges(lab) == []


def test_the_plan_is_the_same_in_parcels_or_not(lab: StateLab, monkeypatch: pytest.MonkeyPatch) -> None:
    plan(lab, *contacts(3))
    packed = guard.current_plan(lab.store, lab.rel, NOW)
    lab.store.write(lambda conn: conn.execute("DELETE FROM parcel").rowcount)
    monkeypatch.setattr(parcels, "LEAST", 100)
    lab.store.write(lambda conn: conn.execute("INSERT INTO dirty VALUES (1), (2), (3)").rowcount)
    lab.evaluate()
    assert set(states(lab).values()) == {2}
    single = guard.current_plan(lab.store, lab.rel, NOW)
    assert (packed.id, packed.counts) == (single.id, single.counts)
