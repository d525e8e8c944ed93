"""What the mapping takes for a person's own word may change: then records that did not change count by the new rule."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.memory.client import fields
from tests.system.lab import DAY, HOUR, MAPPING, OFFERS, START, Lab

FAXED = MAPPING.replace("method in ('web',", "method in ('web', 'fax',")


def before_the_link(lab: Lab) -> None:
    """p0 and p1 asked by fax, after p1 had left offers at the provider; nobody reads faxes then."""
    for name in ("p0", "p1"):
        lab.contact(name, offers_at=START - int(DAY * 1e6), offers_how="fax")
    lab.world.act("mc", "import", list="L1", members={"p1": "p1@mail.example"}, status="unsubscribed")


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path, build=before_the_link) as made:
        made.link()
        made.advance(HOUR)
        yield made


def test_who_asked_in_a_way_that_counts_now_gets_it(lab: Lab) -> None:
    lab.contact("new", offers_at=lab.now(), offers_how="fax")
    lab.contact("other", offers_at=lab.now(), offers_how="hearsay")
    lab.settle()
    assert lab.keys(OFFERS) == {"p0"}
    lab.use(FAXED)
    assert lab.keys(OFFERS) == {"p0", "new"}
    entries = lab.entries()
    lab.use(MAPPING)
    lab.use(FAXED)
    assert lab.entries() == entries, "nothing is said twice"


def test_what_was_found_at_the_link_stays_a_baseline(lab: Lab) -> None:
    """It loses to every refusal, as it did before."""
    entries = lab.entries()
    lab.use(FAXED)
    assert (lab.keys(OFFERS), lab.entries()) == ({"p0"}, entries)


def test_who_refuses_afterwards_stays_out(lab: Lab) -> None:
    lab.contact("new", offers_at=lab.now(), offers_how="fax")
    lab.settle()
    lab.advance(HOUR)
    lab.world.act("mc", "import", list="L1", members={lab.ids["new"]: "new@mail.example"}, status="unsubscribed")
    lab.settle()
    lab.use(FAXED)
    assert lab.keys(OFFERS) == {"p0"}


def test_a_date_that_is_still_to_come_is_no_later_word(lab: Lab) -> None:
    lab.contact("new", offers_at=lab.now() + int(30 * DAY * 1e6), offers_how="fax")
    lab.settle()
    lab.advance(HOUR)
    lab.world.act("mc", "import", list="L1", members={lab.ids["new"]: "new@mail.example"})
    lab.unsubscribe("new", "L1")
    lab.settle()
    lab.edit("new", offers=1)
    lab.use(FAXED)
    assert lab.keys(OFFERS) == {"p0"}


def test_a_box_that_a_user_ticks_again_is_no_later_word_of_a_form_whose_clock_is_ahead(lab: Lab) -> None:
    lab.contact("new", offers_at=lab.now() + int(2 * HOUR * 1e6), offers_how="web")
    lab.settle()
    assert lab.keys(OFFERS) == {"p0", "new"}
    lab.send(OFFERS)
    lab.advance(HOUR / 2)
    lab.unsubscribe("new", "L1")
    lab.settle()
    assert lab.flags("new")["offers"] == 0
    lab.advance(HOUR / 2)
    lab.edit("new", offers=1)
    lab.settle()
    assert lab.keys(OFFERS) == {"p0"}
    lab.advance(3 * HOUR)
    lab.web_opt_in("new")
    lab.settle()
    assert lab.keys(OFFERS) == {"p0", "new"}


# --------------------------------------------------------------------------- a date without a time

DATED = MAPPING.replace("said_at: offers_at", "said_at: offers_on")
"""The CRM tells on which day somebody asked; the lab's first day is 2025-06-15, and it begins at 15:06 UTC."""


@pytest.fixture
def dated(tmp_path: Path) -> Iterator[Lab]:
    """p0 and p1 asked before the link; p1 refuses in the afternoon of the first day."""
    def before(lab: Lab) -> None:
        lab.contacts(2, offers_on="2025-06-10", offers_how="web")
    with Lab(tmp_path, DATED, more=fields(offers_on="date"), build=before) as made:
        made.link()
        made.advance(HOUR)
        made.unsubscribe("p1", "L1")
        made.settle()
        assert made.keys(OFFERS) == {"p0"}
        yield made


def test_who_asks_on_a_day_gets_it(dated: Lab) -> None:
    dated.contact("new", offers_on="2025-06-15", offers_how="web")
    dated.settle()
    assert dated.keys(OFFERS) == {"p0", "new"}


@pytest.mark.parametrize("day", ["2025-06-14", "2025-06-15", "2025-06-16"])
def test_a_day_that_had_begun_somewhere_before_the_refusal_is_no_later_word(dated: Lab, day: str) -> None:
    """In Auckland it is the 16th by then; the record is read days later."""
    dated.advance(3 * DAY)
    dated.edit("p1", offers=1, offers_on=day, offers_how="web")
    dated.settle()
    assert dated.keys(OFFERS) == {"p0"}


def test_a_day_after_the_refusal_is_a_later_word_and_counts_once(dated: Lab) -> None:
    dated.advance(3 * DAY)
    dated.edit("p1", offers=1, offers_on="2025-06-17", offers_how="web")
    dated.settle()
    assert dated.keys(OFFERS) == {"p0", "p1"}
    dated.advance(HOUR)
    dated.unsubscribe("p1", "L1")
    dated.settle()
    dated.edit("p1", offers=1)
    dated.settle()
    assert dated.keys(OFFERS) == {"p0"}, "the box alone was ticked again"


def test_a_confirmation_of_the_day_of_the_question_answers_it(tmp_path: Path) -> None:
    states = fields("state", asked_on="date")
    mapping = MAPPING.replace("opt_in: required", "opt_in: confirmed").replace("field: offers", "field: state").replace(
        '"true": opt_in\n        "false": unknown', "values: {Asked: pending, Yes: opt_in}").replace("offers_at", "asked_on")
    with Lab(tmp_path, mapping, more=states, build=lambda lab: lab.contact("p0") and None) as lab:
        lab.link()
        lab.advance(HOUR)
        lab.edit("p0", state="Asked")
        lab.settle()
        lab.advance(HOUR)
        lab.edit("p0", state="Yes", asked_on="2025-06-15", offers_how="double opt-in")
        lab.settle()
        assert lab.keys(OFFERS) == {"p0"}


# --------------------------------------------------------------------------- a date that is still to come

@pytest.mark.parametrize("ahead", [4 * HOUR, 30 * DAY])
def test_a_form_whose_clock_is_ahead_is_no_later_than_the_record_it_is_written_in(lab: Lab, ahead: float) -> None:
    """She had asked before she refused, and syncd reads it afterwards."""
    lab.settle()
    lab.edit("p0", offers=1, offers_at=lab.now() + int(ahead * 1e6), offers_how="web")
    lab.advance(HOUR)
    lab.unsubscribe("p0", "L1")
    lab.advance(HOUR)
    lab.settle()
    assert lab.keys(OFFERS) == set()


def test_a_date_that_no_clock_can_show_yet_is_no_later_word(lab: Lab) -> None:
    """An old file with a wrong year in it is loaded into the CRM."""
    lab.unsubscribe("p0", "L1")
    lab.settle()
    lab.advance(DAY)
    lab.edit("p0", offers=1, offers_at=lab.now() + int(30 * DAY * 1e6), offers_how="web")
    lab.settle()
    assert lab.keys(OFFERS) == set()
    lab.advance(DAY)
    lab.web_opt_in("p0")
    lab.settle()
    assert lab.keys(OFFERS) == {"p0"}


def test_a_form_that_takes_the_local_time_for_the_worlds_is_believed(lab: Lab) -> None:
    lab.unsubscribe("p0", "L1")
    lab.settle()
    lab.advance(HOUR)
    lab.edit("p0", offers=1, offers_at=lab.now() + int(13 * HOUR * 1e6), offers_how="web")
    lab.settle()
    assert lab.keys(OFFERS) == {"p0"}
