"""explain, consent, backup and restore: what is known about one person, and that it stays known."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from state import db
from state.queries import load
from tests.unit.cli_lab import MAPPING, PEOPLE, Lab, lab

P3 = "p3@example.org\n"
P31 = "p31@example.org\n"


@pytest.fixture
def linked() -> Iterator[Lab]:
    """After the first approved plan and a send, which made everybody a subscriber."""
    with lab() as made:
        made.ask("once", "--approve")
        made.world.send("mc", "de:NEWS", "L2")
        made.world.send("mc", "de:OFFERS", "L1")
        made.ask("once")
        yield made


def person(made: Lab, address: str) -> dict[str, Any]:
    found = made.ask("explain", "-", input=address)
    assert len(found["people"]) == 1
    one: dict[str, Any] = found["people"][0]
    return one


# --------------------------------------------------------------------------- explain

def test_explain_takes_every_rule_apart(linked: Lab) -> None:
    found = linked.ask("explain", "-", input="  P31@EXAMPLE.org \n")
    one = found["people"][0]
    assert one["records"][0]["id"] == linked.ids[31]
    assert one["records"][0]["fields"]["offers"] is True
    assert one["attributes"]["spent"] == {"value": "310.00", "type": "decimal", "origin": "source"}
    rich = one["segments"]["rich"]
    assert (rich["in"], rich["rule"]["value"]) == (True, True)
    assert {"part": "spent", "value": "310.00"} in rich["rule"]["parts"]
    top = one["segments"]["top"]
    assert (top["in"], top["rank"]["members"], top["rank"]["cutoff"]) == (False, 3, "370.00")
    assert top["why"] == ["not among the first 3"]
    target = next(d for d in one["destinations"] if d["object"] == "de:RICH")
    assert (target["in"], target["wanted"], target["key"]) == (True, True, linked.ids[31])
    assert target["values"] == {"spent": "310.00"}
    assert target["last_write"]["sort"] == "add"
    assert found["statements"][0]["source"] == "sf.Contact"


def test_explain_says_why_somebody_is_out(linked: Lab) -> None:
    poor = person(linked, P3)
    assert poor["segments"]["rich"]["why"] == ["the segment's rule is false"]
    never = person(linked, "p4@example.org\n")["topics"]["offers"]
    assert (never["in"], never["decision"]["rule"]) == (False, "R14")
    linked.world.act("sf", "edit", object="Contact", id=linked.ids[31], set={"spent": None})
    linked.ask("once")
    assert person(linked, P31)["segments"]["rich"]["why"] == ["the segment's rule is unknown (a value is missing)"]
    linked.world.act("sf", "delete", object="Contact", id=linked.ids[5])
    linked.ask("once")
    gone = person(linked, "p5@example.org\n")
    assert gone["records"][0]["deleted"]
    assert not gone["topics"]["news"]["in"]


def test_explain_after_an_opt_out_names_rule_and_statement(linked: Lab) -> None:
    linked.world.act("mc", "unsubscribe", email=P31.strip(), list="L1")
    linked.ask("once")
    found = linked.ask("explain", "-", input=P31)
    offers = found["people"][0]["topics"]["offers"]
    assert (offers["in"], offers["decision"]["rule"]) == (False, "R1")
    said = next(s for s in found["statements"] if s["position"] == offers["decision"]["statement"])
    assert (said["state"], said["topic"], said["source"]) == ("opt_out", "offers", "mc")
    text = linked.run("explain", "-", input=P31).stdout
    assert "topic offers: not in - The person opted out of this topic." in text
    assert "segment rich: not in - not in the topic offers" in text
    by_record = linked.ask("explain", "--crm-id", linked.ids[31])
    assert by_record["people"][0]["person"] == found["people"][0]["person"]


def test_explain_says_that_a_stop_of_all_mail_at_the_provider_is_not_opened_yet(linked: Lab) -> None:
    linked.world.act("mc", "unsubscribe", email=P31.strip())
    linked.ask("once")
    linked.ask("consent", "grant", "-", "--topic", "offers", "--evidence", "a letter", "--by", "kim", input=P31)
    linked.ask("plan", exit=4)
    topics = person(linked, P31)["topics"]
    assert (topics["offers"]["in"], topics["offers"]["held_back_by"]) == (True, ["mc"])
    assert (topics["news"]["in"], topics["news"]["held_back_by"]) == (False, [])
    assert "but mc holds a stop of all mail" in linked.run("explain", "-", input=P31).stdout
    linked.ask("once")
    assert person(linked, P31)["topics"]["offers"]["held_back_by"] == []


def test_explain_tells_what_each_topic_rests_on(linked: Lab) -> None:
    """The values in the CRM, the statement that decided, and the last write of it to each remote object."""
    linked.world.act("mc", "unsubscribe", email=P31.strip(), list="L1")
    linked.ask("once")
    offers = person(linked, P31)["topics"]["offers"]
    assert {k: offers["deciding"][k] for k in ("position", "state", "topic", "source", "knew")} == {
        "position": offers["decision"]["statement"], "state": "opt_out", "topic": "offers", "source": "mc", "knew": None}
    assert offers["deciding"]["method"] in ("person", "unsubscribe"), "the status or the event, whichever was read last"
    assert offers["deciding"]["said_from"]
    [value] = offers["values"]
    assert (value["id"], value["field"], value["value"], value["means"]) == (linked.ids[31], "offers", False, "unknown")
    last = {(w["connection"], w["object"]): w for w in offers["last_writes"]}
    assert {where: (w["sort"], w["state"]) for where, w in last.items()} == {
        ("mc", "de:OFFERS"): ("suppress", "done"), ("sf", "Contact"): ("suppress", "done")}
    assert all(w["at"] for w in last.values())
    text = linked.run("explain", "-", input=P31).stdout
    assert "rule R1 (docs/consent.md): The person opted out of this topic. unsubscribed, not mailed" in text
    position, method = offers["deciding"]["position"], offers["deciding"]["method"]
    assert f"statement {position}: opt_out offers, mc {method} by the person, said 20" in text
    assert "offers = False means unknown" in text
    assert "last write: mc de:OFFERS suppress, done 20" in text
    never = person(linked, "p4@example.org\n")["topics"]["offers"]
    assert (never["deciding"], never["last_writes"]) == (None, [])


def test_explain_tells_the_place_in_a_ranked_segment(linked: Lab) -> None:
    best = {n: person(linked, f"p{n}@example.org\n")["segments"]["top"] for n in (36, 37, 39)}
    assert {n: s["rank"]["place"] for n, s in best.items()} == {36: None, 37: 3, 39: 1}
    assert best[39]["last_write"]["object"] == "de:TOP"
    linked.world.act("sf", "edit", object="Contact", id=linked.ids[36], set={"spent": "1000.00"})
    linked.ask("once")
    after = {n: person(linked, f"p{n}@example.org\n")["segments"]["top"]["rank"] for n in (36, 37, 38)}
    assert {n: rank["place"] for n, rank in after.items()} == {36: 1, 37: None, 38: 3}
    assert after[37]["cutoff"] == "380.00"


def test_explain_needs_no_connection(linked: Lab) -> None:
    calls = [linked.world.counters(name) for name in ("sf", "mc")]
    found = linked.ask("explain", "-", input=P31)
    assert [linked.world.counters(name) for name in ("sf", "mc")] == calls
    assert found["as_of"]["now"] >= found["as_of"]["read_to_end"] >= found["as_of"]["described"]
    linked.world.close()
    assert linked.ask("explain", "-", input=P31)["people"] == found["people"]
    assert "connections described 20" in linked.run("explain", "-", input=P31).stdout


def test_explain_does_not_put_an_edited_mapping_into_force(linked: Lab) -> None:
    linked.write(mapping=MAPPING.replace("spent > 100", "spent > 350"))
    assert linked.ask("explain", "-", input=P31, exit=2)["error"]["code"] == "mapping_edited"
    linked.write()
    assert linked.ask("plan")["people"] == 0, "nobody was to be decided anew"
    linked.write(mapping=MAPPING.replace("spent > 100", "spent > 350"))
    linked.ask("plan", exit=4)
    assert person(linked, P31)["segments"]["rich"]["rule"]["value"] is False


def test_strangers_and_nonsense_are_told_apart(linked: Lab) -> None:
    assert linked.ask("explain", "-", input="x@nowhere.example\n", exit=2)["error"]["code"] == "unknown"
    nonsense = linked.run("explain", "-", input="not an address\n")
    assert nonsense.exit_code == 2
    assert "not an address" not in nonsense.output
    assert linked.run("explain").exit_code == 2


EXPLAIN = ("address", "address_by_id", "people_at", "holders", "people_of_rid", "records_of", "address_of", "ambiguous",
           "is_dirty", "keys_of", "operations_of", "statuses_of", "words_at", "entry", "record_of",
           "quarantined_people")


@pytest.mark.parametrize("name", EXPLAIN)
def test_people_are_found_by_index(tmp_path: Path, name: str) -> None:
    """No query about one person may read a whole table that grows with people."""
    conn = db.connect(tmp_path / "x.db")
    from state.migrations import migrate

    migrate(conn, tmp_path / "x.db")
    for table in ("attr (person INTEGER PRIMARY KEY, record, address)",):
        conn.execute(f"CREATE TABLE {table}")
    sql = load("views")[name]
    given = dict.fromkeys(re.findall(r":(\w+)", sql), 1) or (1,) * sql.count("?")
    plan = [row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {sql}", given)]
    conn.close()
    big = {"record", "entry", "operation", "remote_status", "address", "attr", "decision", "subscriber_key"}
    aliases = {alias: table for table, alias in re.findall(r"(?:FROM|JOIN)\s+(\w+)\s+(\w+)", sql)}
    scanned = {aliases.get(word, word) for step in plan for word in re.findall(r"SCAN (\w+)", step)}
    assert not scanned & big, plan


# --------------------------------------------------------------------------- consent

def test_a_grant_brings_somebody_back_with_its_evidence(linked: Lab) -> None:
    linked.world.act("mc", "unsubscribe", email=P31.strip(), list="L1")
    linked.ask("once")
    assert linked.ids[31] not in {r["key"] for r in linked.world.truth()["mc"]["audiences"]["de:OFFERS"]["rows"]}
    before = linked.ask("consent", "show", "-", input=P31)["people"][0]["topics"]["offers"]
    assert (before["mailable"], before["rule"]) == (False, "R1")

    words = ["consent", "grant", "-", "--topic", "offers", "--evidence", "letter of 3 May", "--by", "Kim"]
    given = linked.ask(*words, input=P31)
    linked.ask("once")
    after = linked.ask("consent", "show", "-", input=P31)["people"][0]["topics"]["offers"]
    assert (after["mailable"], after["rule"], after["statement"]) == (True, "R7", given["statement"])
    assert linked.ids[31] in {r["key"] for r in linked.world.truth()["mc"]["audiences"]["de:OFFERS"]["rows"]}
    last = linked.ask("consent", "history", "-", input=P31)["statements"][-1]
    assert (last["method"], last["evidence"], last["knew"]) == ("grant", "Kim: letter of 3 May", given["statement"] - 1)


def test_a_persons_own_word_cannot_be_retracted(linked: Lab) -> None:
    linked.world.act("mc", "unsubscribe", email=P31.strip(), list="L1")
    linked.world.act("sf", "edit", object="Contact", id=linked.ids[3], set={"offers": 0})
    linked.ask("once")
    own = linked.ask("consent", "history", "-", input=P31)["statements"][-1]
    refused = linked.ask("consent", "retract", str(own["position"]), "--evidence", "e", "--by", "Kim", exit=2)
    assert "own word" in refused["error"]["message"]

    flag = linked.ask("consent", "history", "-", input=P3)["statements"][-1]
    assert (flag["state"], flag["person_made"]) == ("opt_out", False)
    words = ["consent", "retract", str(flag["position"]), "--evidence", "a mass update", "--by", "Kim"]
    linked.ask(*words)
    assert "already" in linked.ask(*words, exit=2)["error"]["message"]
    assert linked.ask("consent", "show", "-", input=P3)["people"][0]["topics"]["offers"]["state"] != "unsubscribed"


@pytest.mark.parametrize("words", [
    ["--topic", "nothing", "--evidence", "e", "--by", "b"], ["--topic", "offers", "--evidence", " ", "--by", "b"],
    ["--evidence", "e", "--by", "b"], ["--topic", "offers", "--all-marketing", "--evidence", "e", "--by", "b"],
    ["--topic", "offers", "--evidence", "e"],
    ["--topic", "offers", "--evidence", "e", "--by", "b", "--crm-id", "003"]])
def test_grants_without_what_they_need_are_refused(built: Lab, words: list[str]) -> None:
    assert built.run("consent", "grant", "-", *words, input=P3).exit_code == 2
    assert built.ask("consent", "verify")["entries"] == 20


@pytest.fixture(scope="module")
def built() -> Iterator[Lab]:
    with lab() as made:
        made.ask("plan", exit=4)
        yield made


def test_a_changed_ledger_is_noticed(linked: Lab) -> None:
    assert linked.ask("consent", "verify")["intact"]
    conn = db.connect(linked.directory / "state" / "syncd.db")
    conn.execute("UPDATE entry SET said_hi = said_hi + 1 WHERE position = 7")
    conn.close()
    assert linked.ask("consent", "verify", exit=9)["broken"] == [7]


def test_a_burst_is_listed_cannot_be_rejected_and_is_retracted_by_its_number(linked: Lab) -> None:
    linked.world.act("sf", "mass_edit", object="Contact", where={}, set={"opted_out": 1})
    linked.ask("once", exit=5)
    assert linked.rows("NEWS") == 0
    [hold] = linked.ask("holds", "list")["holds"]
    assert (hold["class"], hold["connection"]) == ("burst", "sf")
    number = str(hold["id"])
    refused = linked.run("holds", "reject", number)
    assert refused.exit_code == 2
    assert f"syncd consent retract --burst {number}" in refused.stderr
    words = ("consent", "retract", "--evidence", "ticket 7", "--by", "Ann")
    assert linked.run(*words).exit_code == linked.run(*words, "7", "--burst", number).exit_code == 2
    told = linked.ask(*words, "--burst", number)
    assert (told["retracted"], told["own_word"]) == (PEOPLE, 0)
    linked.ask("once")
    linked.ask("once")
    assert linked.rows("NEWS") == PEOPLE
    assert linked.ask("holds", "list")["holds"] == []


# --------------------------------------------------------------------------- backup and restore

def test_restore_replays_the_journal_and_doubts_everything(linked: Lab) -> None:
    copy = linked.directory / "copy.db"
    backup = linked.ask("backup", str(copy))
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    linked.world.act("mc", "unsubscribe", email=P31.strip(), list="L1")
    linked.world.act("sf", "create", object="Contact", set={"email": "new@example.org", "offers": 1})
    linked.ask("once")
    linked.world.act("mc", "unsubscribe", email=P3.strip(), list="L1")
    linked.ask("once")
    before = {a: linked.ask("consent", "history", "-", input=a)["statements"] for a in (P3, P31, "new@example.org\n")}
    head = linked.ask("status")["ledger"]

    restored = linked.ask("restore", str(copy), "--yes")
    assert restored["ledger"] == head
    assert restored["replayed"] == head - backup["ledger"]
    assert Path(restored["kept"]).exists()
    assert linked.ask("consent", "verify")["intact"]
    planned = linked.ask("plan", exit=4)
    assert all(c["state"] == "held" for c in planned["plan"]["counts"] if c["sort"] != "suppress")
    after = {a: linked.ask("consent", "history", "-", input=a)["statements"] for a in before}
    dated = [s for a in (P3, P31) for s in after[a] if s["source"] == "mc" and s["position"] > head]
    assert dated == [], "what the provider dates is not said twice, though the backup had not read it"
    for address in before:
        assert [(s["position"], s["state"], s["source"], s["said_until"]) for s in before[address]] == [
            (s["position"], s["state"], s["source"], s["said_until"]) for s in after[address] if s["position"] <= head]
    for address in (P3, P31):
        assert linked.ask("consent", "show", "-", input=address)["people"][0]["topics"]["offers"]["rule"] == "R1"
    linked.ask("apply", planned["plan"]["id"])
    assert linked.rows("NEWS") == PEOPLE + 1


def test_a_lost_state_is_made_again_of_the_journal_alone(linked: Lab) -> None:
    linked.world.act("mc", "unsubscribe", email=P31.strip(), list="L1")
    linked.ask("once")
    head = linked.ask("status")["ledger"]
    linked.world.act("mc", "delete_subscribers", keys=[linked.ids[31]])
    (linked.directory / "state" / "syncd.db").unlink()
    refused = linked.run("status")
    assert refused.exit_code == 9
    assert f"goes on to entry {head}" in refused.stderr
    assert "syncd restore" in refused.stderr
    restored = linked.ask("restore", "--yes")
    assert (restored["ledger"], restored["replayed"], restored["kept"]) == (head, head, None)
    assert linked.ask("consent", "verify")["intact"]
    linked.ask("once", "--approve")
    assert person(linked, P31)["topics"]["offers"]["decision"]["rule"] == "R1"


def test_a_bad_backup_leaves_the_state_alone(linked: Lab) -> None:
    bad = linked.directory / "bad.db"
    bad.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    assert linked.run("restore", str(bad), "--yes").exit_code == 9
    assert linked.run("restore", str(bad), input="n\n").exit_code == 1
    assert linked.ask("status")["ledger"] >= 20
    assert not list((linked.directory / "state").glob("*.part*"))


def couple(linked: Lab, name: str) -> list[str]:
    """Two records with one address; the first, which is the fresher, refused everything."""
    found = linked.world.load("sf", "Contact", [
        {"email": "team@example.org", "first_name": n, "opted_out": out, "offers": 0, "spent": "1.00"}
        for n, out in (("Eva", 1), (name, 0))])
    linked.world.tick(0, 60.0)
    linked.world.act("sf", "edit", object="Contact", id=found[0], set={"spent": "2.00"})
    linked.ask("once")
    return found


GRANT = ("consent", "grant", "-", "--all-marketing", "--evidence", "a call", "--by", "Kim")


def test_a_grant_stands_on_the_record_it_is_about(linked: Lab) -> None:
    """What the other of two records wants, once they part, is not the word of the first."""
    _, other = couple(linked, "Eva")
    linked.ask(*GRANT, "--crm-id", other, input="team@example.org\n")
    linked.ask("once")
    linked.world.act("sf", "edit", object="Contact", id=other, set={"email": "other@example.org"})
    linked.ask("once")
    said = {p["records"][0]["id"] == other: p["all_marketing"]["decision"]["state"]
            for p in linked.ask("explain", "-", input="team@example.org\n")["people"]}
    assert said == {False: "unsubscribed", True: "subscribed"}


def test_a_grant_where_records_may_be_several_peoples_names_the_record(linked: Lab) -> None:
    _, tom = couple(linked, "Tom")
    doubt = linked.ask(*GRANT, input="team@example.org\n", exit=2)["error"]
    assert "may be several people's" in doubt["message"]
    assert linked.ask(*GRANT, "--crm-id", tom, input="team@example.org\n")["statement"]
    wrong = linked.ask(*GRANT, "--crm-id", linked.ids[1], input="team@example.org\n", exit=2)["error"]
    assert "nothing to do with this address" in wrong["message"]
