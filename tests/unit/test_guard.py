"""The limits one by one: just within, just beyond, and what a verdict does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from syncd import guard
from syncd.guard import Limits
from tests.unit.state_lab import NOW, StateLab, contacts

FEW = Limits(removals_share=0.10, removals_count=2, removals_most=5, creations_share=0.20, creations_count=2,
             blanking_share=0.10, blanking_count=2)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StateLab]:
    """Twenty people, all delivered, everything approved."""
    found = StateLab(tmp_path)
    found.put(*contacts(20))
    found.step()
    found.deliver()
    found.store.remember("approved_mapping", found.rel.fingerprint)
    found.store.remember("relations", found.rel.fingerprint)
    yield found
    found.close()


def step(lab: StateLab, limits: Limits = FEW) -> list[tuple[str, int]]:
    """Plan and guard; the open holds with how many operations wait for each."""
    lab.identify()
    lab.evaluate()
    guard.step(lab.store, lab.rel, limits, NOW)
    return [(h.cls, h.operations) for h in guard.current_plan(lab.store, lab.rel, NOW).holds]


@pytest.mark.parametrize(("count", "expected"), [(1, []), (2, []), (3, [("removals", 3)]), (6, [("removals", 6)])])
def test_removals(lab: StateLab, count: int, expected: list[tuple[str, int]]) -> None:
    lab.put(*contacts(count, email=None))
    assert step(lab) == expected


@pytest.mark.parametrize(("count", "expected"), [(5, []), (6, [("removals", 6)])])
def test_removals_below_the_share_pass_until_there_are_too_many_in_all(lab: StateLab, count: int,
                                                                       expected: list[tuple[str, int]]) -> None:
    lab.put(*contacts(count, email=None))
    assert step(lab, replace(FEW, removals_share=0.5)) == expected


def test_expected_churn_replaces_the_limits(lab: StateLab) -> None:
    lab.put(*contacts(20, email=None))
    assert step(lab, replace(FEW, churn={lab.audience: 1.0})) == []


def test_opt_outs_are_never_held(lab: StateLab) -> None:
    for record in range(1, 21):
        lab.say("opt_out", record=record)
    assert step(lab) == []
    assert {state for *_, state in lab.open()} == {2}


@pytest.mark.parametrize(("count", "expected"), [(4, []), (5, [("creations", 5)])])
def test_creations(lab: StateLab, count: int, expected: list[tuple[str, int]]) -> None:
    lab.put(*contacts(20 + count)[20:])
    assert step(lab) == expected


def test_the_first_rows_of_an_audience_are_no_growth(tmp_path: Path) -> None:
    lab = StateLab(tmp_path)
    lab.put(*contacts(50))
    assert step(lab) == []
    lab.close()


@pytest.mark.parametrize(("count", "expected"), [(2, []), (3, [("blanking", 3)])])
def test_blanking(lab: StateLab, count: int, expected: list[tuple[str, int]]) -> None:
    lab.put(*contacts(count, spent=None))
    assert step(lab) == expected


def test_changes_that_blank_nothing_pass_in_any_number(lab: StateLab) -> None:
    lab.put(*contacts(20, spent=1))
    assert step(lab) == []


def test_small_batches_add_up_while_they_are_held(lab: StateLab) -> None:
    lab.put(*contacts(3, email=None))
    assert step(lab) == [("removals", 3)]
    lab.put(*contacts(4, email=None))
    assert step(lab) == [("removals", 4)]


def test_a_connection_is_written_only_once_its_first_plan_is_approved(lab: StateLab) -> None:
    lab.store.write(lambda conn: conn.execute("UPDATE connection SET approved_at = NULL").rowcount)
    lab.say("opt_out", record=1)
    lab.put(*contacts(2, name="Other"))
    assert step(lab) == [("first_plan", 3)]
    assert lab.seal() is None
    waits = guard.current_plan(lab.store, lab.rel, NOW)
    guard.approve_plan(lab.store, lab.rel, waits.id, "me", NOW)
    assert (sealed := lab.seal()) is not None
    assert sealed.suppressing
    assert lab.rows("SELECT approved_by FROM plan WHERE approved_at IS NOT NULL") == [("me",)]


def test_another_mapping_holds_all_but_opt_outs(lab: StateLab) -> None:
    lab.rel = replace(lab.rel, fingerprint="v2")
    lab.store.conform(lab.rel)
    lab.say("opt_out", record=1)
    lab.put(*contacts(3, name="Other")[1:])
    assert step(lab) == [("mapping", 2)]
    assert {(class_, state) for _, class_, _, _, state in lab.open()} == {(0, 2), (2, 1)}
    [hold] = guard.current_plan(lab.store, lab.rel, NOW).holds
    assert guard.decide_hold(lab.store, hold.id, "approved", NOW) == 2
    lab.put(*contacts(4, name="Other")[3:])
    assert step(lab) == []


def test_equal_plans_have_equal_ids_and_different_ones_do_not(lab: StateLab) -> None:
    lab.put(*contacts(1, name="Other"))
    step(lab)
    first = guard.current_plan(lab.store, lab.rel, NOW)
    assert guard.current_plan(lab.store, lab.rel, NOW + 1).id == first.id
    lab.put(*contacts(1, name="Third"))
    step(lab)
    assert guard.current_plan(lab.store, lab.rel, NOW).id != first.id
    lab.put(*contacts(1, name="Other"))
    step(lab)
    assert guard.current_plan(lab.store, lab.rel, NOW).id == first.id


def test_an_opt_out_that_comes_after_the_plan_does_not_make_it_stale(lab: StateLab) -> None:
    lab.put(*contacts(4, email=None))
    step(lab)
    waits = guard.current_plan(lab.store, lab.rel, NOW)
    assert waits.removals == waits.held == 4
    lab.say("opt_out", record=9)
    step(lab)
    guard.approve_plan(lab.store, lab.rel, waits.id, "me", NOW)
    assert {state for *_, state in lab.open()} == {2}


@pytest.mark.parametrize(("verdict", "state"), [("approved", 2), ("rejected", 12)])
def test_verdicts(lab: StateLab, verdict: str, state: int) -> None:
    lab.put(*contacts(4, email=None))
    step(lab)
    [hold] = guard.current_plan(lab.store, lab.rel, NOW).holds
    assert guard.decide_hold(lab.store, hold.id, verdict, NOW) == 4
    assert lab.rows("SELECT DISTINCT state FROM operation WHERE kind = 'remove'") == [(state,)]
    assert lab.rows("SELECT verdict FROM hold") == [(verdict,)]
    with pytest.raises(KeyError):
        guard.decide_hold(lab.store, hold.id, verdict, NOW)
    assert step(lab) == []


def test_an_approval_that_was_interrupted_is_finished_by_the_next_step(lab: StateLab,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    lab.put(*contacts(4, email=None))
    step(lab)
    [hold] = guard.current_plan(lab.store, lab.rel, NOW).holds

    def killed(store: Any, hold: int) -> int:
        raise SystemExit
    with monkeypatch.context() as patched:
        patched.setattr(guard, "_free", killed)
        with pytest.raises(SystemExit):
            guard.decide_hold(lab.store, hold.id, "approved", NOW)
    assert {state for *_, state in lab.open()} == {1}
    assert step(lab) == []
    assert {state for *_, state in lab.open()} == {2}
    assert lab.rows("SELECT DISTINCT freed FROM hold") == [(1,)]


def test_what_is_planned_after_its_first_plan_was_approved_passes_the_guard(lab: StateLab) -> None:
    lab.store.write(lambda conn: conn.execute("UPDATE connection SET approved_at = NULL").rowcount)
    lab.put(*contacts(2, name="Other"))
    assert step(lab) == [("first_plan", 2)]
    [hold] = guard.current_plan(lab.store, lab.rel, NOW).holds
    assert guard.decide_hold(lab.store, hold.id, "approved", NOW) == hold.operations == 2
    lab.put(*contacts(20, email=None)[3:])
    assert ("removals", 17) in step(lab), "the lane is open, the limits hold again"


def test_a_rejected_first_plan_keeps_its_opt_outs_for_the_next(lab: StateLab) -> None:
    lab.store.write(lambda conn: conn.execute("UPDATE connection SET approved_at = NULL").rowcount)
    lab.say("opt_out", record=1)
    lab.put(*contacts(3, name="Other")[1:])
    assert step(lab) == [("first_plan", 4)]
    [hold] = guard.current_plan(lab.store, lab.rel, NOW).holds
    assert guard.decide_hold(lab.store, hold.id, "rejected", NOW) == 2
    assert lab.seal() is None
    assert step(lab) == [("first_plan", 2)]


def test_a_first_plan_that_became_empty_is_resolved(lab: StateLab) -> None:
    lab.store.write(lambda conn: conn.execute("UPDATE connection SET approved_at = NULL").rowcount)
    lab.put(*contacts(1, name="Other"))
    assert step(lab) == [("first_plan", 1)]
    lab.put(*contacts(1))
    assert step(lab) == []
    assert lab.rows("SELECT verdict FROM hold") == [("resolved",)]
