"""What an audit finds written on a side, and takes for nobody's new word."""

from __future__ import annotations

from pathlib import Path

from syncd.desk.audit import REFUSED, Auditor
from tests.system.lab import DAY, HOUR, NEWS, Lab

EVERYBODY = (1, 2, 3)


def audit(lab: Lab) -> Auditor:
    """Everybody is looked at."""
    cycle = lab.app.cycle()
    auditor = Auditor(lab.app.store, cycle.rel, cycle, dict(lab.rows("SELECT id, name FROM connection")))
    auditor.look(EVERYBODY, lab.now())
    return auditor


def test_a_copy_of_what_the_provider_was_told_stays_one(tmp_path: Path) -> None:
    """Connect sets the flag for all mail, whatever somebody left; she goes on getting the rest."""
    with Lab(tmp_path, tracked=["opted_out"]) as lab:
        lab.contacts(3)
        lab.link()
        lab.advance(HOUR)
        lab.unsubscribe("p1", "L1")
        lab.world.act("sf", "edit", object="Contact", id=lab.ids["p1"], by="connect", set={"opted_out": 1})
        for _ in range(2):
            lab.settle()
            assert lab.keys(NEWS) == {"p0", "p1", "p2"}
            found = audit(lab)
            assert (found.findings, found.entries) == ([], 0)
            lab.advance(2 * DAY)
        assert lab.flags("p1")["opted_out"] == 1


def test_what_we_could_not_take_back_is_tried_again_and_no_new_refusal(lab: Lab) -> None:
    """p1 stops news at the provider, which ticks her box; she comes back, and the CRM refuses to untick it."""
    lab.contacts(3)
    lab.link()
    lab.unsubscribe("p1", "L2")
    lab.settle()
    assert lab.flags("p1")["no_news"] == 1
    lab.advance(HOUR)
    lab.world.fault("reject", connection="sf", keys=[lab.ids["p1"]], count=None)
    lab.world.act("mc", "resubscribe", email="p1@mail.example", list="L2")
    lab.settle()
    assert lab.keys(NEWS) == {"p0", "p1", "p2"}
    lab.world.clear_faults()
    found = audit(lab)
    assert ([(f.kind, f.person) for f in found.findings], found.entries) == ([(REFUSED, 2)], 0)
    lab.settle()
    assert lab.keys(NEWS) == {"p0", "p1", "p2"}
    assert lab.flags("p1")["no_news"] == 0
