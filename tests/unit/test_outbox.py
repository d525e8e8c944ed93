"""From queued to closed: order, the gate, outcomes of every kind, and what the target holds afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from state import outbox
from state.queries import load
from syncd.model import Outcome
from tests.unit.state_lab import LIMITS, NOW, SECOND, StateLab, contact, contacts


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StateLab]:
    found = StateLab(tmp_path)
    yield found
    found.close()


def states(lab: StateLab) -> list[tuple[str, int, str | None]]:
    return [(key, state, reason) for key, state, reason in lab.rows("SELECT key, state, reason FROM operation ORDER BY id")]


def full(lab: StateLab, count: int = 3) -> None:
    """So many people, all in the audience."""
    lab.put(*contacts(count))
    lab.step()
    assert lab.deliver() == count


# --------------------------------------------------------------------------- sealing

def test_nothing_is_sealed_where_nothing_waits(lab: StateLab) -> None:
    assert lab.seal() is None
    assert lab.rows("SELECT count(*) FROM batch") == [(0,)]


def test_a_batch_holds_what_the_connector_can_take(lab: StateLab) -> None:
    lab.put(*contacts(5))
    lab.step()
    sizes = []
    while (sealed := lab.seal(limits={**LIMITS, "upsert": 2})) is not None:
        sizes.append([op.key for op in sealed.batch.ops])
        lab.record(sealed, "done")
    assert sizes == [["c1", "c2"], ["c3", "c4"], ["c5"]]


def test_an_operation_knows_key_address_and_values(lab: StateLab) -> None:
    lab.put(contact(1, name="Zoë", spent=123_456))
    lab.step()
    sealed = lab.seal()
    assert sealed is not None
    assert (sealed.batch.kind, sealed.batch.object, sealed.batch.columns) == ("upsert", "de:OFFERS", ("Name", "Spent"))
    [op] = sealed.batch.ops
    assert (op.key, op.email, op.values) == ("c1", "c1@mail.example", ("Zoë", 123_456))


def test_suppressions_come_first_and_in_batches_of_their_own(lab: StateLab) -> None:
    full(lab, 4)
    lab.member("c1", "c1@mail.example")
    lab.put(contact(5), contact(2, name="Other"))
    lab.say("opt_out", record=1)
    lab.step()
    order = []
    while (sealed := lab.seal()) is not None:
        order.append((sealed.batch.kind, sealed.suppressing, [op.key for op in sealed.batch.ops]))
        lab.record(sealed, "done")
    assert order == [("status", True, ["c1"]), ("remove", True, ["c1"]), ("upsert", False, ["c2", "c5"])]


def test_without_fresh_consent_only_suppressions_and_changes_of_rows_leave(lab: StateLab) -> None:
    full(lab, 3)
    lab.put(contact(4), contact(2, name="Other"))
    lab.say("opt_out", record=1)
    lab.step()
    left = []
    while (sealed := lab.seal(grants=False)) is not None:
        left += [(sealed.batch.kind, op.key) for op in sealed.batch.ops]
        lab.record(sealed, "done")
    assert left == [("status", "c1"), ("remove", "c1"), ("upsert", "c2")]
    assert [row[2] for row in lab.open()] == ["c4"]


def test_the_gate_lets_nobody_pass_about_whom_there_is_news(lab: StateLab) -> None:
    lab.put(*contacts(3))
    lab.step()
    lab.say("opt_out", record=2)
    sealed = lab.seal()
    assert sealed is not None
    assert [op.key for op in sealed.batch.ops] == ["c1", "c3"]
    lab.record(sealed, "done")
    lab.step()
    assert lab.open() == []


def test_the_gate_asks_the_decision_again_at_the_last_moment(lab: StateLab) -> None:
    lab.put(*contacts(5))
    lab.step()
    lab.store.write(lambda conn: conn.execute('UPDATE decision SET "mailable.offers" = 0 WHERE person = 1').rowcount)
    lab.store.write(lambda conn: conn.execute("UPDATE attr SET address = 1 WHERE person = 2").rowcount)
    lab.store.write(lambda conn: conn.execute("DELETE FROM attr WHERE person = 4").rowcount)
    lab.store.write(lambda conn: conn.execute("DELETE FROM decision WHERE person = 5").rowcount)
    sealed = lab.seal()
    assert sealed is not None
    assert [op.key for op in sealed.batch.ops] == ["c3"]
    assert sorted(states(lab)) == [("c1", 12, "gate"), ("c2", 12, "gate"), ("c3", 3, None), ("c4", 12, "gate"),
                                   ("c5", 12, "gate")]


def test_a_batch_emptied_by_the_gate_is_passed_over(lab: StateLab) -> None:
    lab.put(*contacts(2))
    lab.step()
    lab.store.write(lambda conn: conn.execute('UPDATE decision SET "mailable.offers" = 0').rowcount)
    assert lab.seal() is None
    assert lab.rows("SELECT DISTINCT state FROM batch") == [("closed",)]


def test_what_depends_on_another_operation_waits_for_its_end_unless_it_suppresses(lab: StateLab) -> None:
    full(lab, 2)
    lab.member("c1", "c1@mail.example")
    lab.say("opt_out", record=1)
    lab.step()
    status = lab.seal()
    assert status is not None
    assert status.batch.kind == "status"
    removal = lab.seal()
    assert removal is not None
    assert removal.batch.kind == "remove"
    lab.record(removal, "done")
    lab.record(status, "done")
    lab.say("opt_in", record=1)
    lab.step()
    status = lab.seal()
    assert status is not None
    assert (status.batch.kind, status.batch.ops[0].values[0]) == ("status", "subscribed")
    assert lab.seal() is None
    lab.record(status, "done")
    row = lab.seal()
    assert row is not None
    assert row.batch.kind == "upsert"


# --------------------------------------------------------------------------- outcomes

def test_the_target_moves_only_on_done(lab: StateLab) -> None:
    lab.put(*contacts(6))
    lab.step()
    sealed = lab.seal()
    lab.record(sealed, "done", Outcome("rejected", "no"), Outcome("retry", "busy", retry_after=9.0, max_batch=1), "unknown",
               Outcome("accepted", request_id="r1"), Outcome("accepted", request_id="r2"))
    assert lab.target() == {"c1": ("Name 1", 10_000)}
    assert states(lab) == [("c1", 10, None), ("c2", 11, "no"), ("c3", 2, "busy"), ("c4", 3, None), ("c5", 3, None),
                           ("c6", 3, None)]
    with lab.store.reading() as conn:
        batches = outbox.open_batches(conn, lab.esp)
    assert [state for _, state, _ in batches] == ["unknown", "accepted", "accepted"]
    assert lab.rows("SELECT request_id FROM batch WHERE state = 'accepted'") == [("r1",), ("r2",)]


def test_a_retry_waits_as_long_as_the_vendor_says_and_comes_alone_if_told_so(lab: StateLab) -> None:
    lab.put(*contacts(3))
    lab.step()
    lab.record(lab.seal(), Outcome("retry", "busy", retry_after=9.0, max_batch=1))
    assert lab.seal(now=NOW + 8 * SECOND) is None
    sealed = lab.seal(now=NOW + 10 * SECOND)
    assert sealed is not None
    assert len(sealed.batch.ops) == 1


def test_a_refused_row_is_quarantined_once_and_struck_off_when_it_is_taken(lab: StateLab) -> None:
    lab.put(*contacts(2))
    lab.step()
    lab.record(lab.seal(), Outcome("rejected", "INVALID: no"), "done")
    lab.put(contact(1, name="Other"))
    lab.step()
    lab.record(lab.seal(), Outcome("rejected", "INVALID: no"))
    query = "SELECT key, reason, consent, closed_at IS NULL FROM quarantine"
    assert lab.rows(query) == [("c1", "INVALID: no", 0, 1)]
    other = lab.store.connection("mc_other", "esp")
    lab.store.write(lambda conn: conn.execute(
        "INSERT INTO quarantine (connection, object, key, reason, remedy, opened_at)"
        " SELECT ?, object, key, 'NOT OURS', remedy, opened_at FROM quarantine", (other,)).rowcount)
    lab.put(contact(1, name="Third"))
    lab.step()
    lab.record(lab.seal(), "done")
    assert lab.rows(query) == [("c1", "INVALID: no", 0, 0), ("c1", "NOT OURS", 0, 1)]


def test_a_refused_suppression_is_listed_and_queued_again_for_later(lab: StateLab) -> None:
    full(lab, 1)
    lab.member("c1", "c1@mail.example")
    lab.say("opt_out", record=1)
    lab.step()
    lab.record(lab.seal(), Outcome("rejected", "NO"))
    assert lab.rows("SELECT consent FROM quarantine") == [(1,)]
    assert lab.seal(now=NOW) is not None, "the row still goes at once"
    again = lab.seal(now=NOW + 3601 * SECOND)
    assert again is not None
    assert again.batch.kind == "status"


@pytest.mark.parametrize("reason", ["subscriber_not_found", "SUBSCRIBER_NOT_FOUND: there is no such subscriber."])
def test_a_status_for_somebody_who_is_not_there_is_no_failure(lab: StateLab, reason: str) -> None:
    full(lab, 1)
    lab.member("c1", "c1@mail.example")
    lab.say("opt_out", record=1)
    lab.step()
    lab.record(lab.seal(), Outcome("rejected", reason))
    assert lab.rows("SELECT count(*) FROM quarantine") == [(0,)]
    assert lab.rows("SELECT DISTINCT status FROM remote_status") == [("removed",)]


def test_what_was_put_off_is_found_without_looking_at_all_that_waits(lab: StateLab) -> None:
    plan = lab.store.rows("EXPLAIN QUERY PLAN " + load("outbox")["try_again"], (lab.esp, "any"))
    assert [row[3] for row in plan] == ["SEARCH operation USING INDEX operation_put_off (connection=? AND not_before>?)"]


def test_what_is_refused_again_and_again_waits_longer_each_time(lab: StateLab) -> None:
    lab.put(*contacts(1))
    lab.step()
    now, waits = NOW, []
    for _ in range(10):
        lab.record(lab.seal(now=now), "retry", now=now)
        [(due,)] = lab.rows("SELECT not_before FROM operation")
        waits.append((due - now) // SECOND)
        now = due
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_a_retry_gives_way_to_a_newer_wish(lab: StateLab) -> None:
    full(lab, 1)
    lab.put(contact(1, name="Other"))
    lab.step()
    sealed = lab.seal()
    lab.say("opt_out", record=1)
    lab.step()
    lab.record(sealed, "retry")
    assert [(kind, state) for kind, _, _, _, state in lab.open()] == [("status", 2), ("remove", 2)]
    assert lab.rows("SELECT reason FROM operation WHERE state = 12") == [("superseded",)]


def test_the_number_of_outcomes_must_fit(lab: StateLab) -> None:
    lab.put(*contacts(2))
    lab.step()
    sealed = lab.seal()
    with pytest.raises(ValueError, match="3 outcomes for 2"):
        lab.record(sealed, "done", "done", "done")
    assert lab.target() == {}


def test_a_row_that_was_under_way_when_its_person_left_is_removed_again_afterwards(lab: StateLab) -> None:
    lab.put(contact(1))
    lab.step()
    upsert = lab.seal()
    lab.say("opt_out", record=1)
    lab.step()
    lab.record(lab.seal_only("remove"), "done")
    lab.record(upsert, "done")
    assert lab.target() == {"c1": ("Name 1", 10_000)}
    lab.step()
    lab.record(lab.seal_only("remove"), "done")
    assert lab.target() == {}


def test_flags_are_written_back_and_known_at_once(lab: StateLab) -> None:
    lab.put(contact(1, offers=1))
    lab.say("opt_out", record=1)
    lab.step()
    sealed = lab.seal(lab.crm)
    assert sealed is not None
    assert (sealed.batch.kind, sealed.batch.object, sealed.batch.columns, sealed.batch.ops[0].values) == (
        "update", "Contact", ("offers",), (0,))
    lab.record(sealed, "done")
    assert lab.rows(f"SELECT offers FROM rec_{lab.stream}") == [(0,)]
    assert lab.put(contact(1, offers=0)).changed == 0
    lab.step()
    assert lab.seal(lab.crm) is None


def test_depth_counts_what_waits_and_what_is_under_way(lab: StateLab) -> None:
    lab.put(*contacts(3))
    lab.step()
    lab.seal(limits={**LIMITS, "upsert": 2})
    with lab.store.reading() as conn:
        assert outbox.queued(conn, lab.esp, NOW) == (1, 2)
