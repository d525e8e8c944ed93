"""People who move to other subscriber keys: every refusal first, then rows, and nobody is mailed who was not before."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from syncd.desk import keys
from tests.system.lab import DAY, MAPPING, NEWS, OFFERS, RICH, Lab

BY_ID = MAPPING
BY_EMAIL = MAPPING.replace("{value: crm_id, existing: match_email}", "{value: email, existing: match_email}")
AUDIENCES = (OFFERS, NEWS, RICH)


def instance(lab: Lab) -> Any:
    return SimpleNamespace(store=lab.app.store, settled=lab.app.compiled or lab.app.compile())


def survey(lab: Lab) -> dict[str, Any]:
    [found] = keys.survey(instance(lab))["destinations"]
    return dict(found)


def by_id(lab: Lab) -> None:
    """The admin changes the mapping and approves it: nothing happens to anybody who has a key."""
    lab.use(BY_ID)


def migrate(lab: Lab) -> None:
    keys.migrate(instance(lab), "mc")


def raw(lab: Lab, audience: str) -> set[str]:
    return {row["key"] for row in lab.world.truth()["mc"]["audiences"][audience]["rows"]}


def state_of(lab: Lab, key: str) -> tuple[Any, ...]:
    """The status of a key for all mail, and of the two lists."""
    found = next((s for s in lab.world.truth()["mc"]["subscribers"] if s["key"] == key), None)
    return (None, None, None) if found is None else (found["status"], found["topics"].get("L1"), found["topics"].get("L2"))


def refusals(lab: Lab) -> None:
    """Eight people; one after the other leaves news, all mail, news by a flag, all mail by a flag, offers."""
    lab.contacts(8, spent="200.00")
    lab.link()
    for name, left in (("p1", "L2"), ("p2", ""), ("p5", "L1")):
        lab.world.act("mc", "unsubscribe", email=f"{name}@mail.example", list=left)
    lab.edit("p3", no_news=1)
    lab.edit("p4", opted_out=1)
    lab.settle()


def mailed(lab: Lab) -> dict[str, set[str]]:
    return {audience: lab.send(audience) for audience in AUDIENCES}


@pytest.fixture
def by_email(tmp_path: Path) -> Any:
    with Lab(tmp_path, BY_EMAIL) as lab:
        refusals(lab)
        yield lab


def finish(lab: Lab) -> None:
    lab.settle()
    assert survey(lab)["moving"] == survey(lab)["other"] == 0


def test_a_changed_mapping_alone_moves_nobody(by_email: Lab) -> None:
    before = {a: raw(by_email, a) for a in AUDIENCES}
    by_id(by_email)
    assert {a: raw(by_email, a) for a in AUDIENCES} == before
    assert survey(by_email)["other"] == 8


def test_everyone_moves_with_every_refusal(by_email: Lab) -> None:
    lab = by_email
    before = mailed(lab)
    lab.settle()
    by_id(lab)
    found = survey(lab)
    assert found["other"] == 8
    assert found["refusals"] == 5
    migrate(lab)
    finish(lab)
    assert lab.holds() == ()
    for audience in AUDIENCES:
        assert {f"{name}@mail.example" for name in before[audience]}.isdisjoint(raw(lab, audience))
        assert lab.keys(audience) == before[audience]
    assert mailed(lab) == before
    lab.settle()
    ids = lab.ids
    assert state_of(lab, ids["p1"])[2] == "unsubscribed"
    assert state_of(lab, ids["p2"])[0] == "unsubscribed"
    assert state_of(lab, ids["p3"])[2] == "unsubscribed"
    assert state_of(lab, ids["p4"])[0] == "unsubscribed"
    assert state_of(lab, ids["p5"])[1] == "unsubscribed"
    assert keys.former(instance(lab), "mc", "")["former"][0][0] == "p0@mail.example"
    assert survey(lab)["former"] == 8


def hasty(lab: Lab) -> None:
    """A cycle of a service: it waits for nothing."""
    lab.cycle(wait=False)


@pytest.mark.parametrize(("fault", "verb"), [
    (None, None), ("lose_reply", "apply"), ("lose_request", "apply"), ("outage", "apply"), ("outage", "fetch"),
    ("lose_reply", "settle")])
def test_nobody_is_mailed_on_the_way_who_was_not_before(tmp_path: Path, fault: str | None, verb: str | None) -> None:
    with Lab(tmp_path, BY_EMAIL, esp={"asynchronous": ["upsert"], "late_seconds": 90.0}) as lab:
        refusals(lab)
        before = mailed(lab)
        lab.settle()
        by_id(lab)
        migrate(lab)
        for turn in range(8):
            if fault is not None and turn < 5:
                lab.world.fault(fault, connection="mc", verb=verb, count=1)
            hasty(lab)
            for audience in AUDIENCES:
                assert lab.send(audience) == before[audience], "nobody is left out on the way, either"
            lab.advance(60)
        lab.world.clear_faults()
        lab.advance(1_000)
        finish(lab)
        assert mailed(lab) == before
        assert all(raw(lab, a) == {lab.ids[name] for name in before[a]} for a in AUDIENCES)


class Killed(BaseException):
    """Nobody catches it, as nobody catches a kill."""


@pytest.mark.parametrize("point", ["identified", "planned", "guarded", "sealed", "sent", "recorded", "settled"])
def test_a_move_that_dies_goes_on_where_it_was(tmp_path: Path, point: str) -> None:
    esp = {"asynchronous": ["upsert"], "late_seconds": 90.0, "batch": {"upsert": 3, "remove": 2, "status": 2,
                                                                        "create_object": 1}}
    with Lab(tmp_path, BY_EMAIL, esp=esp) as lab:
        refusals(lab)
        before = mailed(lab)
        lab.settle()
        by_id(lab)
        migrate(lab)
        deaths = 0
        for turn in range(9):
            left = [turn % 3 + 1]

            def die(name: str, left: list[int] = left) -> None:
                left[0] -= name == point
                if left[0] == 0:
                    raise Killed

            lab.app.failpoint = die
            try:
                lab.cycle(wait=False)
            except Killed:
                deaths += 1
            for audience in AUDIENCES:
                assert lab.send(audience) == before[audience]
            lab.reopen()
            lab.advance(60)
        assert deaths >= 2
        lab.advance(1_000)
        finish(lab)
        assert mailed(lab) == before
        assert all(raw(lab, a) == {lab.ids[name] for name in before[a]} for a in AUDIENCES)
        assert state_of(lab, lab.ids["p1"])[2] == state_of(lab, lab.ids["p2"])[0] == "unsubscribed"


def test_no_row_goes_out_before_its_refusals_are_read_back(by_email: Lab) -> None:
    """The provider acknowledges a status and loses it: it is written again, and the person waits."""
    lab = by_email
    by_id(lab)
    migrate(lab)
    lab.world.fault("act", connection="mc", verb="apply", object="L2", count=1, acts=[
        {"connection": "mc", "do": "delete_subscribers", "keys": [lab.ids["p3"]]}])
    lab.cycle()
    finish(lab)
    assert state_of(lab, lab.ids["p3"])[2] == "unsubscribed"
    assert "p3" not in lab.send(NEWS)


def test_a_refusal_that_only_the_provider_holds_goes_along(by_email: Lab) -> None:
    """Whatever the ledger says: nothing is opened by a move."""
    lab = by_email
    lab.world.act("mc", "import", list="L2", members={"p6@mail.example": "p6@mail.example"}, status="unsubscribed")
    lab.app.store.write(lambda conn: conn.execute(
        "INSERT OR REPLACE INTO remote_status (connection, container, key, address, status, origin)"
        " SELECT connection, 'L2', key, address, 'unsubscribed', 'user' FROM remote_status"
        " WHERE container = '' AND key = 'p6@mail.example'").rowcount)
    by_id(lab)
    assert "p6" not in lab.send(NEWS)
    migrate(lab)
    finish(lab)
    assert state_of(lab, lab.ids["p6"])[2] == "unsubscribed"
    assert "p6" not in lab.send(NEWS)
    assert "p6" in lab.send(OFFERS)


def test_who_leaves_by_an_old_mail_has_left(by_email: Lab) -> None:
    lab = by_email
    by_id(lab)
    migrate(lab)
    finish(lab)
    lab.world.act("mc", "unsubscribe", email="p0@mail.example", key="p0@mail.example", list="L2")
    lab.settle()
    assert lab.flags("p0")["no_news"] == 1
    assert "p0" not in lab.send(NEWS)
    assert state_of(lab, lab.ids["p0"])[2] == "unsubscribed"


def test_who_leaves_while_moving_has_left_under_either_key(tmp_path: Path) -> None:
    with Lab(tmp_path, BY_EMAIL, esp={"asynchronous": ["upsert"], "late_seconds": 90.0}) as lab:
        refusals(lab)
        by_id(lab)
        migrate(lab)
        hasty(lab)
        lab.world.act("mc", "unsubscribe", email="p0@mail.example", key="p0@mail.example", list="L2")
        for _ in range(6):
            lab.advance(60)
            hasty(lab)
        finish(lab)
        assert {"p0@mail.example", lab.ids["p0"]}.isdisjoint(raw(lab, NEWS))
        assert "p0" not in lab.send(NEWS)


def test_who_comes_back_comes_back_under_the_new_key(by_email: Lab) -> None:
    lab = by_email
    by_id(lab)
    migrate(lab)
    finish(lab)
    lab.advance(DAY)
    lab.web_opt_in("p5")
    lab.settle()
    assert "p5" in lab.send(OFFERS)
    assert state_of(lab, lab.ids["p5"])[1] == "subscribed"
    assert state_of(lab, "p5@mail.example")[1] == "unsubscribed"


def test_whose_key_was_taken_gets_one_and_the_other_may_move(by_email: Lab) -> None:
    lab = by_email
    lab.edit("p0", email="moved@mail.example")
    lab.settle()
    lab.contact("newcomer", email="p0@mail.example")
    lab.settle()
    assert survey(lab)["without"] == 1
    by_id(lab)
    assert survey(lab)["without"] == 0
    assert {"p0", "moved"} & lab.send(NEWS) == {"p0", "moved"}
    migrate(lab)
    finish(lab)
    assert lab.ids["newcomer"] in raw(lab, NEWS)
    assert lab.ids["p0"] in raw(lab, NEWS)
    lab.world.act("mc", "unsubscribe", email="moved@mail.example", key="p0@mail.example", list="L2")
    lab.settle()
    assert lab.flags("p0")["no_news"] == 1, "the old key is still the one's who had it"
    assert "moved" not in lab.send(NEWS)


def test_a_merged_record_s_key_is_taken_over(tmp_path: Path) -> None:
    with Lab(tmp_path) as lab:
        lab.contacts(2)
        lab.contact("twin", email="twin@mail.example")
        lab.link()
        lab.world.act("mc", "unsubscribe", email="twin@mail.example", list="L2")
        lab.settle()
        lab.world.act("sf", "merge", object="Contact", id=lab.ids["p0"], into=lab.ids["twin"])
        lab.settle()
        survivor = lab.ids["twin"]
        lab.settle()
        finish(lab)
        [found] = lab.rows("SELECT key FROM subscriber_key WHERE until = 0 AND person ="
                           " (SELECT person FROM record WHERE rid = ?)", survivor)
        assert found[0] == survivor != lab.ids["p0"], "without being asked to"
        before = lab.send(OFFERS)
        assert survivor in raw(lab, OFFERS)
        assert lab.ids["p0"] not in raw(lab, OFFERS)
        assert lab.send(OFFERS) == before
        assert state_of(lab, survivor)[2] == "unsubscribed"


def test_what_has_not_moved_yet_can_stay(by_email: Lab) -> None:
    lab = by_email
    by_id(lab)
    before = {a: raw(lab, a) for a in AUDIENCES}
    migrate(lab)
    migrate(lab)
    assert survey(lab)["moving"] == 8
    assert keys.stop(instance(lab), "mc")["stopped"] == 8
    lab.settle()
    assert {a: raw(lab, a) for a in AUDIENCES} == before
    migrate(lab)
    finish(lab)
    assert lab.keys(NEWS) == {"p0", "p5", "p6", "p7"}


def test_many_people_move_past_the_guards(tmp_path: Path) -> None:
    with Lab(tmp_path, BY_EMAIL) as lab:
        lab.contacts(60)
        lab.link()
        by_id(lab)
        migrate(lab)
        finish(lab)
        assert lab.holds() == ()
        assert raw(lab, NEWS) == set(lab.ids.values())


def test_explain_shows_both_keys(by_email: Lab) -> None:
    lab = by_email
    by_id(lab)
    migrate(lab)
    finish(lab)
    assert lab.waits("p0") == {None}
    from syncd.desk.explain import Explainer

    config: Any = SimpleNamespace(policy=lab.policy)
    found = Explainer(lab.app.store, instance(lab).settled, lab.app.mapping, config, lab.now()).explain(None, lab.ids["p0"])
    about = found["people"][0]["destinations"][0]
    assert (about["key"], about["other_keys"]) == (lab.ids["p0"], {"moved_from": ["p0@mail.example"]})
