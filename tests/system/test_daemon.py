"""``syncd run`` as a process: what it does with signals, files, vendors that fail, and the command line beside it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli_lab import PEOPLE, Lab, lab

PATIENCE = 60.0


class Service:
    """A running daemon: what it told its service manager and what it logged."""

    def __init__(self, made: Lab) -> None:
        self.lab = made
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = made.directory / "notify"
        path.unlink(missing_ok=True)
        self.manager.bind(str(path))
        self.told: list[str] = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        self.log = (made.directory / "log").open("w+")
        self.process = subprocess.Popen(
            [*made.command("run")], cwd=made.root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log,
            env={**os.environ, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"})

    def _read(self) -> None:
        while message := self.manager.recv(4096).decode():
            self.told.append(message)

    def wait(self, state: str) -> None:
        """Until the service manager was told ``state``."""
        self.until(lambda: any(state in message for message in self.told), alive=False)

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        text = (self.lab.directory / "log").read_text()
        found = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return [e for e in found if name in (None, e["event"])]

    def until(self, condition: Callable[[], bool], *, alive: bool = True) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.events()
            assert not alive or self.process.poll() is None, (self.lab.directory / "log").read_text()
            time.sleep(0.02)

    def event(self, name: str, count: int = 1) -> dict[str, Any]:
        """The ``count``-th event of that name, once it is there."""
        self.until(lambda: len(self.events(name)) >= count)
        return self.events(name)[count - 1]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto(b"", str(self.lab.directory / "notify"))
        self.reader.join()
        self.manager.close()
        self.log.close()


@contextmanager
def running(made: Lab) -> Iterator[Service]:
    service = Service(made)
    try:
        service.wait("READY=1")
        yield service
    finally:
        service.close()


@pytest.fixture
def made() -> Iterator[Lab]:
    with lab(poll="1s") as one:
        yield one


def test_a_service_from_start_to_end(made: Lab) -> None:
    with running(made) as service:
        hold = service.event("hold_opened")
        assert made.ask("holds", "list")["holds"][0]["id"] == hold["hold"]
        status = made.ask("status")
        assert status["service"]["pid"] == service.process.pid
        assert stat_mode(made.directory / "state" / "syncd.db.sock") == 0o600

        second = made.run("run")
        assert second.exit_code == 8
        assert str(service.process.pid) in second.stderr

        assert made.ask("once", "--approve")["delivered"]["mc"]["done"] > PEOPLE
        assert made.rows("NEWS") == PEOPLE
        assert made.ask("explain", "-", input="p31@example.org\n")["people"][0]["segments"]["rich"]["in"]

        made.world.act("sf", "create", object="Contact", set={"email": "late@example.org", "first_name": "Late"})
        service.until(lambda: made.rows("NEWS") == PEOPLE + 1)
        service.wait("WATCHDOG=1")
        assert service.stop() == 0
        service.wait("STOPPING=1")
    assert not (made.directory / "state" / "syncd.db.sock").exists()
    assert service.events()[-1]["event"] == "service_stopped"
    assert len(service.events("hold_opened")) == 1
    assert "@" not in (made.directory / "log").read_text()
    assert made.ask("once")["outcome"] == "ok"


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_files_are_read_again_or_the_old_ones_stay(made: Lab) -> None:
    mapping = made.directory / "mapping.yaml"
    good = mapping.read_text()
    with running(made) as service:
        service.event("cycle_ended")
        wrong = (good.replace("spent > 100", "spend > 100"), good.replace("sf.Contact", "sf.No"))
        for number, broken in enumerate(wrong, 1):
            mapping.write_text(broken)
            service.process.send_signal(signal.SIGHUP)
            assert "mapping.yaml:" in service.event("config_refused", number)["message"]
        made.ask("once", "--approve")
        assert made.rows("RICH") == 15

        mapping.write_text(good)
        assert "the files were changed" not in made.run("plan").stderr
        mapping.write_text(good.replace("spent > 100", "spent > 300"))
        assert "the files were changed" in made.run("plan").stderr
        service.process.send_signal(signal.SIGHUP)
        assert service.event("config_reloaded")["mapping"]
        service.wait("RELOADING=1\nMONOTONIC_USEC=")
        service.until(lambda: len(service.events("hold_opened")) == 2)
        reloaded = service.event("hold_opened", 2)
        assert "mapping" in reloaded["reason"]

        made.config.write_text(made.config.read_text().replace("state/syncd.db", "state/other.db"))
        service.process.send_signal(signal.SIGHUP)
        assert "Restart" in service.event("config_refused", 3)["next"]
        assert service.stop() == 0


def test_what_fails_is_told_once_and_its_end_too(made: Lab) -> None:
    with running(made) as service:
        service.event("cycle_ended")
        made.world.fault("outage", connection="sf", verb="changes", count=None)
        assert service.event("connection_failed")["what"] == "sf.Contact"
        seen = len(service.events("cycle_ended"))
        service.event("cycle_ended", seen + 2)
        made.world.clear_faults()
        assert service.event("connection_recovered")["what"] == "sf.Contact"
        assert len(service.events("connection_failed")) == 1
        assert service.stop(signal.SIGINT) == 0


def test_a_vendor_that_is_away_at_the_start_is_waited_for(made: Lab) -> None:
    made.world.fault("outage", connection="sf", verb="describe", count=1)
    with running(made) as service:
        failed = service.event("cycle_failed")
        assert failed["next_try_seconds"] >= 1
        service.event("cycle_ended")
        assert service.stop() == 0


def test_a_vendor_that_is_away_at_the_start_keeps_nobody_waiting_who_is_known(made: Lab) -> None:
    """What it described to an earlier process will do until it answers."""
    made.ask("once", exit=5)
    made.world.fault("outage", connection="sf", verb="describe", count=3)
    with running(made) as service:
        service.until(lambda: len(service.events("cycle_ended")) >= 5)
        assert not service.events("cycle_failed")
        assert made.world.counters("sf")["calls"] > 0
        assert service.stop() == 0


def test_sigterm_finishes_what_is_being_sent_and_a_second_one_does_not_wait(made: Lab) -> None:
    made.ask("once", exit=5)
    made.run("holds", "approve", "1")
    made.world.fault("slow", connection="mc", verb="apply", seconds=1.5, count=2)
    with running(made) as service:
        service.until(lambda: made.world.counters("mc")["writes"] > 0)
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < PATIENCE
    done = made.ask("once")
    assert done["outcome"] == "ok"
    assert made.rows("NEWS") == PEOPLE

    made.world.fault("slow", connection="sf", verb="changes", seconds=PATIENCE, count=1)
    with running(made) as service:
        service.until(lambda: made.world.counters("sf")["delayed"] > 0)
        service.process.terminate()
        service.wait("STOPPING=1")
        service.process.terminate()
        assert service.process.wait(PATIENCE / 2) == 128 + signal.SIGTERM
    made.world.clear_faults()
    assert made.ask("once")["outcome"] == "ok"


def test_once_says_busy_while_another_runs(made: Lab) -> None:
    made.ask("once", "--approve")
    made.world.fault("slow", connection="sf", verb="changes", seconds=PATIENCE, count=1)
    first = made.spawn("once", "--json")
    sock = made.directory / "state" / "syncd.db.sock"
    end = time.monotonic() + PATIENCE
    while not sock.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    assert made.ask("status")["connections"]
    assert made.ask("once", exit=8)["error"]["code"] == "locked"
    made.world.clear_faults()
    out, err = first.communicate(timeout=PATIENCE)
    assert (first.returncode, json.loads(out)["outcome"], err) == (0, "ok", "")


def test_once_can_be_interrupted_between_two_batches(made: Lab) -> None:
    made.ask("once", exit=5)
    made.run("holds", "approve", "1")
    # Every batch is slow, so that a busy machine still interrupts one with others to come.
    made.world.fault("slow", connection="mc", verb="apply", seconds=3.0, count=20)
    running_once = made.spawn("once", "--json")
    end = time.monotonic() + PATIENCE
    while not made.world.counters("mc")["writes"]:
        assert time.monotonic() < end
        time.sleep(0.02)
    running_once.send_signal(signal.SIGINT)
    out, err = running_once.communicate(timeout=PATIENCE)
    made.world.clear_faults()
    assert running_once.returncode == 7
    assert "finishing" in err
    assert json.loads(out)["delivered"]["mc"]["left"] > 0
    assert made.ask("once")["outcome"] == "ok"
