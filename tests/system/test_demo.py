"""The demonstration: it runs, its verdict is that of the sides, and its judge can say no."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from syncd.demo import tour
from syncd.demo.judge import everyone_else, judge, nobody_refused, nothing_written
from syncd.demo.processes import IN_ORDER, Sandbox
from syncd.demo.stories import STORIES, Person, Story, cast
from syncd.demo.truth import MAILINGS, MAIN, SECOND, Mailed, Truth, letters
from syncd.failures import Failure

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "syncd.cli", "demo"]
ANNA = "anna@mail.example"
ANY: Any = None


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DEMO, *words], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


# --------------------------------------------------------------------------- the whole thing

@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one run said, and where it left its files."""
    directory = tmp_path_factory.mktemp("demo") / "kept"
    done = demo("--people", "300", "--seed", "2", "--keep", str(directory), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    data: dict[str, Any] = orjson.loads(done.stdout)
    return {**data, "directory": directory}


def test_every_story_arrives_on_every_side(told: dict[str, Any]) -> None:
    assert told["ok"] is True
    assert [s["story"] for s in told["stories"]] == [s.title for s in STORIES]
    assert all(s["ok"] and not s["wrong"] for s in told["stories"])
    assert len({s["email"] for s in told["stories"]}) == len(STORIES)
    assert all(check["looked_at"] > 0 and check["against"] == 0 for check in told["checks"])


def test_however_fast_the_machine_a_change_of_mind_is_surely_the_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vendors that tell whole seconds leave no order between two things of one second, and a form's answer would count for
    nothing."""
    clock, waits = [100.0], []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(tour, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    monkeypatch.setattr(tour.Truth, "read", lambda sandbox: None)
    nobody: dict[str, Person | None] = dict.fromkeys(s.title for s in STORIES)
    one = tour.Tour(ANY, ANY, tour.Teller(), 0, 0, 0.0)
    for passing in (0.0, 1.5, 60.0):
        clock[0] += passing
        one.change(nobody, lambda story: story.first)
    assert waits == [0, IN_ORDER - 1.5, 0]


def test_each_story_was_mailed_as_it_should(told: dict[str, Any]) -> None:
    before, between, after = zip(*(map(frozenset, s["mailed"]) for s in told["stories"]), strict=True)
    assert all(before)
    assert [bool(m) for m in after] == [True, False, False, False, True, True, True, True, False, True]
    assert between[6] == before[6] - {"news"}
    assert after[6] == before[6]
    assert before[9] == between[9] == after[9]


def test_calls_are_those_the_vendors_counted(told: dict[str, Any]) -> None:
    phases = {p["phase"]: p["calls"] for p in told["phases"]}
    plan, = (calls for name, calls in phases.items() if name == "syncd plan")
    assert all(side["calls"] > 0 and side["records_written"] == 0 for side in plan.values())
    apply, = (calls for name, calls in phases.items() if name.startswith("syncd apply"))
    assert apply["marketing_cloud"]["records_written"] > 300


def test_what_is_kept_can_be_looked_at(told: dict[str, Any]) -> None:
    config = told["directory"] / "syncd.yaml"
    done = subprocess.run([sys.executable, "-m", "syncd.cli", "--config", str(config), "consent", "verify"], cwd=ROOT,
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "intact" in done.stdout


# --------------------------------------------------------------------------- what can go wrong around it

def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = demo("--keep", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not empty" in done.stderr


def test_a_world_too_small_is_refused() -> None:
    assert demo("--people", "20").returncode == 2


def test_a_sandbox_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(Failure, match="did not start"), Sandbox(tmp_path, 300, 1):
        pass


def test_a_signal_ends_the_sandbox_too(tmp_path: Path) -> None:
    process = subprocess.Popen([*DEMO, "--people", "300", "--keep", str(tmp_path / "kept")], cwd=ROOT,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        while b"syncd check" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    port = int(re.findall(r"http://127\.0\.0\.1:(\d+)", (tmp_path / "kept" / "syncd.yaml").read_text())[0])
    with socket.socket() as line:
        assert line.connect_ex(("127.0.0.1", port)) != 0


# --------------------------------------------------------------------------- the judge

def truth(state: bool | None = True, *, opted_out: bool = False, status: str = "Active", rows: int = 1) -> Truth:
    """A world of one person who is in, or out, of tips."""
    person = {"id": "003", "object": "Contact", "email": ANNA, "opted_out": opted_out, "topics": {"tips": state},
              "deleted": False, "fields": {}}
    found = [{"key": "003", "email": ANNA, "status": "Active", "topics": {"tips": status}}]
    audiences = [(MAIN, "tips", "tips", {"key": "003", "FirstName": "Anna"})] * rows
    return Truth({"salesforce": {ANNA: [person]}, "odoo": {}}, {(MAIN, ANNA): found, (SECOND, ANNA): []},
                 {ANNA: [*audiences, (SECOND, "reminders", "reminders", {"key": "003", "FirstName": "Anna"})]})


def mailed(*audiences: str) -> Mailed:
    return {m.audience: frozenset([ANNA] if m.audience in audiences else []) for m in MAILINGS}


LEAVES = Story("leaves tips", "MC", "tips", ("tips", "reminders"), "out", "not the topic", "not the topic")
PERSON = Person(ANNA, "003", {}, False, frozenset(("tips", "reminders")))
BEFORE, AFTER = mailed("tips", "reminders"), mailed("reminders")


def test_the_judge_finds_nothing_wrong_where_nothing_is() -> None:
    assert judge(LEAVES, PERSON, truth(False, status="Unsubscribed", rows=0), [BEFORE, AFTER, AFTER]).wrong == []


@pytest.mark.parametrize(("world", "after", "wrong"), [
    (truth(True, status="Unsubscribed", rows=0), AFTER, "salesforce says in"),
    (truth(False, status="Active", rows=0), AFTER, "mc_main says in, with 0 rows"),
    (truth(False, status="Unsubscribed", rows=1), AFTER, "mc_main says out, with 1 rows"),
    (truth(False, opted_out=True, status="Unsubscribed", rows=0), AFTER, "salesforce says out of everything"),
    (truth(False, status="Unsubscribed", rows=0), BEFORE, "mailed reminders, tips after, not reminders"),
    (truth(False, status="Unsubscribed", rows=0), mailed(), "mailed nothing after, not reminders"),
])
def test_the_judge_says_what_is_wrong(world: Truth, after: Mailed, wrong: str) -> None:
    assert judge(LEAVES, PERSON, world, [BEFORE, AFTER, after]).wrong == [wrong]


def test_the_judge_reads_the_first_name() -> None:
    story = replace(LEAVES, state="in", between="as before", after="as before", name="Other")
    assert judge(story, PERSON, truth(), [BEFORE] * 3).wrong == ["mc_main has another first name",
                                                                 "mc_second has another first name"]


def test_a_mail_to_somebody_who_refused_it_is_found() -> None:
    assert nobody_refused({}, truth(), BEFORE).against == 0
    assert nobody_refused({}, truth(False), BEFORE).against == 1
    assert nobody_refused({}, truth(opted_out=True), BEFORE).against == 2
    assert nobody_refused({}, truth(status="Unsubscribed"), AFTER).against == 0


def test_a_mail_that_no_longer_comes_is_found() -> None:
    assert everyone_else({}, BEFORE, BEFORE).against == 0
    assert everyone_else({}, BEFORE, AFTER).against == 1
    assert everyone_else({"": PERSON}, BEFORE, AFTER).looked_at == 0


def test_a_write_without_a_reason_is_found() -> None:
    quiet = {"calls": 5, "records_written": 0}
    assert nothing_written({"salesforce": quiet}).against == 0
    assert nothing_written({"salesforce": quiet, "odoo": {**quiet, "records_written": 2}}).against == 2


def test_nobody_plays_two_parts() -> None:
    one = truth()
    contact = one.people["salesforce"][ANNA][0] | {"fields": {"AccountId": "001"}}
    company = {ANNA: [contact], "ben@mail.example": [contact | {"email": "ben@mail.example"}]}
    got = mailed("tips", "reminders", "news", "offers", "spent_over_100_2020")
    people = cast(replace(one, people={**one.people, "salesforce": company}), got)
    assert [p.email for p in people.values() if p is not None] == [ANNA]
    assert not any(cast(one, got).values())  # perhaps a person account


def test_letters_stand_at_their_places() -> None:
    assert letters(["tips", "reminders"]) == "R···T·"
    assert letters([]) == "······"
