"""What the mapping takes for a person's own word may change: then records that did not change count by the new rule."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
