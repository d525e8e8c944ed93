"""What both halves of a world share: time, numbering, field checks, and tables readable in the order of change."""

from __future__ import annotations

import re
import time
from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Generic, TypeVar

from syncd.model import FieldInfo, Micros, Value

Row = TypeVar("Row")
When = tuple[int, Micros]
"""A tick and an instant; it has come when both have."""


class BadCall(ValueError):
    """A call that makes no sense in this world: unknown connection, object, field, list or act. Names, never values."""


class Refused(ValueError):
    """One row or record is refused for good; the text is a code and a sentence without personal data."""


@dataclass(frozen=True, slots=True)
class Delay:
    """How long something takes: until so many ticks were given, and so many seconds have passed."""

    ticks: int = 0
    seconds: float = 0.0

    def __bool__(self) -> bool:
        return self.ticks > 0 or self.seconds > 0


class Time:
    """The world's clock, tick count and change numbers.

    With ``start`` the clock stands still except for ``advance``: the same acts give the same instants. Without it the
    world follows the host's clock.
    """

    def __init__(self, start: Micros | None = None) -> None:
        self._fixed = start
        self._ahead: Micros = 0
        self.ticks = 0
        self.seq = 0

    def now(self) -> Micros:
        return (time.time_ns() // 1000 if self._fixed is None else self._fixed) + self._ahead

    def advance(self, ticks: int, seconds: float) -> None:
        self.ticks += ticks
        self._ahead += round(seconds * 1_000_000)

    def next(self) -> int:
        """The number of the next change: unique, rising, never reused."""
        self.seq += 1
        return self.seq

    def after(self, delay: Delay) -> When:
        return self.ticks + delay.ticks, self.now() + round(delay.seconds * 1_000_000)

    def passed(self, when: When) -> bool:
        return self.ticks >= when[0] and self.now() >= when[1]


class Table(Generic[Row]):
    """Rows by key, each with the number of its last change. A row that changes again moves to the end."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self._seq: dict[str, int] = {}
        self._log: list[tuple[int, str]] = []

    def put(self, key: str, row: Row, seq: int) -> None:
        """Store ``row`` as of change ``seq``, which may be older than changes of other rows (a late commit)."""
        self.rows[key] = row
        self._seq[key] = seq
        if self._log and seq < self._log[-1][0]:
            insort(self._log, (seq, key))
        else:
            self._log.append((seq, key))
        if len(self._log) > 2 * len(self.rows) + 64:
            self._log = [entry for entry in self._log if self._seq.get(entry[1]) == entry[0]]

    def drop(self, key: str) -> bool:
        """Forget a row without a trace; False when there was none."""
        self._seq.pop(key, None)
        return self.rows.pop(key, None) is not None

    def since(self, seq: int) -> Iterator[tuple[int, str, Row]]:
        """(number, key, row) of every row last changed after ``seq``, in that order. Use it up before writing."""
        for at in range(bisect_right(self._log, (seq, "\U0010ffff")), len(self._log)):
            number, key = self._log[at]
            if self._seq.get(key) == number:
                yield number, key, self.rows[key]


def only_keys(what: str, about: Mapping[str, object], *known: str) -> None:
    """:raises BadCall: ``about`` has a key that is not ``known`` (a slip that would otherwise do nothing)"""
    for key in about:
        if key not in known:
            raise BadCall(f"{what} has no {key}; known: {', '.join(known)}.")


_DECIMAL = re.compile(r"-?\d{1,30}(\.\d{1,18})?")


def checked(info: FieldInfo, value: Value) -> Value:
    """``value`` as the vendor stores it.

    :raises Refused: it does not fit the field
    """
    if value == "":
        value = None
    if value is None:
        if not info.nullable:
            raise Refused(f"REQUIRED_FIELD_MISSING: field {info.name} must have a value.")
        return None
    if not _fits(info, value):
        raise Refused(f"INVALID_TYPE: field {info.name} takes {info.type}.")
    if info.length is not None and isinstance(value, str) and len(value) > info.length:
        raise Refused(f"STRING_TOO_LONG: field {info.name} takes {info.length} characters.")
    return value


def _fits(info: FieldInfo, value: str | int) -> bool:
    if info.type in ("integer", "instant"):
        return isinstance(value, int) and not isinstance(value, bool)
    if info.type == "bool":
        return value in (0, 1) and isinstance(value, int)
    if not isinstance(value, str):
        return False
    if info.type == "decimal":
        return _DECIMAL.fullmatch(value) is not None
    if info.type == "date":
        try:
            return date.fromisoformat(value).isoformat() == value
        except ValueError:
            return False
    if info.type == "choices":
        members = value[1:-1].split(";")
        known = not info.choices or set(members) <= set(info.choices)
        return known and value == f";{';'.join(sorted(set(members)))};"
    return True
