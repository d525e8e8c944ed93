"""plan, apply, once, resync over a world in memory: what they write, what waits, and the exit codes."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator

import pytest

from state import db
from tests.unit.cli_lab import PEOPLE, Lab, lab

SMALL = PEOPLE // 2
"""Rows of the topic that needs an opt-in."""


@pytest.fixture
def fresh() -> Iterator[Lab]:
    with lab() as made:
        yield made


@pytest.fixture
def linked(fresh: Lab) -> Lab:
    """After the first approved plan."""
    fresh.ask("once", "--approve")
    return fresh


def test_a_plan_is_looked_at_then_applied(fresh: Lab) -> None:
    file = fresh.directory / "plan.json"
    planned = fresh.ask("plan", "--out", str(file), exit=4)
    assert "operations" not in planned
    assert {c["state"] for c in planned["plan"]["counts"]} == {"held"}
    assert fresh.rows("NEWS") == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    saved = json.loads(file.read_text())
    assert len(saved["operations"]) == sum(c["count"] for c in planned["plan"]["counts"])
    assert {o["after"][0] for o in saved["operations"] if o["object"] == "de:NEWS"} == {
        f"Name{i}" for i in range(PEOPLE)}

    applied = fresh.ask("apply", str(file))
    assert applied["delivered"]["mc"]["done"] == len(saved["operations"])
    assert (fresh.rows("NEWS"), fresh.rows("OFFERS")) == (PEOPLE, SMALL)
    assert fresh.ask("plan")["plan"]["counts"] == []
    assert fresh.ask("apply", planned["plan"]["id"])["delivered"]["mc"].get("done", 0) == 0


def test_a_plan_that_no_longer_fits_is_refused(fresh: Lab) -> None:
    old = fresh.ask("plan", exit=4)["plan"]["id"]
    fresh.world.act("sf", "create", object="Contact", set={"email": "new@example.org", "first_name": "New"})
    refused = fresh.ask("apply", old, exit=5)
    assert refused["error"]["code"] == "stale"
    assert fresh.rows("NEWS") == 0
    assert fresh.ask("plan", exit=4)["plan"]["id"] == refused["error"]["plan"] != old
    fresh.ask("apply", refused["error"]["plan"])
    assert fresh.rows("NEWS") == PEOPLE + 1


def test_plans_that_never_were_are_refused(fresh: Lab) -> None:
    assert fresh.ask("apply", "0123456789ab", exit=2)["error"]["code"] == "unknown_plan"
    (fresh.directory / "no.json").write_text("[]")
    assert "not a plan" in fresh.run("apply", str(fresh.directory / "no.json")).stderr


def test_once_holds_the_first_plan_and_says_how_to_go_on(fresh: Lab) -> None:
    result = fresh.run("once")
    assert result.exit_code == 5
    assert "syncd apply " in result.stderr
    data = fresh.ask("once", exit=5)
    assert set(data) >= {"run", "outcome", "rows", "entries", "people", "plan", "delivered", "failed", "calls"}
    assert (data["outcome"], data["plan"]["holds"][0]["class"]) == ("held", "first_plan")
    assert data["calls"]["sf"] > 0
    assert fresh.rows("NEWS") == 0
    approved = fresh.ask("once", "--approve")
    assert (approved["outcome"], fresh.rows("NEWS")) == ("ok", PEOPLE)
    assert fresh.ask("runs")["runs"][0]["outcome"] == "ok"


def test_approve_without_an_id_covers_no_removals(linked: Lab) -> None:
    for id_ in linked.ids[:30]:
        linked.world.act("sf", "edit", object="Contact", id=id_, set={"email": None})
    result = linked.run("once", "--approve")
    assert result.exit_code == 5
    plan = result.stderr.rpartition("syncd apply ")[2].split("`")[0]
    assert linked.rows("NEWS") == PEOPLE
    linked.ask("once", "--approve", plan)
    assert linked.rows("NEWS") == PEOPLE - 30


def test_holds_are_decided_by_id(fresh: Lab) -> None:
    fresh.ask("once", exit=5)
    hold = fresh.ask("holds", "list")["holds"][0]
    shown = fresh.ask("holds", "show", str(hold["id"]))
    assert sum(c["count"] for c in shown["counts"]) == hold["operations"]
    approved = fresh.run("holds", "approve", str(hold["id"]))
    assert approved.exit_code == 0
    assert f"de:NEWS: add {PEOPLE}" in approved.stderr
    assert fresh.ask("holds", "approve", str(hold["id"]), exit=2)["error"]["code"] == "usage"
    fresh.ask("once")
    assert fresh.rows("NEWS") == PEOPLE


def test_a_rejected_hold_writes_nothing(fresh: Lab) -> None:
    fresh.ask("once", exit=5)
    hold = fresh.ask("holds", "list")["holds"][0]
    assert fresh.ask("holds", "reject", str(hold["id"]))["verdict"] == "rejected"
    assert fresh.ask("holds", "list")["holds"] == []
    fresh.ask("once")
    assert fresh.rows("NEWS") == 0


# --------------------------------------------------------------------------- exit codes

@pytest.mark.parametrize(("fault", "code"), [("unauthorised", 6), ("outage", 7)])
def test_a_connection_that_fails_decides_the_exit_code(linked: Lab, fault: str, code: int) -> None:
    linked.world.fault(fault, connection="sf", verb="changes", count=None)
    data = linked.ask("once", exit=code)
    assert list(data["failed"]) == ["sf.Contact"]
    assert set(data["failed"]["sf.Contact"]) == {"code", "message"}
    linked.world.clear_faults()
    linked.ask("once")


def test_what_cannot_be_described_fails_before_the_cycle(fresh: Lab) -> None:
    fresh.world.fault("outage", connection="sf", verb="describe", count=None)
    error = fresh.ask("once", exit=7)["error"]
    assert error["message"].startswith("sf: ")
    assert error["next"]


def test_one_cause_is_told_once_with_what_it_stopped(linked: Lab) -> None:
    linked.world.fault("unauthorised", connection="mc", verb="changes", count=None)
    said = [line for line in linked.run("once").stderr.splitlines() if "could not be read" in line]
    assert len(said) == 1
    assert said[0].startswith("syncd: mc (")
    assert said[0].count("list:") > 1


def test_refused_rows_are_partial_and_tried_again(linked: Lab) -> None:
    linked.world.fault("reject", connection="mc", keys=[linked.ids[1]], count=None)
    linked.world.act("sf", "edit", object="Contact", id=linked.ids[1], set={"first_name": "Other"})
    linked.ask("once", exit=3)
    rows = linked.ask("quarantine", "list")["quarantine"]
    assert {r["key"] for r in rows} == {linked.ids[1]}
    assert "VALIDATION" in linked.ask("quarantine", "show", str(rows[0]["id"]))["reason"]
    assert linked.ask("status")["quarantine"] == len(rows)
    linked.world.clear_faults()
    assert linked.ask("quarantine", "retry", "--all") == {"retried": len(rows), "people": 1}
    linked.ask("once")
    assert linked.ask("quarantine", "list")["quarantine"] == []
    names = {r["first_name"] for r in linked.world.truth()["mc"]["audiences"]["de:NEWS"]["rows"]}
    assert "Other" in names


def test_a_slow_destination_ends_at_the_deadline_and_is_settled_later() -> None:
    with lab() as made:
        made.world.create_esp("slow", ["L1", "L2"], {
            f"de:{name}": {"fields": [], "list": "L2"} for name in ("OFFERS", "NEWS", "RICH", "TOP")},
            asynchronous=["upsert"], late_ticks=1)
        made.config.write_text(made.config.read_text().replace("name: mc}", "name: slow}"))
        mapping = made.directory / "mapping.yaml"
        mapping.write_text(mapping.read_text().replace("{first_name: first_name}", "{}").replace("{spent: spent}", "{}"))
        data = made.ask("once", "--approve", "--deadline", "1", exit=7)
        assert data["outcome"] == "left"
        made.world.tick(5)
        assert made.ask("once")["delivered"]["mc"]["done"] > 0


def test_a_locked_state_is_told(linked: Lab) -> None:
    with db.Lock(linked.directory / "state" / "syncd.db.lock"):
        for words in (["status"], ["once"], ["restore", str(linked.config), "--yes"]):
            assert linked.ask(*words, exit=8)["error"]["code"] == "StateLocked"


def test_a_damaged_state_is_told(linked: Lab) -> None:
    (linked.directory / "state" / "syncd.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    assert linked.run("once").exit_code == 9


def test_another_hash_key_is_refused(linked: Lab) -> None:
    (linked.directory / "hash_key").write_text("another key, as long as it has to be\n")
    assert "hash_key" in linked.ask("status", exit=9)["error"]["message"]


def test_lists_show_no_address(linked: Lab) -> None:
    linked.world.send("mc", "de:NEWS", "L2")
    linked.world.act("mc", "unsubscribe", email="p1@example.org")
    linked.world.fault("outage", connection="sf", verb="changes", count=None)
    linked.run("once")
    for words in (["status"], ["runs"], ["holds", "list"], ["quarantine", "list"], ["once"], ["plan"],
                  ["--debug", "resync", "--all"]):
        for form in ([], ["--json"]):
            result = linked.run(*words, *form)
            assert "@" not in result.output, words


# --------------------------------------------------------------------------- resync

def test_a_resync_of_what_is_right_changes_nothing(linked: Lab) -> None:
    data = linked.ask("resync", "--all", "--destination", "mc")
    assert data["resync"]["people"] == PEOPLE
    assert data["plan"]["counts"] == []
    assert data["rows"]["sf.Contact"] == PEOPLE
    assert data["entries"] == 0
    assert linked.ask("resync", "--stream", "sf.Contact")["rows"]["sf.Contact"] == PEOPLE


def test_rows_that_vanished_come_back_only_by_name(linked: Lab) -> None:
    linked.world.act("mc", "delete_rows", audience="de:NEWS", keys=linked.ids[:3])
    linked.world.act("mc", "write_rows", audience="de:NEWS", rows={linked.ids[5]: {"first_name": "Changed"}})
    held = linked.ask("resync", "--destination", "mc", exit=5)
    assert "3 vanished" in held["resync"]["de:NEWS"]
    assert "1 different" in held["resync"]["de:NEWS"]
    linked.ask("once", exit=5)
    assert linked.ask("once", "--approve", exit=5)["plan"]["id"] == held["plan"]["id"]
    assert linked.rows("NEWS") == PEOPLE - 3
    linked.ask("resync", "--destination", "mc", "--approve", held["plan"]["id"])
    rows = linked.world.truth()["mc"]["audiences"]["de:NEWS"]["rows"]
    assert len(rows) == PEOPLE
    assert "Changed" not in {r["first_name"] for r in rows}


def test_a_dry_run_sends_nothing_at_all(linked: Lab) -> None:
    linked.world.act("mc", "delete_rows", audience="de:NEWS", keys=linked.ids[:3])
    before = linked.world.counters("mc")["writes"]
    linked.ask("resync", "--destination", "mc", "--dry-run", exit=4)
    assert linked.world.counters("mc")["writes"] == before


def test_a_person_is_read_again(linked: Lab) -> None:
    linked.world.fault("truncate", connection="sf", verb="changes", object="Contact", rows=0, silent=True, count=None)
    linked.world.act("sf", "edit", object="Contact", id=linked.ids[2], set={"first_name": "Fresh"})
    data = linked.ask("resync", "--person", "-", input="P2@Example.org\n", exit=5)
    assert data["resync"] == {"people": 1, "records read": 1}
    assert [c["sort"] for c in data["plan"]["counts"]] == ["change"]
    assert linked.ask("resync", "--crm-id", linked.ids[2], exit=5)["resync"]["records read"] == 1


def test_unknown_choices_are_refused(linked: Lab) -> None:
    assert "sf.Contact" in linked.ask("resync", "--stream", "sf.Contacts", exit=2)["error"]["next"]
    for words in (["--destination", "nowhere"], ["--crm-id", "none"], ["--person", "-"]):
        assert linked.ask("resync", *words, input="nobody@example.org\n", exit=2)["error"]["code"] == "usage"
    for words in ([], ["--all", "--crm-id", "x"], ["--since", "2026-01-01", "--crm-id", "x"]):
        assert linked.run("resync", *words).exit_code == 2
    assert linked.ask("resync", "--all", "--since", "2100-01-01")["resync"]["people"] == 0
