"""Fields that the mapping names after the link: until every record was read with them nothing but opt-outs is planned, for
what was not read would be taken for empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.lab import MAPPING, NEWS, OFFERS, Lab

BEFORE = MAPPING.replace("last_name: last_name, ", "")
AFTER = BEFORE.replace("first_name: first_name, ", "first_name: last_name, ")


def names(lab: Lab) -> set[str]:
    return {row["first_name"] for row in lab.world.truth()["mc"]["audiences"][NEWS]["rows"]}


@pytest.mark.parametrize("pages", range(3))
def test_a_field_that_is_not_read_yet_is_not_empty(tmp_path: Path, pages: int) -> None:
    """The reading breaks off before the first page, or after some."""
    with Lab(tmp_path, BEFORE, crm={"page_size": 3}) as lab:
        lab.contacts(8, first_name="Ann", last_name="Doe")
        lab.link()
        lab.send(OFFERS)
        lab.settle()
        lab.reopen(AFTER)
        lab.world.fault("outage", connection="sf", verb="changes", skip=pages, count=None)
        assert lab.cycle().plan is None
        lab.unsubscribe("p5", "L1")
        assert lab.cycle().plan is None
        assert names(lab) == {"Ann"}
        assert lab.keys(OFFERS) == {f"p{n}" for n in range(8)} - {"p5"}
        lab.reopen(AFTER)
        assert lab.cycle().plan is None
        lab.world.clear_faults()
        plan = lab.cycle(deliver=False).plan
        assert plan is not None
        lab.approve(plan)
        lab.settle()
        assert names(lab) == {"Doe"}


def test_a_field_that_is_given_up_before_it_was_read_is_missed_by_nobody(tmp_path: Path) -> None:
    with Lab(tmp_path, BEFORE, crm={"page_size": 3}) as lab:
        lab.contacts(8, first_name="Ann", last_name="Doe")
        lab.link()
        lab.reopen(AFTER)
        lab.world.fault("outage", connection="sf", verb="changes", skip=1, count=None)
        assert lab.cycle().plan is None
        lab.world.clear_faults()
        lab.reopen(BEFORE)
        assert lab.cycle().plan is not None
        lab.settle()
        assert (names(lab), lab.holds()) == ({"Ann"}, ())
