"""A subscriber who refused gets another address at the provider: nothing is mailed there either, as if the first link had
found her so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.lab import HOUR, NEWS, OFFERS, Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Two contacts; and a subscriber of news of whom no CRM knows."""
    with Lab(tmp_path, esp={"flip": True}) as made:
        made.contacts(2)
        made.link()
        made.world.act("mc", "import", list="L2", members={"x": "x@mail.example"})
        made.settle()
        made.advance(HOUR)
        yield made


def move(lab: Lab, key: str, name: str) -> None:
    """The subscriber has that contact's address from now on."""
    lab.advance(HOUR)
    lab.world.act("mc", "readdress", key=key, email=f"{name}@mail.example")
    lab.cycle(full=True)
    lab.settle()


@pytest.mark.parametrize(("container", "offers"), [("", {"p0"}), ("L2", {"p0", "p1"})])
def test_the_refusal_goes_along(lab: Lab, container: str, offers: set[str]) -> None:
    lab.world.act("mc", "unsubscribe", email="x@mail.example", list=container, key="x")
    lab.settle()
    move(lab, "x", "p1")
    assert (lab.keys(NEWS), lab.keys(OFFERS)) == ({"p0"}, offers)
    assert (lab.flags("p1")["no_news"], lab.status("p1", container)) == (int(container == "L2"), "unsubscribed")
    entries = lab.entries()
    lab.cycle(full=True)
    assert lab.entries() == entries, "it is told once"


def test_who_asks_afterwards_gets_what_she_asked_for(lab: Lab) -> None:
    lab.world.act("mc", "unsubscribe", email="x@mail.example", list="", key="x")
    lab.settle()
    move(lab, "x", "p1")
    lab.advance(HOUR)
    lab.web_opt_in("p1")
    lab.settle()
    assert (lab.keys(OFFERS), lab.keys(NEWS)) == ({"p0", "p1"}, {"p0"})


def test_what_syncd_wrote_there_is_no_word_of_whoever_has_the_address_now(lab: Lab) -> None:
    lab.edit("p0", no_news=1)
    lab.settle()
    move(lab, lab.ids["p0"], "p1")
    assert lab.keys(NEWS) == {"p1"}


def test_a_person_who_refused_elsewhere_leaves_no_refusal_at_an_address_she_only_passed_through(lab: Lab) -> None:
    lab.unsubscribe("p0", "L2")
    lab.settle()
    lab.edit("p0", email="passing@mail.example")
    lab.settle()
    lab.advance(HOUR)
    lab.world.act("mc", "readdress", key=lab.ids["p0"], email="passing@mail.example")
    lab.cycle(full=True)
    lab.edit("p0", email="p0@elsewhere.example")
    lab.settle()
    lab.contact("new", email="passing@mail.example")
    lab.settle()
    assert lab.keys(NEWS) == {"p1", "new"}
