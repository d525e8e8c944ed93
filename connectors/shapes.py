"""The shapes of ``syncd.model``'s values, made from what a vendor sends."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal

from syncd.model import Micros

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
