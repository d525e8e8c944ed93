"""Rows of ours that somebody at the provider gives another address: whoever refused there is not mailed by them, and they
are written as they should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.lab import DAY, MAPPING, NEWS, OFFERS, Lab


def readdress(lab: Lab, name: str, address: str) -> None:
    row = lab.row(NEWS, name)
    assert row is not None
    lab.world.act("mc", "write_rows", audience=NEWS, rows={row["key"]: {"email": address}})


@pytest.mark.parametrize("address", ["bob@mail.example", "nobody@mail.example"])
def test_whoever_refused_is_not_mailed_by_a_row_of_somebody_elses(lab: Lab, address: str) -> None:
    """The address is that of a person here, or of nobody here."""
    lab.contact("ann")
    lab.contact("bob", no_news=1)
    lab.world.act("mc", "import", list="L2", members={"nobody@mail.example": "nobody@mail.example"})
    lab.link()
    lab.world.act("mc", "unsubscribe", email="nobody@mail.example", list="L2", key="nobody@mail.example")
    lab.settle()
    readdress(lab, "ann", address)
    lab.advance(DAY)
    lab.settle()
    row = lab.row(NEWS, "ann")
    assert row is not None
    assert row["email"] == "ann@mail.example"
    assert lab.send(NEWS) == {"ann"}


def test_what_we_wrote_is_not_written_again(lab: Lab) -> None:
    """Neither after a move of the person's, nor because the provider spells an address otherwise."""
    lab.contact("ann", email="Ann@Mail.example")
    lab.link()
    lab.edit("ann", email="anne@mail.example")
    lab.settle()
    lab.written()
    for _ in range(2):
        lab.cycle(full=True)
    assert lab.written() == {"sf": 0, "mc": 0}


def test_a_row_given_another_address_while_its_own_is_on_its_way_is_as_we_wrote_it(tmp_path: Path) -> None:
    with Lab(tmp_path, esp={"asynchronous": ["upsert"], "late_seconds": 600.0}) as lab:
        lab.contact("ann")
        lab.link()
        lab.edit("ann", email="anne@mail.example")
        lab.cycle(wait=False)
        readdress(lab, "ann", "elsewhere@mail.example")
        lab.cycle(full=True, wait=False)
        lab.advance(DAY)
        lab.settle()
        row = lab.row(NEWS, "ann")
        assert row is not None
        assert row["email"] == "anne@mail.example"


def test_a_row_whose_move_waits_leaves_its_address_for_a_refusal_of_its_own_topic_alone(tmp_path: Path) -> None:
    """Who has the address now refused news; whether the mails about offers find them, the approval decides."""
    with Lab(tmp_path) as lab:
        lab.contact("ann")
        lab.link()
        lab.reopen(MAPPING.replace("spent > 100", "spent > 500"))
        lab.edit("ann", email="anne@mail.example")
        lab.contact("dora", email="ann@mail.example", no_news=1)
        plan = lab.cycle().plan
        assert lab.keys(NEWS) == set()
        assert lab.keys(OFFERS) == {"ann"}
        assert plan is not None
        lab.approve(plan)
        lab.settle()
        assert (lab.row(NEWS, "ann") or {})["email"] == (lab.row(OFFERS, "ann") or {})["email"] == "anne@mail.example"
