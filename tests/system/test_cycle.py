"""Whole cycles on the world in memory: what a CRM user, a recipient and an admin do, and what is so afterwards."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from syncd import guard
from syncd.failures import failure_of
from tests.system.lab import HOUR, MAPPING, NEWS, OFFERS, RICH, TOP, Lab, done


def test_the_first_run_is_a_plan_and_writes_nothing_not_even_opt_outs(lab: Lab) -> None:
    lab.contact("ann")
    lab.contact("bob", opted_out=1)
    lab.world.act("mc", "import", list="L1", members={lab.ids["bob"]: "bob@mail.example"})
    report = lab.cycle()
    assert report.plan is not None
    assert lab.written() == {"sf": 0, "mc": 0}
    assert {h.cls for h in report.plan.holds} == {"first_plan"}
    assert {(c.sort, c.operations) for c in report.plan.counts if c.object == ""} == {("suppress", 1)}
    lab.approve(report.plan)
    lab.cycle()
    assert lab.keys(OFFERS) == lab.keys(NEWS) == {"ann"}
    assert lab.status("bob") == "unsubscribed"


def test_a_second_cycle_writes_nothing(lab: Lab) -> None:
    lab.contacts(30)
    lab.link()
    lab.written()
    report = lab.cycle()
    assert done(report) == 0
    assert report.people == 0
    assert lab.written() == {"sf": 0, "mc": 0}


def test_a_start_writes_nothing_about_streams_that_are_as_they_were(tmp_path: Path) -> None:
    """One carries no consent, and both who compiles the mapping and who reads the stream say so."""
    leads = "related:\n  leads: {stream: sf.Lead, of: sf.Contact, join: {last_name: id}, attributes: {how: offers_how}}\n"
    with Lab(tmp_path, MAPPING + leads, leads=True) as lab:
        lab.contact("ann")
        lab.link()
        assert lab.rows("SELECT object, consent FROM stream WHERE kind = 'record'") == [("Contact", 1), ("Lead", 0)]
        lab.reopen()
        before = lab.rows("PRAGMA data_version")
        lab.app.compile(None)
        assert lab.rows("PRAGMA data_version") == before

def test_runs_in_which_nothing_happened_are_forgotten_after_a_week_and_others_never(lab: Lab) -> None:
    lab.contacts(2)
    lab.link()
    lab.settle()
    [(linked,)] = lab.rows("SELECT count(*) FROM run WHERE quiet = 0")
    for _ in range(5):
        lab.cycle()
    [(quiet,)] = lab.rows("SELECT count(*) FROM run WHERE quiet = 1")
    assert quiet >= 5
    lab.advance(8 * 86_400)
    lab.edit("p1", first_name="Other")
    lab.cycle()
    assert lab.rows("SELECT quiet, count(*) FROM run GROUP BY 1") == [(0, linked + 1)]


def test_an_edit_writes_exactly_the_rows_it_concerns(lab: Lab) -> None:
    lab.contacts(30)
    lab.link()
    lab.written()
    for name in ("p3", "p4"):
        lab.edit(name, first_name="Zoe")
    lab.edit("p5", last_name="Nobody asked for this field")
    report = lab.cycle()
    assert report.people == 3
    assert lab.written() == {"sf": 0, "mc": 4}
    assert lab.row(OFFERS, "p3")["first_name"] == "Zoe"  # type: ignore[index]  # the row is there
    assert lab.row(RICH, "p3") is None
    assert lab.keys(TOP) == {"p0", "p1", "p2"}


def test_only_a_plan_that_still_fits_can_be_approved(lab: Lab) -> None:
    lab.contacts(3)
    plan = lab.cycle(deliver=False).plan
    assert plan is not None
    lab.contact("late")
    newer = lab.cycle(deliver=False).plan
    assert newer is not None
    assert newer.id != plan.id
    with pytest.raises(KeyError):
        lab.approve(replace(plan, id="0" * 12))
    with pytest.raises(guard.Stale) as stale:
        lab.approve(plan)
    assert stale.value.current.id == newer.id
    told = failure_of(stale.value)
    assert "mc de:NEWS: 4 to add instead of 3" in told.message
    assert told.data["changes"] == list(stale.value.changes)
    assert newer.id in told.next
    assert lab.written() == {"sf": 0, "mc": 0}
    lab.approve(newer)
    lab.cycle()
    assert lab.keys(NEWS) == {"p0", "p1", "p2", "late"}


def test_money_arrives_as_it_was_and_equal_amounts_are_equal(lab: Lab) -> None:
    lab.contact("ann", spent="1234.5")
    lab.contact("bob", spent="100.0001")
    lab.contact("cid", spent="100")
    lab.link()
    assert lab.keys(RICH) == {"ann", "bob"}
    assert lab.row(RICH, "ann")["spent"] == "1234.50"  # type: ignore[index]
    assert lab.row(RICH, "bob")["spent"] == "100.0001"  # type: ignore[index]
    lab.written()
    lab.edit("ann", spent="1234.500")
    lab.edit("cid", spent="100.0000")
    lab.cycle()
    assert lab.written()["mc"] == 0


# --------------------------------------------------------------------------- opting out

def test_our_own_write_backs_dirty_nobody(lab: Lab) -> None:
    lab.contacts(5)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.unsubscribe("p2")
    lab.cycle()
    assert lab.flags("p1")["offers"] == 0
    assert lab.flags("p2")["opted_out"] == 1
    entries = lab.entries()
    report = lab.cycle()
    assert (report.people, done(report), lab.entries()) == (0, 0, entries)


def test_leaving_one_list_unticks_its_own_box_and_takes_its_own_rows(lab: Lab) -> None:
    lab.contacts(5, spent="500.00")
    lab.link()
    assert "p1" in lab.send(OFFERS) & lab.send(RICH) & lab.send(TOP)
    lab.unsubscribe("p1", "L1")
    lab.cycle()
    assert lab.flags("p1") | {"offers": 0, "opted_out": 0, "no_news": 0} == lab.flags("p1")
    assert lab.keys(OFFERS) == lab.keys(RICH) == {"p0", "p2", "p3", "p4"}
    assert "p1" not in lab.keys(TOP)
    assert lab.keys(NEWS) == {"p0", "p1", "p2", "p3", "p4"}
    assert (lab.status("p1"), lab.status("p1", "L2")) == ("subscribed", "subscribed")
    assert "p1" in lab.send(NEWS)
    assert lab.flags("p2")["offers"] == 1


def test_stopping_all_mail_sets_the_master_flag_and_takes_every_row(lab: Lab) -> None:
    lab.contacts(4)
    lab.link()
    lab.unsubscribe("p1")
    lab.cycle()
    assert lab.flags("p1") | {"offers": 1, "opted_out": 1, "no_news": 0} == lab.flags("p1")
    for audience in (OFFERS, NEWS):
        assert lab.keys(audience) == {"p0", "p2", "p3"}
    assert [lab.flags(n)["opted_out"] for n in ("p0", "p2", "p3")] == [0, 0, 0]


def test_a_complaint_stops_all_mail(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.world.act("mc", "complain", email="p1@mail.example")
    lab.cycle()
    assert lab.flags("p1")["opted_out"] == 1
    assert lab.keys(NEWS) == {"p0", "p2"}


def test_an_unsubscribe_that_the_provider_widens_counts_as_wide_as_it_acts(tmp_path: Path) -> None:
    with Lab(tmp_path, esp={"widen": True}) as lab:
        lab.contacts(3)
        lab.link()
        lab.unsubscribe("p1", "L1")
        lab.cycle()
        assert lab.flags("p1")["opted_out"] == 1
        assert lab.keys(NEWS) == {"p0", "p2"}


def test_boxes_set_in_the_crm_stop_mail_and_reach_the_provider(lab: Lab) -> None:
    lab.contacts(4)
    lab.link()
    lab.edit("p1", opted_out=1)
    lab.edit("p2", offers=0)
    lab.edit("p3", no_news=1)
    lab.cycle()
    assert (lab.keys(OFFERS), lab.keys(NEWS)) == ({"p0", "p3"}, {"p0", "p2"})
    assert lab.status("p1") == "unsubscribed"
    assert (lab.status("p2"), lab.status("p2", "L1"), lab.status("p2", "L2")) == ("subscribed", "unsubscribed", "subscribed")
    assert (lab.status("p3", "L1"), lab.status("p3", "L2")) == ("subscribed", "unsubscribed")
    assert lab.send(OFFERS) | lab.send(NEWS) == {"p0", "p2", "p3"}


def test_unticking_the_master_box_is_undone_once_and_never_makes_anyone_mailable(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.unsubscribe("p1")
    lab.cycle()
    lab.edit("p1", opted_out=0)
    lab.cycle()
    assert lab.flags("p1")["opted_out"] == 1
    lab.edit("p1", opted_out=0)
    report = lab.cycle()
    assert lab.flags("p1")["opted_out"] == 0
    assert report.pulled.requests.found
    lab.edit("p1", first_name="Other")
    lab.cycle()
    assert lab.flags("p1")["opted_out"] == 0
    assert lab.keys(OFFERS) == lab.keys(NEWS) == {"p0", "p2"}
    assert lab.status("p1") == "unsubscribed"
    assert lab.world.counters("mc")["resubscribed"] == 0


def test_a_new_opt_out_after_an_unheeded_request_is_written_again(lab: Lab) -> None:
    lab.contacts(2)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.cycle()
    for _ in range(2):
        lab.edit("p1", offers=1)
        lab.cycle()
    assert lab.flags("p1")["offers"] == 1
    lab.edit("p1", offers=0)
    lab.cycle()
    lab.advance(HOUR)
    lab.web_opt_in("p1")
    lab.cycle()
    assert "p1" in lab.keys(OFFERS)
    lab.advance(HOUR)
    lab.unsubscribe("p1", "L1")
    lab.cycle()
    assert lab.flags("p1")["offers"] == 0


def test_a_box_ticked_and_unticked_before_any_opt_out_does_not_hinder_its_write(lab: Lab) -> None:
    lab.contacts(2, offers=0)
    lab.link()
    for value in (1, 0, 1):
        lab.edit("p1", offers=value)
        lab.cycle()
    lab.advance(HOUR)
    lab.web_opt_in("p1")
    lab.cycle()
    lab.world.send("mc", OFFERS)
    lab.unsubscribe("p1", "L1")
    lab.cycle()
    assert lab.flags("p1")["offers"] == 0


def test_an_import_into_the_crm_that_ticks_everyone_grants_nothing(lab: Lab) -> None:
    lab.contacts(30)
    lab.contacts(10, 30, offers=0)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.unsubscribe("p2")
    lab.cycle()
    lab.world.act("sf", "mass_edit", object="Contact", where={}, set={"offers": 1, "opted_out": 0})
    lab.settle()
    assert lab.keys(OFFERS) == {f"p{n}" for n in range(30)} - {"p1", "p2"}
    assert lab.flags("p1")["offers"] == 0
    assert lab.flags("p2")["opted_out"] == 1


def test_an_import_that_opts_everyone_out_acts_at_once(lab: Lab) -> None:
    lab.contacts(40)
    lab.link()
    lab.world.act("sf", "mass_edit", object="Contact", where={}, set={"opted_out": 1})
    lab.settle()
    assert lab.send(OFFERS) | lab.send(NEWS) == set()
    assert lab.keys(OFFERS) == lab.keys(NEWS) == set()


# --------------------------------------------------------------------------- coming back

def test_coming_back_by_a_web_form_works_and_names_its_evidence(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.cycle()
    lab.advance(HOUR)
    lab.web_opt_in("p1")
    lab.settle()
    assert "p1" in lab.keys(OFFERS)
    assert lab.status("p1", "L1") == "subscribed"
    assert "p1" in lab.send(OFFERS)
    permits = lab.rows("SELECT permit FROM operation WHERE class = 1 AND kind = 'status' AND person = 2")
    assert permits == [(lab.rows("SELECT max(position) FROM entry")[0][0],)]


def test_coming_back_at_the_provider_works(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.cycle()
    assert lab.flags("p1")["offers"] == 0
    lab.advance(60)
    lab.world.act("mc", "resubscribe", email="p1@mail.example", list="L1")
    lab.settle()
    assert "p1" in lab.keys(OFFERS)
    assert "p1" in lab.send(OFFERS)


def test_leaving_and_coming_back_between_two_polls_is_coming_back(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.advance(60)
    lab.world.act("mc", "resubscribe", email="p1@mail.example", list="L1")
    lab.settle()
    assert "p1" in lab.send(OFFERS)


def test_a_tick_said_before_the_opt_out_but_read_after_it_reopens_nothing(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    said = lab.now()
    lab.advance(HOUR)
    lab.unsubscribe("p1", "L1")
    lab.cycle()
    lab.world.act("sf", "edit", object="Contact", id=lab.ids["p1"],
                  set={"offers": 1, "offers_at": said, "offers_how": "web"})
    lab.settle()
    assert "p1" not in lab.keys(OFFERS)
    assert lab.flags("p1")["offers"] == 0


def test_coming_back_at_one_side_before_the_other_sides_opt_out_was_known_reopens_nothing(lab: Lab) -> None:
    """She clicks "resubscribe" at the provider an hour before she tells the CRM's call centre to stop; syncd reads the
    call centre's box first."""
    lab.contacts(3)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.cycle()
    lab.advance(HOUR)
    lab.world.act("mc", "resubscribe", email="p1@mail.example", list="L1")
    lab.advance(HOUR)
    lab.edit("p1", opted_out=1)
    lab.world.fault("outage", connection="mc", verb="changes", count=None)
    lab.cycle()
    lab.world.clear_faults()
    lab.settle()
    assert lab.keys(OFFERS) == lab.keys(NEWS) == {"p0", "p2"}
    assert lab.status("p1") == "unsubscribed"


def test_pending_members_are_not_mailed_until_they_confirm(lab: Lab) -> None:
    lab.contacts(2)
    lab.world.act("mc", "import", list="L2", members={lab.ids["p1"]: "p1@mail.example"}, status="pending")
    lab.link()
    assert lab.keys(NEWS) == {"p0"}
    lab.advance(HOUR)
    lab.world.act("mc", "confirm", email="p1@mail.example", list="L2")
    lab.settle()
    assert lab.keys(NEWS) == {"p0", "p1"}
