"""Cells of a data extension and instants of the platform: what is accepted, how it is stored, how it is shown.

A cell is stored as the text the platform shows for it (``None`` = no value), so that reading a row costs nothing.
Instants inside the simulator are epoch seconds; on the wire they are server time (UTC-6 all year by default) without
a zone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any

FIELD_TYPES = ("Text", "Number", "Date", "Boolean", "EmailAddress", "Phone", "Decimal", "Locale")

_EMAIL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}")
_LOCALE = re.compile(r"[a-z]{2}-[A-Z]{2}")
_PHONE = re.compile(r"\+?[0-9 ()./-]{3,50}")
_US_FORMATS = ("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y")
_TRUE = frozenset({"true", "1", "yes", "y"})
_FALSE = frozenset({"false", "0", "no", "n"})
MAX_SUBSCRIBER_EMAIL = 100


class CellError(ValueError):
    """A value its column refuses. ``code`` is the platform's name of the problem; the text never quotes the value."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Column:
    """One column of a data extension. ``length`` is characters, for Decimal the precision; None = unlimited."""

    name: str
    type: str = "Text"
    length: int | None = None
    scale: int | None = None
    required: bool = False
    primary: bool = False
    default: str | None = None
    object_id: str = ""


# --------------------------------------------------------------------------- instants

def parse_instant(text: str, tz: tzinfo) -> float:
    """Epoch seconds of a date as clients write it; text without a zone is server time.

    :raises ValueError: for anything else
    """
    text = text.strip()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = _parse_us(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=tz)).timestamp()


def _parse_us(text: str) -> datetime:
    for pattern in _US_FORMATS:
        try:
            return datetime.strptime(text, pattern)
        except ValueError:
            continue
    raise ValueError("not a date")


def show_instant(at: float | None, tz: tzinfo) -> str | None:
    """Server time without offset, fractions to the millisecond without trailing zeros: 2017-10-27T16:00:38.98."""
    if at is None:
        return None
    moment = datetime.fromtimestamp(round(at, 3), UTC).astimezone(tz)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{moment.microsecond // 1000:03d}".rstrip("0")
    return f"{text}.{fraction}" if fraction else text


def show_cell_date(moment: datetime) -> str:
    """A Date cell as rows show it: whole seconds, American order, 12-hour clock."""
    hour = moment.hour % 12 or 12
    half = "AM" if moment.hour < 12 else "PM"
    return f"{moment.month}/{moment.day}/{moment.year} {hour}:{moment.minute:02d}:{moment.second:02d} {half}"


# --------------------------------------------------------------------------- cells

def valid_email(text: str) -> bool:
    """The platform's syntax check: ASCII only, no surrounding space."""
    local, _, _domain = text.partition("@")
    return _EMAIL.fullmatch(text) is not None and ".." not in text and local[-1:] != "." and local[:1] != "."


def _text(column: Column, value: Any, tz: tzinfo) -> str:
    text = value if isinstance(value, str) else ("True" if value is True else "False" if value is False else str(value))
    if column.length is not None and len(text) > column.length:
        raise CellError("InvalidLength", f"{column.name}: The value exceeds the column's maximum length "
                                         f"of {column.length}. Parse error [InvalidLength]")
    return text


def _number(column: Column, value: Any, tz: tzinfo) -> str:
    try:
        number = int(str(value).strip()) if not isinstance(value, float) else int(value)
        good = -2**31 <= number < 2**31 and not isinstance(value, bool) and (not isinstance(value, float)
                                                                              or number == value)
    except (ValueError, OverflowError):
        good = False
    if not good:
        raise CellError("InvalidNumber", f"{column.name}: The value for column [{column.name}] is not a valid number. "
                                         "Parse error [InvalidNumber]")
    return str(number)


def _decimal(column: Column, value: Any, tz: tzinfo) -> str:
    precision, scale = column.length or 18, column.scale or 0
    try:
        number = Decimal(str(value).strip())
        if not number.is_finite():
            raise InvalidOperation
        quantum = Decimal(1).scaleb(-scale)
        fixed = number.quantize(quantum)
    except InvalidOperation:
        raise CellError("InvalidDecimalPrecision", f"{column.name}: The value for column [{column.name}] is not a "
                                                   "valid decimal. Parse error [InvalidDecimalPrecision]") from None
    if fixed != number:
        raise CellError("InvalidDecimalScale", f"{column.name}: The value for column [{column.name}] has more than "
                                               f"{scale} decimal places. Parse error [InvalidDecimalScale]")
    if abs(fixed) >= Decimal(10) ** (precision - scale):
        raise CellError("InvalidDecimalPrecision", f"{column.name}: The value for column [{column.name}] exceeds "
                                                   f"precision {precision}. Parse error [InvalidDecimalPrecision]")
    return f"{fixed:f}"


def _boolean(column: Column, value: Any, tz: tzinfo) -> str:
    word = str(value).strip().lower()
    if word in _TRUE:
        return "True"
    if word in _FALSE:
        return "False"
    raise CellError("InvalidBoolean", f"{column.name}: The value for column [{column.name}] is not a valid boolean. "
                                      "Parse error [InvalidBoolean]")


def _date(column: Column, value: Any, tz: tzinfo) -> str:
    text = str(value)
    try:
        moment = datetime.fromtimestamp(parse_instant(text, tz), tz)
        if moment.year < 1753:
            raise ValueError("before the first day of the type")
    except (ValueError, OverflowError):
        raise CellError("InvalidDate", f"{column.name}: The value for column [{column.name}] is not a valid date. "
                                       "Parse error [InvalidDate]") from None
    return show_cell_date(moment)


def _email(column: Column, value: Any, tz: tzinfo) -> str:
    text = str(value)
    if len(text) > (column.length or 254):
        raise CellError("InvalidEmailAddressLength", f"{column.name}: The value for column [{column.name}] is too "
                                                     "long. Parse error [InvalidEmailAddressLength]")
    if not valid_email(text):
        raise CellError("InvalidEmailAddress", f"{column.name}: The value for column [{column.name}] is not a valid "
                                               "email address. Parse error [InvalidEmailAddress]")
    return text


def _phone(column: Column, value: Any, tz: tzinfo) -> str:
    text = str(value)
    if not _PHONE.fullmatch(text):
        raise CellError("InvalidPhone", f"{column.name}: The value for column [{column.name}] is not a valid phone "
                                        "number. Parse error [InvalidPhone]")
    return text


def _locale(column: Column, value: Any, tz: tzinfo) -> str:
    text = str(value)
    if not _LOCALE.fullmatch(text):
        raise CellError("InvalidLocale", f"{column.name}: The value for column [{column.name}] is not a valid locale. "
                                         "Parse error [InvalidLocale]")
    return text


_CHECKS: dict[str, Callable[[Column, Any, tzinfo], str]] = {
    "Text": _text, "Number": _number, "Decimal": _decimal, "Boolean": _boolean, "Date": _date,
    "EmailAddress": _email, "Phone": _phone, "Locale": _locale,
}


def store(column: Column, value: Any, tz: tzinfo) -> str | None:
    """The text stored for ``value``; empty text clears every type but Text, where it stays empty text.

    :raises CellError:
    """
    if value is None or (value == "" and column.type != "Text"):
        return None
    return _CHECKS[column.type](column, value, tz)
