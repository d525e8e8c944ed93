"""Desired against effective: who is wished into an audience, out of it, and which statuses and flags contradict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from state import ranks
from state.relations import TopicDef
from tests.unit.state_lab import NOW, StateLab, contact, contacts


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StateLab]:
    found = StateLab(tmp_path)
    yield found
    found.close()


def wishes(lab: StateLab) -> list[tuple[str, int, str, Any]]:
    """(kind, class, key, values) of everything not closed."""
    return [(kind, class_, key, orjson.loads(payload)) for kind, class_, key, payload, _ in lab.open()]


def evaluate(lab: StateLab) -> list[tuple[str, int, str, Any]]:
    lab.identify()
    lab.evaluate()
    return wishes(lab)


def audience(lab: StateLab, **changed: Any) -> None:
    lab.rel = replace(lab.rel, audiences=(replace(lab.rel.audiences[0], **changed),))
    lab.store.conform(lab.rel)


def test_new_people_are_wished_in_and_known_ones_only_when_something_differs(lab: StateLab) -> None:
    lab.put(*contacts(2))
    assert evaluate(lab) == [("upsert", 1, "c1", ["Name 1", 10_000]), ("upsert", 1, "c2", ["Name 2", 20_000])]
    lab.step()
    lab.deliver()
    lab.put(contact(1, name="Other"), contact(2, offers=1))
    assert evaluate(lab) == [("upsert", 2, "c1", ["Other", 10_000])]


@pytest.mark.parametrize("values", [{"email": None}, {"email": "nonsense"}, {"deleted": 1}, {"deleted": 1, "merged": "c9"}])
def test_who_is_not_there_or_has_no_address_is_not_wished_in(lab: StateLab, values: dict[str, Any]) -> None:
    lab.put(contact(1, **values))
    assert evaluate(lab) == []


def test_who_is_in_doubt_is_not_wished_in(lab: StateLab) -> None:
    lab.put(contact(1), contact(2, email="c1@mail.example"))
    assert evaluate(lab) == []
    lab.put(contact(2, email="c1@mail.example", name="Name 1"))
    assert [key for _, _, key, _ in evaluate(lab)] == ["c1"]


def test_an_undeliverable_address_is_left_out(lab: StateLab) -> None:
    lab.put(contact(1))
    lab.store.write(lambda conn: conn.execute("UPDATE address SET undeliverable = ?", (NOW,)).rowcount)
    assert evaluate(lab) == []


def test_conditions_of_topic_and_segment_both_count_and_unknown_is_no(lab: StateLab) -> None:
    audience(lab, where='a."spent" > 15000')
    lab.rel = replace(lab.rel, topics=(TopicDef("offers", 'a."spent" < 35000', "none"),))
    lab.put(*contacts(4), contact(5, spent=None))
    assert [key for _, _, key, _ in evaluate(lab)] == ["c2", "c3"]


def test_a_removal_is_harmless_or_a_suppression_by_its_reason(lab: StateLab) -> None:
    lab.put(*contacts(3))
    lab.step()
    lab.deliver()
    lab.put(contact(1, email=None))
    lab.say("opt_out", record=2)
    assert {(kind, class_, key) for kind, class_, key, _ in evaluate(lab) if kind == "remove"} == {
        ("remove", 2, "c1"), ("remove", 0, "c2")}


def test_a_new_wish_replaces_the_old_one(lab: StateLab) -> None:
    lab.put(contact(1))
    evaluate(lab)
    lab.put(contact(1, name="Other"))
    assert evaluate(lab) == [("upsert", 1, "c1", ["Other", 10_000])]
    lab.put(contact(1, email=None))
    assert evaluate(lab) == []


def test_whoever_has_something_under_way_waits_and_is_looked_at_again(lab: StateLab) -> None:
    lab.put(contact(1))
    lab.step()
    sealed = lab.seal()
    lab.put(contact(1, name="Other"))
    lab.step()
    assert [state for *_, state in lab.open()] == [3]
    assert lab.rows("SELECT person FROM waiting") == [(1,)]
    lab.record(sealed, "done")
    assert lab.rows("SELECT person FROM waiting") == []
    lab.step()
    assert wishes(lab) == [("upsert", 2, "c1", ["Other", 10_000])]


def test_a_changed_address_is_a_grant(lab: StateLab) -> None:
    lab.put(contact(1))
    lab.step()
    lab.deliver()
    lab.put(contact(1, email="new@mail.example"))
    assert evaluate(lab) == [("upsert", 1, "c1", ["Name 1", 10_000])]


def test_null_and_a_value_differ_and_equal_numbers_do_not(lab: StateLab) -> None:
    lab.put(contact(1, spent=None), contact(2))
    lab.step()
    lab.deliver()
    lab.put(contact(1, spent=0), contact(2, spent=20_000))
    assert evaluate(lab) == [("upsert", 2, "c1", ["Name 1", 0])]


# --------------------------------------------------------------------------- ranked

def ranked(lab: StateLab) -> int | None:
    """Choose again, and write it; how many entered or left, None where nobody was decided since."""
    found = lab.store.look(lambda conn: ranks.choose(conn, lab.rel, {"now": NOW}))
    if found is None:
        return None
    [(object_, changes)] = found.changes.items()
    lab.store.write(lambda conn: ranks.move(conn, object_, changes))
    lab.store.write(lambda conn: ranks.ranked(conn, found.mark))
    return sum(c.place is None or c.before is None for c in changes)


def test_a_ranked_audience_takes_the_first_and_marks_who_moved(lab: StateLab) -> None:
    audience(lab, order_by='a."spent" DESC', limit=2)
    lab.put(*contacts(4), contact(5, spent=40_000))
    evaluate(lab)
    assert ranked(lab) == 2
    assert [key for _, _, key, _ in evaluate(lab)] == ["c4", "c5"]
    assert ranked(lab) == 0
    assert ranked(lab) is None
    lab.step()
    lab.deliver()
    lab.say("opt_out", record=4)
    assert ("remove", 0, "c4") in [(kind, class_, key) for kind, class_, key, _ in evaluate(lab)]
    assert ranked(lab) == 2
    assert ("upsert", "c3") in [(kind, key) for kind, _, key, _ in evaluate(lab)]


def test_who_is_decided_while_the_first_are_chosen_has_them_chosen_again(lab: StateLab) -> None:
    audience(lab, order_by='a."spent" DESC', limit=2)
    lab.put(*contacts(4))
    evaluate(lab)
    found = lab.store.look(lambda conn: ranks.choose(conn, lab.rel, {"now": NOW}))
    assert found is not None
    lab.put(contact(5, spent=40_000))
    evaluate(lab)
    [(object_, changes)] = found.changes.items()
    lab.store.write(lambda conn: ranks.move(conn, object_, changes))
    lab.store.write(lambda conn: ranks.ranked(conn, found.mark))
    assert ranked(lab) == 2  # c5 enters, c3 leaves
    assert [key for _, _, key, _ in evaluate(lab)] == ["c4", "c5"]
    assert ranked(lab) == 0


# --------------------------------------------------------------------------- statuses and flags

def test_an_opt_out_reaches_every_subscriber_of_the_person(lab: StateLab) -> None:
    lab.put(contact(1))
    for key, status in (("c1", "subscribed"), ("legacy", "pending"), ("done", "unsubscribed")):
        lab.member(key, "c1@mail.example", status)
    lab.member("other", "x@mail.example")
    lab.say("opt_out", record=1)
    assert [(kind, class_, key, values[0]) for kind, class_, key, values in evaluate(lab) if kind == "status"] == [
        ("status", 0, "c1", "unsubscribed"), ("status", 0, "legacy", "unsubscribed")]


def test_a_return_reopens_the_persons_own_key_alone(lab: StateLab) -> None:
    lab.put(contact(1))
    lab.member("c1", "c1@mail.example", "unsubscribed")
    lab.member("legacy", "c1@mail.example", "unsubscribed")
    lab.say("opt_in", record=1)
    found = [(kind, class_, key, values[0]) for kind, class_, key, values in evaluate(lab) if kind == "status"]
    assert found == [("status", 1, "c1", "subscribed")]
    assert lab.rows("SELECT permit FROM operation WHERE kind = 'status'") == [(1,)]


def test_the_row_of_a_return_depends_on_its_status(lab: StateLab) -> None:
    lab.put(contact(1))
    lab.member("c1", "c1@mail.example", "unsubscribed")
    lab.say("opt_in", record=1)
    evaluate(lab)
    [(status, none), (_, depends)] = lab.rows(
        "SELECT id, depends_on FROM operation WHERE kind <> 'update' ORDER BY id")
    assert (none, depends) == (None, status)


def test_flags_follow_the_decision_on_every_live_record_of_the_person(lab: StateLab) -> None:
    same = {"name": "Ann", "email": "c1@mail.example"}
    lab.put(contact(1, **same, offers=1), contact(2, **same, offers=1), contact(3, **same, offers=0))
    lab.put(contact(4, **same, offers=1, deleted=1))
    lab.say("opt_out", record=1)
    assert [(key, values) for kind, _, key, values in evaluate(lab) if kind == "update"] == [("c1", [0]), ("c2", [0])]


def test_a_request_that_was_reasserted_is_left_to_a_person(lab: StateLab) -> None:
    lab.put(contact(1, offers=1))
    lab.say("opt_out", record=1)
    lab.store.write(lambda conn: conn.execute("INSERT INTO request VALUES (1, 'offers', ?, 0)", (NOW,)).rowcount)
    assert [kind for kind, *_ in evaluate(lab)] == ["update"]
    lab.step()
    lab.deliver()
    assert lab.rows("SELECT reasserted FROM request") == [(1,)]
    lab.put(contact(1, offers=1))
    assert evaluate(lab) == []
