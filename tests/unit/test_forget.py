"""forget: a person is gone from every file and from the provider, stays blocked, and may come back by her own word."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from state import db
from state.store import Store
from syncd import inbox, normalise
from syncd.model import Notice
from syncd.web.metrics import Figures, exposition
from tests.unit.cli_lab import MAPPING, Lab, lab

P31 = "p31@example.org\n"
TRACES = (b"p31@example.org", b"P31@Example.org", b"Name31")


@pytest.fixture
def linked() -> Iterator[Lab]:
    """After the first plan, a send, and some history of p31: an opt-out, a grant with her address in its evidence."""
    with lab() as made:
        made.leave_offers(P31.strip())
        made.ask("consent", "grant", "-", "--topic", "offers", "--evidence", "mail from P31@Example.org", "--by", "Kim",
                 input=P31)
        made.ask("once")
        yield made


def traces(made: Lab) -> list[tuple[str, bytes]]:
    """Files of the state's and the journal's directories that hold anything of p31."""
    found = []
    for directory in ("state", "journal"):
        for path in (made.directory / directory).iterdir():
            if path.is_file():
                content = path.read_bytes().lower()
                found += [(path.name, t) for t in TRACES if t.lower() in content]
    return found


def at_provider(made: Lab, key: str) -> list[str]:
    """Where the provider knows a subscriber."""
    esp = made.world.truth()["mc"]
    found = ["subscribers" for s in esp["subscribers"] if s["key"] == key]
    return found + [name for name, a in esp["audiences"].items() for r in a["rows"] if r["key"] == key]


def test_nothing_of_a_person_is_left_in_any_file_or_at_the_provider(linked: Lab) -> None:
    assert traces(linked)
    key = linked.ids[31]
    assert at_provider(linked, key)
    receipt = linked.ask("forget", "--yes", "-", input="  P31@EXAMPLE.org \n")
    assert traces(linked) == []
    assert at_provider(linked, key) == []
    assert (receipt["done"], receipt["providers"], receipt["files_by_hand"]) == (True, [], [])
    assert receipt["erased"]["statements"] >= 3
    assert receipt["left_alone"] == [{"connection": "sf", "object": "Contact", "record": key}]
    assert "31@" not in str(receipt)
    assert linked.ask("consent", "verify")["intact"]
    # The others are what they were.
    assert len(linked.world.truth()["mc"]["audiences"]["de:NEWS"]["rows"]) == len(linked.ids) - 1


def test_no_digest_of_an_address_stays_from_which_it_could_be_guessed(linked: Lab) -> None:
    lists = [hashlib.new(name, f"p{n}@example.org".encode()).hexdigest() for n in (31, 32) for name in ("sha256", "md5")]
    linked.ask("consent", "import", "-", input="\n".join(lists))
    linked.ask("once")
    linked.ask("forget", "--yes", "-", input=P31)
    with closing(db.plain(linked.directory / "state" / "syncd.db")) as conn:
        assert {digest.hex() for (digest,) in conn.execute("SELECT digest FROM digest")} == set(lists[2:])
    journal = (linked.directory / "journal" / "consent.log").read_text()
    [told] = [line for line in journal.splitlines() if line.startswith('{"digests"')]
    assert [digest in told for digest in lists] == [False, False, True, True]
    assert lists[0] not in journal


def test_the_crm_may_tell_of_her_again_and_again(linked: Lab) -> None:
    linked.ask("forget", "--yes", "-", input=P31)
    linked.world.act("sf", "edit", object="Contact", id=linked.ids[31], set={"first_name": "Name31", "spent": "9999.00"})
    linked.ask("once")
    linked.ask("resync", "--all", exit=0)
    again = linked.world.act("sf", "create", object="Contact", set={"email": "P31@example.org", "first_name": "Name31"})
    linked.ask("once")
    assert traces(linked) == []
    assert at_provider(linked, linked.ids[31]) + at_provider(linked, again["id"]) == []
    assert not linked.world.send("mc", "de:NEWS", "L2")["mailed"].count("p31@example.org")
    shown = linked.ask("consent", "show", "-", input=P31)
    assert {t["state"] for p in shown["people"] for t in p["topics"].values()} == {"unsubscribed"}
    crm = {p["id"]: p for p in linked.world.truth()["sf"]["people"]}
    assert not crm[linked.ids[31]]["opted_out"], "the CRM is left alone"


def test_a_copy_beside_the_state_is_written_anew_and_others_are_named(linked: Lab) -> None:
    copy, elsewhere = linked.directory / "state" / "copy.db", linked.directory / "elsewhere.db"
    linked.ask("backup", str(copy))
    linked.ask("backup", str(elsewhere))
    (linked.directory / "state" / "plan.json").write_text('{"email": "p31@EXAMPLE.org"}')
    (linked.directory / "state" / "odd.db").write_bytes(b"SQLite format 3\0 and then nothing")
    other = linked.directory / "journal" / "other.db"
    with closing(db.plain(other)) as conn:
        conn.execute("CREATE TABLE theirs (x)")
    before = other.read_bytes()
    assert b"p31@example.org" in copy.read_bytes()
    receipt = linked.ask("forget", "--yes", "-", input=P31)
    assert b"p31@example.org" not in copy.read_bytes()
    assert receipt["copies_rewritten"] == [str(copy)]
    assert sorted(Path(p).name for p in receipt["files_by_hand"]) == ["odd.db", "plan.json"]
    assert receipt["backups_elsewhere"] == [str(elsewhere)]
    assert other.read_bytes() == before, "a database that is none of ours is left alone"
    linked.ask("restore", str(copy), "--yes")
    assert [name for name, _ in traces(linked)] == ["plan.json"] * 2
    linked.ask("plan")
    assert linked.ask("consent", "verify")["intact"]


def test_a_backup_from_before_forgets_her_as_it_is_restored(linked: Lab) -> None:
    elsewhere = linked.directory / "elsewhere.db"
    linked.ask("backup", str(elsewhere))
    linked.ask("forget", "--yes", "-", input=P31)
    linked.ask("restore", str(elsewhere), "--yes")
    assert traces(linked) == []
    linked.ask("once")
    assert traces(linked) == []
    assert at_provider(linked, linked.ids[31]) == []
    shown = linked.ask("consent", "show", "-", input=P31)
    assert {t["state"] for p in shown["people"] for t in p["topics"].values()} == {"unsubscribed"}


def test_her_own_later_word_brings_her_back(linked: Lab) -> None:
    linked.ask("forget", "--yes", "-", input=P31)
    linked.ask("once")
    words = ["consent", "grant", "-", "--topic", "news", "--evidence", "a new form", "--by", "Kim"]
    linked.ask(*words, input=P31)
    linked.ask("once")
    assert {"de:NEWS"} <= set(at_provider(linked, linked.ids[31])) <= {"de:NEWS", "de:TOP", "subscribers"}
    topics = linked.ask("consent", "show", "-", input=P31)["people"][0]["topics"]
    assert (topics["news"]["state"], topics["offers"]["state"]) == ("subscribed", "unsubscribed")
    assert b"p31@example.org" in (linked.directory / "state" / "syncd.db").read_bytes()
    # And she may be forgotten again.
    linked.ask("forget", "--yes", "-", input=P31)
    assert traces(linked) == []
    assert at_provider(linked, linked.ids[31]) == []


def test_a_restore_keeps_what_she_said_after_she_was_forgotten(linked: Lab) -> None:
    elsewhere = linked.directory / "elsewhere.db"
    linked.ask("backup", str(elsewhere))
    linked.ask("forget", "--yes", "-", input=P31)
    linked.ask("consent", "grant", "-", "--topic", "news", "--evidence", "a new form", "--by", "Kim", input=P31)
    linked.ask("restore", str(elsewhere), "--yes")
    linked.ask("once", exit=5)  # after a restore a person looks before anybody is written to again
    topics = linked.ask("consent", "show", "-", input=P31)["people"][0]["topics"]
    assert (topics["news"]["state"], topics["offers"]["state"]) == ("subscribed", "unsubscribed")


def test_deliveries_of_every_vendor_lose_her(linked: Lab) -> None:
    """They wait for a vendor that names people by its own numbers, by addresses however spelled, or by anything else."""
    path = linked.directory / "state" / "syncd.db"
    key = (linked.directory / "hash_key").read_bytes().strip()
    said = [Notice("unsubscribe", 1, key="17", email="P31@EXAMPLE.org"), Notice("unsubscribe", 1, key="P31@Example.org"),
            Notice("unsubscribe", 1, key="md5", email="p30@example.org")]
    store = Store(path, journal=linked.directory / "journal" / "consent.log", hash_key=key)
    connection = store.connection("other", "esp")
    assert inbox.receive(store, normalise.hasher(key), connection, b"{}", said, 1, 5.0)
    store.close()
    linked.ask("forget", "--yes", "-", input=P31)
    assert traces(linked) == []
    with closing(db.plain(path)) as conn:
        assert [json.loads(row[0])[0][5] for row in conn.execute("SELECT notices FROM inbox")] == ["md5"]


def test_who_is_meant_must_be_clear(linked: Lab) -> None:
    assert linked.ask("forget", "--yes", "-", input="x@nowhere.example\n", exit=2)["error"]["code"] == "unknown"
    assert linked.run("forget", "-", input=P31).exit_code == 2  # nobody said yes
    assert traces(linked)
    done = linked.run("forget", "-", "--yes", input=P31)
    assert (done.exit_code, "left alone: sf Contact" in done.stdout) == (0, True)


def test_forgetting_twice_says_it_anew(linked: Lab) -> None:
    """Else what she said in between, and nobody had read, would bring her back."""
    def said() -> tuple[int, int]:
        with closing(db.plain(linked.directory / "state" / "syncd.db")) as conn:
            last, since = conn.execute(
                "SELECT max(e.position), a.forgotten FROM entry e JOIN utterance u ON u.id = e.utterance"
                " JOIN address a ON a.id = e.address WHERE u.source = 'forget'").fetchone()
        return last, since
    linked.ask("forget", "--yes", "-", input=P31)
    position, at = said()
    assert linked.ask("forget", "--yes", "-", input=P31)["done"]
    assert said() > (position, at)
    assert said()[1] > at
    assert traces(linked) == []


def test_a_running_service_forgets_over_its_socket(linked: Lab) -> None:
    service = linked.spawn("run")
    try:
        for _ in range(400):
            if (linked.directory / "state" / "syncd.db.sock").exists():
                break
            time.sleep(0.05)
        receipt: dict[str, Any] = linked.ask("forget", "--yes", "-", input=P31)
        assert receipt["done"]
        linked.ask("once")
        assert traces(linked) == []
    finally:
        service.terminate()
        out, err = service.communicate(timeout=60)
    assert "p31" not in (out + err).lower()


def test_a_provider_that_is_away_is_asked_by_the_next_run(linked: Lab) -> None:
    linked.world.fault("outage", connection="mc", verb="erase", count=8)
    receipt = linked.ask("forget", "--yes", "-", input=P31, exit=7)
    assert (receipt["done"], [p["state"] for p in receipt["providers"]]) == (False, ["waiting"])
    assert traces(linked) == [], "what is here goes at once"
    assert not [name for name in at_provider(linked, linked.ids[31]) if name.startswith("de:")]
    assert [p["keys"] for e in linked.ask("status")["erasures"] for p in e["providers"]] == [1]
    linked.world.clear_faults()
    linked.run("plan")
    assert at_provider(linked, linked.ids[31]) == ["subscribers"], "a plan writes nothing"
    linked.ask("once")
    assert at_provider(linked, linked.ids[31]) == []
    assert linked.ask("status")["erasures"] == []


def test_an_erasure_that_takes_too_long_is_told(linked: Lab) -> None:
    linked.world.fault("outage", connection="mc", verb="erase", count=None)
    linked.ask("forget", "--yes", "-", input=P31, exit=7)
    assert [e["late"] for e in linked.ask("status")["erasures"]] == [False]
    linked.config.write_text(linked.config.read_text() + "policy: {max_erasure_age: 1ms}\n")
    assert [e["late"] for e in linked.ask("status")["erasures"]] == [True]
    assert "late: erasure 1" in linked.run("status").stdout
    assert [f["where"] for f in linked.ask("doctor", exit=2)["findings"] if "Erasure 1" in f["message"]] == ["mc"]
    service = linked.spawn("run")
    try:
        lines = iter(service.stderr.readline, "") if service.stderr is not None else ()
        late = next(json.loads(line[line.index("{"):]) for line in lines if "erasure_late" in line)
        linked.run("status")
    finally:
        service.terminate()
        service.communicate(timeout=60)
    assert (late["erasure"], late["connections"]) == (1, ["mc"])
    with closing(Store(linked.directory / "state" / "syncd.db", check=False,
                       hash_key=(linked.directory / "hash_key").read_bytes().strip())) as store:
        figures = Figures(store, lambda: time.time_ns() // 1000, deliveries=dict, calls=dict, failures=lambda: 0)
        text = exposition(figures)().decode()
    assert "syncd_erasures_open 1.0" in text
    assert "p31" not in text


def test_what_is_with_the_provider_is_waited_for_first(linked: Lab) -> None:
    linked.world.act("sf", "edit", object="Contact", id=linked.ids[31], set={"first_name": "Name31b"})
    killed = subprocess.run(linked.command("once"), cwd=linked.root, env={**os.environ, "SYNCD_FAILPOINT": "sent:1"},
                            capture_output=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert linked.ask("forget", "--yes", "-", input=P31)["done"]
    assert traces(linked) == []
    assert at_provider(linked, linked.ids[31]) == []


def test_of_two_people_at_one_address_one_is_forgotten(linked: Lab) -> None:
    linked.write(mapping=MAPPING.replace("same_email: one_person", "same_email: separate"))
    linked.world.act("sf", "create", object="Contact", set={"email": P31.strip(), "first_name": "Wife"})
    planned = linked.ask("plan", exit=4)
    linked.ask("apply", planned["plan"]["id"])
    asked = linked.ask("forget", "--yes", "-", input=P31, exit=2)
    assert "--crm-id" in asked["error"]["next"]
    receipt = linked.ask("forget", "--yes", "--crm-id", linked.ids[31], "-", input=P31)
    assert (receipt["shared_addresses"], receipt["done"]) == (1, True)
    linked.ask("once")
    assert at_provider(linked, linked.ids[31]) == []
    left = linked.ask("explain", "-", input=P31)["people"]
    assert "Wife" in str(left)
    assert b"Name31" not in (linked.directory / "state" / "syncd.db").read_bytes()


def test_what_somebody_else_with_her_address_wants_brings_nothing_of_her_back() -> None:
    with lab() as made:
        made.write(mapping=MAPPING.replace("same_email: one_person", "same_email: separate"))
        made.ask("once", "--approve")
        made.ask("forget", "--yes", "-", input=P31)
        [tom] = made.world.load("sf", "Contact", [
            {"email": P31.strip(), "first_name": "Tom", "opted_out": 0, "offers": 0, "spent": "1.00"}])
        made.ask("once")
        made.ask("consent", "grant", "-", "--topic", "news", "--crm-id", tom, "--evidence", "a call", "--by", "Kim",
                 input=P31)
        made.ask("once")
        made.ask("once")
        rows = made.world.truth()["mc"]["audiences"]["de:NEWS"]["rows"]
        assert [r["first_name"] for r in rows if r["email"] == P31.strip()] == ["Tom"]
        assert not [found for found in traces(made) if found[1] == b"Name31"]


def test_who_is_forgotten_is_made_known_to_no_provider_again() -> None:
    """Not even as somebody who is unsubscribed, where the mapping asks for that."""
    with lab() as made:
        made.write(mapping=MAPPING.replace("unknown_subscriber: skip", "unknown_subscriber: create_unsubscribed"))
        made.ask("once", "--approve")
        made.ask("forget", "--yes", "-", input=P31)
        for _ in range(2):
            assert made.ask("once")["plan"]["counts"] == []
        assert at_provider(made, made.ids[31]) == []
        assert made.ask("quarantine", "list")["quarantine"] == []


def test_nobody_inherits_what_was_said_by_who_was_forgotten_and_deleted() -> None:
    """She asks for offers while the provider takes its time, and is deleted: the next who comes is somebody else."""
    zed = "zed@example.org\n"
    with lab() as made:
        made.world.act("mc", "import", list="L2", members={"old": zed.strip()})  # her address is there before her record
        made.ask("once", "--approve")
        [old] = made.world.load("sf", "Contact", [{"email": zed.strip(), "first_name": "Zed", "opted_out": 0, "offers": 0}])
        made.ask("once")
        made.world.fault("outage", connection="mc", verb="erase", count=None)
        made.ask("forget", "--yes", "-", input=zed, exit=7)
        made.ask("consent", "grant", "-", "--topic", "offers", "--evidence", "a call", "--by", "Kim", input=zed)
        made.world.act("sf", "delete", object="Contact", id=old)
        made.ask("once")
        made.world.clear_faults()
        made.ask("once")
        assert made.ask("status")["erasures"] == []
        [bob] = made.world.load("sf", "Contact", [
            {"email": "bob@example.org", "first_name": "Bob", "opted_out": 0, "offers": 0}])
        made.ask("once")
        assert at_provider(made, bob) == ["de:NEWS"]


def test_an_address_by_a_pipe_needs_yes_and_nobody_is_asked_about_a_stranger(linked: Lab) -> None:
    left = linked.run("forget", "-", input=P31)
    assert left.exit_code == 2
    assert "--yes" in left.stderr
    assert "left alone" in left.stderr
    assert at_provider(linked, linked.ids[31])
    stranger = linked.run("forget", "-", input="x@nowhere.example\n")
    assert stranger.exit_code == 2
    assert "nobody with this address" in stranger.stderr
    assert "Erase" not in stranger.stderr
