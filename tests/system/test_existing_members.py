"""What an audience held before syncd: kept, or removed once, by a plan that somebody approves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.lab import DAY, MAPPING, NEWS, OFFERS, Lab

REMOVE = MAPPING.replace("unknown_subscriber: skip", "unknown_subscriber: skip\n    existing_members: remove")
EXCLUSIVE = MAPPING.replace("data_extension: {key: NEWS}", "data_extension: {key: NEWS, rows: exclusive}")
STRANGERS = {f"x{n}": {"email": f"x{n}@elsewhere.example"} for n in range(30)}


def put(lab: Lab, rows: dict[str, dict[str, str]]) -> None:
    """Somebody else writes rows to the audience of news."""
    lab.world.act("mc", "write_rows", audience=NEWS, rows=rows)


def build(lab: Lab) -> None:
    """Two people, one of whom refused; both have a row of somebody else's, as have thirty strangers."""
    lab.contact("ann")
    lab.contact("no", no_news=1, offers=0)
    put(lab, {lab.ids[name]: {"email": f"{name}@mail.example"} for name in ("ann", "no")} | STRANGERS)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path, REMOVE, build=build) as found:
        yield found


def counts(lab: Lab) -> dict[tuple[str, str, str], int]:
    plan = lab.cycle(deliver=False).plan
    assert plan is not None
    return {(c.object, c.sort, c.state): c.operations for c in plan.counts}


def test_the_first_plan_says_what_would_go_and_nothing_goes_before(lab: Lab) -> None:
    found = counts(lab)
    assert found[NEWS, "remove", "held"] == len(STRANGERS)
    assert (OFFERS, "remove", "held") not in found
    lab.cycle()
    assert len(lab.keys(NEWS)) == len(STRANGERS) + 2
    lab.link()
    assert lab.keys(NEWS) == {"ann"}


def test_rows_that_come_later_stay(lab: Lab) -> None:
    lab.link()
    put(lab, {"later": {"email": "later@elsewhere.example"}})
    lab.advance(2 * DAY)
    lab.settle()
    assert lab.keys(NEWS) == {"ann", "later"}


def test_they_stay_where_the_mapping_does_not_say_so(tmp_path: Path) -> None:
    with Lab(tmp_path, MAPPING, build=build) as lab:
        lab.link()
        assert lab.keys(NEWS) == {"ann", *STRANGERS}, "and who refused has no row all the same"


def test_a_mapping_that_says_so_later_is_asked_about(tmp_path: Path) -> None:
    with Lab(tmp_path, MAPPING, build=build) as lab:
        lab.link()
        lab.reopen(REMOVE)
        lab.settle()
        assert lab.keys(NEWS) == {"ann", *STRANGERS}
        assert lab.hold("mapping").operations == len(STRANGERS)
        lab.decide("mapping", "approved")
        lab.settle()
        assert lab.keys(NEWS) == {"ann"}


def test_nothing_is_planned_by_a_listing_that_was_cut(lab: Lab) -> None:
    lab.world.fault("truncate", connection="mc", rows=5, count=None)
    lab.cycle(deliver=False)
    assert lab.rows("SELECT count(*) FROM operation WHERE kind = 'remove'") == [(0,)]


# --------------------------------------------------------------------------- somebody is wanted under such a key after all

def nobody_yet(lab: Lab) -> None:
    """A row under the id of somebody who has no address in the CRM."""
    lab.contact("ann")
    lab.contact("late", email="")
    put(lab, {lab.ids["late"]: {"email": "late@mail.example"}})


def test_whoever_comes_before_the_plan_is_approved_keeps_the_row(tmp_path: Path) -> None:
    with Lab(tmp_path, REMOVE, build=nobody_yet) as lab:
        assert counts(lab)[NEWS, "remove", "held"] == 1
        lab.edit("late", email="late@mail.example")
        lab.link()
        assert lab.keys(NEWS) == {"ann", "late"}


def exclusive(lab: Lab) -> None:
    """The audience is syncd's own, and somebody else wrote to it."""
    lab.link()
    put(lab, {lab.ids["late"]: {"email": "late@mail.example"}})
    lab.advance(2 * DAY)


def test_a_removal_that_waited_for_the_provider_does_not_take_the_new_row(tmp_path: Path) -> None:
    with Lab(tmp_path, EXCLUSIVE, build=nobody_yet) as lab:
        exclusive(lab)
        lab.world.fault("outage", connection="mc", verb="apply", count=None)
        lab.cycle(wait=False)
        lab.edit("late", email="late@mail.example")
        lab.cycle(wait=False)
        lab.world.clear_faults()
        lab.advance(60)
        lab.settle()
        assert lab.keys(NEWS) == {"ann", "late"}


def test_a_removal_that_was_lost_does_not_take_the_new_row(tmp_path: Path) -> None:
    """It never arrived; it is read back when the row under its key is ours."""
    with Lab(tmp_path, EXCLUSIVE, build=nobody_yet, esp={"late_seconds": 60.0}) as lab:
        exclusive(lab)
        lab.world.fault("lose_request", connection="mc", verb="apply", count=1)
        lab.cycle(wait=False)
        lab.edit("late", email="late@mail.example")
        lab.cycle(wait=False)
        assert lab.keys(NEWS) == {"ann", "late"}
        lab.advance(120)
        lab.settle()
        assert lab.keys(NEWS) == {"ann", "late"}
