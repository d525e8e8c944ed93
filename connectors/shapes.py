"""What the connectors' ways to read and write have in common: the shapes of ``syncd.model``'s values, and batches sent in
parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal

from connectors.errors import ConnectorError, LostReply, Throttled
from syncd.model import UNKNOWN, Micros, Op, Outcome

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


def later(error: ConnectorError) -> Outcome:
    """The outcome of operations that an error kept from being sent."""
    return Outcome("retry", retry_after=error.retry_after if isinstance(error, Throttled) else None)


def in_chunks(ops: Sequence[Op], size: int, send: Callable[[Sequence[Op]], list[Outcome]]) -> list[Outcome]:
    """``send`` for every ``size`` of ``ops``. An error of the first chunk is raised; after that the rest is ``retry``.

    A lost reply makes its chunk ``unknown`` and does not stop the others.
    """
    outcomes: list[Outcome] = []
    for begin in range(0, len(ops), size):
        chunk = ops[begin:begin + size]
        try:
            outcomes += send(chunk)
        except LostReply:
            outcomes += [UNKNOWN] * len(chunk)
        except ConnectorError as error:
            if not outcomes:
                raise
            return outcomes + [later(error)] * (len(ops) - len(outcomes))
    return outcomes
