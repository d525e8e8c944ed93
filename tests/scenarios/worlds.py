"""The worlds of the stories: who and what there is before anything happens."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connectors.memory.client import fields
from syncd.app import Policy
from syncd.config import Config, load_config
from syncd.desk import forget, grants, restoring, suppressions
from syncd.desk.verbs import Desk
from syncd.guard import Plan
from tests.system.lab import DAY, HOUR, MAPPING, NEWS, OFFERS, RICH, START, TOP, Lab, fresh

HASH_KEY = "a key for the stories"
LEAD = """    sf.Lead:
      becomes: sf.Contact
      attributes: {email: email, first_name: first_name, last_name: last_name, spent: spent}
"""
PARTNER = """    odoo.Partner: {attributes: {email: email, first_name: name}}
"""
LEAD_CONSENT = """      sf.Lead: {field: no_news, "true": opt_out, "false": unknown, holds: opt_out_only}
"""

SHOP_TOPIC = """  shop: {name: Shop, purpose: marketing, opt_in: none, unit: shop}
"""
SHOP = """  second:
    connection: second
    unit: shop
    subscriber_key: {value: crm_id, existing: match_email}
    topics:
      shop: {publication_list: S1, audience: {data_extension: {key: SHOP}}, fields: {first_name: first_name}}
"""

AUDIENCES = {"offers": OFFERS, "news": NEWS, "rich": RICH, "top": TOP}
LISTS = {"offers": "L1", "news": "L2", "everything": ""}
BOXES = {"offers": "offers", "opted out": "opted_out", "no news": "no_news"}
CONSENTS = {"news": "CommSubscriptionConsent.News", "all mail": "ContactPointTypeConsent.Email"}
NEWS_OBJECT = """      sf: {comm_subscription: News, person_made: "method = 'web'"}
"""
PARTY_OBJECT = """      contact_point_consent: {person_made: "method = 'web'"}
"""
LENGTHS = {"minute": 60.0, "hour": HOUR, "day": DAY}
ABOUT: dict[str, Callable[[re.Match[str]], dict[str, Any]]] = {
    r"no offers": lambda m: {"offers": 0},
    r"no news": lambda m: {"no_news": 1},
    r"an Individual": lambda m: {"IndividualId": "0PK"},
    r"opted out": lambda m: {"opted_out": 1},
    r"no address": lambda m: {"email": None},
    r"the address (\S+)": lambda m: {"email": m[1]},
    r"called (\w+)": lambda m: {"first_name": m[1]},
    r"spent (\d+\.\d\d)": lambda m: {"spent": m[1]},
    r"asked for offers on the web": lambda m: {"offers": 1, "offers_how": "web", "offers_at": START - 5},
    r"asked for offers on the web (\d+) days ago": lambda m: {
        "offers": 1, "offers_how": "web", "offers_at": START - int(m[1]) * int(DAY * 1e6)},
}


def _after(text: str, place: str, more: str) -> str:
    assert place in text, place
    return text.replace(place, place + more, 1)


WORLD: dict[str, Callable[[str], str]] = {
    r"people who share an address are different people":
        lambda t: t.replace("same_email: one_person", "same_email: separate"),
    r"offers are mail of the service, no marketing":
        lambda t: t.replace("name: Offers\n    purpose: marketing", "name: Offers\n    purpose: service"),
    r"offers need a confirmation": lambda t: t.replace("opt_in: required", "opt_in: confirmed"),
    r"there are leads": lambda t: _after(t.replace("topics:", LEAD + "topics:", 1),
                                         "opt_in: none\n    consent:\n", LEAD_CONSENT),
    r"there is a second CRM": lambda t: t.replace("topics:", PARTNER + "topics:", 1),
    r"whoever is unknown to the provider is created unsubscribed":
        lambda t: t.replace("unknown_subscriber: skip", "unknown_subscriber: create_unsubscribed"),
    r"there is a second business unit, the shop": lambda t: _after(_after(
        t.replace("    purpose: marketing", "    purpose: marketing\n    unit: main").replace(
            "    connection: mc\n", "    connection: mc\n    unit: main\n"), "\ntopics:\n", SHOP_TOPIC),
        "\ndestinations:\n", SHOP),
    r"Individuals hold consent, too": lambda t: _after(_after(
        t, "holds: opt_out_only}\n", NEWS_OBJECT), "vip_until: vip_until}\n", PARTY_OBJECT),
    r"deletions leave no trace": lambda t: t,
    r"leaving a list stops all mail": lambda t: t,
    r"stopping all mail leaves every list": lambda t: t,
}
"""What may stand under "world", and what it makes of the mapping."""

def misfit(text: str) -> str:
    """The mapping with a rule over a field that the CRM does not have."""
    return _after(text, "spent: spent, ", "years: years, ").replace(
        "rich: {topic: offers, where: \"spent > 100\"}", "rich: {topic: offers, where: \"years > 60\"}")


OBJECTS = {"contact": ("sf", "Contact"), "lead": ("sf", "Lead"), "partner": ("odoo", "Partner")}


@dataclass(slots=True)
class Teller:
    """Where a story stands. ``kinds``: what everyone is who is no contact."""

    directory: Path
    lab: Lab = field(init=False)
    plan: Plan | None = None
    wrote: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    text: str = MAPPING
    failed: set[str] = field(default_factory=set)

    def begin(self, world: set[str]) -> None:
        """Make the world of the story.

        :raises AssertionError: a line of it means nothing
        """
        for line in sorted(world):
            assert line in WORLD, f"nobody knows what this means: {line}"
            self.text = WORLD[line](self.text)

        def build(lab: Lab) -> None:
            if "there is a second business unit, the shop" in world:
                lab.world.create_esp("second", ["S1"], {"de:SHOP": {"fields": fields("first_name"), "list": "S1"}})
                lab.roles["second"] = "esp"
            if "there is a second CRM" in world:
                lab.world.create_crm("odoo", {"Partner": {
                    "fields": fields("email", "name", opted_out="bool"), "master_flag": "opted_out"}}, blacklist=True)
                lab.roles["odoo"] = "crm"
        self.lab = Lab(self.directory, self.text, build=build, policy=Policy(hash_key=HASH_KEY.encode()),
                       leads="there are leads" in world,
                       more=fields("IndividualId", **{
                           f"{name}{suffix}": kind for name in CONSENTS.values() for suffix, kind in (
                               ("", "text"), (".CaptureDate", "instant"), (".CaptureSource", "text"))})
                       if "Individuals hold consent, too" in world else (),
                       crm={"deletes_visible": "deletions leave no trace" not in world},
                       esp={"widen": "leaving a list stops all mail" in world,
                            "flip": "stopping all mail leaves every list" in world})

    def close(self) -> None:
        """End the world, if it began."""
        if hasattr(self, "lab"):
            self.lab.close()

    def place(self, name: str) -> tuple[str, str]:
        """(connection, object) of somebody's record."""
        return OBJECTS[self.kinds.get(name, "contact")]

    def create(self, kind: str | None, name: str, values: dict[str, Any]) -> None:
        """A new record."""
        self.kinds[name] = kind or "contact"
        connection, object_ = self.place(name)
        row = fresh(name, values)
        if kind == "partner":
            row = {"email": row["email"], "name": row["first_name"], "opted_out": row["opted_out"]}
        self.lab.ids[name] = self.lab.world.load(connection, object_, [row])[0]

    def edit(self, name: str, **values: Any) -> None:
        """A user edits somebody's record."""
        connection, object_ = self.place(name)
        self.lab.world.act(connection, "edit", object=object_, id=self.lab.ids[name], set=values)

    def grant(self, name: str, topic: str | None) -> None:
        """What an admin records with `syncd consent grant`."""
        self.lab.settle()
        grants.grant(self.lab.app.store, self.lab.app.mapping, self._config(), str(self.fields(name)["email"]), topic=topic,
                     evidence="a letter", by="an admin", crm_id=None, now=self.lab.now())

    def forget(self, name: str) -> None:
        """What `syncd forget` does."""
        self.lab.settle()
        desk = Desk(self._config(), self.lab.app.store, self.lab.app.mapping, clock=self.lab.now)
        desk._app = self.lab.app  # the connections are the lab's
        assert forget.run(desk, str(self.fields(name)["email"]), crm_id=self.lab.ids[name]).data["done"]

    def list_says_no(self, name: str, topic: str | None) -> None:
        """What `syncd consent import` does with a list that holds one address."""
        self.lab.settle()
        done = suppressions.take(self.lab.app.store, self.lab.app.mapping, self._config(), [str(self.fields(name)["email"])],
                                 topic=topic, evidence="an old list", by="an admin", dry_run=False, now=self.lab.now())
        assert done["bad"] == []

    def restore(self) -> None:
        """What `syncd restore` does, and the approval of the plan that follows it."""
        self.lab.app.close()
        for path in self.directory.glob("state.db*"):
            path.unlink()
        restoring.restore(self._config(), self.directory / "backup.db")
        self.lab.app = self.lab.open()

    def _config(self) -> Config:
        """A configuration that names the lab's files."""
        path = self.directory / "syncd.yaml"
        path.write_text("state: state.db\njournal: journal.log\nhash_key: ${KEY}\nmappings: [mapping.yaml]\nconnections:\n"
                        "  sf: {type: memory, socket: socket, name: sf}\n", encoding="utf-8")
        return load_config(path, {"KEY": HASH_KEY})

    def fields(self, name: str) -> dict[str, Any]:
        """What somebody's record holds now."""
        people = self.lab.world.truth()[self.place(name)[0]]["people"]
        return next(dict(p["fields"]) for p in people if p["id"] == self.lab.ids[name])


def about(words: str | None) -> dict[str, Any]:
    """A contact's fields from "no offers, spent 250.00"."""
    values: dict[str, Any] = {}
    for part in filter(None, re.split(r",\s*", words or "")):
        match, make = next((found, make) for pattern, make in ABOUT.items() if (found := re.fullmatch(pattern, part)))
        values |= make(match)
    return values
