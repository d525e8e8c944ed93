"""Disks that fill up, go read-only or vanish under a running service: it says what and what to do, sends nothing that it
cannot record, loses nothing, and goes on by itself once that is over."""

from __future__ import annotations

import json
import os
import resource
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from state import journal
from syncd.failures import FAILED
from tests.faults.disks import Disk, disk
from tests.unit.cli_lab import PEOPLE, ROOT, Lab, lab

PATIENCE = 60.0
NEWS, NEW = "L2", "new@example.org"
EVERYONE = {f"p{n}@example.org" for n in range(PEOPLE)}
THREE, FOUR = "p3@example.org", "p4@example.org"


@pytest.fixture
def linked() -> Iterator[Lab]:
    """Everyone is a subscriber of news."""
    with lab(poll="300ms") as made:
        made.ask("once", "--approve")
        made.world.send("mc", "de:NEWS", NEWS)
        made.ask("once")
        yield made


class Service:
    """A running ``syncd run`` and what it says."""

    def __init__(self, made: Lab) -> None:
        self._made = made
        self._log = made.directory / "log"
        self._log.touch()

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self._log.read_text().splitlines(keepends=True)
        return [event for line in lines if line.endswith("}\n") and (event := json.loads(line))["event"] == name]

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self._log.read_text()[-3000:]
            time.sleep(0.05)

    def next_cycle(self) -> None:
        before = len(self.events("cycle_ended"))
        self.until(lambda: len(self.events("cycle_ended")) > before)

    def trouble(self) -> dict[str, Any]:
        """What the next cycle says that fails."""
        before = len(self.events("cycle_failed"))
        self.until(lambda: len(self.events("cycle_failed")) > before)
        return self.events("cycle_failed")[-1]


@contextmanager
def running(made: Lab) -> Iterator[tuple[Service, int]]:
    """A service and its process id; its messages are on a disk that has room."""
    service = Service(made)
    with (made.directory / "log").open("wb") as log:
        process = subprocess.Popen(made.command("run"), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE)
        # Written by a process of its own: a limit to the service's files is none to its messages.
        writer = subprocess.Popen(["cat"], stdin=process.stderr, stdout=log)
    try:
        service.next_cycle()
        yield service, process.pid
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.communicate()
        writer.wait(PATIENCE)


@contextmanager
def running_on(made: Lab, there: Disk) -> Iterator[Service]:
    """A service that sees that disk."""
    service = Service(made)
    command = " ".join(map(shlex.quote, made.command("run")))
    there.good(f"cd {ROOT}; {command} 2>{made.directory}/log </dev/null & echo")
    service.next_cycle()
    yield service
    there.good("kill $!; wait $!")


def leaves(made: Lab, *numbers: int) -> None:
    for n in numbers:
        made.world.act("mc", "unsubscribe", email=f"p{n}@example.org", list=NEWS)


def comes(made: Lab) -> None:
    """Somebody comes to the CRM who gets news."""
    made.world.load("sf", "Contact", [{"email": NEW, "first_name": "New", "opted_out": 0, "offers": 1, "spent": "1.00"}])


def told_news(made: Lab) -> set[str]:
    """Whose rows are in the audience."""
    return {row["email"] for row in made.world.truth()["mc"]["audiences"]["de:NEWS"]["rows"]}


def whole(made: Lab) -> None:
    """Ledger and journal are good, and the journal tells every entry."""
    verified = made.ask("consent", "verify")
    assert verified["intact"]
    told = journal.read(made.directory / "journal" / "consent.log", 0)
    assert [line.position for line in told] == list(range(1, verified["entries"] + 1))


def test_files_that_cannot_grow(linked: Lab) -> None:
    """Neither the journal nor the state takes another byte; half a line may have been written."""
    with running(linked) as (service, pid):
        size = (linked.directory / "journal" / "consent.log").stat().st_size
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
        leaves(linked, 3)
        comes(linked)
        trouble = service.trouble()
        assert (trouble["code"], trouble["message"]) == ("OperationalError", "the state's disk has no room left, or fails.")
        assert "df" in trouble["next"]
        assert told_news(linked) == EVERYONE
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        service.until(lambda: told_news(linked) == {*EVERYONE, NEW} - {THREE})
    whole(linked)


def test_a_journal_that_is_taken_away_and_put_back(linked: Lab) -> None:
    place, away = linked.directory / "journal", linked.directory / "away"
    with running(linked) as (service, _):
        place.rename(away)
        leaves(linked, 3)
        trouble = service.trouble()
        assert trouble["message"] == f"{place / 'consent.log'}: the consent journal was taken away."
        assert "start syncd again" in trouble["next"]
        away.rename(place)
        service.until(lambda: told_news(linked) == EVERYONE - {THREE})
    whole(linked)


def test_a_journal_without_room(linked: Lab) -> None:
    """What was recorded before it was full is owed to everybody, and goes out."""
    path = linked.directory / "journal"
    linked.world.fault("outage", connection="mc", verb="apply", count=None)
    with disk(path, 256) as there, running_on(linked, there) as service:
        leaves(linked, 3)
        service.until(lambda: linked.ask("status")["connections"] and opt_outs_waiting(linked) > 0)
        there.fill()
        leaves(linked, *range(4, PEOPLE))  # their words do not fit into what is left of the last block
        comes(linked)
        trouble = service.trouble()
        assert trouble["message"] == f"{path / 'consent.log'}: No space left on device."
        assert trouble["next"] == "Correct that, then run the command again: nothing is lost."
        linked.world.clear_faults()
        service.until(lambda: told_news(linked) == EVERYONE - {THREE})
        there.empty()
        service.until(lambda: told_news(linked) == {NEW, *(f"p{n}@example.org" for n in range(3))})
        there.good(f"cp -a {path}/. {linked.directory}/kept")
    for file in (linked.directory / "kept").iterdir():
        file.rename(path / file.name)
    whole(linked)


def opt_outs_waiting(made: Lab) -> int:
    return sum(c["opt_outs_waiting"] for c in made.ask("status")["connections"])


def test_a_state_without_room_or_that_may_not_be_written(linked: Lab) -> None:
    path = linked.directory / "state"
    command = " ".join(map(shlex.quote, linked.command("once", "--json")))
    with disk(path, 8_000) as there:
        with running_on(linked, there) as service:
            there.fill()
            leaves(linked, 3)
            comes(linked)
            trouble = service.trouble()
            assert trouble["message"] == "there is no room left on the disk of the state; what was stored stays stored."
            assert "Make room" in trouble["next"]
            assert told_news(linked) == EVERYONE
            there.empty()
            service.until(lambda: told_news(linked) == {*EVERYONE, NEW} - {THREE})
        leaves(linked, 4)
        there.fill()
        code, told = there.do(f"cd {ROOT}; {command}")
        assert (code, "no room left, or fails" in told) == (1, True), told
        there.empty()
        there.good(f"mount -o remount,ro none {path}")
        code, told = there.do(f"cd {ROOT}; {command}")
        assert (code, "Read-only file system" in told) == (1, True), told
        there.good(f"mount -o remount,rw none {path}")
        there.good(f"cd {ROOT}; {command}")
        there.good(f"cp -a {path}/. {linked.directory}/kept")
    for file in (linked.directory / "kept").iterdir():
        file.rename(path / file.name)
    assert told_news(linked) == {*EVERYONE, NEW} - {THREE, FOUR}
    whole(linked)


def test_a_restore_without_room_leaves_the_state_as_it_is_or_is_whole(linked: Lab) -> None:
    """However much room there is."""
    path, backup = linked.directory / "state", linked.directory / "elsewhere.db"
    linked.ask("backup", str(backup))
    leaves(linked, 3)
    linked.ask("once")
    expected = linked.ask("consent", "verify")["entries"]
    size = backup.stat().st_size // 1024
    ended: list[int] = []
    command = " ".join(map(shlex.quote, linked.command("restore", str(backup), "--yes")))
    look = " ".join(map(shlex.quote, linked.command("consent", "verify", "--json")))
    with disk(path, 8_000) as there:
        for leave in range(64, 3 * size, size // 2):
            there.fill(leave)
            code, told = there.do(f"cd {ROOT}; {command}")
            ended.append(code)
            assert code == 0 or ("Traceback" not in told and ("room" in told or "space" in told)), told
            there.empty()
            assert json.loads(there.good(f"cd {ROOT}; {look}"))["entries"] == expected, (leave, code)
    assert {*ended} == {0, 1}, ended


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_messages_that_nobody_can_store(linked: Lab, unbuffered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk of the log is full: the work goes on, and a command that cannot tell its result says so by its code."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    leaves(linked, 3)
    with open("/dev/full", "wb") as full:
        process = subprocess.Popen(linked.command("run"), cwd=ROOT, stdin=subprocess.DEVNULL, stderr=full, stdout=full)
        end = time.monotonic() + PATIENCE
        while THREE in told_news(linked):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        process.terminate()
        assert process.wait(PATIENCE) == 0
        leaves(linked, 4)
        done = subprocess.run(linked.command("once", "--json"), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=full,
                              stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE)
        assert done.returncode == FAILED, done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        for command in (("consent", "export"), ("status",), ("--help",), ("nonsense",)):
            untold = subprocess.run(linked.command(*command), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=full, stderr=full,
                                    check=False, timeout=PATIENCE)
            assert untold.returncode == FAILED, command
    gone, nobody = os.pipe()
    os.close(gone)
    with open(nobody, "wb") as pipe:
        unread = subprocess.run(linked.command("status"), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=pipe,
                                stderr=subprocess.PIPE, check=False, timeout=PATIENCE)
    assert (unread.returncode, unread.stderr) == (FAILED, b"")
    assert told_news(linked) == EVERYONE - {THREE, FOUR}
    whole(linked)
