"""A CRM that keeps field history: when a flag was set, and whether somebody meant it or Connect only copied it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.lab import HOUR, NEWS, OFFERS, Lab

MINUTE = 60.0


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path, tracked=("opted_out", "offers")) as found:
        found.contacts(3)
        found.link()
        yield found


def echo(lab: Lab, name: str) -> None:
    """Marketing Cloud Connect ticks the master box."""
    lab.world.act("sf", "edit", object="Contact", id=lab.ids[name], by="connect", set={"opted_out": 1})


def newest(lab: Lab) -> tuple[object, ...]:
    """(what was said, from, to, evidence) of the ledger's last entry."""
    return lab.rows("SELECT u.said, e.said_lo, e.said_hi, e.evidence FROM entry e"
                    " JOIN utterance u ON u.id = e.utterance ORDER BY e.position DESC LIMIT 1")[0]


def test_a_flag_was_set_when_history_says_so(lab: Lab) -> None:
    lab.advance(HOUR)
    at = lab.now()
    lab.edit("p1", opted_out=1)
    lab.advance(HOUR)
    lab.edit("p1", first_name="Other")  # the record's own time of change is later
    lab.cycle()
    assert newest(lab) == ('[["master",null,"opt_out"]]', at, at, "history:user")
    assert lab.keys(NEWS) == {"p0", "p2"}


def test_a_field_without_history_was_set_since_the_last_poll(lab: Lab) -> None:
    lab.advance(HOUR)
    lab.cycle()
    before = lab.now()
    lab.advance(HOUR)
    lab.edit("p1", no_news=1)
    lab.advance(HOUR)
    lab.cycle()
    assert newest(lab) == ('[["topic","news","opt_out"]]', before, lab.now() - int(HOUR * 1e6), None)


def test_coming_back_after_a_tick_that_is_read_later_works(lab: Lab) -> None:
    """The call centre unticks the box, she clicks "resubscribe" two hours later, a colleague corrects her name, and all is
    read together. The box's interval alone could not tell which of the first two was first."""
    lab.unsubscribe("p1", "L1")
    lab.cycle()
    lab.edit("p1", offers=1)
    lab.cycle()
    lab.advance(HOUR)
    lab.edit("p1", offers=0)
    lab.advance(2 * HOUR)
    lab.world.act("mc", "resubscribe", email="p1@mail.example", list="L1")
    lab.advance(HOUR)
    lab.edit("p1", first_name="Other")
    lab.settle()
    assert "p1" in lab.keys(OFFERS)


def test_a_topic_unsubscribe_that_connect_echoes_stays_one(lab: Lab) -> None:
    lab.unsubscribe("p1", "L1")
    echo(lab, "p1")
    report = lab.cycle()
    assert len(report.pulled.requests.echoes) == 1
    assert (lab.keys(OFFERS), lab.keys(NEWS)) == ({"p0", "p2"}, {"p0", "p1", "p2"})
    assert lab.status("p1") == "subscribed"
    lab.advance(HOUR)  # its original is known, so it never counts for itself
    lab.settle()
    lab.edit("p1", first_name="Other")
    lab.settle()
    assert lab.flags("p1")["opted_out"] == 1
    assert "p1" in lab.send(NEWS)


def test_an_echo_that_comes_before_its_original_waits_for_it(lab: Lab) -> None:
    echo(lab, "p1")
    lab.cycle()
    lab.advance(5 * MINUTE)
    lab.unsubscribe("p1", "L1")
    lab.settle()
    lab.advance(HOUR)
    lab.settle()
    assert (lab.keys(OFFERS), lab.keys(NEWS)) == ({"p0", "p2"}, {"p0", "p1", "p2"})


def test_an_echo_of_nothing_counts_for_itself(lab: Lab) -> None:
    """She unsubscribed in a business unit that nobody reads."""
    at = lab.now()
    echo(lab, "p1")
    lab.cycle()
    assert "p1" in lab.keys(NEWS)
    lab.advance(HOUR)
    lab.world.fault("outage", connection="mc", verb="changes", count=None)
    lab.cycle()
    assert "p1" in lab.keys(NEWS), "the provider may still tell what it was"
    lab.world.clear_faults()
    lab.settle()
    assert lab.keys(OFFERS) == lab.keys(NEWS) == {"p0", "p2"}
    assert lab.status("p1") == "unsubscribed"
    assert lab.rows("SELECT e.said_hi, e.evidence FROM entry e ORDER BY position DESC LIMIT 1") == [(at, "history:connect")]
    assert lab.entries()


def test_without_history_connect_is_taken_at_its_word(tmp_path: Path) -> None:
    with Lab(tmp_path) as lab:
        lab.contacts(3)
        lab.link()
        lab.unsubscribe("p1", "L1")
        echo(lab, "p1")
        lab.settle()
        assert lab.keys(OFFERS) == lab.keys(NEWS) == {"p0", "p2"}
        assert lab.status("p1") == "unsubscribed"


def test_the_box_that_connect_ticked_is_left_alone_until_the_person_comes_back(lab: Lab) -> None:
    """She once left everything and came back, so a ticked box would be unticked; but not one that Connect ticks again for
    each topic she leaves."""
    lab.unsubscribe("p1")
    lab.cycle()
    lab.advance(HOUR)
    lab.world.act("mc", "resubscribe", email="p1@mail.example", list="")
    lab.settle()
    assert lab.flags("p1")["opted_out"] == 0
    lab.advance(HOUR)
    lab.unsubscribe("p1", "L1")
    echo(lab, "p1")
    lab.written()
    lab.settle()
    assert lab.flags("p1")["opted_out"] == 1
    assert lab.written()["sf"] == 1, "the topic's own box, and nothing else"
    assert "p1" in lab.send(NEWS)
    lab.advance(HOUR)
    lab.unsubscribe("p1")
    lab.cycle()
    lab.advance(HOUR)
    lab.world.act("mc", "resubscribe", email="p1@mail.example", list="")
    lab.settle()
    assert lab.flags("p1")["opted_out"] == 0


def test_a_persons_tick_does_not_hide_behind_an_echo_of_the_same_box(lab: Lab) -> None:
    lab.unsubscribe("p1", "L1")
    lab.advance(HOUR)
    lab.edit("p1", opted_out=1)
    lab.edit("p1", opted_out=0)
    echo(lab, "p1")
    lab.cycle()
    assert lab.status("p1") == "unsubscribed"
    assert lab.keys(NEWS) == {"p0", "p2"}


def test_a_user_who_ticks_an_echoed_box_anew_means_it(lab: Lab) -> None:
    lab.unsubscribe("p1", "L1")
    echo(lab, "p1")
    lab.settle()
    lab.edit("p1", opted_out=0)
    lab.settle()
    assert lab.flags("p1")["opted_out"] == 0
    assert lab.rows("SELECT * FROM echo") == []
    lab.advance(HOUR)
    lab.edit("p1", opted_out=1)
    lab.settle()
    assert lab.keys(NEWS) == {"p0", "p2"}


def test_our_own_write_that_was_never_acknowledged_is_nobodys_word(lab: Lab) -> None:
    entries = lab.entries()
    for value in (1, 0):
        lab.world.act("sf", "edit", object="Contact", id=lab.ids["p1"], by="self", set={"opted_out": value, "offers": value})
        report = lab.cycle()
        assert not report.pulled.requests.found
    assert lab.entries() == entries
    assert lab.rows("SELECT * FROM echo") == []
    assert lab.keys(OFFERS) == lab.keys(NEWS) == {"p0", "p1", "p2"}


def test_a_quiet_poll_asks_for_no_history(lab: Lab) -> None:
    lab.edit("p0", first_name="Other")
    lab.world.counters("sf", reset=True)
    lab.cycle()
    assert "fetch" not in lab.world.counters("sf")
    lab.edit("p1", opted_out=1)
    lab.cycle()
    assert lab.world.counters("sf")["fetch"] == 1


def test_while_the_history_cannot_be_read_neither_is_the_record(lab: Lab) -> None:
    lab.unsubscribe("p1", "L1")
    echo(lab, "p1")
    lab.world.fault("outage", connection="sf", verb="fetch", count=1)
    assert "sf.Contact" in lab.cycle().pulled.failed
    lab.settle()
    assert (lab.keys(OFFERS), lab.keys(NEWS)) == ({"p0", "p2"}, {"p0", "p1", "p2"})


def test_a_mass_update_is_read_without_histories(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.history.MOST", 1)
    lab.edit("p0", opted_out=1)
    lab.edit("p1", opted_out=1)
    lab.cycle()
    assert lab.keys(NEWS) == {"p2"}
    assert newest(lab)[3] is None
