"""The SQL functions expressions rely on. State registers exactly these (``FUNCTIONS``), as deterministic.

They are total: null in, null out, and null for anything out of range; none ever raises inside a statement. Numbers are
Python integers throughout, so nothing is ever a float and a result beyond 64 bits is null, not wrong.
"""

from __future__ import annotations

import calendar
import unicodedata
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from mappings.types import SCALE

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)
_INT64 = 1 << 63


# --------------------------------------------------------------------------- text

def fold(text: str | None) -> str | None:
    """``text`` for comparison: case and the spelling of accents do not matter."""
    if text is None:
        return None
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def text_lower(text: str | None) -> str | None:
    return None if text is None else text.lower()


def text_upper(text: str | None) -> str | None:
    return None if text is None else text.upper()


def text_trim(text: str | None) -> str | None:
    """Without white space at both ends; null when nothing is left."""
    return (text.strip() or None) if text is not None else None


def first_word(text: str | None) -> str | None:
    """Up to the first white space; null when there is no word."""
    words = text.split(None, 1) if text is not None else []
    return words[0] if words else None


# --------------------------------------------------------------------------- numbers

def _int64(value: int) -> int | None:
    return value if -_INT64 <= value < _INT64 else None


def _rounded(dividend: int, divisor: int) -> int | None:
    """Quotient rounded half away from zero; null on division by zero."""
    if divisor == 0:
        return None
    quotient, rest = divmod(abs(dividend), abs(divisor))
    quotient += 2 * rest >= abs(divisor)
    return _int64(-quotient if (dividend < 0) != (divisor < 0) else quotient)


def _numbers(work: Callable[[int, int], int | None]) -> Callable[[int | None, int | None], int | None]:
    def null_aware(left: int | None, right: int | None) -> int | None:
        return None if left is None or right is None else work(left, right)
    return null_aware


num_add = _numbers(lambda a, b: _int64(a + b))
num_sub = _numbers(lambda a, b: _int64(a - b))
num_mul = _numbers(lambda a, b: _int64(a * b))
"""At least one factor unscaled."""
num_mul_scaled = _numbers(lambda a, b: _rounded(a * b, SCALE))
"""Both factors ten-thousandths."""
num_div = _numbers(_rounded)
"""Ten-thousandths by an unscaled divisor."""
num_div_scaled = _numbers(lambda a, b: _rounded(a * SCALE, b))
"""Both scaled alike; the quotient is in ten-thousandths."""


def num_scale(value: int | None) -> int | None:
    """An integer as ten-thousandths."""
    return None if value is None else _int64(value * SCALE)


# --------------------------------------------------------------------------- calendar

@cache
def zone(name: str) -> tzinfo:
    """The zone called ``name``; UTC even where the system has no zone files.

    :raises ValueError, OSError, KeyError: there is no such zone
    """
    return UTC if name == "UTC" else ZoneInfo(name)


def zone_parameter(name: str) -> str:
    """The SQL parameter (without its colon) that holds today's date in a zone: ``today_Europe__Berlin``."""
    return "today_" + name.replace("/", "__").replace("-", "_minus_").replace("+", "_plus_")


def clock_parameters(now: int, zones: Iterable[str]) -> dict[str, int | str]:
    """The values of ``:now`` and every ``:today_<zone>`` at the instant ``now`` (microseconds, UTC)."""
    return {"now": now, **{zone_parameter(name): _local_day(now, name).isoformat() for name in zones}}


def _local_day(instant: int, name: str) -> date:
    return (_EPOCH + instant * _MICROSECOND).astimezone(zone(name)).date()


def _date(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        return None


def date_in(instant: int | None, name: str) -> str | None:
    """The calendar day of an instant in a zone."""
    try:
        return None if instant is None else _local_day(instant, name).isoformat()
    except OverflowError:
        return None


def _shift(day: date, days: int, months: int) -> date | None:
    """``months`` on, to the last day of a shorter month, then ``days`` on; null outside the years 1 to 9999."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    try:
        last = calendar.monthrange(year, month + 1)[1]
        return date(year, month + 1, min(day.day, last)) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def add_days(text: str | None, days: int | None) -> str | None:
    day = _date(text)
    return None if day is None or days is None else _iso(_shift(day, days, 0))


def add_months(text: str | None, months: int | None) -> str | None:
    """The same day of another month, or that month's last day."""
    day = _date(text)
    return None if day is None or months is None else _iso(_shift(day, 0, months))


def days_between(start: str | None, end: str | None) -> int | None:
    """Days from ``start`` to ``end``, negative when it is earlier."""
    first, last = _date(start), _date(end)
    return None if first is None or last is None else (last - first).days


# --------------------------------------------------------------------------- when a comparison flips

@lru_cache(maxsize=65_536)  # a bisection costs 60 µs and people share their dates
def _day_start(day: date | None, name: str) -> int | None:
    """The first instant whose local date in the zone is ``day`` or later (some zones skip a day, or midnight)."""
    if day is None or not 2 <= day.year <= 9998:
        return None
    # Zones lie within a day of UTC, so the answer is in this window; local dates never step back at midnight
    # in it except in a repeated hour, which a bisection over "is it that day yet" still ends in a true flip.
    low = (datetime(day.year, day.month, day.day, tzinfo=UTC) - _DAY - _EPOCH) // _MICROSECOND
    high = low + 2 * 86_400_000_000
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _local_day(middle, name) >= day else (middle, high)
    return high


def _first_reaching(target: date, days: int, months: int) -> date | None:
    """The first day whose shift is ``target`` or later."""
    near = _shift(target, -days, 0)
    # The way back over a shorter month ends on its last day, which is never too late, and at most three days early.
    near = None if near is None else _shift(near, 0, -months)
    while near is not None:
        moved = _shift(near, days, months)
        if moved is None or moved >= target:
            return near if moved is not None else None
        near = _shift(near, 1, 0)
    return None


def due_day(op: str, other: str | None, name: str, days: int, months: int, now: int) -> int | None:
    """When ``today(zone)`` shifted by ``days`` and ``months`` next changes its answer to ``<op> other``."""
    day = _date(other)
    if day is None:
        return None
    targets = {"<": (day,), ">=": (day,), "<=": (_shift(day, 1, 0),), ">": (_shift(day, 1, 0),)}.get(
        op, (day, _shift(day, 1, 0)))
    starts = [_day_start(_first_reaching(t, days, months), name) for t in targets if t is not None]
    if len(starts) == 2 and starts[0] == starts[1]:
        return None  # no day is that one: after a short month a shift by months passes it over, as may a zone
    return min((start for start in starts if start is not None and start > now), default=None)


_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "=": int.__eq__, "!=": int.__ne__, "<": int.__lt__, "<=": int.__le__, ">": int.__gt__, ">=": int.__ge__,
}


def due_part(op: str, other: int | None, part: str, name: str, days: int, months: int, now: int) -> int | None:
    """When the year, month or day of that day next changes its answer to ``<op> other``."""
    if other is None:
        return None
    if part == "year":
        if not 2 <= other <= 9997:
            return None
        starts = [date(other, 1, 1), date(other + 1, 1, 1)]
        wanted = {"<": starts[:1], ">=": starts[:1], "<=": starts[1:], ">": starts[1:]}.get(op, starts)
        found = (due_day(">=", start.isoformat(), name, days, months, now) for start in wanted)
        return min((at for at in found if at is not None), default=None)
    test = _COMPARE[op]
    today = _local_day(now, name)
    shifted = _shift(today, days, months)
    if shifted is None:
        return None
    answer = test(getattr(shifted, part), other)
    for ahead in range(1, 800):  # every month and day of the month recurs within two years
        day = _shift(today, ahead, 0)
        shifted = None if day is None else _shift(day, days, months)
        if shifted is None:
            return None
        if test(getattr(shifted, part), other) != answer:
            return _day_start(day, name)
    return None


FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {
    "fold": (fold, 1),
    "text_lower": (text_lower, 1),
    "text_upper": (text_upper, 1),
    "text_trim": (text_trim, 1),
    "first_word": (first_word, 1),
    "num_add": (num_add, 2),
    "num_sub": (num_sub, 2),
    "num_mul": (num_mul, 2),
    "num_mul_scaled": (num_mul_scaled, 2),
    "num_div": (num_div, 2),
    "num_div_scaled": (num_div_scaled, 2),
    "num_scale": (num_scale, 1),
    "date_in": (date_in, 2),
    "add_days": (add_days, 2),
    "add_months": (add_months, 2),
    "days_between": (days_between, 2),
    "due_day": (due_day, 6),
    "due_part": (due_part, 7),
}
"""SQL name -> (callable, number of arguments)."""
