"""What the world in memory promises beyond the conformance suite: its people, its sends, its late requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors.memory import World
from syncd.model import Batch, Op, StreamSpec
from tests.unit.memory_lab import CONTACTS, START, crm, esp, everything, states, status, upsert

LIST, MASTER, EVENTS = (StreamSpec("list:4711", "status", container="4711"),
                        StreamSpec("subscribers", "status", container=""), StreamSpec("events", "event"))


@pytest.fixture
def world() -> Iterator[World]:
    with World.start(seed=3, start=START) as world:
        yield world


# --------------------------------------------------------------------------- sends

def test_a_send_mails_exactly_whom_the_vendor_would(world: World) -> None:
    esp(world, hold_after=1)
    mc = world.connector("mc")
    mc.apply(upsert("fine", "listed-out", "all-out", "held", "blocked", "new"))
    for key in ("fine", "listed-out", "all-out", "held", "blocked"):
        world.act("mc", "import", list="4711", members={key: f"{key}@mail.example"})
    world.act("mc", "unsubscribe", email="listed-out@mail.example", list="4711")
    world.act("mc", "unsubscribe", email="all-out@mail.example")
    world.act("mc", "bounce", email="held@mail.example")
    world.act("mc", "suppress", email="BLOCKED@mail.example")
    sent = world.send("mc", "de:OFFERS")
    assert sorted(sent["mailed"]) == ["fine@mail.example", "new@mail.example"]
    assert sent["skipped"] == {"list_unsubscribed": 1, "master_unsubscribed": 1, "held": 1, "address_blocked": 1}
    [new] = [row for row in everything(mc.changes(LIST, None)) if row[1] == "new"]
    assert (new[3], new[5]) == ("subscribed", "send"), "the send made a member of someone nobody had asked"
    transactional = world.send("mc", "de:OFFERS", classification="transactional")
    assert len(transactional["mailed"]) == 5
    assert transactional["skipped"] == {"held": 1}
    assert len(world.truth()["mc"]["mails"]) == 7


def test_an_unsubscribe_by_the_link_of_a_mail_concerns_its_key_and_its_list(world: World) -> None:
    esp(world)
    mc = world.connector("mc")
    same = {key: {"email": "same@mail.example"} for key in ("one", "two")}
    world.act("mc", "write_rows", audience="de:OFFERS", rows=same)
    send = world.send("mc", "de:OFFERS")
    assert world.act("mc", "unsubscribe", email="same@mail.example", send=send["id"])["keys"] == ["two"]
    rows = {row[1]: row for row in everything(mc.changes(LIST, None))}
    assert (rows["one"][3], rows["two"][3]) == ("subscribed", "unsubscribed")
    [event] = everything(mc.changes(EVENTS, None))
    assert event[1:6] == ("unsubscribe", "4711", send["id"], "two", "same@mail.example")
    assert world.send("mc", "de:OFFERS")["mailed"] == ["same@mail.example"]


def test_an_esp_may_block_more_than_its_event_says(world: World) -> None:
    esp(world, widen=True)
    world.act("mc", "import", list="4711", members={"k": "k@mail.example"})
    world.act("mc", "unsubscribe", email="k@mail.example", list="4711")
    mc = world.connector("mc")
    assert everything(mc.changes(EVENTS, None))[0][2] == "4711"
    assert everything(mc.changes(MASTER, None))[0][3] == "unsubscribed"


def test_dedupe_mails_an_address_once(world: World) -> None:
    esp(world, dedupe=True)
    world.act("mc", "write_rows", audience="de:OFFERS",
              rows={"a": {"email": "x@mail.example"}, "b": {"email": "X@mail.example"}})
    assert world.send("mc", "de:OFFERS")["skipped"] == {"duplicate": 1}


# --------------------------------------------------------------------------- statuses

def test_address_only_statements_have_no_key_and_can_be_lifted_by_the_person(world: World) -> None:
    esp(world)
    world.act("mc", "import", list="", members={"k": "k@mail.example"})
    world.act("mc", "unsubscribe", email="k@mail.example", keyed=False)
    mc = world.connector("mc")
    row = everything(mc.changes(MASTER, None))[-1]
    assert row[1:4] == (None, "k@mail.example", "unsubscribed")
    assert everything(mc.changes(EVENTS, None))[0][4] is None
    assert mc.fetch(MASTER, ["k@mail.example"]).rows == [row]
    assert world.truth()["mc"]["blocked"] == ["k@mail.example"]
    world.act("mc", "resubscribe", email="k@mail.example")
    assert world.truth()["mc"]["blocked"] == []


def test_bounces_lead_to_held_and_an_open_back_but_never_over_an_opt_out(world: World) -> None:
    esp(world, hold_after=2)
    world.act("mc", "import", list="", members={"k": "k@mail.example", "o": "o@mail.example"})
    world.act("mc", "unsubscribe", email="o@mail.example")
    seen = []
    for do in ("bounce", "bounce", "open"):
        world.act("mc", do, email="k@mail.example")
        world.act("mc", do, email="o@mail.example")
        seen.append([s["status"] for s in world.truth()["mc"]["subscribers"]])
    assert seen == [["bounced", "unsubscribed"], ["held", "unsubscribed"], ["subscribed", "unsubscribed"]]


def test_a_complaint_and_a_confirmation_arrive_with_their_origin(world: World) -> None:
    esp(world)
    world.act("mc", "import", list="4711", members={"p": "p@mail.example", "c": "c@mail.example"}, status="pending")
    assert world.act("mc", "confirm", email="p@mail.example", list="4711") == {"changed": 1}
    world.act("mc", "complain", email="c@mail.example")
    mc = world.connector("mc")
    assert {row[1]: row[3:6:2] for row in everything(mc.changes(LIST, None))} == {
        "p": ("subscribed", "person"), "c": ("pending", "import")}
    assert [row[1] for row in everything(mc.changes(EVENTS, None))] == ["resubscribe", "complaint"]


def test_the_api_that_resubscribes_an_opted_out_member_is_counted(world: World) -> None:
    esp(world)
    mc = world.connector("mc")
    assert states(mc.apply(status("unsubscribed", "k"))) == ["rejected"]
    assert states(mc.apply(status("unsubscribed", "k", create=1))) == ["done"]
    mc.apply(upsert("k"))
    assert world.counters("mc")["resubscribed"] == 0
    mc.apply(status("subscribed", "k", "k"))
    assert world.counters("mc")["resubscribed"] == 1


def test_removing_members_and_deleting_subscribers_forgets_opt_outs(world: World) -> None:
    esp(world)
    members = {"a": "a@mail.example", "b": "b@mail.example"}
    world.act("mc", "import", list="4711", members=members, status="unsubscribed")
    world.act("mc", "remove_members", list="4711", keys=["a"])
    world.act("mc", "delete_subscribers", keys=["b"])
    mc = world.connector("mc")
    assert everything(mc.changes(LIST, None)) == []
    assert [row[1] for row in everything(mc.changes(MASTER, None))] == ["a"]


# --------------------------------------------------------------------------- the CRM's people

def test_merges_conversions_and_undeletes(world: World) -> None:
    crm(world)
    one, two = world.load("sf", "Contact", [{"email": "one@mail.example"}, {"email": "two@mail.example"}])
    [lead] = world.load("sf", "Lead", [{"email": "lead@mail.example", "first_name": "Lea"}])
    sf = world.connector("sf")
    world.act("sf", "merge", object="Contact", id=one, into=two, set={"first_name": "Kept"})
    made = world.act("sf", "convert", object="Lead", id=lead, to="Contact")["id"]
    rows = {row[0]: row for row in everything(sf.changes(CONTACTS, None))}
    assert rows[one][2:4] == (1, two)
    assert rows[two][5] == "Kept"
    assert rows[made][4:6] == ("lead@mail.example", "Lea")
    assert everything(sf.changes(StreamSpec("Lead"), None)) == [(lead, START, 1, made)]
    world.act("sf", "undelete", object="Contact", id=one)
    assert sf.fetch(CONTACTS, [one]).rows[0][2:4] == (0, None)


def test_tracked_fields_keep_history_with_who_did_it(world: World) -> None:
    crm(world)
    [id] = world.load("sf", "Contact", [{"email": "one@mail.example", "opted_out": 0}])
    sf = world.connector("sf")
    world.act("sf", "mass_edit", object="Contact", where={"email": "one@mail.example"}, set={"opted_out": 1})
    world.tick(seconds=60)
    batch = Batch("update", "Contact", ("opted_out", "last_name"), [Op(1, id, None, (0, "X"))])
    assert states(sf.apply(batch)) == ["done"]
    [feed] = sf.feeds([])
    assert everything(sf.changes(feed, None)) == [
        (id, "opted_out", "0", "1", START, "import"), (id, "opted_out", "1", "0", START + 60_000_000, "self")]


def test_a_change_that_becomes_visible_late_keeps_its_number_and_is_not_lost(world: World) -> None:
    crm(world, visible_after_ticks=1)
    [id] = world.load("sf", "Contact", [{"email": "one@mail.example"}])
    sf = world.connector("sf")
    [empty] = sf.changes(CONTACTS, None)
    assert empty.rows == []
    world.tick()
    world.act("sf", "edit", object="Contact", id=id, set={"first_name": "New"})
    [page] = sf.changes(CONTACTS, empty.cursor)
    assert page.rows[0][5] is None, "the edit's transaction is still open"
    world.tick()
    [page] = sf.changes(CONTACTS, page.cursor)
    assert page.rows[0][5] == "New"


def test_invented_people_are_messy_and_the_same_for_a_seed() -> None:
    truths = []
    for seed in (5, 5, 6):
        with World.start(seed=seed, start=START) as world:
            crm(world)
            world.people("sf", "Contact", 300, flags={"opted_out": 0.1})
            truths.append(world.truth()["sf"]["people"])
            digest = world.digest()
            assert len(digest) == 64
    assert truths[0] == truths[1] != truths[2]
    emails = [person["email"] for person in truths[0]]
    assert None in emails
    assert len(set(emails)) < len(emails)
    assert 10 < sum(person["opted_out"] for person in truths[0]) < 60


# --------------------------------------------------------------------------- requests that are carried out later

def test_an_accepted_request_is_pending_until_its_time_and_forgotten_after_a_restart(world: World) -> None:
    esp(world, asynchronous=["upsert"], late_ticks=2)
    mc = world.connector("mc")
    [outcome] = mc.apply(upsert("k"))
    assert outcome.state == "accepted"
    request = str(outcome.request_id)
    world.tick()
    assert mc.settle(request, upsert("k")) is None
    world.tick()
    assert states(mc.settle(request, upsert("k"))) == ["done"]
    world.act("mc", "forget_requests")
    assert states(mc.settle(request, upsert("k"))) == ["unknown"]


@pytest.mark.parametrize("option", [{"late_polls": 2}, {"late_seconds": 5.0}])
def test_a_request_may_wait_for_polls_or_for_seconds(world: World, option: dict[str, Any]) -> None:
    esp(world, asynchronous=["upsert"], **option)
    mc = world.connector("mc")
    [outcome] = mc.apply(upsert("k"))
    assert mc.settle(str(outcome.request_id), upsert("k")) is None
    if "late_seconds" in option:
        world.tick(seconds=5)
    assert states(mc.settle(str(outcome.request_id), upsert("k"))) == ["done"]


def test_reordered_requests_let_an_older_write_win() -> None:
    last = set()
    for seed in range(6):
        with World.start(seed=seed) as world:
            esp(world, asynchronous=["upsert"], late_ticks=1, reorder=True)
            mc = world.connector("mc")
            for text in ("first", "second"):
                mc.apply(upsert("k", text=text))
            world.tick()
            last.add(world.truth()["mc"]["audiences"]["de:OFFERS"]["rows"][0]["FirstName"])
    assert last == {"first", "second"}
