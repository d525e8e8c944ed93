"""consent import, export and requests: whole lists of opt-outs in and out, and what waits for a person's word."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import stat
from collections.abc import Iterator

import pytest

from syncd.cli.lists import PART
from tests.unit.cli_lab import MAPPING, Lab, lab


@pytest.fixture
def linked() -> Iterator[Lab]:
    with lab() as made:
        made.ask("once", "--approve")
        made.world.send("mc", "de:OFFERS", "L1")
        made.ask("once")
        yield made


def mailed(made: Lab) -> set[str]:
    """Who is in the audience of news, by record id."""
    return {r["key"] for r in made.world.truth()["mc"]["audiences"]["de:NEWS"]["rows"]}


def state(made: Lab, address: str, topic: str = "news") -> tuple[str, str]:
    about = made.ask("consent", "show", "-", input=f"{address}\n")["people"][0]
    found = about["topics"][topic]
    return found["state"], found["rule"]


def test_an_old_list_stops_mail_and_its_bad_rows_are_named(linked: Lab) -> None:
    text = "﻿Name;E-Mail\nA;P1@Example.org \nB;nonsense\nC;p2@example.org\nD;stranger@example.org\nE\n\n"
    preview = linked.ask("consent", "import", "-", "--dry-run", input=text, exit=3)
    assert (preview["written"], preview["held"], preview["bad"]) == (3, 2, 2)
    assert linked.ask("consent", "verify")["entries"] == 20
    done = linked.run("consent", "import", "-", "--evidence", "list of 2019", "--by", "Kim", input=text)
    assert done.exit_code == 3
    assert "line 3: neither" in done.stderr
    assert "line 6: neither" in done.stderr
    assert "nonsense" not in done.output
    linked.ask("once")
    assert mailed(linked) == set(linked.ids) - {linked.ids[1], linked.ids[2]}
    said = linked.ask("consent", "history", "-", input="p1@example.org\n")["statements"][-1]
    assert (said["source"], said["evidence"], said["person_made"], said["said_from"]) == (
        "import", "Kim: list of 2019", False, None)
    crm = {r["id"]: r for r in linked.world.truth()["sf"]["people"]}
    assert crm[linked.ids[1]]["opted_out"]
    assert not crm[linked.ids[3]]["opted_out"]


def test_importing_again_changes_nothing_even_for_who_came_back(linked: Lab) -> None:
    text = "p1@example.org\np1@example.org\np2@example.org\n"
    assert linked.ask("consent", "import", "-", input=text)["written"] == 2
    again = linked.ask("consent", "import", "-", input=text)
    assert (again["rows"], again["written"], again["repeated"]) == (3, 0, 2)
    linked.ask("consent", "grant", "-", "--topic", "news", "--evidence", "a call", "--by", "Kim", input="p1@example.org\n")
    assert linked.ask("consent", "import", "-", input=text)["written"] == 0
    assert state(linked, "p1@example.org") == ("subscribed", "R7")
    assert state(linked, "p2@example.org")[0] == "unsubscribed"


def test_one_topic_of_a_file_with_its_rejects_kept(linked: Lab) -> None:
    source, rejects = linked.directory / "old.csv", linked.directory / "rejects.csv"
    source.write_text("id,who\n1,p3@example.org\n2,p4@\n")
    words = ["consent", "import", str(source), "--topic", "offers", "--column", "who", "--rejects", str(rejects)]
    assert linked.ask(*words, exit=3)["written"] == 1
    assert stat.S_IMODE(rejects.stat().st_mode) == 0o600
    assert list(csv.reader(rejects.read_text().splitlines()))[1:] == [["3", "neither an address nor a hash", "2,p4@"]]
    assert state(linked, "p3@example.org", "offers")[0] == "unsubscribed"
    assert state(linked, "p3@example.org", "news")[0] == "unknown"


@pytest.mark.parametrize(("words", "text", "why"), [
    (["--topic", "ofers"], "p1@example.org\n", 'Did you mean "offers"?'),
    (["--column", "mail"], "a,b\n1,2\n", 'no column "mail"'),
    ([], "a,b\n1,2\n", "--column NAME")])
def test_a_list_that_cannot_be_read_is_refused_whole(linked: Lab, words: list[str], text: str, why: str) -> None:
    done = linked.run("consent", "import", "-", *words, input=text)
    assert done.exit_code == 2
    assert why in done.stderr
    assert linked.ask("consent", "verify")["entries"] == 20


def test_a_digest_stops_whoever_turns_out_to_have_that_address(linked: Lab) -> None:
    known, later = (hashlib.sha256(a.encode()).hexdigest() for a in ("p5@example.org", "later@example.org"))
    done = linked.ask("consent", "import", "-", input=f"sha256\n{known}\n{later}\n")
    assert (done["written"], done["by_digest"]) == (2, 2)
    linked.world.act("sf", "create", object="Contact", set={"email": "later@example.org", "first_name": "L"})
    linked.world.act("sf", "create", object="Contact", set={"email": "other@example.org", "first_name": "O"})
    linked.ask("once")
    assert state(linked, "later@example.org")[0] == "unsubscribed"
    assert state(linked, "other@example.org")[0] == "unknown"
    assert linked.ids[5] not in mailed(linked)
    assert len(mailed(linked)) == len(linked.ids)  # one fewer, one more
    assert linked.ask("consent", "import", "-", input=f"{later}\n")["written"] == 0


def test_digests_that_wait_are_in_the_journal(linked: Lab) -> None:
    """The state is lost, with what nobody had an address for; the journal has it."""
    later, never = (hashlib.sha256(a.encode()).hexdigest() for a in ("later@example.org", "never@example.org"))
    linked.ask("consent", "import", "-", "--topic", "news", "--by", "Kim", input=f"{later}\n{never}\n")
    for path in (linked.directory / "state").glob("syncd.db*"):
        path.unlink()
    assert linked.ask("restore", "--yes")["digests"] == 2
    linked.world.act("sf", "create", object="Contact", set={"email": "later@example.org", "first_name": "L"})
    linked.ask("apply", linked.ask("plan", exit=4)["plan"]["id"])
    assert state(linked, "later@example.org")[0] == "unsubscribed"
    assert state(linked, "later@example.org", "offers")[0] == "unknown"
    said = linked.ask("consent", "history", "-", input="later@example.org\n")["statements"][-1]
    assert (said["source"], said["evidence"]) == ("import", "Kim")


def test_a_state_that_lacks_the_last_import_takes_it_from_the_journal(linked: Lab) -> None:
    """The machine went down before the disk had the last transaction of the state."""
    import shutil

    saved = linked.directory / "saved.db"
    linked.ask("backup", str(saved))
    linked.ask("consent", "import", "-", input=hashlib.sha256(b"p5@example.org").hexdigest() + "\n")
    shutil.copyfile(saved, linked.directory / "state" / "syncd.db")
    linked.ask("once")
    assert state(linked, "p5@example.org")[0] == "unsubscribed"


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
@pytest.mark.parametrize(("email", "listed"), [
    ("P5@example.org", "p5@example.org"), ("new@m\u00fcller.example", "new@m\u00fcller.example"),
    ("new@M\u00dcLLER.example", "new@xn--mller-kva.example")])
def test_digests_as_other_systems_make_them(linked: Lab, algorithm: str, email: str, listed: str) -> None:
    done = linked.ask("consent", "import", "-", input=hashlib.new(algorithm, listed.encode()).hexdigest() + "\n")
    assert (done["written"], done["unsure"]) == (1, int(algorithm == "md5"))
    linked.world.act("sf", "create", object="Contact", set={"email": email, "first_name": "L"})
    linked.ask("once")
    assert state(linked, email)[0] == "unsubscribed"
    assert state(linked, "p6@example.org")[0] == "unknown"


def test_what_stands_goes_out_and_comes_in_again(linked: Lab) -> None:
    linked.world.act("mc", "unsubscribe", email="p7@example.org", list="L1")
    linked.ask("once")
    linked.ask("consent", "import", "-", input="p1@example.org\nunknown@example.org\n")
    rows = list(csv.DictReader(io.StringIO(linked.run("consent", "export").stdout)))
    assert [(r["address"], r["scope"]) for r in rows] == [
        ("p1@example.org", "all_marketing"), ("p1@example.org", "offers"), ("p1@example.org", "news"),
        ("p7@example.org", "offers"),
        ("", "all_marketing"), ("", "offers"), ("", "news")]
    stranger = rows[-1]["hash"]
    lines = [json.loads(line) for line in linked.run("consent", "export", "--json").stdout.splitlines()]
    assert [line["hash"] for line in lines] == [r["hash"] for r in rows]
    # The hash names the same address wherever it is given back.
    again = linked.ask("consent", "import", "-", input=f"hash\n{stranger}\n")
    assert (again["written"], again["repeated"]) == (0, 1)


def test_every_statement_is_exported_in_order_and_in_parts(linked: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from syncd.desk import suppressions

    whole = suppressions.part
    monkeypatch.setattr(suppressions, "part", lambda *args: whole(*args[:-1], 7))
    lines = [json.loads(line) for line in linked.run("consent", "export", "--statements", "--json").stdout.splitlines()]
    assert [line["position"] for line in lines] == list(range(1, 21))
    head = linked.run("consent", "export", "--statements").stdout.splitlines()[0].split(",")
    assert head[:4] == ["address", "hash", "position", "state"]


def test_long_lists_are_recorded_in_parts(linked: Lab) -> None:
    text = "".join(f"x{i}@example.org\n" for i in range(PART + 3)) + "p1@example.org\n"
    done = linked.ask("consent", "import", "-", input=text)
    assert (done["rows"], done["written"], done["held"]) == (PART + 4, PART + 4, 1)
    assert linked.ask("consent", "verify")["intact"]


def test_requests_name_the_next_command_until_the_person_spoke(linked: Lab) -> None:
    assert linked.run("consent", "requests").stdout == "nothing waits for a person's word\n"
    linked.world.act("sf", "edit", object="Contact", id=linked.ids[4], set={"offers": 1})
    linked.ask("once")
    (request,) = linked.ask("consent", "requests")["requests"]
    assert (request["record"], request["topic"], request["stream"]) == (linked.ids[4], "offers", "sf.Contact")
    assert request["next"].startswith(f"syncd consent grant - --topic offers --crm-id {linked.ids[4]}")
    linked.ask("consent", "grant", "-", "--topic", "offers", "--evidence", "a call", "--by", "Kim", input="p4@example.org\n")
    assert linked.ask("consent", "requests")["requests"] == []


def digest(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest() + "\n"


def test_another_list_of_digests_does_not_say_the_old_ones_again(linked: Lab) -> None:
    linked.ask("consent", "import", "-", input=digest("p1@example.org"))
    linked.ask("once")
    linked.ask("consent", "grant", "-", "--topic", "news", "--evidence", "a call", "--by", "Kim", input="p1@example.org\n")
    linked.ask("consent", "import", "-", input=digest("p2@example.org"))
    linked.ask("once")
    assert state(linked, "p1@example.org") == ("subscribed", "R7")
    assert mailed(linked) == set(linked.ids) - {linked.ids[2]}


def test_an_address_known_by_its_hash_is_compared_with_digests_once_its_text_is_known(linked: Lab) -> None:
    linked.ask("consent", "import", "-", "--topic", "offers", input="zoe@example.org\n")
    linked.ask("consent", "import", "-", "--topic", "news", input=digest("zoe@example.org"))
    linked.ask("once")
    linked.world.load("sf", "Contact", [{"email": "zoe@example.org", "first_name": "Zoe", "opted_out": 0, "offers": 1,
                                         "spent": "1.00"}])
    linked.ask("once")
    assert state(linked, "zoe@example.org")[0] == "unsubscribed"
    assert mailed(linked) == set(linked.ids)


@pytest.mark.parametrize("text", ["p1@example.org\n", digest("p1@example.org")], ids=["address", "digest"])
def test_a_list_is_the_same_after_its_topic_got_another_id(linked: Lab, text: str) -> None:
    assert linked.ask("consent", "import", "-", "--topic", "news", input=text)["written"] == 1
    linked.ask("once")
    linked.ask("consent", "grant", "-", "--topic", "news", "--evidence", "a call", "--by", "Kim", input="p1@example.org\n")
    linked.write(mapping=MAPPING.replace("  news:\n    name: News", "  bulletin:\n    was: [news]\n    name: News")
                 .replace("topic: news", "topic: bulletin").replace("      news: {pub", "      bulletin: {pub"))
    again = linked.ask("consent", "import", "-", "--topic", "bulletin", input=text)
    assert (again["written"], again["repeated"]) == (0, 1)
    assert state(linked, "p1@example.org", "bulletin") == ("subscribed", "R7")
