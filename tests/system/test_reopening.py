"""A refusal that comes while our own permitted reopening is still on its way: whoever says no last is not overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.system.lab import HOUR, NEWS, OFFERS, Lab, came_back


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def ticked_again(lab: Lab) -> None:
    """A CRM user stops her once more; she must be out everywhere, and stay so."""
    lab.advance(30)
    lab.edit("p1", no_news=1)
    stays_out(lab)


def stays_out(lab: Lab) -> None:
    lab.cycle(wait=False)
    lab.settle()
    assert lab.flags("p1")["no_news"] == 1
    assert lab.keys(NEWS) == {"p0"}
    assert lab.status("p1", "L2") == "unsubscribed"


@pytest.mark.parametrize("tracked", [(), ("no_news",)], ids=["untracked", "tracked"])
def test_a_tick_after_our_write_whose_reply_was_lost(tmp_path: Path, tracked: tuple[str, ...]) -> None:
    with Lab(tmp_path, tracked=tracked) as lab:
        came_back(lab)
        lab.world.fault("lose_reply", connection="sf", verb="apply", count=1)
        lab.cycle(wait=False)
        assert lab.flags("p1")["no_news"] == 0
        ticked_again(lab)


def test_a_tick_between_our_write_and_its_answer(lab: Lab) -> None:
    came_back(lab)
    tick = {"connection": "sf", "do": "edit", "object": "Contact", "id": lab.ids["p1"], "set": {"no_news": 1}}
    lab.world.fault("act", connection="sf", verb="apply", acts=[tick])
    lab.cycle(wait=False)
    stays_out(lab)


def test_a_tick_after_our_write_left_the_queue_of_the_vendor(tmp_path: Path) -> None:
    with Lab(tmp_path, crm={"asynchronous": ["update"], "late_seconds": 5.0}) as lab:
        came_back(lab)
        lab.cycle(wait=False)
        assert lab.flags("p1")["no_news"] == 1
        lab.advance(10)
        assert lab.flags("p1")["no_news"] == 0
        ticked_again(lab)


@pytest.mark.parametrize("point", ["sealed", "sent"])
def test_a_tick_after_syncd_was_killed_in_the_middle_of_its_write(lab: Lab, point: str) -> None:
    came_back(lab)

    def die(name: str) -> None:
        if name == point:
            raise Killed
    lab.cycle(deliver=False)
    cycle = lab.app.cycle()
    cycle.lanes["sf"].failpoint = die
    with pytest.raises(Killed):
        cycle.lanes["sf"].drain(None)
    lab.reopen()
    ticked_again(lab)


@pytest.mark.parametrize("fault", ["lose_reply", "lose_request"])
def test_without_another_tick_the_box_is_unticked_whatever_was_lost(lab: Lab, fault: str) -> None:
    came_back(lab)
    lab.world.fault(fault, connection="sf", verb="apply", count=2)
    entries = lab.entries()
    lab.settle()
    lab.settle()
    assert lab.entries() == entries + 2, "what she said: a status and an event"
    assert lab.flags("p1")["no_news"] == 0
    assert lab.keys(NEWS) == {"p0", "p1"}


def test_what_cannot_be_read_again_at_once_is_read_again_later(lab: Lab) -> None:
    came_back(lab)
    lab.world.fault("lose_reply", connection="sf", verb="apply", count=1)
    lab.cycle(wait=False)
    lab.advance(30)
    lab.edit("p1", no_news=1)
    lab.cycle(deliver=False)
    lab.world.fault("outage", connection="sf", verb="fetch", skip=1, count=1)  # the first reads back
    lab.settle()
    stays_out(lab)


@pytest.mark.parametrize("fault", ["lose_reply", "lose_request"])
def test_a_status_set_again_by_hand_while_our_reopening_is_unresolved(lab: Lab, fault: str) -> None:
    """The provider's own user stops her, which no event tells."""
    lab.contacts(2)
    lab.link()
    lab.unsubscribe("p1", "L2")
    lab.settle()
    lab.advance(3600)
    grant(lab, "p1")
    lab.world.fault(fault, connection="mc", verb="apply", object="L2", count=1)
    lab.cycle(wait=False)
    lab.advance(30)
    stop: dict[str, Any] = {lab.ids["p1"]: "p1@mail.example"}
    lab.world.act("mc", "import", list="L2", members=stop, status="unsubscribed", origin="user")
    stays_out(lab)


def grant(lab: Lab, name: str) -> None:
    """An admin records that the person wants the news again."""
    from state import statuses
    from state.ledger import NewEntry, Utterance

    [(record, address)] = lab.rows("SELECT id, address FROM record WHERE rid = ?", lab.ids[name])
    head = lab.entries()
    entry = NewEntry(Utterance(None, "admin", "grant", 1, 0, '[["topic","news","opt_in"]]'), record, address, lab.now(),
                     lab.now(), evidence="test", knowledge=head)

    def job(conn: Any) -> None:
        lab.app.store.book.append(conn, [entry], lab.now())
        statuses.mark(conn, [entry])
    lab.app.store.write(job)


@pytest.mark.parametrize("then", ["stopped", "deleted", "opened"])
def test_what_the_provider_no_longer_holds_back_for_bounces_is_mailed_again(lab: Lab, then: str) -> None:
    """Our own stop of all mail took the place of that; or the subscriber was deleted there; or a mail was opened."""
    lab.contacts(2)
    lab.web_opt_in("p1")
    lab.link()
    for _ in range(3):
        lab.world.act("mc", "bounce", email="p1@mail.example")
    lab.settle()
    assert (lab.status("p1"), lab.keys(OFFERS)) == ("held", {"p0"})
    if then == "stopped":
        lab.edit("p1", opted_out=1)
        lab.settle()
        assert lab.status("p1") == "unsubscribed"
        lab.advance(3_600)
        lab.web_opt_in("p1")
    elif then == "deleted":
        lab.world.act("mc", "delete_subscribers", keys=[lab.ids["p1"]])
    else:
        lab.world.act("mc", "open", email="p1@mail.example")
    lab.cycle(full=True)
    lab.settle()
    assert lab.keys(OFFERS) == {"p0", "p1"}
    assert lab.send(OFFERS) == {"p0", "p1"}


# --------------------------------------------------------------------------- back to one topic, out of another

def changed_her_mind(lab: Lab) -> None:
    """p1, who had left news by the box in the CRM, comes back to news and leaves offers, both at the provider."""
    came_back(lab)
    lab.unsubscribe("p1", "L1")


def boxes(lab: Lab) -> tuple[int, int]:
    return lab.flags("p1")["no_news"], lab.flags("p1")["offers"]


def test_both_are_written_to_one_record(lab: Lab) -> None:
    changed_her_mind(lab)
    lab.cycle()
    assert boxes(lab) == (0, 0)


def test_the_refusal_waits_for_nothing_that_the_other_waits_for(lab: Lab) -> None:
    changed_her_mind(lab)
    lab.cycle(deliver=False)
    lab.advance(2 * HOUR)  # what was read is too old by now for anything but refusals
    lab.app.cycle().deliver(None, wait=False)
    assert boxes(lab) == (1, 0)
    lab.settle()
    assert boxes(lab) == (0, 0)


def test_the_refusal_is_written_again_where_the_crm_does_not_take_it(lab: Lab) -> None:
    changed_her_mind(lab)
    lab.world.fault("reject", connection="sf", keys=[lab.ids["p1"]], count=None)
    lab.cycle()
    assert boxes(lab) == (1, 1)
    lab.world.clear_faults()
    lab.advance(2 * HOUR)
    lab.settle()
    assert boxes(lab) == (0, 0)


@pytest.mark.parametrize("late", [None, "events", "list:L1"], ids=["read at once", "statuses first", "events first"])
def test_who_is_stopped_again_at_the_provider_after_coming_back_there_stays_out(lab: Lab, late: str | None) -> None:
    """The status looks as before; its date tells that it is not the opt-out she took back."""
    lab.contacts(2)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.cycle()
    lab.advance(HOUR)
    lab.world.act("mc", "resubscribe", email="p1@mail.example", list="L1")
    lab.advance(30)
    if late is not None:
        lab.world.fault("outage", connection="mc", object=late, count=None)
    if late == "list:L1":
        lab.cycle()
    members = {lab.ids["p1"]: "p1@mail.example"}
    lab.world.act("mc", "import", list="L1", members=members, status="unsubscribed", origin="user")
    lab.cycle()
    lab.world.clear_faults()
    lab.settle()
    assert lab.keys(OFFERS) == {"p0"}
    assert lab.status("p1", "L1") == "unsubscribed"
    assert lab.flags("p1")["offers"] == 0
