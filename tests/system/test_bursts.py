"""Bursts: thousands of opt-outs at once that no person made count at once, wait at the door, and can be taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncd import guard
from syncd.desk import grants
from syncd.failures import Failure
from tests.system.lab import HOUR, MAPPING, NEWS, OFFERS, Lab

MANY = 5_000

ODOO = """
    odoo.partner:
      attributes: {email: email, first_name: name}
      master: no_mail
"""
TWO_CRMS = MAPPING.replace("\ntopics:", ODOO + "\ntopics:", 1)


def second_crm(lab: Lab) -> None:
    """Another CRM that knows some of the people, by their address."""
    from connectors.memory.client import fields

    lab.world.create_crm("odoo", {"partner": {"fields": fields("email", "name", no_mail="bool"), "master_flag": "no_mail"}})
    lab.roles["odoo"] = "crm"


def data_load(lab: Lab, **values: int) -> None:
    lab.world.act("sf", "mass_edit", object="Contact", where={}, set=values)


def retract(lab: Lab) -> dict[str, object]:
    hold = lab.rows("SELECT max(hold) FROM burst")[0][0]
    return grants.retract_burst(lab.app.store, hold, evidence="ticket 7", by="Ann", now=lab.now())


def status_writes(lab: Lab) -> int:
    """How often anything but a row was written since the last look, or is on its way."""
    found = lab.rows("SELECT count(*) FROM operation WHERE kind <> 'upsert' AND kind <> 'remove' AND state IN (2, 3, 10)")
    return int(found[0][0])


def test_five_thousand_ticked_by_a_data_load_are_out_at_once_and_back_when_it_is_retracted(tmp_path: Path) -> None:
    with Lab(tmp_path, esp={"page_size": 2000}, crm={"page_size": 2000}) as lab:
        names = lab.contacts(MANY)
        lab.link()
        lab.unsubscribe("p7")
        lab.unsubscribe("p8", "L2")
        lab.settle()
        offered, told = lab.keys(OFFERS), lab.keys(NEWS)
        written = status_writes(lab)
        lab.written()

        data_load(lab, opted_out=1)
        lab.settle()
        assert lab.keys(OFFERS) == lab.keys(NEWS) == set()
        assert lab.send(OFFERS) == lab.send(NEWS) == set()
        assert status_writes(lab) == written, "nothing but rows was written"
        assert lab.written()["sf"] == 0
        assert lab.status("p9") == "subscribed"
        hold = lab.hold("burst")
        assert (hold.connection, hold.operations) == ("sf", MANY - 1), "p7's own word has been written everywhere already"

        lab.advance(HOUR)
        answer = retract(lab)
        assert (answer["retracted"], answer["own_word"]) == (MANY - 1, 1), "p7's box was ticked before"
        lab.cycle()
        lab.cycle()
        assert lab.keys(OFFERS) == offered
        assert lab.keys(NEWS) == told == set(names) - {"p7", "p8"}
        assert lab.holds() == ()
        assert [lab.flags(name)["opted_out"] for name in ("p7", "p8", "p9")] == [1, 0, 0]
        lab.settle()
        assert len(lab.send(NEWS)) == MANY - 2


def test_who_is_in_a_burst_and_ticked_again_later_is_out(lab: Lab) -> None:
    lab.contacts(40)
    lab.link()
    data_load(lab, no_news=1)
    lab.settle()
    retract(lab)
    lab.settle()
    assert len(lab.keys(NEWS)) == 40
    lab.edit("p3", no_news=1)
    lab.settle()
    assert "p3" not in lab.keys(NEWS)


def test_an_approved_burst_is_written_everywhere_and_still_comes_back(tmp_path: Path) -> None:
    with Lab(tmp_path, TWO_CRMS, build=second_crm) as lab:
        lab.contacts(60)
        rows = [{"email": f"p{n}@mail.example", "name": f"P{n}", "no_mail": 0} for n in range(60)]
        odoo = lab.world.load("odoo", "partner", rows)
        lab.link()
        data_load(lab, opted_out=1)
        lab.settle()
        assert no_mail(lab, odoo) == 0
        lab.decide("burst", "approved")
        lab.settle()
        assert no_mail(lab, odoo) == 60
        assert lab.status("p9") == "unsubscribed"
        lab.advance(HOUR)
        retract(lab)
        lab.settle()
        assert no_mail(lab, odoo) == 0
        assert retract(lab)["retracted"] == 0, "asked again, it finds nothing left"
        assert lab.status("p9") == "subscribed"
        assert len(lab.keys(NEWS)) == len(lab.keys(OFFERS)) == 60


def no_mail(lab: Lab, ids: list[str]) -> int:
    return sum(p["opted_out"] for p in lab.world.truth()["odoo"]["people"] if p["id"] in ids)


def test_what_people_do_themselves_never_waits_however_many_they_are(lab: Lab) -> None:
    names = lab.contacts(60)
    lab.link()
    for name in names[:50]:
        lab.unsubscribe(name)
    lab.settle()
    assert lab.holds() == ()
    assert lab.flags("p7")["opted_out"] == 1


def test_who_clicks_while_a_burst_waits_is_written_everywhere(lab: Lab) -> None:
    lab.contacts(60)
    lab.link()
    data_load(lab, opted_out=1)
    lab.settle()
    lab.unsubscribe("p7")
    lab.unsubscribe("p8", "L2")
    lab.settle()
    assert lab.flags("p8")["no_news"] == 1
    assert lab.status("p9") == "subscribed"
    assert lab.hold("burst").operations == 59
    lab.advance(HOUR)
    retract(lab)
    lab.settle()
    assert {"p7", "p8"} & lab.keys(NEWS) == set()
    assert len(lab.keys(NEWS)) == 58


def test_a_file_of_refusals_at_the_provider_is_written_to_the_crm_when_it_is_approved(lab: Lab) -> None:
    names = lab.contacts(60)
    lab.link()
    members = {lab.ids[n]: f"{n}@mail.example" for n in names[:30]}
    lab.world.act("mc", "import", list="L2", members=members, status="unsubscribed", origin="import")
    lab.settle()
    assert lab.keys(NEWS) == set(names[30:])
    assert lab.flags("p3")["no_news"] == 0
    lab.decide("burst", "approved")
    lab.settle()
    assert lab.flags("p3")["no_news"] == 1
    lab.advance(HOUR)
    retract(lab)
    lab.settle()
    assert lab.keys(NEWS) == set(names)
    assert lab.flags("p3")["no_news"] == 0
    assert lab.status("p3", "L2") == "subscribed"


def test_a_plan_that_is_approved_leaves_a_burst_undecided(lab: Lab) -> None:
    lab.contacts(40)
    lab.link()
    data_load(lab, opted_out=1)
    plan = lab.cycle(deliver=False).plan
    assert plan is not None
    lab.approve(plan)
    lab.settle()
    assert lab.hold("burst").operations == 40
    assert lab.status("p3") == "subscribed"


def test_few_are_no_burst(lab: Lab) -> None:
    lab.contacts(60)
    lab.link()
    for name in ("p1", "p2", "p3"):
        lab.edit(name, opted_out=1)
    lab.settle()
    assert lab.holds() == ()
    assert lab.status("p1") == "unsubscribed"


def test_only_a_burst_can_be_retracted_as_one(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    with pytest.raises(Failure, match="no burst"):
        grants.retract_burst(lab.app.store, 1, evidence="x", by="y", now=lab.now())
    assert guard.Limits().burst_count == 20


def test_the_express_way_of_a_click_does_not_carry_a_burst_along(lab: Lab) -> None:
    """A webhook tells that somebody clicked who is in a burst, too: her rows go at once, the rest with the next cycle."""
    lab.contacts(60)
    lab.link()
    data_load(lab, opted_out=1)
    lab.settle()
    [(person,)] = lab.rows("SELECT person FROM record WHERE rid = ?", lab.ids["p8"])
    lab.app.cycle().decider.suppress([person], lab.now(), lambda conn: None)
    assert lab.rows("SELECT kind FROM operation WHERE state = 2") == []
    lab.unsubscribe("p8", "L2")
    lab.settle()
    assert lab.flags("p8")["no_news"] == 1
    assert lab.status("p8") == "subscribed"
