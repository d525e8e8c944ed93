"""What happens in each round of the crash test on the sandbox: the same for both companies, whatever becomes of syncd."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.sandbox_side import CRMS, MC, Side
from tests.system import acceptance_world as naive
from tests.system.acceptance_world import Json

EVERYTHING = ("offers", "news", "tips", "academy", "reminders")


@dataclass(frozen=True, slots=True)
class Resident:
    """Somebody with one contact, perhaps a partner in Odoo, and the audiences whose mail comes. ``colleague``: others are
    at the same account, so that it is no person account, which could not be merged with a contact."""

    email: str
    contact: str
    partner: str | None
    colleague: bool
    audiences: frozenset[str]


@dataclass(frozen=True, slots=True)
class Event:
    """An act, and what it means: ``refuses`` address -> topics, ``back`` (address, topic) of a return. ``mail`` is the
    audience that is mailed just before: what "everything" is depends on the mail whose link is clicked."""

    act: Json
    refuses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    back: tuple[str, str] | None = None
    mail: str | None = None

    def happen(self, side: Side) -> None:
        """To one company."""
        if self.mail is not None:
            side.mail(self.mail)
        if self.back is not None:
            side.comes_back(*self.back)
        side.act(self.act)
        for address, topics in self.refuses.items():
            side.refuse([address], topics)


def residents(side: Side, mailed: Mapping[str, set[str]]) -> list[Resident]:
    """Everybody whose records are plain enough to say what must become of them."""
    records: dict[str, dict[str, list[Json]]] = defaultdict(lambda: defaultdict(list))
    for crm in CRMS:
        for person in side.world(crm)["people"]:
            records[naive.address(person["email"]) or ""][person["object"]].append(person)
    accounts = Counter(p["fields"].get("AccountId") for each in records.values() for p in each["Contact"])
    got: dict[str, set[str]] = defaultdict(set)
    for audience, addresses in mailed.items():
        for address in addresses:
            got[address].add(audience)
    found = []
    for email, audiences in sorted(got.items()):
        contacts, partners = records[email]["Contact"], records[email]["res.partner"]
        plain = not records[email]["Lead"] and len(partners) < 2 and not any(p["deleted"] for p in contacts + partners)
        if plain and len(contacts) == 1:
            colleague = accounts[contacts[0]["fields"].get("AccountId")] > 1
            found.append(Resident(email, contacts[0]["id"], partners[0]["id"] if partners else None, colleague,
                                  frozenset(audiences)))
    return found


class Story:
    """Hands out people, each once, and says what they do in a round; some act again in the next."""

    def __init__(self, people: Iterable[Resident], seed: int) -> None:
        self._people = list(people)
        random.Random(seed).shuffle(self._people)
        self._before: dict[str, Resident] = {}

    def _take(self, audience: str, *, partner: bool | None = None, colleague: bool = False) -> Resident:
        for number, one in enumerate(self._people):
            if audience in one.audiences and partner in (None, one.partner is not None) and one.colleague >= colleague:
                return self._people.pop(number)
        raise AssertionError(f"nobody is left who gets the mail of {audience}; the story needs more people")

    def round(self, n: int) -> list[Event]:
        """The events of round ``n`` = 1, 2, …, in their order. Who is merged has records in one stream only: of two people
        who become one the record first seen decides which key stays, and streams are read at the same time."""
        new = {"quick": self._take("tips", partner=False, colleague=True),
               "winner": self._take("tips", partner=False, colleague=True),
               "all": self._take("offers"), "boxed": self._take("tips"), "cross": self._take("tips"),
               "odoo": self._take("news", partner=True), "returning": self._take("offers"),
               "leaving": self._take("tips", partner=False)}
        events = [*self._newcomers(n), *self._refusals(n, new)]
        if self._before:
            events[3:3] = self._again(n, new, self._before)
        self._before = new
        return events

    def _newcomers(self, n: int) -> list[Event]:
        """One of them changes her mind while her row may still be on its way."""
        email = f"newcomer{n}@post.example"
        return [
            Event(_crm("form", "Contact", set={"Email": email, "FirstName": "New", "LastName": f"Comer {n}",
                                               "topics": {"offers": True}})),
            Event(_odoo("create", set={"name": f"Partner {n}", "email": f"partner{n}@post.example"})),
            Event(_crm("edit", "Contact", where={"Email": email}, set={"topics": {"tips": False}}), {email: ["tips"]})]

    def _refusals(self, n: int, new: Mapping[str, Resident]) -> list[Event]:
        quick, all_, boxed, cross, odoo = (new[w] for w in ("quick", "all", "boxed", "cross", "odoo"))
        return [
            Event(_crm("edit", "Contact", id=quick.contact, set={"MailingCountry": "Norway", "FirstName": f"Name {n}"})),
            Event(_recipient("unsubscribe", quick, {"topic": "tips"}), {quick.email: ["tips"]}),
            Event(_recipient("unsubscribe", all_, "all"), {all_.email: EVERYTHING}, mail="offers"),
            Event(_crm("edit", "Contact", id=boxed.contact, set={"opted_out": True}), {boxed.email: EVERYTHING}),
            Event(_recipient("complain", cross, {"audience": "tips"}), {cross.email: EVERYTHING}),
            Event(_odoo("edit", id=int(odoo.partner or 0), set={"topics": {"news": False}}), {odoo.email: ["news"]}),
            Event(_recipient("unsubscribe", new["returning"], {"audience": "offers"}), {new["returning"].email: ["offers"]}),
            Event(_crm("delete", "Contact", id=new["leaving"].contact))]

    def _again(self, n: int, new: Mapping[str, Resident], old: Mapping[str, Resident]) -> list[Event]:
        """What becomes of those who refused in the round before."""
        moved = f"moved{n}@post.example"
        events = [
            Event(_crm("form", "Contact", id=old["returning"].contact, set={"topics": {"offers": True}}),
                  back=(old["returning"].email, "offers")),
            Event(_crm("edit", "Contact", id=old["boxed"].contact, set={"opted_out": False})),
            Event(_crm("edit", "Contact", id=old["all"].contact, set={"Email": moved}), {moved: EVERYTHING})]
        if n % 2:
            return [*events, Event({"actor": "esp_user", "esp": MC, "do": "resubscribe", "emails": [old["quick"].email],
                                    "topic": "tips"})]
        merged = _crm("merge", "Contact", id=old["quick"].contact, into=new["winner"].contact)
        return [*events, Event(merged, {new["winner"].email: ["tips"]})]


def _crm(do: str, object_: str, **what: Any) -> Json:
    return {"actor": "crm_user", "crm": "salesforce", "do": do, "object": object_, **what}


def _odoo(do: str, **what: Any) -> Json:
    return {"actor": "crm_user", "crm": "odoo", "do": do, "object": "res.partner", **what}


def _recipient(do: str, who: Resident, place: Any) -> Json:
    return {"actor": "recipient", "esp": MC, "do": do, "email": who.email, "from": place}
