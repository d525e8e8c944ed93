"""The service over days of the sandbox's time, with every fault and with people acting: it grows by what it must remember,
and by nothing else.

Counted are its resident memory, open files, threads, log and state file; days pass by moving the vendors' clock.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

from state import db
from tests.faults.killing import driving
from tests.faults.sandbox_side import CRMS, FINE, MC, Side, side
from tests.faults.sandbox_story import Story, residents
from tests.soaking import FACTOR, covered
from tests.system.acceptance_lab import DISTURBED

pytestmark = pytest.mark.soak

ROOT = Path(__file__).parents[2]
POLL = "500ms"
ROUNDS = 6 * FACTOR
"""Of people acting while things break; so many again in which nobody does anything."""
PEOPLE = max(1_000, 75 * ROUNDS)
"""A round needs somebody new with an Odoo partner who gets news: of a thousand people those are some eighteen."""
BETWEEN = 3_600.0
"""Seconds of the sandbox's time between two samples."""
PATIENCE = 240.0
WAL = 8 * 1024 * 1024
"""``journal_size_limit``: what is left of the log after it was bigger."""
SLACK = 8 * 1024 * 1024
RUN = 400
"""Bytes that a cycle in which nothing happened may cost for the week for which it is remembered."""


class Sample(NamedTuple):
    """Of the service's process and its files; sizes in bytes."""

    resident: int
    files: int
    threads: int
    wal: int
    state: int


class Service:
    """A running ``syncd run``."""

    def __init__(self, config: Path) -> None:
        self._log = config.with_name("service.log")
        self._state = config.parent / "state" / "syncd.db"
        self._read = 0
        self.cycles = 0
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "syncd.cli", "--config", str(config), "run"], cwd=ROOT,
                                             stdin=subprocess.DEVNULL, stderr=log)

    def wait(self, count: int) -> None:
        """Until so many more cycles have ended, well or badly."""
        until, end = self.cycles + count, time.monotonic() + PATIENCE
        while self.cycles < until:
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < end, self._log.read_text()[-2000:]
            time.sleep(0.05)
            with self._log.open() as log:
                log.seek(self._read)
                lines = log.read()
                self._read += len(lines[:lines.rfind("\n") + 1].encode())
            events = [json.loads(line)["event"] for line in lines.splitlines() if line.endswith("}")]
            self.cycles += sum(e in ("cycle_ended", "cycle_failed") for e in events)

    def sample(self) -> Sample:
        process = Path(f"/proc/{self._process.pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        wal = self._state.with_name(self._state.name + "-wal")
        return Sample(int(status["VmRSS"].split()[0]) * 1024, len(os.listdir(process / "fd")), int(status["Threads"]),
                      wal.stat().st_size if wal.exists() else 0, self._used())

    def _used(self) -> int:
        """Bytes of the pages that hold something, those in the log included: the file itself grows at checkpoints."""
        conn = db.connect(self._state, read_only=True)
        try:
            pages, free, size = (conn.execute(f"PRAGMA {name}").fetchone()[0]
                                 for name in ("page_count", "freelist_count", "page_size"))
        finally:
            conn.close()
        return int((pages - free) * size)

    def close(self) -> int:
        self._process.terminate()
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


@contextmanager
def running(config: Path) -> Iterator[Service]:
    service = Service(config)
    try:
        yield service
    finally:
        code = service.close()
    assert code == 0


def disturb(company: Side, rng: random.Random) -> None:
    """Two things break somewhere, a few times each."""
    for _ in range(2):
        fault, how = rng.choice(DISTURBED)
        company.control.good("POST", "faults", {"target": rng.choice((*CRMS, MC)), "fault": fault, **how})


def calm_down(company: Side, service: Service) -> Sample:
    """Everything is mended and carried out; then the service is looked at."""
    company.control.good("DELETE", "faults")
    for _ in range(3):
        company.advance(BETWEEN / 3)
        service.wait(2)
    return service.sample()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="processes are looked at through /proc")
def test_a_service_does_not_grow(tmp_path: Path) -> None:
    rng = random.Random(FACTOR)
    with driving() as driver, side(tmp_path / "company", PEOPLE, driver) as company:
        company.config.write_text(company.config.read_text().replace("poll: 5s", f"poll: {POLL}"))
        company.refused_before()
        company.mail_everyone()
        company.start("apply", company.start("plan", fine=(4,))["plan"]["id"], fine=FINE)
        story = Story(residents(company, company.end_of_round()), seed=1)
        began = company.now()
        with running(company.config) as service:
            service.wait(3)
            busy, quiet = [], []
            for n in range(1, ROUNDS + 1):
                for event in story.round(n):
                    disturb(company, rng)
                    event.happen(company)
                    service.wait(1)
                busy.append(calm_down(company, service))
                print(f"round {n} of {ROUNDS}: {busy[-1]}", flush=True)
                company.end_of_round()
            cycles = service.cycles
            for _ in range(ROUNDS):
                disturb(company, rng)
                service.wait(4)
                quiet.append(calm_down(company, service))
                print(f"nobody acts: {quiet[-1]}", flush=True)
            hours = (company.now() - began) / 3_600
            covered(f"{service.cycles} cycles of one service in {hours:.0f} hours of the sandbox, people acting in half of"
                    f" them: {busy[0]} … {busy[-1]} … {quiet[-1]}")
        steady(busy + quiet)
        room = 16 * 4096 + RUN * (service.cycles - cycles)
        assert quiet[-1].state <= quiet[0].state + room, "nobody did anything, and the state grew"


def steady(samples: list[Sample]) -> None:
    """The last third needs no more than the second."""
    third = len(samples) // 3
    before, after = samples[third:2 * third], samples[2 * third:]
    assert median(s.resident for s in after) <= median(s.resident for s in before) * 1.05 + SLACK
    assert max(s.files for s in after) <= max(s.files for s in before) + 4
    assert max(s.threads for s in after) <= max(s.threads for s in before) + 4
    assert max(s.wal for s in samples) <= 2 * WAL
