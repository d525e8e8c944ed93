"""What every side holds at one moment, as the sandbox's control API tells it. Nothing here was told by syncd."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from syncd.demo.processes import Json, Sandbox

State = Literal["in", "out", "-"]
"""Does a side hold that somebody wants it, refused it, or neither?"""

ALL = "all"
"""Instead of a topic: all marketing."""

MAIN, SECOND = 12_345, 67_890
"""The sandbox's business units of Marketing Cloud."""

REFUSES: Mapping[str, frozenset[str]] = {
    "salesforce": frozenset(("news", "tips", "academy", "reminders")),
    "odoo": frozenset(("offers", "news", "tips", "academy", "reminders")),
}
"""Topics for which a side's "no" is a refusal. Salesforce holds offers in a checkbox: empty may mean never asked."""


class Mailing(NamedTuple):
    """A mail that is sent in every round: its letter in the table, audience, and topic."""

    letter: str
    audience: str
    topic: str


MAILINGS = (Mailing("R", "reminders", "reminders"), Mailing("O", "offers", "offers"),
            Mailing("S", "spent_over_100_2020", "offers"), Mailing("N", "news", "news"), Mailing("T", "tips", "tips"),
            Mailing("A", "academy", "academy"))
"""In the order of sending. The one of the second business unit goes first: who opts out of everything does so in the latest
mail, and what "everything" is depends on the unit that sent it."""

Mailed = Mapping[str, frozenset[str]]
"""Audience -> the addresses mailed."""


def send_all(sandbox: Sandbox) -> Mailed:
    """Send every mail to whom the vendor lets have it."""
    return {m.audience: frozenset(sandbox.send(m.audience)) for m in MAILINGS}


def letters(mails: Iterable[str]) -> str:
    """Audiences as letters at fixed places: ``ROSNT·``."""
    chosen = frozenset(mails)
    return "".join(m.letter if m.audience in chosen else "·" for m in MAILINGS)


@dataclass(frozen=True, slots=True)
class Truth:
    """All sides, by address in lower case. ``people``: side -> address -> its living records; ``subscribers``: (unit,
    address) -> subscribers; ``rows``: address -> (unit, topic, audience, row)."""

    people: Mapping[str, Mapping[str, list[Json]]]
    subscribers: Mapping[tuple[int, str], list[Json]]
    rows: Mapping[str, list[tuple[int, str, str, Json]]]

    @classmethod
    def read(cls, sandbox: Sandbox) -> Truth:
        people: dict[str, dict[str, list[Json]]] = {}
        for side in ("salesforce", "odoo"):
            found: dict[str, list[Json]] = defaultdict(list)
            for person in sandbox.world(side)["people"]:
                if person["email"] and not person["deleted"]:
                    found[str(person["email"]).lower()].append(person)
            people[side] = dict(found)
        esp = sandbox.world("marketing_cloud")
        subscribers: dict[tuple[int, str], list[Json]] = defaultdict(list)
        for each in esp["subscribers"]:
            subscribers[each["bu"], each["email"].lower()].append(each)
        rows: dict[str, list[tuple[int, str, str, Json]]] = defaultdict(list)
        for name, audience in esp["audiences"].items():
            for row in audience["rows"]:
                rows[row["email"].lower()].append((audience["bu"], audience["topic"], name, row))
        return cls(people, dict(subscribers), dict(rows))

    def records(self, side: str, email: str, kind: str | None = None) -> list[Json]:
        """A CRM's living records with an address, of one object or of all."""
        found = self.people[side].get(email, [])
        return [p for p in found if kind is None or p["object"] == kind]

    def crm(self, side: str, email: str, focus: str) -> State:
        """What a CRM says of a topic or of all marketing; one refusal counts."""
        records = self.records(side, email)
        states = {not p["opted_out"] if focus == ALL else p["topics"].get(focus) for p in records}
        return "out" if False in states else "in" if True in states else "-"

    def esp(self, unit: int, email: str, focus: str, key: str | None = None) -> State:
        """What Marketing Cloud says of a topic or of all marketing in a business unit: under one key, or under any."""
        found = [s for s in self.subscribers.get((unit, email), []) if key is None or s["key"] == key]
        states = {s["status"] if focus == ALL else s["topics"].get(focus) for s in found} - {None}
        return "out" if "Unsubscribed" in states else "in" if states else "-"

    def audiences(self, unit: int, email: str, focus: str) -> list[Json]:
        """The rows of an address in a unit's audiences: those of a topic, or all."""
        return [row for bu, topic, _, row in self.rows.get(email, ()) if bu == unit and focus in (ALL, topic)]

    def refused(self, email: str, mailing: Mailing) -> bool:
        """Whether any side holds a refusal that covers a mail to an address."""
        unit = SECOND if mailing.topic == "reminders" else MAIN
        return any(self.crm(side, email, ALL) == "out" or (
                       mailing.topic in topics and self.crm(side, email, mailing.topic) == "out")
                   for side, topics in REFUSES.items()) or any(
                       self.esp(unit, email, focus) == "out" for focus in (ALL, mailing.topic))
