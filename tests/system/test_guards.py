"""What waits for somebody's word, what never does, and what approving or rejecting it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from syncd import guard
from tests.system.lab import DAY, HOUR, MAPPING, NEWS, OFFERS, RICH, Lab


def linked(lab: Lab, count: int = 60) -> None:
    lab.contacts(count)
    lab.link()
    lab.written()


def test_many_removals_wait_while_everything_else_runs_on(lab: Lab) -> None:
    linked(lab)
    for n in range(25):
        lab.world.act("sf", "delete", object="Contact", id=lab.ids[f"p{n}"])
    lab.edit("p50", first_name="Other")
    lab.unsubscribe("p51")
    lab.cycle()
    assert {(h.cls, h.object, h.operations) for h in lab.holds()} == {("removals", OFFERS, 25), ("removals", NEWS, 25)}
    assert len(lab.keys(NEWS)) == 59
    assert "p51" not in lab.keys(OFFERS)
    assert lab.row(NEWS, "p50")["first_name"] == "Other"  # type: ignore[index]  # the row is there
    for hold in lab.holds():
        assert guard.decide_hold(lab.app.store, hold.id, "approved", lab.now()) == 25
    lab.cycle()
    assert lab.keys(NEWS) == lab.keys(OFFERS) == {f"p{n}" for n in range(25, 60)} - {"p51"}
    assert lab.holds() == ()


def test_rejected_removals_leave_the_rows_and_are_not_asked_about_again(lab: Lab) -> None:
    linked(lab)
    lab.world.act("sf", "mass_edit", object="Contact", where={}, set={"spent": "200.00"})
    lab.cycle()
    for hold in lab.holds():
        guard.decide_hold(lab.app.store, hold.id, "approved", lab.now())
    lab.cycle()
    assert len(lab.keys(RICH)) == 60
    lab.world.act("sf", "mass_edit", object="Contact", where={}, set={"spent": "20.00"})
    lab.cycle()
    assert lab.decide("removals", "rejected") == 60
    lab.settle()
    assert len(lab.keys(RICH)) == 60
    assert lab.holds() == ()
    with pytest.raises(KeyError):
        guard.decide_hold(lab.app.store, 999, "approved", lab.now())


def test_rejected_rows_are_asked_about_again_only_when_the_wish_itself_was_another(lab: Lab) -> None:
    linked(lab)
    lab.contacts(30, 60)
    lab.cycle()
    lab.decide("creations", "rejected")
    for n in range(60, 90):
        lab.edit(f"p{n}", first_name="Other")
    lab.cycle()
    assert lab.holds() == ()
    assert len(lab.keys(NEWS)) == 60
    lab.edit("p61", no_news=1)
    lab.settle()
    lab.advance(HOUR)
    lab.world.act("sf", "edit", object="Contact", id=lab.ids["p62"], set={"email": None})
    lab.cycle()
    lab.edit("p62", email="p62@mail.example")
    lab.settle()
    assert lab.keys(NEWS) - {f"p{n}" for n in range(60)} == {"p62"}, "she was not wanted in between"
    lab.edit("p5", opted_out=1)
    lab.settle()
    assert "p5" not in lab.keys(NEWS)


def test_rejected_removals_stay_rejected_and_let_a_refusal_through(lab: Lab) -> None:
    linked(lab)
    for n in range(25):
        lab.edit(f"p{n}", email=None)
    lab.cycle()
    for hold in lab.holds():
        guard.decide_hold(lab.app.store, hold.id, "rejected", lab.now())
    for n in range(25):
        lab.edit(f"p{n}", first_name="Other")
    lab.settle()
    assert lab.holds() == ()
    assert len(lab.keys(NEWS)) == 60
    lab.edit("p3", opted_out=1)
    lab.settle()
    assert "p3" not in lab.keys(NEWS)
    assert "p4" in lab.keys(NEWS)


def test_a_removal_that_was_waiting_is_struck_off_when_its_reason_is_gone(lab: Lab) -> None:
    linked(lab)
    for n in range(25):
        lab.edit(f"p{n}", email=None)
    lab.cycle()
    assert len(lab.holds()) == 2
    for n in range(25):
        lab.edit(f"p{n}", email=f"p{n}@mail.example")
    lab.cycle()
    assert lab.holds() == ()
    assert len(lab.keys(NEWS)) == 60


def test_many_new_people_wait(lab: Lab) -> None:
    linked(lab)
    lab.contacts(30, 60)
    lab.cycle()
    assert lab.hold("creations").operations == 30
    assert len(lab.keys(NEWS)) == 60
    lab.decide("creations", "approved")
    lab.cycle()
    assert len(lab.keys(NEWS)) == 90


def test_a_field_that_becomes_empty_for_many_waits(lab: Lab) -> None:
    linked(lab)
    lab.world.act("sf", "mass_edit", object="Contact", where={}, set={"first_name": None})
    lab.cycle()
    assert {h.cls for h in lab.holds()} == {"blanking"}
    assert lab.row(NEWS, "p1")["first_name"] == "P1"  # type: ignore[index]  # the row is there
    for hold in lab.holds():
        guard.decide_hold(lab.app.store, hold.id, "approved", lab.now())
    lab.cycle()
    assert lab.row(NEWS, "p1")["first_name"] is None  # type: ignore[index]


def test_a_changed_mapping_waits_for_approval_but_no_opt_out_does(lab: Lab) -> None:
    linked(lab, 5)
    lab.reopen(MAPPING.replace("spent > 100", "spent > 5"))
    lab.unsubscribe("p1")
    lab.edit("p2", first_name="Other")
    lab.cycle()
    assert lab.hold("mapping").operations > 4
    assert lab.keys(RICH) == set()
    assert lab.keys(NEWS) == {"p0", "p2", "p3", "p4"}
    assert lab.row(NEWS, "p2")["first_name"] == "P2"  # type: ignore[index]  # the row is there
    lab.decide("mapping", "approved")
    lab.cycle()
    assert lab.keys(RICH) == {"p0", "p2", "p3", "p4"}
    lab.edit("p2", first_name="Third")
    lab.cycle()
    assert lab.row(NEWS, "p2")["first_name"] == "Third"  # type: ignore[index]
    assert lab.holds() == ()


@pytest.mark.parametrize("verdict", ["approved", "rejected"])
def test_a_source_that_seems_to_have_lost_most_records_is_not_believed(tmp_path: Path, verdict: str) -> None:
    with Lab(tmp_path, crm={"deletes_visible": False}) as lab:
        linked(lab, 50)
        for n in range(10, 50):
            lab.world.act("sf", "delete", object="Contact", id=lab.ids[f"p{n}"])
        lab.advance(DAY)
        lab.settle()
        assert len(lab.keys(NEWS)) == 50
        lab.decide("empty_source", verdict)
        lab.advance(DAY)
        lab.cycle()
        if verdict == "rejected":
            assert {h.cls for h in lab.holds()} == {"empty_source"}
            assert len(lab.keys(NEWS)) == 50
            return
        for hold in lab.holds():
            guard.decide_hold(lab.app.store, hold.id, "approved", lab.now())
        lab.cycle()
        assert len(lab.keys(NEWS)) == 10


def test_approving_what_one_mapping_planned_approves_no_other(lab: Lab) -> None:
    """The mapping changes again, and the state learns of it (by an `explain`, say) before anything is planned by it."""
    lab.contacts(30)
    lab.link()
    lab.reopen(MAPPING.replace("spent > 100", "spent > 5"))
    lab.cycle()
    lab.reopen(MAPPING.replace("spent > 100", "spent > 5 or vip_until is null"))
    lab.app.compile()
    lab.decide("mapping", "approved")
    lab.contact("poor", spent="1.00")
    lab.cycle()
    assert lab.hold("mapping").operations
    assert "poor" not in lab.keys(RICH)


def test_a_cut_listing_deletes_nobody(tmp_path: Path) -> None:
    with Lab(tmp_path, crm={"deletes_visible": False, "page_size": 10}) as lab:
        linked(lab, 30)
        lab.world.fault("truncate", connection="sf", verb="changes", rows=25, count=None)
        lab.advance(DAY)
        lab.cycle()
        assert (lab.holds(), len(lab.keys(NEWS))) == ((), 30)


def test_records_that_were_hidden_for_a_while_come_back(tmp_path: Path) -> None:
    with Lab(tmp_path, crm={"deletes_visible": False}) as lab:
        linked(lab, 5)
        lab.world.act("sf", "restrict", ids=[lab.ids["p1"]])
        lab.advance(DAY)
        lab.cycle()
        lab.advance(DAY)
        lab.cycle()
        assert lab.keys(NEWS) == {"p0", "p2", "p3", "p4"}
        lab.world.act("sf", "restrict", ids=[])
        for _ in range(2):
            lab.advance(DAY)
            lab.cycle()
        assert lab.keys(NEWS) == {"p0", "p1", "p2", "p3", "p4"}


@pytest.mark.parametrize("verdict", ["approved", "rejected"])
def test_rows_that_somebody_removed_at_the_provider_wait_for_a_word(lab: Lab, verdict: str) -> None:
    linked(lab, 5)
    lab.world.act("mc", "delete_rows", audience=NEWS, keys=[lab.ids["p1"]])
    lab.edit("p1", first_name="Other")
    lab.advance(DAY)
    lab.settle()
    lab.decide("vanished", verdict)
    lab.settle()
    assert ("p1" in lab.keys(NEWS)) == (verdict == "approved")
    assert lab.holds() == ()


def test_a_foreign_row_of_somebody_who_refused_is_removed(lab: Lab) -> None:
    linked(lab, 3)
    lab.unsubscribe("p1", "L2")
    lab.settle()
    lab.world.act("mc", "write_rows", audience=NEWS, rows={"their-own": {"email": "p1@mail.example"},
                                                          "guest": {"email": "guest@elsewhere.example"}})
    lab.advance(DAY)
    lab.settle()
    assert lab.keys(NEWS) == {"p0", "p2", "guest"}


def test_a_foreign_row_under_the_id_of_a_record_of_whoever_refused_goes_whatever_its_address(lab: Lab) -> None:
    linked(lab, 3)
    spare = lab.contact("spare", email="p1@mail.example", first_name="P1")
    row = {spare: {"email": "private@elsewhere.example"}, lab.ids["p2"][:-1]: {"email": "guest@elsewhere.example"}}
    lab.world.act("mc", "write_rows", audience=NEWS, rows=row)
    lab.unsubscribe("p1", "L2")
    lab.advance(DAY)
    lab.settle()
    assert lab.keys(NEWS) == {"p0", "p2", lab.ids["p2"][:-1]}


@pytest.mark.parametrize("first", ["row", "refusal"])
def test_a_foreign_row_at_an_address_that_nobody_has_any_more_goes_when_it_refused(lab: Lab, first: str) -> None:
    linked(lab, 3)
    row = {"their-own": {"email": "p1@mail.example"}, "guest": {"email": "guest@elsewhere.example"}}
    if first == "refusal":
        lab.unsubscribe("p1", "L2")
        lab.settle()
        lab.edit("p1", email="new@mail.example")
        lab.settle()
        lab.world.act("mc", "write_rows", audience=NEWS, rows=row)
    else:
        lab.edit("p1", email="new@mail.example")
        lab.world.act("mc", "write_rows", audience=NEWS, rows=row)
        lab.world.act("mc", "write_rows", audience=OFFERS, rows={"their-own": {"email": "p1@mail.example"}})
        lab.advance(DAY)
        lab.settle()
        assert lab.keys(NEWS) == {"p0", "p1", "p2", "their-own", "guest"}
        assert "p1" in lab.send(NEWS), "to her old address, too"
        lab.world.act("mc", "unsubscribe", email="p1@mail.example", list="L2", key="their-own")
    lab.advance(DAY)
    lab.settle()
    assert lab.keys(NEWS) - {"p1"} == {"p0", "p2", "guest"}
    assert ("their-own" in lab.keys(OFFERS)) == (first == "row"), "nothing else goes"
    assert lab.rows("SELECT count(*) FROM judging") == [(0,)]


@pytest.mark.parametrize("by", ["the address", "its next holder", "who moves there"])
def test_a_row_whose_move_is_held_goes_where_it_stands_when_that_refuses(lab: Lab, by: str) -> None:
    """p1 has another address; her row waits with the changed mapping. Whoever reads the old mailbox wants no news."""
    linked(lab, 3)
    lab.edit("p2", no_news=1)
    lab.settle()
    lab.reopen(MAPPING.replace("spent > 100", "spent > 5"))
    lab.edit("p1", email="new@mail.example")
    lab.settle()
    assert lab.send(NEWS) == {"p0", "p1"}, "to her old address"
    lab.advance(3600)
    if by == "the address":
        lab.world.act("mc", "unsubscribe", email="p1@mail.example", keyed=False)
    elif by == "its next holder":
        lab.contact("heir", email="p1@mail.example", no_news=1)
    else:
        lab.edit("p2", email="p1@mail.example")
    lab.settle()
    assert lab.keys(NEWS) == {"p0"}
    lab.decide("mapping", "approved")
    lab.settle()
    assert lab.send(NEWS) == {"p0", "new"}


def test_a_reopening_without_a_permit_is_held_whatever_it_is(lab: Lab) -> None:
    linked(lab, 2)
    lab.unsubscribe("p1", "L2")
    lab.settle()
    compiled = lab.app.compiled
    assert compiled is not None
    lab.app.store.write(lambda conn: conn.execute(
        "INSERT INTO operation (connection, object, kind, class, person, key, columns, payload, permit, state, run)"
        " SELECT connection, id, 'status', 1, 2, ?, '[\"status\",\"reason\"]', '[\"subscribed\",\"x\"]', NULL, 0, 1"
        " FROM object WHERE name = 'L2' AND kind = 'container'", (lab.ids["p1"],)).rowcount)
    lab.cycle()
    assert lab.hold("reopening").operations == 1
    assert lab.status("p1", "L2") == "unsubscribed"


def test_expected_churn_lets_a_segment_change(tmp_path: Path) -> None:
    for share, waits in (("5%", True), ("80%", False)):
        directory = tmp_path / share.rstrip("%")
        directory.mkdir()
        with Lab(directory, MAPPING.replace('"spent > 100"', f'"spent > 100", expected_churn: {share}'),
                 ) as lab:
            lab.contacts(60, spent="200.00")
            lab.link()
            lab.world.act("sf", "mass_edit", object="Contact", where={}, set={"spent": "150.00"})
            for n in range(30):
                lab.edit(f"p{n}", spent="1.00")
            lab.cycle()
            assert len(lab.keys(RICH)) == (60 if waits else 30)
            assert bool(lab.holds()) == waits


def test_nothing_is_planned_from_half_a_picture(tmp_path: Path) -> None:
    with Lab(tmp_path, esp={"page_size": 2}) as lab:
        lab.contacts(6)
        members = {lab.ids[f"p{n}"]: f"p{n}@mail.example" for n in range(6)}
        lab.world.act("mc", "import", list="L2", members=members, status="unsubscribed")
        lab.world.fault("truncate", connection="mc", object="list:L2", rows=2, count=1)
        assert lab.cycle(deliver=False).plan is None
        plan = lab.cycle(deliver=False).plan
        assert plan is not None
        lab.approve(plan)
        lab.settle()
        assert lab.keys(NEWS) == set()


def test_a_feed_that_is_down_stops_grants_after_an_hour_and_no_suppression(lab: Lab) -> None:
    linked(lab, 5)
    lab.world.fault("outage", connection="mc", verb="changes", object="list:L2", count=None)
    lab.contact("early")
    lab.cycle()
    assert "early" in lab.keys(NEWS)
    lab.advance(2 * HOUR)
    lab.contact("late")
    lab.edit("p1", first_name="Other")
    lab.edit("p2", opted_out=1)
    report = lab.cycle()
    assert set(report.pulled.failed) == {"mc.list:L2"}
    assert "late" not in lab.keys(NEWS)
    assert report.delivered["mc"].grants_waited
    assert lab.row(NEWS, "p1")["first_name"] == "Other"  # type: ignore[index]  # the row is there
    assert lab.keys(NEWS) == {"p0", "p1", "p3", "p4", "early"}
    assert lab.status("p2") == "unsubscribed"
    lab.world.clear_faults()
    lab.cycle()
    assert "late" in lab.keys(NEWS)
