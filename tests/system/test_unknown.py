"""Opt-outs of people whom a destination does not know, and of everyone on a list that is new there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.lab import MAPPING, NEWS, OFFERS, Lab

CREATE = MAPPING.replace("unknown_subscriber: skip", "unknown_subscriber: create_unsubscribed")
NEW_LIST = MAPPING.replace("news: {publication_list: L2", "news: {publication_list: L3")
assert len({MAPPING, CREATE, NEW_LIST}) == 3


def file_in(lab: Lab, name: str, key: str) -> None:
    """Somebody at the provider imports a person, with a row."""
    email = lab.flags(name)["email"]
    lab.world.act("mc", "import", list="L2", members={key: email})
    lab.world.act("mc", "write_rows", audience=NEWS, rows={key: {"email": email}})


@pytest.mark.parametrize("keyed_by", ["key", "address"])
def test_skipped_people_are_unknown_until_somebody_puts_them_there(tmp_path: Path, keyed_by: str) -> None:
    with Lab(tmp_path, esp={"keyed_by": keyed_by}) as lab:
        lab.contact("ann")
        lab.contact("all", opted_out=1)
        lab.contact("one", no_news=1)
        lab.link()
        assert {s["email"] for s in lab.world.truth()["mc"]["subscribers"]} == {"ann@mail.example", "one@mail.example"}
        assert lab.keys(OFFERS) == {"ann", "one"}
        file_in(lab, "all", "file-1")
        lab.settle()
        assert lab.send(NEWS) == {"ann"}
        status = {s["email"]: s["status"] for s in lab.world.truth()["mc"]["subscribers"]}
        assert status["all@mail.example"] == "unsubscribed"


def test_people_are_created_with_what_they_refused_and_nothing_else(tmp_path: Path) -> None:
    with Lab(tmp_path, CREATE) as lab:
        lab.contact("ann")
        lab.contact("all", opted_out=1)
        lab.contact("one", no_news=1, offers=0)
        lab.contact("none", offers=0, email="nobody")
        lab.link()
        assert (lab.status("all"), lab.status("one"), lab.status("one", "L2"), lab.status("one", "L1")) == (
            "unsubscribed", "subscribed", "unsubscribed", None)
        assert lab.status("none") is None
        file_in(lab, "one", lab.ids["one"])
        lab.settle()
        assert lab.send(NEWS) == {"ann"}
        assert lab.status("one", "L2") == "unsubscribed"


def test_who_comes_later_is_created_too_and_who_comes_back_is_opened(tmp_path: Path) -> None:
    with Lab(tmp_path, CREATE) as lab:
        lab.contact("ann")
        lab.link()
        lab.contact("one", no_news=1, offers=0)
        lab.settle()
        assert lab.status("one", "L2") == "unsubscribed"
        lab.advance(3600)
        lab.world.act("mc", "resubscribe", email="one@mail.example", list="L2")
        lab.settle()
        assert lab.send(NEWS) == {"ann", "one"}
        assert lab.flags("one")["no_news"] == 0


def test_a_new_list_has_every_refusal_before_its_first_row(tmp_path: Path) -> None:
    """The refusals go out at once; the rows wait for the changed mapping to be approved."""
    with Lab(tmp_path) as lab:
        lab.contacts(4)
        lab.contact("stranger", no_news=1, offers=0)
        lab.link()
        lab.unsubscribe("p1", "L2")
        lab.edit("p2", no_news=1)
        lab.settle()
        lab.reopen(NEW_LIST)
        lab.contact("eve")
        lab.settle()
        assert {name: lab.status(name, "L3") for name in ("p0", "p1", "p2", "p3", "stranger")} == {
            "p0": None, "p1": "unsubscribed", "p2": "unsubscribed", "p3": None, "stranger": None}
        plan = lab.cycle(deliver=False).plan
        assert plan is not None
        lab.approve(plan)
        lab.settle()
        assert lab.send(NEWS) == {"p0", "p3", "eve"}
