"""What the oracle knows of: records as their users see them, refusals and returns."""

from __future__ import annotations

from dataclasses import dataclass, field

TOLERANCE = 10 * 60_000_000
"""How far the clocks of the company differ at most, in µs."""
MOST_RECORDS = 5
"""More living records at one address are not taken for one person."""
BACKOFF = 70 * 60_000_000
"""After so long (µs), whatever was put off by a fault is due again."""


@dataclass(slots=True)
class Record:
    """A row of a CRM as its users see it. ``into`` is the record that absorbed it; ``edited``: at this true instant."""

    id: str
    connection: str
    address: str | None
    name: str
    live: bool = True
    into: str | None = None
    fields: dict[str, object] = field(default_factory=dict)
    edited: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Somebody said no. ``record`` is whose key or row it was said under, ``flag`` the CRM field that shows it, which may be
    turned back before anybody reads it; ``made`` by the person, not by an employee or a file. ``seen``: whoever reads the
    field next is sure to see that it changed. ``inferred``: nothing but the address says whose record it is."""

    number: int
    record: str | None
    address: str
    topics: frozenset[str]
    connection: str
    at: int
    made: bool
    flag: str | None = None
    seen: bool = True
    inferred: bool = False


@dataclass(frozen=True, slots=True)
class Return:
    """Somebody came back, at the true instant ``at``. ``answers``: the refusals it surely ends, because they were read
    before and lie further back than any two clocks differ. ``perhaps``: addresses its record took before anybody may have
    read it, so that it may be about them."""

    record: str | None
    address: str
    topics: frozenset[str]
    at: int
    answers: frozenset[int]
    perhaps: frozenset[str] = frozenset()


FLAGS = ("opted_out", "no_news")

HERE = "syncd"
"""Where a refusal was made that no vendor knows."""
