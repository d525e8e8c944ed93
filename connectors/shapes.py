"""The shapes of ``syncd.model``'s values, made from what a vendor sends; and of pages full of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import overload

from syncd.model import Micros, Value

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def micros(at: datetime, zone: tzinfo = UTC) -> Micros:
    """An instant; a datetime without a zone is in ``zone``."""
    return ((at if at.tzinfo is not None else at.replace(tzinfo=zone)) - EPOCH) // MICROSECOND


def moment(at: Micros, zone: tzinfo = UTC) -> datetime:
    """The aware datetime of ``at`` in ``zone``."""
    return (EPOCH + at * MICROSECOND).astimezone(zone)


def choices(members: Iterable[str]) -> str | None:
    """";a;b;" of the members, sorted; None when there are none."""
    held = sorted({member for member in members if member})
    return f";{';'.join(held)};" if held else None


def decimal_text(number: float) -> str:
    """A float in plain notation, without trailing zeros: one number is written one way, whoever wrote it."""
    number = float(number)
    if number.is_integer() and abs(number) < 2**53:
        return str(int(number))
    text = repr(number)
    return format(Decimal(text), "f") if "e" in text else text


class Columns(Sequence[tuple[Value, ...]]):
    """Rows that are kept, and cut, by column: what comes as columns and is used as columns need not be rows in between."""

    def __init__(self, columns: Sequence[Sequence[Value]]) -> None:
        """``columns`` are of one length; there is one at least."""
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    @overload
    def __getitem__(self, place: int) -> tuple[Value, ...]: ...
    @overload
    def __getitem__(self, place: slice) -> Columns: ...

    def __getitem__(self, place: int | slice) -> tuple[Value, ...] | Columns:
        if isinstance(place, slice):
            return Columns([column[place] for column in self.columns])
        return tuple(column[place] for column in self.columns)

    def __iter__(self) -> Iterator[tuple[Value, ...]]:
        return zip(*self.columns, strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as with other sequences that hold lists
