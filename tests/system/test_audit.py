"""What an audit finds written on a side, and takes for nobody's new word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from connectors.memory.client import fields
from syncd.desk import grants
from syncd.desk.audit import REFUSED, Auditor
from tests.system.lab import AUDIENCES, DAY, HOUR, NEWS, OFFERS, SHARED, Lab, couple, separate

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


def test_who_stopped_all_mail_is_off_every_list_and_that_is_no_disagreement(tmp_path: Path) -> None:
    """A provider takes her off its lists then. The same lists are one where the state knows of no such stop."""
    with Lab(tmp_path, esp={"flip": True}) as lab:
        lab.contacts(3)
        lab.link()
        lab.advance(HOUR)
        lab.unsubscribe("p1")
        lab.settle()
        assert [lab.status("p1", name) for name in ("L1", "L2")] == ["unsubscribed"] * 2
        assert audit(lab).findings == []
        lab.app.store.write(lambda conn: conn.execute(
            "UPDATE decision SET master = 0 WHERE person = 2").rowcount)  # as if the stop had been lost
        assert {(f.kind, f.person, f.where) for f in audit(lab).findings} >= {(REFUSED, 2, "L1"), (REFUSED, 2, "L2")}


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


SECOND = """\
  mc2:
    connection: mc2
    subscriber_key: {value: crm_id, existing: match_email}
    unknown_subscriber: skip
""" + AUDIENCES


def second(lab: Lab) -> None:
    lab.world.create_esp("mc2", ["L1", "L2"], {
        OFFERS: {"fields": fields("first_name"), "list": "L1"}, NEWS: {"fields": fields("first_name"), "list": "L2"}})
    lab.roles["mc2"] = "esp"


def test_our_own_stop_at_one_of_two_accounts_with_the_same_subscribers_is_nobodys_word_at_the_other(tmp_path: Path) -> None:
    """Eva refuses, so nobody is mailed at Tom's address, which is hers: his subscriber is stopped through the first account.
    The second takes nothing for the moment, and shows what the first was told. It was a mistake; before that is made good,
    an audit looks."""
    with Lab(tmp_path, separate() + SECOND, build=second) as lab:
        couple(lab)
        lab.link()
        lab.world.send("mc2", NEWS)
        lab.settle()
        lab.world.fault("outage", connection="mc2", verb="apply", count=None)
        lab.edit("eva", opted_out=1)
        lab.cycle(wait=False)
        lab.world.act("mc2", "import", list="", origin="api", status="unsubscribed",
                      members={lab.ids[name]: SHARED for name in ("eva", "tom")})
        lab.advance(1)
        lab.cycle(wait=False)
        lab.world.fault("outage", connection="mc", verb="apply", count=None)
        lab.edit("eva", opted_out=0)
        [(said,)] = lab.rows("SELECT max(position) FROM entry")
        grants.retract(lab.app.store, said, evidence="a mistake", by="Ann", now=lab.now())
        lab.cycle(wait=False)
        cycle = lab.app.cycle()
        shared = replace(cycle.rel, containers=tuple(replace(c, account="E") for c in cycle.rel.containers))
        auditor = Auditor(lab.app.store, shared, cycle, dict(lab.rows("SELECT id, name FROM connection")))
        auditor.look(EVERYBODY, lab.now())
        assert (auditor.findings, auditor.entries) == ([], 0)
        lab.advance(HOUR)
        lab.world.act("mc2", "import", list="", origin="api", status="unsubscribed", members={lab.ids["tom"]: SHARED})
        auditor.look(EVERYBODY, lab.now())
        assert {f.person for f in auditor.findings} == {2}, "what is done there afterwards is none of ours"
