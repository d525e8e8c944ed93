"""Webhooks while everything is delivered, then read and decided anew: how long an unsubscribe takes from the click to both
CRMs.

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from connectors.base import Connector
from state import db
from syncd import compose
from syncd.config import Config, load_config
from syncd.desk import control
from syncd.model import Field, StreamSpec
from tests.bench.world import World, serve

CLICKS, DROPPED = 200, 50
SHARE = 4
"""One click in so many comes while the first plan is delivered, the others while everything is read and decided anew."""
PAUSE = 0.5
"""Seconds between two clicks, so that they meet every step of the backfill."""
PATIENCE, LONGEST_WAIT = 900.0, 180.0
"""Seconds that the daemon may take to answer, and an unsubscribe to arrive."""

LIST = "4713"
CANDIDATES = """
SELECT a.email, max(r.rid) FILTER (WHERE s.object = 'Contact')
FROM connection c CROSS JOIN remote_status m ON m.connection = c.id AND m.container = ? AND m.status = 'subscribed'
CROSS JOIN remote_status o ON o.connection = c.id AND o.container = '' AND o.key = m.key AND o.status = 'subscribed'
CROSS JOIN record r ON r.address = o.address AND r.deleted = 0
CROSS JOIN stream s ON s.id = r.stream CROSS JOIN address a ON a.id = r.address
WHERE c.name = 'mc_main'
AND NOT EXISTS (SELECT 1 FROM decision d WHERE d.person = r.person AND (d.master >= 3 OR d."standing.tips" >= 3))
GROUP BY a.id HAVING count(*) = 2 AND count(DISTINCT r.person) = 1
AND max(s.object = 'Contact') AND max(s.object = 'res.partner') ORDER BY min(r.person) LIMIT ?
"""


def measure(people: int) -> dict[str, float]:
    """:raises RuntimeError: it was not the work that is to be measured"""
    with tempfile.TemporaryDirectory(prefix="syncd-bench-") as place, contextlib.ExitStack() as stack:
        with _told("making a world"):
            world = stack.enter_context(serve(Path(place), people, "full"))
        text = world.config.read_text()
        world.config.write_text(text.replace("poll: 5s", "poll: 3600s"))
        with _told("reading and planning for the first time"):
            plan = _cli(world, "plan", "--json")["plan"]["id"]
        config = load_config(world.config)
        sent = world.act({"actor": "esp_user", "do": "send", "to": {"topic": "tips"}})
        clicks, dropped = _candidates(config, frozenset(map(str.lower, sent["mailed"])))
        crms = Crms(config)
        clicking = Clicks(world, crms, sent["id"])
        took, figures = _backfill(world, config, plan, clicking, clicks)
        for email, _ in dropped:
            clicking.click(email)
        with _told("polling after deliveries were lost"):
            _cli(world, "once", "--json")
        lost = len(dropped) - len(crms.refusing(dropped))
        crms.close()
    cuts = statistics.quantiles(took, n=100)
    return {"webhooks in a backfill: to both CRMs, median": cuts[49],
            "webhooks in a backfill: to both CRMs, 99 of 100": cuts[98],
            "webhooks in a backfill: not there at its end": float(len(clicks) - len(took)),
            "webhooks dropped: not found by the next poll": float(lost), **figures}


def _backfill(world: World, config: Config, plan: str, clicking: Clicks,
              people: Sequence[tuple[str, str]]) -> tuple[list[float], dict[str, float]]:
    """Seconds of each click that arrived, and what the daemon's writes took."""
    cut = len(people) // SHARE
    with _service(config, world) as ask:
        with _told("delivering the first plan"), _asking(
                lambda: ask("apply", {"plan": plan, "deadline": PATIENCE})) as applying:
            while not applying.done() and not any(c["queued"] for c in ask("status", {})["connections"]):
                time.sleep(0.2)
            took = clicking.run(people[:cut])
        with _told("reading and deciding everything anew"), _again(lambda: ask("resync", {"everything": True})):
            time.sleep(2.0)
            took += clicking.run(people[cut:])
        writes = _writes(config)
    return took, writes


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    began = time.monotonic()
    print(f"  {what} …", file=sys.stderr, flush=True)
    yield
    print(f"  {what}: over after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _cli(world: World, *words: str) -> Any:
    """A command's JSON. Rows that the vendors refuse, and what waits for approval, are part of this world."""
    done = subprocess.run([sys.executable, "-m", "syncd.cli", "--config", str(world.config), *words],
                          capture_output=True, text=True)
    if done.returncode not in (0, 3, 4, 5):
        raise RuntimeError(f"syncd {words[0]} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def _candidates(config: Config, mailed: frozenset[str]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(address, contact's id) of people with one record in each CRM who are on the list, under one key, and got the
    mail."""
    conn = db.connect(config.state, read_only=True)
    try:
        found = [row for row in conn.execute(CANDIDATES, (LIST, 2 * (CLICKS + DROPPED))) if row[0] in mailed]
    finally:
        conn.close()
    if len(found) < 20:
        raise RuntimeError("too few people have a record in each CRM")
    found = found[:CLICKS + DROPPED]
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
def _service(config: Config, world: World) -> Iterator[Callable[[str, Mapping[str, Any]], Any]]:
    """A running daemon; asks it something."""
    process = subprocess.Popen([sys.executable, "-m", "syncd.cli", "--config", str(world.config), "run"],
                               stderr=subprocess.DEVNULL)
    socket, end = control.socket_path(config.state), time.monotonic() + 120

    def ask(verb: str, parameters: Mapping[str, Any]) -> Any:
        return control.ask(socket, verb, parameters, PATIENCE).data
    try:
        while True:
            try:
                ask("status", {})
                break
            except control.NotRunning:
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("the daemon did not come up") from None
                time.sleep(0.2)
        yield ask
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def _asking(work: Callable[[], Any]) -> Iterator[Future[Any]]:
    """Something that goes on meanwhile; it is waited for, and raises what it raised, at the end."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        yield future
        future.result()


@contextlib.contextmanager
def _again(work: Callable[[], Any]) -> Iterator[None]:
    """Something the daemon is asked for again and again until the end."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            work()
    with _asking(loop):
        try:
            yield
        finally:
            stop.set()


def _writes(config: Config) -> dict[str, float]:
    """How long the daemon's longest transaction was, and how many were over 0.2 s; which ones, is printed."""
    assert config.web is not None
    host, port = config.web.address
    longest: dict[str, float] = {}
    over = 0.0
    for line in requests.get(f"http://{host}:{port}/metrics", timeout=60).text.splitlines():
        name, _, value = line.rpartition(" ")
        label = name.partition('write="')[2].partition('"')[0]
        if name.startswith("syncd_write_longest_seconds{"):
            longest[label] = float(value)
        elif name.startswith(("syncd_webhook_deliveries_total{", "syncd_inbox_waiting{")):
            print(f"  {name} {value}", file=sys.stderr, flush=True)
        elif name.startswith("syncd_write_seconds_count{"):
            over += float(value)
        elif name.startswith("syncd_write_seconds_bucket{") and 'le="0.2"' in name:
            over -= float(value)
    for label, seconds in sorted(longest.items(), key=lambda item: -item[1])[:12]:
        print(f"  longest write of {label}: {seconds:.3f} s", file=sys.stderr, flush=True)
    return {"webhooks in a backfill: longest write": max(longest.values()),
            "webhooks in a backfill: writes over 0.2 s": over}


class Clicks:
    """People who unsubscribe from a mail, one after another."""

    def __init__(self, world: World, crms: Crms, mail: int) -> None:
        self._world, self._crms, self._mail = world, crms, mail

    def click(self, email: str) -> None:
        """:raises RuntimeError: the mail is not hers, or she had left before"""
        done = self._world.act({"actor": "recipient", "esp": "marketing_cloud", "do": "unsubscribe", "email": email,
                                "from": {"mail": self._mail}})
        if not done["changed"]:
            raise RuntimeError("a click changed nothing")

    def run(self, people: Sequence[tuple[str, str]]) -> list[float]:
        """Seconds from each click until both CRMs hold it; those that never arrive are missing."""
        clicked: dict[str, float] = {}
        arrived: dict[str, float] = {}
        ids = dict(people)

        def look() -> None:
            end = time.monotonic() + PAUSE * len(people) + LONGEST_WAIT
            while len(arrived) < len(people) and time.monotonic() < end:
                waiting = [(email, ids[email]) for email in list(clicked) if email not in arrived]
                if waiting:
                    now_there = self._crms.refusing(waiting)
                    moment = time.monotonic()
                    arrived.update(dict.fromkeys(now_there, moment))
                time.sleep(0.2)

        with _asking(look):
            for email, _ in people:
                clicked[email] = time.monotonic()
                self.click(email)
                time.sleep(PAUSE)
        took = [at - clicked[email] for email, at in arrived.items()]
        print(f"  {len(took)} of {len(people)} arrived, the slowest after {max(took, default=0.0):.1f} s", file=sys.stderr,
              flush=True)
        return took
