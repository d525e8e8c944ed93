"""The verdict: what every side holds at the end against what must be true."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from syncd.demo.processes import Json
from syncd.demo.stories import Mails, Person, Story
from syncd.demo.truth import ALL, MAILINGS, MAIN, SECOND, Mailed, Truth

UNITS = {"mc_main": MAIN, "mc_second": SECOND}


@dataclass(slots=True)
class Outcome:
    """A story after all: what each side holds, what the person got in each round, and what is not as it must be."""

    story: Story
    person: Person
    sides: dict[str, str] = field(default_factory=dict)
    mailed: list[frozenset[str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.wrong

    def as_json(self) -> Json:
        return {"story": self.story.title, "made_at": self.story.place, "about": self.story.focus,
                "email": self.person.email, "sides": self.sides, "mailed": [sorted(each) for each in self.mailed],
                "ok": self.ok, "wrong": self.wrong}


@dataclass(frozen=True, slots=True)
class Check:
    """One sentence about everybody, how many it was looked at for, and how many it does not hold for."""

    text: str
    looked_at: int
    against: int

    def as_json(self) -> Json:
        return {"check": self.text, "looked_at": self.looked_at, "against": self.against}


def judge(story: Story, person: Person, truth: Truth, rounds: Sequence[Mailed]) -> Outcome:
    """The outcome of a story. ``rounds``: who was mailed before, between and after."""
    out = Outcome(story, person)
    out.mailed = [frozenset(name for name, emails in mailed.items() if person.email in emails) for mailed in rounds]
    for when, wish, got in zip(("between", "after"), (story.between, story.after), out.mailed[1:], strict=True):
        wanted = _wanted(wish, story.focus, person.mailed)
        if got != wanted:
            out.wrong.append(f"mailed {_names(got)} {when}, not {_names(wanted)}")
    for side in ("salesforce", "odoo"):
        _crm(out, side, truth)
    for side, unit in UNITS.items():
        _esp(out, side, unit, truth)
    return out


def _wanted(wish: Mails, focus: str, before: frozenset[str]) -> frozenset[str]:
    kept = {"as before": before, "none": frozenset[str](),
            "not the topic": before - {m.audience for m in MAILINGS if m.topic == focus}}
    return kept[wish]


def _names(audiences: Iterable[str]) -> str:
    return ", ".join(sorted(audiences)) or "nothing"


def _crm(out: Outcome, side: str, truth: Truth) -> None:
    story, email = out.story, out.person.email
    state = truth.crm(side, email, story.focus)
    known = side == "salesforce" or out.person.in_odoo
    out.sides[side] = state if known else ""
    # Odoo may never have heard of a topic, or of the person. But whoever is out is out everywhere.
    if state != story.state and (state == "out" or (known and story.state == "out")):
        out.wrong.append(f"{side} says {state}")
    if story.focus != ALL and truth.crm(side, email, ALL) == "out":
        out.wrong.append(f"{side} says out of everything")


def _esp(out: Outcome, side: str, unit: int, truth: Truth) -> None:
    story, email = out.story, out.person.email
    rows = truth.audiences(unit, email, story.focus)
    about_all = truth.audiences(unit, email, ALL)
    concerned = story.focus == ALL or unit == MAIN
    if concerned:
        # Who came back did so under the key of the rows; a forgotten key of the address may stay out.
        state = truth.esp(unit, email, story.focus, rows[0]["key"] if rows else None)
        out.sides[side] = f"{state} {len(rows)}"
        if (state == "out") != (story.state == "out") or bool(rows) != (story.state == "in"):
            out.wrong.append(f"{side} says {state}, with {len(rows)} rows")
    else:
        out.sides[side] = str(len(about_all))
        if not about_all and "reminders" in story.got:
            out.wrong.append(f"{side} has no row")
    if story.focus != ALL and truth.esp(unit, email, ALL) == "out":
        out.wrong.append(f"{side} says out of everything")
    if story.name is not None and {row["FirstName"] for row in about_all} - {story.name}:
        out.wrong.append(f"{side} has another first name")


# --------------------------------------------------------------------------- everybody

def nobody_refused(people: Mapping[str, Person | None], truth: Truth, mailed: Mailed) -> Check:
    """Of everyone just mailed, how many have a refusal of that mail on any side, under any key? None may. Whoever a story
    happened to is judged there."""
    judged = {p.email for p in people.values() if p is not None}
    pairs = [(email, m) for m in MAILINGS for email in mailed[m.audience] if email not in judged]
    return Check("nobody was mailed who is opted out on any side", len(pairs),
                 sum(truth.refused(email, mailing) for email, mailing in pairs))


def everyone_else(people: Mapping[str, Person | None], before: Mailed, after: Mailed) -> Check:
    """Whom no story happened to gets what they got before, no more and no less."""
    touched = {p.email for p in people.values() if p is not None}
    touched |= {p.duplicate for p in people.values() if p is not None}
    everybody = frozenset().union(*before.values(), *after.values()) - touched
    against = {email for email in everybody for m in MAILINGS
               if (email in before[m.audience]) != (email in after[m.audience])}
    return Check("everyone else gets what they got before", len(everybody), len(against))


def nothing_written(calls: Mapping[str, Json]) -> Check:
    """Of a cycle before which nothing happened: its calls, and the records it wrote."""
    return Check("a cycle with nothing to do writes nothing", sum(each["calls"] for each in calls.values()),
                 sum(each["records_written"] for each in calls.values()))
