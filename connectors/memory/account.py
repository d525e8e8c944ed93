"""One connection of a world: what it is, how it behaves, and what it was asked for and has not done yet."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from connectors.memory.sides.crm import Crm
from connectors.memory.sides.esp import Esp
from connectors.memory.sides.mailing import Mailing
from connectors.memory.sides.table import When

BATCH = {"upsert": 500, "remove": 500, "status": 200, "update": 200, "create_object": 1}
Result = list[Any]
"""An ``Outcome`` on the wire: state, reason, request id, retry after, largest batch."""


@dataclass(slots=True)
class Queued:
    """An accepted request: what is to be done, when, and its results once it was."""

    due: When
    polls: int
    batch: dict[str, Any]
    results: list[Result] | None = None


@dataclass(slots=True)
class Options:
    """How one connection behaves; the tests' knobs.

    page_size            rows per page
    overlap              so many change numbers are read again by every incremental read
    deletes_visible      deleted records come with a tombstone; otherwise they vanish
    merges_visible       tombstones name the record that absorbed theirs
    batch                capability: largest batch by operation kind
    asynchronous         operation kinds that are accepted and carried out later
    late_*               how much later: after ticks, seconds and polls of ``settle``
    reorder              requests that come due together are carried out in seeded random order
    visible_after_*      a change (of records, statuses, events) becomes readable this much later, under its own older
                         number; ``fetch`` sees the truth at once
    account              what the vendor calls the account; the connection's name unless told otherwise
    silent_cuts          capability: nothing tells a listing that was cut short from a whole one
    """

    page_size: int = 500
    overlap: int = 0
    deletes_visible: bool = True
    merges_visible: bool = True
    batch: dict[str, int] = field(default_factory=lambda: dict(BATCH))
    asynchronous: list[str] = field(default_factory=list)
    late_ticks: int = 0
    late_seconds: float = 0.0
    late_polls: int = 0
    reorder: bool = False
    visible_after_ticks: int = 0
    visible_after_seconds: float = 0.0
    account: str = ""
    silent_cuts: bool = False


@dataclass(slots=True)
class Account:
    """One connection: a CRM, an ESP, or both (as Odoo), its options, queue and counters."""

    options: Options
    crm: Crm | None = None
    esp: Esp | None = None
    mailing: Mailing | None = None
    queue: dict[str, Queued] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    rights: int = 0
    requests: int = 0
