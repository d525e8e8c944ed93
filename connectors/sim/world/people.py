"""Who lives in the sandbox: a population that is never stored, only derived, person by person, from a seed.

A person is the same whoever asks, in whatever order: every draw is a hash of the seed, the person's number and what the
draw is for. So each vendor's rows can be made by themselves, and a million people cost no memory here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar

from connectors.sim.world import names

T = TypeVar("T")

DAY = 86_400
YEARS = 8
"""How far back the oldest record goes."""

Odd = Literal["", "none", "invalid", "quoted", "unicode", "idn", "upper", "plus", "apostrophe", "space", "long",
              "named", "double", "shared"]
Shape = Literal["contact", "person_account", "lead", "lead_and_contact", "converted_lead"]

_ODDITIES: tuple[tuple[Odd, int], ...] = (
    ("none", 10), ("invalid", 8), ("quoted", 6), ("unicode", 5), ("idn", 10), ("upper", 30), ("plus", 20),
    ("apostrophe", 10), ("space", 20), ("long", 4), ("named", 5), ("double", 3))
"""Kind of address and people in a thousand who have one."""
_SHAPES: tuple[tuple[Shape, int], ...] = (
    ("contact", 620), ("lead", 200), ("person_account", 100), ("lead_and_contact", 50), ("converted_lead", 30))
COUPLE = 40
"""The first two of every so many people share an address; the next seven of every ``OFFICE`` do, too."""
OFFICE = 1_000
OFFICE_SIZE = 7


class Dice:
    """Draws that depend on nothing but what they are for. One throw holds 512 bits: some fifty small draws."""

    __slots__ = ("_bits",)

    def __init__(self, *purpose: object) -> None:
        name = "/".join(map(str, purpose)).encode()
        self._bits = int.from_bytes(hashlib.blake2b(name).digest(), "big")

    def below(self, limit: int) -> int:
        """A number from 0 to ``limit`` - 1."""
        self._bits, drawn = divmod(self._bits, limit)
        return drawn

    def chance(self, per_thousand: int) -> bool:
        return self.below(1_000) < per_thousand

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def share(self, parts: Sequence[tuple[T, int]], rest: T) -> T:
        """One of ``parts`` with its number of cases in a thousand, else ``rest``."""
        drawn = self.below(1_000)
        for part, cases in parts:
            drawn -= cases
            if drawn < 0:
                return part
        return rest


class Human(NamedTuple):
    """One human. Salesforce and Odoo hold records of them, perhaps both, and spell the address their own ways.

    local, domain  the address (domain as people write it); "" where there is none
    odd            what is odd about it
    shape          what Salesforce has of them
    joined         when the first record was made, whole seconds
    changed        when a record was last changed
    """

    number: int
    first: str
    last: str
    local: str
    domain: str
    odd: Odd
    company: int
    country: int
    in_salesforce: bool
    in_odoo: bool
    shape: Shape
    personas: tuple[str, ...]
    opted_out: bool
    joined: int
    changed: int

    @property
    def machine_domain(self) -> str:
        return dict(names.IDN).get(self.domain, self.domain)

    @property
    def plain(self) -> str | None:
        """The address as every vendor takes it, None when no vendor would take all of it."""
        if not self.local or self.odd in ("invalid", "quoted", "unicode", "long"):
            return None
        return f"{self.local}@{self.machine_domain}".lower()


class Company(NamedTuple):
    number: int
    name: str
    industry: str
    country: int


class Wish(NamedTuple):
    """What a side's record says about one topic: ``state`` None = nothing; ``method`` and ``at`` None = unknown."""

    state: bool | None
    method: str | None
    at: int | None


@dataclass(frozen=True, slots=True)
class Population:
    """``size`` people. ``today`` is the last midnight (epoch seconds): all was done an hour before, or earlier."""

    seed: int
    size: int
    today: int

    @property
    def companies(self) -> int:
        return self.size // 12 + 1

    def dice(self, *purpose: object) -> Dice:
        return Dice(self.seed, *purpose)

    def __iter__(self) -> Iterator[Human]:
        return map(self.human, range(self.size))

    # ------------------------------------------------------------------ people

    def human(self, number: int) -> Human:
        """The person with this number."""
        dice = self.dice("human", number)
        first, last = self._name(dice)
        leader = self._leader(number)
        local, domain, odd = self._address(dice, number)
        if leader is not None:
            local, domain, odd = self._shared(leader)
        place = dice.below(100)
        shape = dice.share(_SHAPES, "contact")
        personas = tuple(p for p in names.PERSONAS if dice.chance(220))
        joined = self._joined(number)
        return Human(number, first, last, local, domain, odd, dice.below(self.companies), dice.below(4), place < 60,
                     place >= 55, shape, personas, dice.chance(40), joined, self._changed(dice, joined))

    def _name(self, dice: Dice) -> tuple[str, str]:
        first, last = dice.pick(names.FIRST), dice.pick(names.LAST)
        if dice.chance(15):
            first = dice.pick(names.DECORATIONS).format(first)
        return first, last

    def _address(self, dice: Dice, number: int) -> tuple[str, str, Odd]:
        odd: Odd = dice.share(_ODDITIES, "")
        local, domain = f"{dice.pick(names.ASCII_FIRST)}.{number}", dice.pick(names.DOMAINS)
        pick = dice.below(1_000)
        if odd == "none":
            return "", "", odd
        if odd == "invalid":
            text = names.INVALID[pick % len(names.INVALID)]
            return text, "", odd
        if odd == "idn":
            return local, names.IDN[pick % len(names.IDN)][0], odd
        spelled = {"quoted": f'"{local} at home"', "unicode": f"zoë.{number}", "upper": local.title(),
                   "plus": f"{local}+news", "apostrophe": f"o'{local}",
                   "long": f"{local}{'x' * (64 - len(local))}"}
        domain = f"{'long-' * 8}name.{domain}" if odd == "long" else domain
        return spelled.get(odd, local), domain, odd

    def _leader(self, number: int) -> int | None:
        """Whose address this person uses, who may be himself; None = one of their own."""
        if number % COUPLE < 2:
            return number - number % COUPLE
        place = number % OFFICE - COUPLE // 2
        return number - place if 0 <= place < OFFICE_SIZE else None

    def _shared(self, leader: int) -> tuple[str, str, Odd]:
        if leader % COUPLE:
            return "info", f"office-{leader}.example", "shared"
        return f"family.{leader}", names.DOMAINS[leader // COUPLE % len(names.DOMAINS)], "shared"

    def _joined(self, number: int) -> int:
        """People join in the order of their numbers, as ids are handed out."""
        span = YEARS * 365 * DAY
        return self.today - span + number * (span - 2 * 3_600) // self.size

    def _changed(self, dice: Dice, joined: int) -> int:
        """Most records were never changed; many by one import, in the same second; some since."""
        fate, later = dice.below(100), dice.below(YEARS * 365 * DAY)
        imported = self.today - 400 * DAY
        if fate < 60 or (fate < 85 and joined > imported):
            return joined
        return imported if fate < 85 else joined + later % (self.today - 3_600 - joined)

    # ------------------------------------------------------------------ what they have

    def company(self, number: int) -> Company:
        dice = self.dice("company", number)
        name = f"{dice.pick(names.COMPANY)} {dice.pick(names.TRADE)} {dice.pick(names.LEGAL)} {number}"
        return Company(number, name, dice.pick(names.INDUSTRIES), dice.below(4))

    def wish(self, human: Human, topic: str, side: str) -> Wish:
        """What ``side`` knows of a topic. The sides agree on most people, and contradict each other on the others."""
        disagree = human.in_odoo and human.in_salesforce and self.dice("quarrel", human.number).chance(200)
        dice = self.dice("wish", topic, human.number, side if disagree else "")
        kind = dice.below(100)
        at = human.joined + dice.below(max(1, self.today - 3_600 - human.joined))
        if kind < 45:
            return Wish(True, dice.pick(("web", "web", "double opt-in")), at)
        if kind < 55:
            return Wish(True, dice.pick((None, "import", "sales")), None)
        return Wish(False, "web", at) if kind < 63 else Wish(None, None, None)
