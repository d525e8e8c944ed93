"""Webhooks while everything is read and decided anew: how long an unsubscribe takes from the click to both CRMs.

The sandbox itself posts its notifications; a daemon runs the backfill, and whether an unsubscribe has arrived is asked of
the CRMs' simulators.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from connectors.base import Connector
from state import db
from syncd import compose, control
from syncd.config import Config, load_config
from syncd.model import Field, StreamSpec
from tests.bench.world import World, serve

CLICKS, DROPPED = 200, 50
PAUSE = 0.1
"""Seconds between two clicks: a busy minute after a send."""
PATIENCE = 900.0

CANDIDATES = """
SELECT a.email, max(r.rid) FILTER (WHERE s.object = 'Contact') FROM target_tips t CROSS JOIN record r ON r.person = t.person
CROSS JOIN stream s ON s.id = r.stream CROSS JOIN address a ON a.id = r.address WHERE r.deleted = 0
GROUP BY t.person HAVING count(*) = 2 AND count(DISTINCT s.object) = 2 AND count(DISTINCT a.id) = 1
AND max(s.object = 'Contact') AND max(s.object = 'res.partner') ORDER BY t.person LIMIT ?
"""


def measure(people: int) -> dict[str, float]:
    """:raises RuntimeError: it was not the work that is to be measured"""
    with tempfile.TemporaryDirectory(prefix="syncd-bench-") as place, serve(Path(place), people, "full") as world:
        text = world.config.read_text()
        world.config.write_text(text.replace("poll: 5s", "poll: 3600s"))
        plan = _cli(world, "plan", "--json")["plan"]["id"]
        _cli(world, "apply", plan, "--deadline", "1200", "--json")
        sent = world.act({"actor": "esp_user", "do": "send", "to": {"audience": "tips"}, "list": "tips"})["id"]
        config = load_config(world.config)
        clicks, dropped = _candidates(config)
        crms = Crms(config)
        with _service(world, config) as backfill:
            took = _clicks(world, crms, clicks, sent, backfill)
        for email, _ in dropped:
            world.act({"actor": "recipient", "esp": "marketing_cloud", "do": "unsubscribe", "email": email,
                       "from": {"mail": sent}})
        _cli(world, "once", "--json")
        lost = len(dropped) - len(crms.refusing(dropped))
        crms.close()
    cuts = statistics.quantiles(took, n=100)
    return {"webhooks in a backfill: to both CRMs, median": cuts[49],
            "webhooks in a backfill: to both CRMs, 99 of 100": cuts[98],
            "webhooks in a backfill: not there at its end": float(len(clicks) - len(took)),
            "webhooks dropped: not found by the next poll": float(lost)}


def _cli(world: World, *words: str) -> Any:
    """A command's JSON. Rows that the vendors refuse, and what waits for approval, are part of this world."""
    done = subprocess.run([sys.executable, "-m", "syncd.cli", "--config", str(world.config), *words], stdout=subprocess.PIPE)
    if done.returncode not in (0, 3, 4, 5):
        raise RuntimeError(f"syncd {words[0]} ended with {done.returncode}")
    return json.loads(done.stdout)


def _candidates(config: Config) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(address, contact's id) of people with one record in each CRM and a row in the audience."""
    conn = db.connect(config.state, read_only=True)
    try:
        [(table,)] = conn.execute("SELECT 'target_' || id FROM object WHERE name = 'de:TIPS_ALL' AND kind = 'audience'")
        found = conn.execute(CANDIDATES.replace("target_tips", table), (CLICKS + DROPPED,)).fetchall()
    finally:
        conn.close()
    if len(found) < 20:
        raise RuntimeError("too few people have a record in each CRM")
    cut = len(found) * CLICKS // (CLICKS + DROPPED)
    return found[:cut], found[cut:]


class Crms:
    """Asks the CRMs' simulators, through connectors of its own."""

    def __init__(self, config: Config) -> None:
        made = compose.connectors(config, threading.Event())
        self._salesforce: Connector = made["sf"]
        self._odoo: Connector = made["odoo"]
        self._all = made.values()

    def refusing(self, people: Sequence[tuple[str, str]]) -> set[str]:
        """The addresses of those whom both hold as refusing tips."""
        contacts = self._salesforce.fetch(StreamSpec("Contact", "record", (Field("Tips_Opt_Out__c", "bool"),)),
                                          [rid for _, rid in people])
        out = {str(row[0]) for row in contacts.rows if row[4] == 1}
        members = self._odoo.fetch(StreamSpec("list:3", "status", container="3"), [email for email, _ in people])
        left = {str(row[2] or row[1]).lower() for row in members.rows if row[3] == "unsubscribed"}
        return {email for email, rid in people if rid in out and email.lower() in left}

    def close(self) -> None:
        for each in self._all:
            each.close()


@contextlib.contextmanager
def _service(world: World, config: Config) -> Iterator[threading.Event]:
    """A running daemon that reads and decides everything anew, again and again; the event says that it has begun."""
    process = subprocess.Popen([sys.executable, "-m", "syncd.cli", "--config", str(world.config), "run"],
                               stderr=subprocess.DEVNULL)
    socket, begun, stop = control.socket_path(config.state), threading.Event(), threading.Event()

    def backfill() -> None:
        while not stop.is_set():
            try:
                control.ask(socket, "resync", {"everything": True}, PATIENCE)
            except (control.NotRunning, control.Broken):
                time.sleep(0.2)

    def progress() -> int:
        return int(control.ask(socket, "status", {}, 60.0).data["ledger"])

    thread = threading.Thread(target=backfill)
    try:
        end = time.monotonic() + 120
        while True:
            try:
                progress()
                break
            except control.NotRunning:
                if time.monotonic() > end:
                    raise RuntimeError("the daemon did not come up") from None
                time.sleep(0.2)
        thread.start()
        begun.set()
        yield begun
    finally:
        stop.set()
        process.terminate()
        process.wait()
        thread.join()


def _clicks(world: World, crms: Crms, people: Sequence[tuple[str, str]], sent: int, begun: threading.Event) -> list[float]:
    """Seconds from each click until both CRMs hold it; those that never arrive are missing."""
    begun.wait()
    time.sleep(2.0)
    clicked: dict[str, float] = {}
    arrived: dict[str, float] = {}
    ids = dict(people)

    def look() -> None:
        end = time.monotonic() + PATIENCE
        while len(arrived) < len(people) and time.monotonic() < end:
            waiting = [(email, ids[email]) for email in list(clicked) if email not in arrived]
            if waiting:
                now_there = crms.refusing(waiting)
                moment = time.monotonic()
                arrived.update(dict.fromkeys(now_there, moment))
            time.sleep(0.2)

    watcher = threading.Thread(target=look)
    watcher.start()
    for email, _ in people:
        clicked[email] = time.monotonic()
        world.act({"actor": "recipient", "esp": "marketing_cloud", "do": "unsubscribe", "email": email,
                   "from": {"mail": sent}})
        time.sleep(PAUSE)
    watcher.join()
    return [at - clicked[email] for email, at in arrived.items()]
