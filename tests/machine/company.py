"""The company the machine plays with: two CRMs, two ESPs and a syncd, all in this process.

``Company.template`` builds one and keeps it; ``Company.of`` makes a fresh copy of world and state in a few milliseconds.
"""

from __future__ import annotations

import copy
import os
import random
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from connectors.errors import ConnectorError
from connectors.memory.client import fields
from connectors.memory.connector import MemoryConnector
from connectors.memory.line import ShortLine
from connectors.memory.server import Desk
from connectors.memory.world import World
from mappings.loader import load_mapping
from mappings.model import Mapping
from syncd import guard
from syncd.app import App, Endpoint, Policy, open_store
from syncd.config import Config
from syncd.references import Secret
from syncd.restoring import restore
from syncd.runs import Report
from tests.passing import Passing
from tests.system.lab import TOPICS as TOPICS_TEXT

START = 1_750_000_000_000_000
MINUTE = 60_000_000
HASH_KEY = b"machine"
PATIENCE = 5.0
"""Seconds of real time a cycle may take; far more than it ever does."""

ROLES = {"sf": "crm", "odoo": "crm", "mc": "esp", "late": "esp"}
OBJECTS = {"sf": "Contact", "odoo": "Partner"}


class Topic(NamedTuple):
    """A topic, the list and the audiences that stand for it at each ESP."""

    id: str
    lists: dict[str, str]
    audiences: dict[str, tuple[str, ...]]


TOPICS = (
    Topic("offers", {"mc": "L1", "late": "M1"}, {"mc": ("de:OFFERS", "de:RICH"), "late": ("de:OFFERS",)}),
    Topic("news", {"mc": "L2", "late": "M2"}, {"mc": ("de:NEWS",), "late": ("de:NEWS",)}),
)
ALL = frozenset(t.id for t in TOPICS)
TOPIC_OF = {(esp, audience): t.id for t in TOPICS for esp, names in t.audiences.items() for audience in names}

MAPPINGS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("as it was", ()),
    ("a segment's rule is another", (("spent > 100", "spent > 500"),)),
    ("news needs an opt-in", (("opt_in: none", "opt_in: required"),)),
    ("a filter", (("sf.Contact: {attributes", "sf.Contact: {where: spent > 20, attributes"),)),
)
"""What admins change in the mapping: name, and pieces of text with what replaces them."""

_PEOPLE = """
people:
  identity: [crm_id, email]
  same_email: one_person
  sources:
    sf.Contact: {attributes: {email: email, first_name: first_name, last_name: last_name, spent: spent}}
    odoo.Partner: {attributes: {email: email, first_name: first_name, last_name: last_name}}
"""

_MAPPING = _PEOPLE + TOPICS_TEXT + """\
      odoo.Partner: {field: no_news, "true": opt_out, "false": unknown, holds: opt_out_only}
segments:
  rich: {topic: offers, where: "spent > 100"}
destinations:
  mc:
    connection: mc
    subscriber_key: {value: crm_id, existing: match_email}
    unknown_subscriber: skip
    topics:
      offers: {publication_list: L1, audience: {data_extension: {key: OFFERS}}, fields: {first_name: first_name}}
      news: {publication_list: L2, audience: {data_extension: {key: NEWS}}, fields: {first_name: first_name}}
    segments:
      rich: {data_extension: {key: RICH}, fields: {spent: spent}}
  late:
    connection: late
    subscriber_key: {value: crm_id, existing: match_email}
    unknown_subscriber: create_unsubscribed
    topics:
      offers: {publication_list: M1, audience: {data_extension: {key: OFFERS}}, fields: {first_name: first_name}}
      news: {publication_list: M2, audience: {data_extension: {key: NEWS}}, fields: {first_name: first_name}}
"""

_PERSON = fields("email", "first_name", "last_name", opted_out="bool", no_news="bool")
_CONTACT = [*_PERSON, *fields("offers_how", offers="bool", offers_at="instant", spent="decimal")]


class Crash(BaseException):
    """syncd was killed here."""


class Company:
    """One world and one syncd on a directory of their own.

    :param world: is taken over, not copied
    :param source: a directory whose state and journal are copied, None = a syncd that never ran
    """

    def __init__(self, world: World, source: Path | None = None) -> None:
        self.world = world
        self.directory = Path(tempfile.mkdtemp(prefix="machine-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
        if source is not None:
            for path in source.iterdir():
                shutil.copyfile(path, self.directory / path.name)
        self.host_ahead = 0
        self.mapping = 0
        self._failpoint: tuple[str, int] | None = None
        self._line = ShortLine(Desk(world).answer)
        self._app: App | None = None
        self.backups = 0
        random.seed(0)  # pauses before retries are drawn at random

    @classmethod
    def linked(cls) -> Company:
        """A company that has been at work for a while."""
        world, directory = _linked()
        return cls(copy.deepcopy(world), directory)

    @classmethod
    def unlinked(cls) -> Company:
        """One where syncd is about to be installed."""
        return cls(new_world())

    # ------------------------------------------------------------------ syncd

    @property
    def app(self) -> App:
        """The running syncd; started when first needed."""
        if self._app is None:
            store = open_store(self.state, self.journal, HASH_KEY)
            endpoints = {name: Endpoint(role, MemoryConnector(self._line, name)) for name, role in ROLES.items()}
            self._app = App(store, mapping(self.mapping), endpoints, Policy(hash_key=HASH_KEY), clock=self.host_now,
                            stop=Passing(self.advance))
            self._app.failpoint = self._pass
        return self._app

    @property
    def state(self) -> Path:
        return self.directory / "state.db"

    @property
    def journal(self) -> Path:
        return self.directory / "journal.log"

    def stop(self) -> None:
        """End syncd as an operator does."""
        if self._app is not None:
            self._app.close()
            self._app = None

    def remap(self, number: int) -> None:
        """Start it again with another mapping."""
        self.stop()
        self.mapping = number % len(MAPPINGS)

    def cycle(self, *, full: bool = False, wait: bool = True, crash: tuple[str, int] | None = None) -> Report | None:
        """One cycle; None when it was killed at the n-th passing of a failpoint, or could not even begin."""
        self._failpoint = crash
        try:
            return self.app.cycle().run("once", full=full, wait=wait, deadline=time.monotonic() + PATIENCE)
        except Crash:
            self._bury()
        except ConnectorError:  # syncd was started while a vendor was away: it says so and tries again
            self.stop()
        finally:
            self._failpoint = None
        return None

    def midway(self) -> bool:
        """The lanes send what is queued while the next cycle has read its pages and decided nothing yet. False when syncd
        could not even begin."""
        try:
            cycle = self.app.cycle()
        except ConnectorError:
            self.stop()
            return False
        cycle.puller.run(cycle.feeds, self.host_now())
        cycle.deliver(time.monotonic() + PATIENCE, wait=False)
        return True

    def approve(self) -> bool:
        """An admin approves whatever waits, by the plan's id; False when nothing did."""
        try:
            compiled = self.app.compiled or self.app.compile()
        except ConnectorError:
            return False
        plan = guard.current_plan(self.app.store, compiled.relations, self.host_now())
        if plan.held:
            guard.approve_plan(self.app.store, compiled.relations, plan.id, "admin", self.host_now())
        return plan.held > 0

    def backup(self) -> None:
        """Copy the state as ``syncd backup`` does."""
        self.backups += 1
        self.app.store.backup(self.directory / f"backup-{self.backups}")

    def restore(self, number: int | None) -> bool:
        """``syncd restore`` of a backup, or of the journal alone; False when there is no backup yet."""
        if number is not None and not self.backups:
            return False
        self.stop()
        restore(self.config(), None if number is None else self.directory / f"backup-{number % self.backups + 1}")
        return True

    def config(self) -> Config:
        """What commands need to know of the configuration."""
        return Config.model_construct(state=str(self.state), journal=str(self.journal), hash_key=Secret(HASH_KEY.decode()),
                                      connections=dict.fromkeys(ROLES))

    def _pass(self, name: str) -> None:
        if self._failpoint is None or self._failpoint[0] != name:
            return
        self._failpoint = (name, self._failpoint[1] - 1)
        if self._failpoint[1] == 0:
            for path in self._files():
                shutil.copyfile(path, path.with_name(path.name + ".killed"))
            raise Crash

    def _files(self) -> list[Path]:
        return [p for p in (self.state, self.state.with_name("state.db-wal"), self.journal) if p.exists()]

    def _bury(self) -> None:
        """What a killed process leaves behind: the files as they were, whatever its shutdown would still have written."""
        self.stop()
        for path in self._files():
            path.unlink()
        for path in self.directory.glob("*.killed"):
            path.rename(path.with_suffix(""))

    # ------------------------------------------------------------------ time

    def advance(self, seconds: float) -> None:
        self.world.tick(1, seconds)

    def now(self) -> int:
        """The true instant, which is also the vendors'."""
        return self.world.now()

    def host_now(self) -> int:
        """What the clock of syncd's host shows."""
        return self.world.now() + self.host_ahead

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


@cache
def mapping(number: int) -> Mapping:
    """One of ``MAPPINGS``, loaded."""
    text = _MAPPING
    for old, new in MAPPINGS[number][1]:
        assert old in text, MAPPINGS[number][0]
        text = text.replace(old, new)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "mapping.yaml"
        path.write_text(text, encoding="utf-8")
        return load_mapping([path])


def new_world() -> World:
    """The vendors before syncd is installed: ten records of eight people, two of them with refusals in their past."""
    world = World(seed=1, start=START)
    world.create_crm("sf", {"Contact": {"fields": _CONTACT, "master_flag": "opted_out",
                                        "topics": {"offers": "offers", "news": "no_news"}}})
    world.create_crm("odoo", {"Partner": {"fields": _PERSON, "master_flag": "opted_out", "topics": {"news": "no_news"}}})
    name, amount = fields("first_name"), fields(spent="decimal")
    world.create_esp("mc", {"L1": "L1", "L2": "L2"}, {
        "de:OFFERS": {"fields": name, "list": "L1"}, "de:NEWS": {"fields": name, "list": "L2"},
        "de:RICH": {"fields": amount, "list": "L1"}})
    world.create_esp("late", {"M1": "M1", "M2": "M2"}, {
        "de:OFFERS": {"fields": name, "list": "M1"}, "de:NEWS": {"fields": name, "list": "M2"}},
        asynchronous=["upsert"], late_seconds=60.0, late_polls=1, reorder=True, keyed_by="key")
    for n in range(6):
        spent = "900.00" if n % 2 else "50.00"
        world.load("sf", "Contact", [contact(n, offers=int(n != 5), opted_out=int(n == 4), spent=spent)])
    for n in (0, 6, 7):
        world.load("odoo", "Partner", [partner(n, no_news=int(n == 7))])
    return world


NAMES = ("ann", "bob", "cleo", "dan", "eve", "finn", "gus", "hal", "ida", "jon", "kim", "lea", "max", "nora")


def contact(n: int, **values: Any) -> dict[str, Any]:
    """A contact at Salesforce who asked for offers on the web long ago."""
    return {**partner(n), "offers": 1, "offers_at": START - 86_400_000_000, "offers_how": "web", "spent": "50.00", **values}


def partner(n: int, **values: Any) -> dict[str, Any]:
    """A partner at Odoo."""
    name = NAMES[n % len(NAMES)]
    return {"email": f"{name}@mail.example", "first_name": name.capitalize(), "last_name": "Doe", "opted_out": 0,
            "no_news": 0, **values}


@cache
def _linked() -> tuple[World, Path]:
    company = Company.unlinked()
    company.cycle()
    company.approve()
    company.cycle()
    for (esp, audience) in TOPIC_OF:
        company.world.act(esp, "send", {"audience": audience})
        company.advance(120)
    company.cycle()
    company.approve()
    company.cycle()
    company.stop()
    return company.world, company.directory

