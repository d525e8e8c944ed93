"""Whole cycles on the world in memory: what a CRM user, a recipient and an admin do, and what is so afterwards."""

from __future__ import annotations

from tests.system.lab import NEWS, OFFERS, RICH, TOP, Lab, done


def test_the_first_run_is_a_plan_and_writes_nothing_not_even_opt_outs(lab: Lab) -> None:
    lab.contact("ann")
    lab.contact("bob", opted_out=1)
    lab.world.act("mc", "import", list="L1", members={lab.ids["bob"]: "bob@mail.example"})
    report = lab.cycle()
    assert report.plan is not None
    assert lab.written() == {"sf": 0, "mc": 0}
    assert {h.cls for h in report.plan.holds} == {"first_plan"}
    assert {(c.sort, c.count) for c in report.plan.counts if c.object == ""} == {("suppress", 1)}
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
