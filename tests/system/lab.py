"""A small company for the tests of whole cycles: a CRM and an ESP in memory, a mapping, and a syncd between them.

Time stands still except for ``advance`` and for waits, which pass in no time: ``Passing`` moves the clock instead of
sleeping. So a test may wait for a vendor's queue or for a retry and still ends at once, the same way each time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

from connectors.memory.client import World, fields
from mappings.loader import load_mapping
from state.ledger import verify
from syncd import guard
from syncd.app import App, Endpoint, Policy, open_store
from syncd.guard import Plan
from syncd.runs import Report
from tests.passing import Passing

START = 1_750_000_000_000_000
HOUR, DAY = 3600.0, 86_400.0
OFFERS, NEWS, RICH, TOP, STAFF = "de:OFFERS", "de:NEWS", "de:RICH", "de:TOP", "de:STAFF"

CONTACT = fields("email", "first_name", "last_name", "offers_how", opted_out="bool", offers="bool", no_news="bool",
                 offers_at="instant", spent="decimal", vip_until="date")

PEOPLE = """
people:
  identity: [crm_id, email]
  same_email: one_person
  sources:
    sf.Contact:
      attributes: {email: email, first_name: first_name, last_name: last_name, spent: spent, vip_until: vip_until}
"""

TOPICS = """
topics:
  offers:
    name: Offers
    purpose: marketing
    opt_in: required
    consent:
      sf.Contact:
        field: offers
        "true": opt_in
        "false": unknown
        said_at: offers_at
        method: offers_how
        person_made: "method in ('web', 'double opt-in')"
  news:
    name: News
    purpose: marketing
    opt_in: none
    consent:
      sf.Contact: {field: no_news, "true": opt_out, "false": unknown, holds: opt_out_only}
"""

SEGMENTS = """
segments:
  rich: {topic: offers, where: "spent > 100"}
  top: {topic: offers, order_by: "spent desc", limit: 3, expected_churn: 100%}
"""

AUDIENCES = """\
    topics:
      offers: {publication_list: L1, audience: {data_extension: {key: OFFERS}}, fields: {first_name: first_name}}
      news: {publication_list: L2, audience: {data_extension: {key: NEWS}}, fields: {first_name: first_name}}
"""

SEGMENT = """\
    segments:
      rich: {data_extension: {key: RICH}, fields: {spent: spent}}
"""

DESTINATION = """
destinations:
  mc:
    connection: mc
    subscriber_key: {value: crm_id, existing: match_email}
    unknown_subscriber: skip
""" + AUDIENCES + SEGMENT + """\
      top: {data_extension: {key: TOP}, fields: {spent: spent}}
"""

MAPPING = PEOPLE + TOPICS + SEGMENTS + DESTINATION

ONLY_AT_THE_PROVIDER = MAPPING.replace("""\
    consent:
      sf.Contact: {field: no_news, "true": opt_out, "false": unknown, holds: opt_out_only}
""", "")
"""No CRM field carries what is said about news."""


class Lab:
    """One world, one syncd. Contacts are named by their first name and have the address ``name@mail.example``.

    :param text: the mapping
    :param crm, esp: options of the world's connections ``sf`` and ``mc``
    :param tracked: fields of a contact that the CRM keeps the history of
    :param leads: the CRM has leads, too, with the fields of contacts
    :param more: further fields of contacts
    """

    def __init__(self, directory: Path, text: str = MAPPING, *, crm: Mapping[str, Any] | None = None,
                 esp: Mapping[str, Any] | None = None, policy: Policy | None = None,
                 build: Callable[[Lab], None] | None = None, tracked: Sequence[str] = (), leads: bool = False,
                 more: Sequence[Any] = ()) -> None:
        self.directory = directory
        self.world = World.start(seed=1, start=START)
        self.policy = policy or Policy(hash_key=b"lab")
        self.ids: dict[str, str] = {}
        self.roles = {"sf": "crm", "mc": "esp"}
        self.accounts: dict[str, str] = {}  # of connections that are not called as in the world
        self._ahead = 0.0
        self._time = threading.Lock()
        self._build(crm or {}, esp or {}, tracked, leads, more)
        if build is not None:
            build(self)
        self.app = self.open(text)

    def _build(self, crm: Mapping[str, Any], esp: Mapping[str, Any], tracked: Sequence[str], leads: bool,
               more: Sequence[Any]) -> None:
        about = {"fields": [*CONTACT, *more], "master_flag": "opted_out", "topics": {"offers": "offers", "news": "no_news"}}
        objects = {"Contact": about | {"tracked": list(tracked)}} | ({"Lead": about} if leads else {})
        self.world.create_crm("sf", objects, **crm)
        text, decimal = fields("first_name"), fields(spent="decimal")
        self.world.create_esp("mc", ["L1", "L2", "L3"], {
            OFFERS: {"fields": text, "list": "L1"}, NEWS: {"fields": text, "list": "L2"},
            RICH: {"fields": decimal, "list": "L1"}, TOP: {"fields": decimal, "list": "L1"},
            STAFF: {"fields": [], "list": "L3"}}, **esp)  # L3 and STAFF are no concern of the mapping's

    def open(self, text: str | None = None) -> App:
        """A syncd on this directory's state, as after a start of the daemon."""
        path = self.directory / "mapping.yaml"
        if text is not None:
            path.write_text(text, encoding="utf-8")
        store = open_store(self.directory / "state.db", self.directory / "journal.log", self.policy.hash_key)
        endpoints = {name: Endpoint(role, self.world.connector(self.accounts.get(name, name)))
                     for name, role in self.roles.items()}
        return App(store, load_mapping([path]), endpoints, self.policy, clock=self.now, stop=Passing(self.advance))

    def reopen(self, text: str | None = None) -> None:
        """Stop and start syncd, with another mapping where one is given."""
        self.app.close()
        self.app = self.open(text)

    def close(self) -> None:
        self.app.close()
        self.world.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------------ time

    def now(self) -> int:
        """The instant everywhere in this lab."""
        with self._time:
            return START + int(self._ahead * 1e6)

    def advance(self, seconds: float) -> None:
        """Let time pass, for the world and for syncd."""
        with self._time:
            self._ahead += seconds
            self.world.tick(0, seconds)

    # ------------------------------------------------------------------ people

    def contact(self, name: str, **values: Any) -> str:
        """A new contact, wanting offers unless told otherwise; the record's id. ``name`` finds it again."""
        self.ids[name] = self.world.load("sf", "Contact", [fresh(name, values)])[0]
        return self.ids[name]

    def contacts(self, count: int, start: int = 0, **values: Any) -> list[str]:
        """Contacts ``p0``, ``p1``, …; their names."""
        names = [f"p{n}" for n in range(start, start + count)]
        rows = [fresh(name, values) for name in names]
        self.ids |= dict(zip(names, self.world.load("sf", "Contact", rows), strict=True))
        return names

    def edit(self, name: str, **values: Any) -> None:
        """A user edits the contact."""
        self.world.act("sf", "edit", object="Contact", id=self.ids[name], set=values)

    def web_opt_in(self, name: str) -> None:
        """The person ticks the box on the company's web site."""
        self.world.act("sf", "edit", object="Contact", id=self.ids[name], by="person",
                       set={"offers": 1, "offers_at": self.now(), "offers_how": "web"})

    def flags(self, name: str) -> dict[str, Any]:
        """The contact's fields as they are now."""
        found: dict[str, Any] = next(p for p in self.world.truth()["sf"]["people"] if p["id"] == self.ids[name])
        return dict(found["fields"])

    # ------------------------------------------------------------------ the ESP

    def keys(self, audience: str) -> set[str]:
        """The rows of an audience, as contact names where known, else as keys."""
        names = {i: n for n, i in self.ids.items()}
        return {names.get(row["key"], row["key"]) for row in self.world.truth()["mc"]["audiences"][audience]["rows"]}

    def row(self, audience: str, name: str) -> dict[str, Any] | None:
        """One row of an audience, None when it is not there."""
        rows = self.world.truth()["mc"]["audiences"][audience]["rows"]
        return next((dict(r) for r in rows if r["key"] == self.ids.get(name, name)), None)

    def send(self, audience: str) -> set[str]:
        """Mail an audience; the names before the @ of whoever got it."""
        return {email.split("@")[0] for email in self.world.send("mc", audience)["mailed"]}

    def status(self, name: str, container: str = "") -> str | None:
        """What the ESP holds about a subscriber: its all-mail status or that of a list."""
        key = self.ids.get(name, name)
        found = next((s for s in self.world.truth()["mc"]["subscribers"] if s["key"] == key), None)
        if found is None:
            return None
        return str(found["status"]) if not container else found["topics"].get(container)

    def unsubscribe(self, name: str, container: str = "") -> None:
        """The recipient unsubscribes from a list, or from all mail."""
        self.world.act("mc", "unsubscribe", email=f"{name}@mail.example", list=container, key=self.ids.get(name, name))

    # ------------------------------------------------------------------ syncd

    def cycle(self, *, deliver: bool = True, full: bool = False, wait: bool = True, whole: bool = True) -> Report:
        """One cycle; without ``wait`` it ends as soon as nothing can be done at once. Unless the mapping must be ``whole``,
        it is one as the service's."""
        cycle = self.app.cycle(whole=whole)
        return cycle.run("once", deliver=deliver, full=full, wait=wait, deadline=time.monotonic() + 20.0)

    def approve(self, plan: Plan) -> None:
        """An admin approves a plan by its id."""
        compiled = self.app.compiled or self.app.compile()
        guard.approve_plan(self.app.store, compiled.relations, plan.id, "admin", self.now())

    def link(self) -> Report:
        """First plan, approval, delivery, and a send of every audience, so that everyone is a subscriber of its list."""
        plan = self.cycle(deliver=False).plan
        assert plan is not None
        self.approve(plan)
        report = self.cycle()
        for audience in (OFFERS, NEWS):
            self.world.send("mc", audience)
        self.settle()
        return report

    def settle(self) -> None:
        """Cycles until nothing is written any more; at most four."""
        for _ in range(4):
            if not done(self.cycle()):
                return
        raise AssertionError("the fourth cycle in a row still wrote something")

    def use(self, text: str) -> None:
        """Another mapping, its plan approved and delivered."""
        self.reopen(text)
        plan = self.cycle(deliver=False).plan
        assert plan is not None
        self.approve(plan)
        self.settle()

    def decide(self, cls: str, verdict: str) -> int:
        """Approve or reject the one open hold of a class; how many operations that concerned."""
        hold = self.hold(cls)
        return guard.decide_hold(self.app.store, hold.id, verdict, self.now())

    def hold(self, cls: str) -> guard.Hold:
        """The one open hold of a class."""
        [hold] = [h for h in self.holds() if h.cls == cls]
        return hold

    def waits(self, name: str) -> set[str | None]:
        """What `explain` says the contact waits for, over all audiences."""
        from syncd.desk.explain import Explainer

        compiled = self.app.compiled or self.app.compile()
        config: Any = SimpleNamespace(policy=self.policy)
        explainer = Explainer(self.app.store, compiled, self.app.mapping, config, self.now())
        found = explainer.explain(None, self.ids[name])
        return {d["waits"] for d in found["people"][0]["destinations"]}

    def holds(self) -> tuple[guard.Hold, ...]:
        compiled = self.app.compiled or self.app.compile()
        return guard.current_plan(self.app.store, compiled.relations, self.now()).holds

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Look into the state."""
        return self.app.store.rows(sql, parameters)

    def entries(self) -> int:
        """How many entries the ledger has; every one of them verified."""
        with self.app.store.reading() as conn:
            count, bad = verify(conn)
        assert not bad
        return count

    def written(self) -> dict[str, int]:
        """Records written at each connection since this was last asked."""
        return {name: self.world.counters(name, reset=True)["records_written"] for name in self.roles}


def fresh(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """A contact's fields: those given, for the others what most people have."""
    return {"email": f"{name}@mail.example", "first_name": name.capitalize(), "last_name": "Doe", "opted_out": 0,
            "offers": 1, "no_news": 0, "spent": "10.00", **values}


def done(report: Report) -> int:
    """How many operations of any outcome a cycle had."""
    return sum(sum(d.counts.values()) for d in report.delivered.values())


def came_back(lab: Lab) -> None:
    """p1 was stopped in the CRM and comes back at the provider: the next cycle unticks her box."""
    lab.contacts(2)
    lab.link()
    lab.edit("p1", no_news=1)
    lab.settle()
    lab.advance(3600)
    lab.world.act("mc", "resubscribe", email="p1@mail.example", list="L2")


# --------------------------------------------------------------------------- shared addresses

SHARED = "team@mail.example"


def separate(text: str = "separate") -> str:
    return MAPPING.replace("same_email: one_person", f"same_email: {text}")


def couple(lab: Lab, **second: str) -> None:
    """Two records with one address, and somebody else."""
    lab.contact("eva", email=SHARED)
    lab.contact("tom", email=SHARED, **second)
    lab.contact("ann")
