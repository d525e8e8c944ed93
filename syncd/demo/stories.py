"""The ten stories: who they happen to, what is done, and what must be true afterwards.

What must be true is written down here, beside what is done; nothing is asked of syncd.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from syncd.demo.processes import Json
from syncd.demo.truth import ALL, MAILINGS, Mailed, State, Truth

Mails = Literal["as before", "none", "not the topic"]
"""What somebody gets of what they got in the first round."""

NEW_NAME = "Renamed"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody a story can happen to: one contact in Salesforce, at most one partner in Odoo, one address.

    ``fields`` are the contact's; ``mailed`` the audiences whose mail came in the first round.
    """

    email: str
    contact: str
    fields: Json
    in_odoo: bool
    mailed: frozenset[str]

    @property
    def duplicate(self) -> str:
        """The address under which a colleague enters the same person a second time."""
        return f"twice.{self.email}"

    def salesforce(self, do: str, **more: object) -> Json:
        """Something an employee does to a contact."""
        return {"actor": "crm_user", "crm": "salesforce", "do": do, "object": "Contact", **more}

    def enter(self, email: str, **more: object) -> Json:
        """An employee enters the person as a new contact."""
        kept = {name: self.fields[name] for name in ("FirstName", "LastName", "AccountId")}
        return self.salesforce("create", set={**kept, "Email": email, **more})

    def edit(self, **values: object) -> Json:
        return self.salesforce("edit", id=self.contact, set=values)

    def unsubscribe(self, place: str | Json, esp: str = "marketing_cloud") -> Json:
        return {"actor": "recipient", "esp": esp, "do": "unsubscribe", "email": self.email, "from": place}


Acts = Callable[[Person, Truth], Sequence[Json]]


def _nothing(person: Person, truth: Truth) -> Sequence[Json]:
    return ()


@dataclass(frozen=True, slots=True)
class Story:
    """One line of the table.

    ``focus`` is the topic (or ``all``) it is about. It happens to somebody whom the mails ``got`` reached, and whom Odoo
    has with a subscription to the topic, where ``in_odoo``. ``first`` is done before the first cycle, ``second`` before
    the second. At the end every side must hold ``state``, the topic's audiences a row exactly if it is ``in``, and the
    person must get ``between`` and ``after``; ``name`` is the first name the rows must carry.
    """

    title: str
    place: str
    focus: str
    got: tuple[str, ...]
    state: State
    between: Mails
    after: Mails
    first: Acts = _nothing
    second: Acts = _nothing
    in_odoo: bool = False
    name: str | None = None

    def fits(self, truth: Truth, person: Person) -> bool:
        return person.mailed.issuperset(self.got) and (
            not self.in_odoo or truth.crm("odoo", person.email, self.focus) == "in")


def _merge(person: Person, truth: Truth) -> Sequence[Json]:
    loser, = truth.records("salesforce", person.duplicate)
    return (person.salesforce("merge", id=loser["id"], into=person.contact),)


def _again(person: Person, truth: Truth) -> Sequence[Json]:
    return person.salesforce("delete", id=person.contact), person.enter(person.email)


def _form(person: Person, truth: Truth) -> Sequence[Json]:
    return (person.salesforce("form", id=person.contact, set={"topics": {"news": True}}),)


def _leaves_all(person: Person, truth: Truth) -> Sequence[Json]:
    return (person.unsubscribe("all"),)


STORIES = (
    Story("leaves offers, from a segment's mail", "MC", "offers", ("offers", "spent_over_100_2020", "reminders"),
          "out", "not the topic", "not the topic", lambda p, t: (p.unsubscribe({"audience": "spent_over_100_2020"}),)),
    Story("opts out of everything, from a mail", "MC", ALL, ("offers", "tips", "reminders"),
          "out", "none", "none", _leaves_all),
    Story("CRM user ticks the opt-out box", "SF", ALL, ("news", "tips", "reminders"),
          "out", "none", "none", lambda p, t: (p.edit(opted_out=True),)),
    Story("opts out; CRM user unticks the box", "MC, SF", ALL, ("tips", "reminders"),
          "out", "none", "none", _leaves_all, lambda p, t: (p.edit(opted_out=False),)),
    Story("merged with a duplicate that left news", "SF", "news", ("news", "tips", "reminders"),
          "out", "as before", "not the topic",
          lambda p, t: (p.enter(p.duplicate, topics={"news": False}),), _merge),
    Story("CRM user corrects the first name", "SF", "tips", ("tips", "reminders"),
          "in", "as before", "as before", lambda p, t: (p.edit(FirstName=NEW_NAME),), name=NEW_NAME),
    Story("leaves news; asks for it in a web form", "MC, web", "news", ("news", "tips"),
          "in", "not the topic", "as before", lambda p, t: (p.unsubscribe({"audience": "news"}),), _form),
    Story("leaves tips on Odoo's unsubscribe page", "Odoo", "tips", ("tips", "reminders"),
          "out", "not the topic", "not the topic", lambda p, t: (p.unsubscribe({"topic": "tips"}, "odoo"),), in_odoo=True),
    Story("opts out; is deleted and entered again", "MC, SF", ALL, ("tips", "reminders"),
          "out", "none", "none", _leaves_all, _again),
    Story("is touched by nobody", "", "tips", ("tips", "reminders"), "in", "as before", "as before"),
)


# --------------------------------------------------------------------------- the cast

def candidates(truth: Truth, mailed: Mailed) -> Iterator[Person]:
    """Everybody with an address of their own whom Salesforce has as one contact of a company, by address."""
    staff = Counter(p["fields"].get("AccountId") for records in truth.people["salesforce"].values() for p in records)
    for email, records in sorted(truth.people["salesforce"].items()):
        contact, partners = records[0], truth.records("odoo", email, "res.partner")
        if len(records) > 1 or len(partners) > 1 or contact["object"] != "Contact":
            continue
        if staff[contact["fields"].get("AccountId")] < 2:
            continue  # perhaps a person account, which merges with its like only
        if len({row["key"] for *_, row in truth.rows.get(email, ())}) == 1:
            yield Person(email, contact["id"], contact["fields"], bool(partners),
                         frozenset(m.audience for m in MAILINGS if email in mailed[m.audience]))


def cast(truth: Truth, mailed: Mailed) -> dict[str, Person | None]:
    """A person for every story's title, nobody twice; None where nobody fits.

    Whoever Odoo knows comes first, so that there is something to see on every side. The stories that few fit choose first.
    """
    people = sorted(candidates(truth, mailed), key=lambda p: (not p.in_odoo, p.email))
    fitting = {s.title: [p for p in people if s.fits(truth, p)] for s in STORIES}
    chosen: dict[str, Person | None] = {}
    taken: set[str] = set()
    for story in sorted(STORIES, key=lambda s: len(fitting[s.title])):
        person = next((p for p in fitting[story.title] if p.email not in taken), None)
        chosen[story.title] = person
        if person is not None:
            taken.add(person.email)
    return chosen
