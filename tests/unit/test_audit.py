"""audit: what the sides really hold against the ledger, opt-outs repaired, nothing reopened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from state import db
from tests.unit.cli_lab import MAPPING, Lab, lab

P31 = "p31@example.org\n"


@pytest.fixture
def linked() -> Iterator[Lab]:
    """After the first plan and a send; p31 has left offers at the ESP."""
    with lab() as made:
        made.leave_offers(P31.strip())
        yield made


def blind(made: Lab) -> None:
    """From now on no feed of the ESP or the CRM tells what changes: the cursors are far ahead."""
    conn = db.connect(made.directory / "state" / "syncd.db")
    try:
        conn.execute("UPDATE stream SET cursor = json_set(cursor, '$.after', 1000000) WHERE cursor IS NOT NULL")
    finally:
        conn.close()


def record(made: Lab, key: str) -> dict[str, Any]:
    found: dict[str, Any] = next(p for p in made.world.truth()["sf"]["people"] if p["id"] == key)
    return found


def topics(made: Lab, key: str) -> dict[str, str]:
    """Statuses per list at the ESP."""
    found: dict[str, str] = next(r for r in made.world.truth()["mc"]["subscribers"] if r["key"] == key)["topics"]
    return found


def test_sides_that_hold_what_the_ledger_says_agree(linked: Lab) -> None:
    found = linked.ask("audit", "--all")
    assert (found["people"], found["disagreeing"], found["remaining"]) == (40, 0, 0)
    assert found["agreeing"] == found["compared"] > 150
    places = {(p["connection"], p["where"], p["topic"]): p["compared"] for p in found["places"]}
    assert places["mc", "L1", "offers"] == places["mc", "all mail", None] == 40
    assert places["sf", "Contact.opted_out", None] == 40
    assert places["mc", "de:OFFERS", "offers"] == 21  # whoever may not be mailed must have no row
    assert linked.ask("audit", "--sample", "7")["people"] == 7
    shown = linked.ask("status")["audit"]
    assert (shown["people"], shown["disagreeing"]) == (7, 0)
    assert "last audit" in linked.run("status").stdout


def test_a_side_that_would_mail_who_opted_out_is_told_again(linked: Lab) -> None:
    linked.world.act("mc", "unsubscribe", email=P31.strip())
    linked.ask("once")
    key = linked.ids[31]
    blind(linked)
    linked.world.act("sf", "edit", object="Contact", id=key, set={"opted_out": 0})
    linked.world.act("mc", "resubscribe", email=P31.strip(), list="L1", origin="user")
    linked.ask("once")
    assert (record(linked, key)["opted_out"], topics(linked, key)["L1"]) == (False, "subscribed")
    found = linked.ask("audit", "--all")
    assert (found["disagreeing"], found["repaired"], found["remaining"]) == (2, 2, 0)
    assert {(d["connection"], d["where"], d["kind"]) for d in found["disagreements"]} == {
        ("mc", "L1", "still_open"), ("sf", "Contact.opted_out", "still_open")}
    assert (record(linked, key)["opted_out"], topics(linked, key)["L1"]) == (True, "unsubscribed")
    assert linked.ask("audit", "--all")["disagreeing"] == 0


def test_a_refusal_that_no_feed_told_is_recorded(linked: Lab) -> None:
    blind(linked)
    linked.world.act("mc", "unsubscribe", email="p33@example.org", list="L1")
    linked.world.act("sf", "edit", object="Contact", id=linked.ids[35], set={"opted_out": 1})
    linked.ask("once")
    found = linked.ask("audit", "--all")
    assert (found["disagreeing"], found["recorded"], found["remaining"]) == (2, 2, 0)
    assert {(d["where"], d["kind"], d["key"]) for d in found["disagreements"]} == {
        ("L1", "refused_there", linked.ids[33]), ("Contact.opted_out", "refused_there", linked.ids[35])}
    rows = {r["key"] for r in linked.world.truth()["mc"]["audiences"]["de:OFFERS"]["rows"]}
    assert not rows & {linked.ids[33], linked.ids[35]}


def test_a_row_that_somebody_put_in_for_who_opted_out_is_taken_out(linked: Lab) -> None:
    key = linked.ids[31]
    linked.world.act("mc", "write_rows", audience="de:OFFERS", rows={key: {"email": P31.strip(), "first_name": "x"}})
    found = linked.ask("audit", "--all")
    assert [(d["where"], d["kind"], d["person"]) for d in found["disagreements"]] == [("de:OFFERS", "row_there", 32)]
    assert (found["repaired"], found["remaining"]) == (1, 0)
    assert key not in {r["key"] for r in linked.world.truth()["mc"]["audiences"]["de:OFFERS"]["rows"]}


def test_the_box_of_somebody_forgotten_is_no_new_word(linked: Lab) -> None:
    """Her record is left as it is. What she had said is gone, and her husband, who has the address, said nothing."""
    linked.write(mapping=MAPPING.replace("same_email: one_person", "same_email: separate"))
    linked.world.act("sf", "create", object="Contact", set={"email": P31.strip(), "first_name": "Tom"})
    linked.ask("apply", linked.ask("plan", exit=4)["plan"]["id"])
    linked.world.act("sf", "edit", object="Contact", id=linked.ids[31], set={"opted_out": 1})
    linked.ask("once")
    linked.ask("forget", "--yes", "--crm-id", linked.ids[31], "-", input=P31)
    linked.ask("once")
    found = linked.ask("audit", "--all")
    assert (found["people"], found["disagreeing"], found["recorded"]) == (41, 0, 0)


def test_whoever_became_part_of_somebody_is_looked_at_with_that_one(linked: Lab) -> None:
    """p35 leaves news and is p33 then, whose subscriber may be mailed no news either."""
    key = linked.ids[35]
    linked.world.act("mc", "unsubscribe", email="p35@example.org", list="L2")
    linked.ask("once")
    linked.world.act("sf", "merge", object="Contact", id=key, into=linked.ids[33])
    for _ in range(3):
        linked.ask("once")
    found = linked.ask("audit", "--all")
    assert (found["people"], found["disagreeing"], found["recorded"]) == (39, 0, 0)
    blind(linked)
    linked.world.act("mc", "resubscribe", email="p35@example.org", list="L2", origin="user")
    found = linked.ask("audit", "--all")
    assert [(d["where"], d["person"], d["key"]) for d in found["disagreements"]] == [("L2", 34, key)]


def test_an_audit_reopens_nothing(linked: Lab) -> None:
    """The ESP says subscribed, the CRM's box is ticked: neither is the person's word."""
    key = linked.ids[31]
    blind(linked)
    linked.world.act("mc", "resubscribe", email=P31.strip(), list="L1", origin="api")
    linked.world.act("sf", "edit", object="Contact", id=key, set={"offers": 1})
    linked.ask("audit", "--all")
    about = linked.ask("consent", "show", "-", input=P31)["people"][0]["topics"]["offers"]
    assert (about["state"], about["mailable"]) == ("unsubscribed", False)
    assert topics(linked, key)["L1"] == "unsubscribed"


def test_a_share_of_everyone_is_audited_in_turn(linked: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from syncd.cli.common import Context, desk
    from syncd.desk import audit

    monkeypatch.setattr(audit, "SAMPLE", 15)
    with desk(Context(str(linked.config), False).config()) as opened:
        turns = [opened.call("audit", {"scheduled": True}).data["people"] for _ in range(4)]
    assert turns == [15, 15, 10, 15]
