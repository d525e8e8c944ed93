"""The way out: lost replies, late queues, refused rows, order between audiences, and what changes with time alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.system.lab import DAY, HOUR, MAPPING, NEWS, OFFERS, RICH, TOP, Lab, done

AGES = """
segments:
  rich: {topic: offers, where: "spent > 100"}
  top: {topic: offers, where: "spent <= 100"}
"""


# --------------------------------------------------------------------------- lost and late

@pytest.mark.parametrize("fault", ["lose_reply", "lose_request"])
def test_lost_writes_are_read_back_and_end_as_if_nothing_had_happened(lab: Lab, fault: str) -> None:
    lab.contacts(6, spent="150.00")
    plan = lab.cycle(deliver=False).plan
    assert plan is not None
    lab.approve(plan)
    lab.world.fault(fault, connection="mc", verb="apply", count=3)
    lab.cycle()
    assert lab.keys(OFFERS) == lab.keys(NEWS) == lab.keys(RICH) == {f"p{n}" for n in range(6)}
    lab.world.send("mc", OFFERS)
    lab.world.fault(fault, verb="apply", count=5)
    lab.unsubscribe("p1")
    lab.edit("p2", first_name=None)
    lab.settle()
    assert lab.flags("p1")["opted_out"] == 1
    assert "p1" not in lab.keys(OFFERS) | lab.keys(NEWS) | lab.keys(RICH)
    assert lab.rows("SELECT count(*) FROM operation WHERE state < 10") == [(0,)]


def test_our_own_write_found_by_a_poll_before_its_reply_is_no_statement(lab: Lab) -> None:
    """The reply is lost, and the poll that comes first shows the flag we set."""
    lab.contacts(3)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.world.fault("lose_reply", connection="sf", verb="apply", count=1)
    lab.cycle(wait=False)
    assert lab.flags("p1")["offers"] == 0
    entries = lab.entries()
    lab.settle()
    assert lab.entries() == entries


def test_whoever_leaves_while_her_row_is_still_queued_is_out_in_the_end(tmp_path: Path) -> None:
    with Lab(tmp_path, esp={"asynchronous": ["upsert"], "late_seconds": 30.0}) as lab:
        lab.contacts(3)
        lab.link()
        lab.contact("ann")
        lab.world.act("mc", "import", list="L2", members={lab.ids["ann"]: "ann@mail.example"})
        lab.cycle(wait=False)
        assert "ann" not in lab.keys(NEWS)
        lab.unsubscribe("ann", "L2")
        lab.cycle(wait=False)
        assert lab.status("ann", "L2") == "unsubscribed"
        lab.settle()
        assert "ann" not in lab.keys(NEWS)
        assert "ann" not in lab.send(NEWS)


@pytest.mark.parametrize("known", [True, False])
def test_a_queued_row_whose_reply_was_lost_does_not_outlive_the_opt_out(tmp_path: Path, known: bool) -> None:
    """Nobody knows the request's id, and the row appears half a minute later, after the person has left."""
    with Lab(tmp_path, esp={"asynchronous": ["upsert"], "late_seconds": 30.0}) as lab:
        lab.contacts(3)
        lab.link()
        lab.contact("ann")
        if known:
            lab.world.act("mc", "import", list="L2", members={lab.ids["ann"]: "ann@mail.example"})
        lab.world.fault("lose_reply", connection="mc", verb="apply", object=NEWS)
        lab.cycle(wait=False)
        lab.advance(5)
        lab.edit("ann", no_news=1)
        lab.cycle(wait=False)
        lab.settle()
        lab.advance(60)
        lab.settle()
        assert "ann" not in lab.keys(NEWS)
        assert lab.send(NEWS) == {"p0", "p1", "p2"}


def test_reordered_requests_end_with_the_newest_wish(tmp_path: Path) -> None:
    with Lab(tmp_path, esp={"asynchronous": ["upsert", "remove"], "late_seconds": 5.0, "reorder": True}) as lab:
        lab.contacts(8)
        lab.link()
        for first, then in (("One", "Two"), ("Three", "Four")):
            lab.world.act("sf", "mass_edit", object="Contact", where={}, set={"first_name": first})
            lab.cycle(wait=False)
            lab.world.act("sf", "mass_edit", object="Contact", where={}, set={"first_name": then})
            lab.cycle(wait=False)
        lab.settle()
        assert {lab.row(NEWS, f"p{n}")["first_name"] for n in range(8)} == {"Four"}  # type: ignore[index]


def test_a_request_the_vendor_forgot_is_read_back(tmp_path: Path) -> None:
    with Lab(tmp_path, esp={"asynchronous": ["upsert"], "late_seconds": 30.0}) as lab:
        lab.contacts(3)
        plan = lab.cycle(deliver=False).plan
        assert plan is not None
        lab.approve(plan)
        lab.cycle(wait=False)
        lab.world.act("mc", "forget_requests")
        lab.settle()
        assert lab.keys(NEWS) == {"p0", "p1", "p2"}


# --------------------------------------------------------------------------- refused

def test_a_refused_row_is_quarantined_and_the_others_arrive(lab: Lab) -> None:
    lab.contacts(5)
    lab.world.fault("reject", connection="mc", object=OFFERS, keys=["p1@mail.example"], count=None)
    lab.link()
    assert lab.keys(OFFERS) == {"p0", "p2", "p3", "p4"}
    assert lab.keys(NEWS) == {"p0", "p1", "p2", "p3", "p4"}
    [(reason, key)] = lab.rows("SELECT reason, key FROM quarantine WHERE closed_at IS NULL")
    assert (reason.split(":")[0], key) == ("VALIDATION", lab.ids["p1"])
    lab.world.clear_faults()
    lab.edit("p1", first_name="Other")
    lab.cycle()
    assert "p1" in lab.keys(OFFERS)
    assert lab.rows("SELECT 1 FROM quarantine WHERE closed_at IS NULL") == []


def test_a_refused_suppression_is_tried_for_ever_and_holds_nothing_up(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.world.fault("reject", connection="mc", object="subscribers", keys=[], count=None)
    lab.world.fault("reject", connection="mc", verb="apply", object="", keys=[lab.ids["p1"]], count=None)
    lab.edit("p1", opted_out=1)
    lab.cycle(wait=False)
    assert lab.keys(OFFERS) == lab.keys(NEWS) == {"p0", "p2"}, "the row goes although the status was refused"
    assert lab.rows("SELECT consent FROM quarantine WHERE closed_at IS NULL") == [(1,)]
    for _ in range(3):
        lab.advance(2 * HOUR)
        lab.cycle(wait=False)
    assert lab.rows("SELECT count(*) FROM operation WHERE state = 2 AND class = 0") == [(1,)]
    lab.world.clear_faults()
    lab.advance(2 * HOUR)
    lab.cycle()
    assert lab.status("p1") == "unsubscribed"


def test_an_opt_out_of_somebody_the_provider_has_forgotten_is_no_failure(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.world.act("mc", "delete_subscribers", keys=[lab.ids["p1"]])
    lab.edit("p1", opted_out=1)
    lab.settle()
    assert lab.rows("SELECT * FROM quarantine") == []
    assert lab.rows("SELECT count(*) FROM operation WHERE state < 10") == [(0,)]


def test_one_object_that_is_gone_does_not_stop_the_others(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.world.fault("hide_field", connection="mc", object=NEWS, field="first_name")
    compiled = lab.app.compiled
    assert compiled is not None
    lab.app.store.write(lambda conn: conn.execute("UPDATE object SET name = 'de:GONE' WHERE name = ?", (NEWS,)).rowcount)
    lab.edit("p1", opted_out=1)
    lab.edit("p2", first_name="Other")
    lab.cycle(wait=False)
    assert lab.keys(OFFERS) == {"p0", "p2"}
    assert lab.status("p1") == "unsubscribed"
    assert lab.row(OFFERS, "p2")["first_name"] == "Other"  # type: ignore[index]  # the row is there


def test_a_lost_change_of_nothing_but_the_address_is_sent_again(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.world.fault("lose_request", connection="mc", verb="apply", count=3)
    lab.edit("p1", email="moved@mail.example")
    lab.settle()
    assert "moved" in lab.send(NEWS)
    assert "moved" in lab.send(OFFERS)


def test_a_vendor_that_stays_down_is_left_alone_until_the_next_cycle(lab: Lab) -> None:
    lab.contacts(3)
    lab.link()
    lab.edit("p1", spent="20.00")  # one operation: after each failure nothing is due for a while
    lab.world.fault("outage", connection="mc", verb="apply", count=None)
    lab.world.counters("mc", reset=True)
    report = lab.cycle()
    assert 1 <= lab.world.counters("mc")["apply"] <= 30  # not once a second until the deadline
    assert report.delivered["mc"].error is not None
    assert report.left


@pytest.mark.parametrize("fault", ["throttle", "retry", "outage"])
def test_passing_faults_delay_and_lose_nothing(lab: Lab, fault: str) -> None:
    lab.contacts(5)
    lab.link()
    lab.world.fault(fault, verb="apply", count=2, seconds=3.0)
    lab.edit("p1", opted_out=1)
    lab.edit("p2", first_name="Other")
    lab.settle()
    assert lab.row(NEWS, "p2")["first_name"] == "Other"  # type: ignore[index]  # the row is there
    assert lab.status("p1") == "unsubscribed"


def test_a_listing_that_breaks_goes_on_where_it_was(tmp_path: Path) -> None:
    with Lab(tmp_path, crm={"page_size": 2}) as lab:
        lab.contacts(9)
        lab.world.fault("outage", connection="sf", verb="changes", skip=2)
        report = lab.cycle(deliver=False)
        assert report.plan is None
        assert lab.rows("SELECT count(*) FROM record") == [(4,)]
        plan = lab.cycle(deliver=False).plan
        assert plan is not None
        lab.approve(plan)
        lab.settle()
        assert len(lab.keys(OFFERS)) == 9, "what is found on the second half of a first link is a baseline, too"


# --------------------------------------------------------------------------- order and time

def test_a_ranked_segment_follows_its_order_and_fills_up(lab: Lab) -> None:
    for n, name in enumerate("abcdef"):
        lab.contact(name, spent=f"{n * 10}.00")
    lab.link()
    assert lab.keys(TOP) == {"d", "e", "f"}
    lab.edit("a", spent="55.00")
    lab.cycle()
    assert lab.keys(TOP) == {"a", "e", "f"}
    assert lab.row(TOP, "a")["spent"] == "55.00"  # type: ignore[index]  # the row is there
    lab.unsubscribe("e", "L1")
    lab.cycle()
    assert lab.keys(TOP) == {"a", "d", "f"}
    lab.edit("d", spent="40.00")
    lab.edit("e", spent="41.00")
    lab.cycle()
    assert lab.keys(TOP) == {"a", "d", "f"}
    lab.edit("c", spent="40.00")
    lab.cycle()
    assert lab.keys(TOP) == {"a", "c", "f"}, "equal amounts: who is known for longer comes first"


def test_a_rule_about_time_flips_when_its_instant_comes(tmp_path: Path) -> None:
    text = MAPPING.replace("spent > 100", "vip_until >= today('Europe/Berlin')")
    with Lab(tmp_path, text) as lab:
        lab.contact("ann", vip_until="2025-06-15")
        lab.contact("bob", vip_until="2025-06-17")
        lab.contact("cid")
        lab.link()
        assert lab.keys(RICH) == {"ann", "bob"}
        lab.advance(DAY)
        report = lab.cycle()
        assert (report.people, lab.keys(RICH)) == (1, {"bob"})
        lab.advance(DAY)
        assert lab.cycle().people == 0
        lab.advance(DAY)
        lab.cycle()
        assert lab.keys(RICH) == set()


def partition(lab: Lab) -> dict[str, Any]:
    return {"rich": lab.keys(RICH), "poor": lab.keys(TOP)}


def test_whoever_changes_from_one_segment_to_another_leaves_before_entering(tmp_path: Path) -> None:
    before = MAPPING.index("segments:")
    text = MAPPING[:before] + AGES.lstrip() + MAPPING[MAPPING.index("\ndestinations:"):]
    with Lab(tmp_path, text) as lab:
        lab.contacts(30, spent="50.00")
        lab.link()
        assert partition(lab) == {"rich": set(), "poor": set(lab.ids)}
        lab.edit("p1", spent="500.00")
        lab.cycle()
        order = lab.rows("SELECT kind FROM operation WHERE person = 2"
                         " AND run = (SELECT max(run) FROM operation) ORDER BY id")
        assert order == [("remove",), ("upsert",)]
        assert partition(lab) == {"rich": {"p1"}, "poor": set(lab.ids) - {"p1"}}
        lab.world.fault("outage", connection="mc", verb="apply", object=TOP, count=None)
        lab.edit("p2", spent="500.00")
        lab.cycle(wait=False)
        assert "p2" not in lab.keys(RICH), "the removal has not happened yet"
        lab.world.clear_faults()
        lab.settle()
        assert partition(lab) == {"rich": {"p1", "p2"}, "poor": set(lab.ids) - {"p1", "p2"}}


def test_the_status_is_written_before_the_row_comes(lab: Lab) -> None:
    lab.contacts(2)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.settle()
    lab.advance(HOUR)
    lab.web_opt_in("p1")
    lab.world.fault("outage", connection="mc", verb="apply", object="L1", count=None)
    lab.cycle(wait=False)
    assert "p1" not in lab.keys(OFFERS)
    lab.world.clear_faults()
    lab.settle()
    assert "p1" in lab.send(OFFERS)


def test_restarting_changes_nothing(lab: Lab) -> None:
    lab.contacts(5)
    lab.link()
    lab.reopen()
    lab.written()
    assert done(lab.cycle()) == 0
    assert lab.written() == {"sf": 0, "mc": 0}


def test_a_row_in_quarantine_that_carries_an_opt_out_by_now_says_so(lab: Lab) -> None:
    """It was refused for the same reason as what had been written before."""
    lab.contacts(2)
    lab.link()
    lab.world.fault("reject", connection="mc", keys=[lab.ids["p1"]], count=None)
    lab.edit("p1", first_name="Another")
    lab.cycle()
    known = "SELECT max(consent) FROM quarantine WHERE object = 'de:NEWS' AND closed_at IS NULL"
    assert lab.rows(known) == [(0,)]
    lab.edit("p1", no_news=1)
    lab.cycle()
    assert lab.rows(known) == [(1,)]
