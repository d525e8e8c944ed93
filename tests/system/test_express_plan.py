"""What the express way queues: opt-outs and nothing else, and none that a person still has to judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import structlog

from connectors.memory.connector import MemoryConnector
from syncd import inbox, normalise
from syncd.cycle import Cycle
from syncd.express import Express
from syncd.model import Notice, Value
from tests.system.lab import MAPPING, NEWS, OFFERS, SHARED, Lab, couple, separate


def suppress(lab: Lab, cycle: Cycle, *names: str) -> dict[str, set[tuple[str, str, str]]]:
    """Decide people out of turn: what is queued for each, as (object, kind, values)."""
    people = {name: lab.rows("SELECT r.person FROM record r JOIN address a ON a.id = r.address WHERE a.email = ?",
                             f"{name}@mail.example")[0][0] for name in names}
    cycle.decider.suppress(list(people.values()), lab.now(), cycle.leave)
    return {name: set(lab.rows(
        "SELECT b.name, o.kind, o.payload FROM operation o JOIN object b ON b.id = o.object WHERE o.state = 2 AND"
        " o.person = ?", person)) for name, person in people.items()}


def pulled(lab: Lab) -> Cycle:
    """What a cycle reads, and nothing decided by it yet."""
    cycle = lab.app.cycle()
    cycle.puller.run(cycle.feeds, lab.now())
    return cycle


def resolve(connector: MemoryConnector, notices: Sequence[Notice]) -> list[tuple[Value, ...] | None]:
    """Each notice is one that its address left the list of news."""
    return [("event-1", "unsubscribe", "L2", None, n.key or n.email, n.email, n.at, None) for n in notices]


def webhook(lab: Lab, monkeypatch: pytest.MonkeyPatch, name: str) -> Express:
    """The provider tells that somebody left the list of news; what the express way does about it at once is done."""
    monkeypatch.setattr(MemoryConnector, "resolve", resolve, raising=False)
    [(mc,)] = lab.rows("SELECT id FROM connection WHERE name = 'mc'")
    inbox.receive(lab.app.store, normalise.hasher(lab.policy.hash_key), mc, b"{}",
                  [Notice("unsubscribe", lab.now(), key=lab.ids[name], email=f"{name}@mail.example")], lab.now(), 5.0)
    express = Express(lab.app, structlog.wrap_logger(structlog.ReturnLogger()))
    express.turn()
    for courier in express.couriers.values():
        courier.send()
    return express


def test_only_suppressions_are_queued_and_the_cycle_does_the_rest(lab: Lab) -> None:
    lab.contacts(6)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.edit("p1", first_name="Another")  # wants to be written to the row in the other audience
    lab.edit("p2", first_name="Other")
    queued = suppress(lab, pulled(lab), "p1", "p2")
    assert {(name, kind) for name, kind, _ in queued["p1"]} >= {(OFFERS, "remove"), ("Contact", "update")}
    assert not any(kind == "upsert" for _, kind, _ in queued["p1"])
    assert queued["p2"] == set()
    assert lab.rows("SELECT count(*) FROM operation WHERE state < 2") == [(0,)]
    lab.settle()
    assert "p1" not in lab.keys(OFFERS)
    assert [(lab.row(NEWS, name) or {})["first_name"] for name in ("p1", "p2")] == ["Another", "Other"]


def test_a_cycle_that_decides_the_people_again_keeps_what_was_queued_in_the_queue(lab: Lab) -> None:
    """Deciding takes minutes where there are many people, and only then is released what it planned."""
    lab.contacts(6)
    lab.link()
    lab.unsubscribe("p1", "L1")
    lab.edit("p2", opted_out=1)
    cycle = pulled(lab)
    queued = suppress(lab, cycle, "p1")
    cycle.decider.people(lab.now())
    cycle.decider.wishes(1, lab.now())
    planned = "SELECT b.name, o.kind FROM operation o JOIN object b ON b.id = o.object WHERE o.state = {} AND o.class = 0"
    assert queued["p1"]
    assert set(lab.rows(planned.format(2))) == {(name, kind) for name, kind, _ in queued["p1"]}
    assert lab.rows(planned.format(0))  # of p2 the guard has still to hear


def test_nothing_is_queued_where_no_plan_was_ever_approved(lab: Lab) -> None:
    lab.contacts(6, no_news=1)
    before = lab.cycle().plan
    cycle = lab.app.cycle()
    queued = suppress(lab, cycle, "p1", "p2")
    assert queued == {"p1": set(), "p2": set()}
    after = lab.cycle().plan
    assert before is not None
    assert after is not None
    assert after.id == before.id


def test_a_burst_that_nobody_has_judged_is_not_let_out(lab: Lab) -> None:
    """Everyone's box is ticked by a data load; only what p1 did herself is written to the other side. Rows leave."""
    lab.contacts(60)
    lab.link()
    lab.world.act("sf", "mass_edit", object="Contact", where={}, set={"opted_out": 1})
    lab.unsubscribe("p1", "L2")
    cycle = pulled(lab)
    queued = suppress(lab, cycle, "p1", "p2")
    assert {kind for _, kind, _ in queued["p2"]} == {"remove"}
    assert {name for name, kind, _ in queued["p1"] if kind == "status"} <= {"L2"}
    assert ("Contact", "update") in {(name, kind) for name, kind, _ in queued["p1"]}
    lab.cycle()
    assert lab.hold("burst").operations > 0
    held = suppress(lab, lab.app.cycle(), "p3")
    assert {kind for _, kind, _ in held["p3"]} <= {"remove"}


def test_who_was_forgotten_since_the_mapping_was_compiled_is_a_hash_here_too(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The express way keeps its cycle as long as the mapping. The provider knows her for a while yet, by her address."""
    monkeypatch.setattr(MemoryConnector, "resolve", resolve, raising=False)
    address = "p1@mail.example"
    with Lab(tmp_path, MAPPING.replace("value: crm_id", "value: email")) as lab:
        lab.contacts(2)
        lab.link()
        assert lab.app.compiled is not None
        kept, hashed = lab.app.cycle_of(lab.app.compiled), normalise.hasher(lab.policy.hash_key)
        lab.app.store.write(lambda conn: conn.execute(
            "UPDATE address SET email = NULL, forgotten = ? WHERE hash = ?", (lab.now(), hashed(address))).rowcount)
        [(mc,)] = lab.rows("SELECT id FROM connection WHERE name = 'mc'")
        inbox.receive(lab.app.store, hashed, mc, b"{}", [Notice("unsubscribe", lab.now(), email=address)], lab.now(), 5.0)
        assert kept.inbox.run(lab.now()).entries == 1
        assert lab.rows("SELECT email FROM address WHERE hash = ?", hashed(address)) == [(None,)]
        assert lab.rows("SELECT key FROM entry WHERE key LIKE '%@%'") == []


def test_whom_a_cycle_was_quicker_to_look_up_the_express_way_decides_all_the_same(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cycle looks up what waits when it begins, and decides when everything is read: that may be hours later."""
    monkeypatch.setattr(MemoryConnector, "resolve", resolve, raising=False)
    with Lab(tmp_path, MAPPING) as lab:
        lab.contacts(2)
        lab.link()
        assert lab.app.compiled is not None
        cycle, express = (lab.app.cycle_of(lab.app.compiled) for _ in range(2))
        [(mc,)] = lab.rows("SELECT id FROM connection WHERE name = 'mc'")
        inbox.receive(lab.app.store, normalise.hasher(lab.policy.hash_key), mc, b"{}",
                      [Notice("unsubscribe", lab.now(), email="p1@mail.example")], lab.now(), 5.0)
        found = cycle.inbox.run(lab.now())
        assert len(found.people) == 1
        assert express.inbox.run(lab.now(), express=True).people == found.people
        assert express.inbox.run(lab.now(), express=True).people == set()


def test_the_row_of_whom_a_record_parted_from_leaves_its_address(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cycle has planned where the row goes, and not sent it: whoever has the address refuses now."""
    for name in ("ann", "bob"):
        lab.contact(name)
    lab.cycle(deliver=False)
    lab.world.act("sf", "merge", object="Contact", id=lab.ids["ann"], into=lab.ids["bob"])
    lab.link()
    assert (lab.row(NEWS, "ann") or {})["email"] == "bob@mail.example"
    lab.world.act("sf", "undelete", object="Contact", id=lab.ids["ann"])
    lab.cycle(deliver=False)
    webhook(lab, monkeypatch, "bob")
    assert "bob@mail.example" not in {r["email"] for r in lab.world.truth()["mc"]["audiences"][NEWS]["rows"]}
    lab.settle()
    assert lab.keys(NEWS) == {"ann"}


def test_whom_a_reading_was_quicker_to_hear_of_the_express_way_decides_all_the_same(
        lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cycle has read the event that the webhook tells, and goes on reading for hours before it decides."""
    lab.contacts(2)
    lab.link()
    lab.unsubscribe("p1", "L2")
    pulled(lab)
    entries = lab.entries()
    webhook(lab, monkeypatch, "p1")
    assert lab.entries() == entries
    assert lab.keys(NEWS) == {"p0"}


def test_who_shares_an_address_with_whoever_leaves_under_another_gets_no_mail_there(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """She left by a mail to the address that she had until a moment ago."""
    with Lab(tmp_path, separate()) as lab:
        couple(lab, first_name="Tom")
        lab.link()
        lab.edit("ann", email=SHARED)
        lab.settle()
        assert lab.keys(NEWS) == {"ann", "eva", "tom"}
        webhook(lab, monkeypatch, "ann")
        assert lab.keys(NEWS) == set()


def test_who_shares_it_and_has_something_in_flight_is_looked_at_again(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Her row goes at once; what was on its way when she left would put it there again."""
    with Lab(tmp_path, separate(), esp={"asynchronous": ["upsert"], "late_seconds": 30.0}) as lab:
        couple(lab, first_name="Tom")
        lab.link()
        lab.edit("ann", email=SHARED)
        lab.settle()
        lab.edit("tom", first_name="Thomas")
        lab.cycle(wait=False)
        assert lab.rows("SELECT count(*) FROM operation WHERE state = 3") != [(0,)]
        express = webhook(lab, monkeypatch, "ann")
        lab.advance(60)
        lab.app.cycle().deliver(None, wait=False)
        assert express.turn() is None
        for courier in express.couriers.values():
            courier.send()
        assert lab.keys(NEWS) == set()


def test_the_row_of_whom_was_merged_leaves_with_the_address_it_stands_at(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cycle has identified her as ann, and not sent the removal: her mailbox refuses now."""
    for name in ("ann", "cleo"):
        lab.contact(name)
    lab.link()
    lab.world.act("sf", "merge", object="Contact", id=lab.ids["cleo"], into=lab.ids["ann"])
    pulled(lab).decider.people(lab.now())
    webhook(lab, monkeypatch, "cleo")
    assert "cleo@mail.example" not in {r["email"] for r in lab.world.truth()["mc"]["audiences"][NEWS]["rows"]}
