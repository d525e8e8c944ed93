"""Values on their way to and from Marketing Cloud.

The vendor's clock runs at a fixed offset and its dates carry none. SOAP gives every value as text; dates of data
extension rows come in American notation. Text may hold no character that XML 1.0 forbids, or the row could be written
by REST and never again be read by SOAP.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from decimal import Decimal, InvalidOperation
from typing import Any

from connectors.errors import Misconfigured
from connectors.shapes import choices, micros, moment
from syncd.model import FieldType, Micros, Value

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_AMERICAN = re.compile(r"(\d\d?)/(\d\d?)/(\d{4})(?: (\d\d?):(\d\d)(?::(\d\d))?(?: ([AP])M)?)?")
_BOOLEANS = {"true": 1, "1": 1, "yes": 1, "false": 0, "0": 0, "no": 0}


def sanitise(text: str) -> str:
    """``text`` without the characters that XML 1.0 forbids, and with its line ends: as SOAP will give it back."""
    if text.isprintable():  # nearly all is; nothing printable is illegal or a line end
        return text
    return _ILLEGAL.sub("", text).replace("\r\n", "\n").replace("\r", "\n")


def utc_text(at: Micros) -> str:
    """``at`` as SOAP's DateValue takes it, whole seconds, rounded down."""
    return moment(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str | None, zone: timezone) -> Micros | None:
    """The instant of a vendor date; one without an offset is in ``zone``. None for an empty one.

    :raises ValueError: not a date
    """
    if not text:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = _american(text)
    return micros(parsed, zone)


def _american(text: str) -> datetime:
    """"11/20/2026 2:05:09 PM", with or without seconds, half of the day, or time."""
    found = _AMERICAN.fullmatch(text)
    if found is None:
        raise ValueError("not a date")
    month, day, year, hour, minute, second = (int(part or 0) for part in found.groups()[:6])
    if found[7] is not None:
        hour = hour % 12 + (12 if found[7] == "P" else 0)
    return datetime(year, month, day, hour, minute, second)


def to_vendor(value: Value, kind: FieldType, zone: timezone) -> Any:
    """The JSON value of one cell for a column that ``describe`` calls ``kind``.

    A date goes into a Date column as its midnight, an instant as the server's wall clock; None clears.

    :raises ValueError: the value does not fit the column
    """
    if value is None:
        return None
    if kind == "bool":
        if value not in (0, 1):
            raise ValueError("not a boolean")
        return "True" if value else "False"
    if kind in ("instant", "date"):
        if isinstance(value, int):
            return moment(value, zone).strftime("%Y-%m-%dT%H:%M:%S")
        return datetime.strptime(value, "%Y-%m-%d").strftime("%Y-%m-%dT00:00:00")
    if kind == "integer":
        return int(value)
    if kind == "decimal":
        return _plain(str(value))
    return sanitise(str(value))


def from_vendor(text: Any, kind: FieldType, zone: timezone, column: str) -> Value:
    """The model's value of one cell; empty is None.

    :raises Misconfigured: the column holds something that is not a ``kind``
    """
    if text is None or text == "":
        return None
    try:
        return _parse(str(text), kind, zone)
    except (ValueError, KeyError):
        pass
    # Raised outside the handler: the parser's exception quotes the cell.
    raise Misconfigured(f"Column {column} holds a value that is not of type {kind}.",
                        remedy="Correct the type in the mapping.")


def _parse(text: str, kind: FieldType, zone: timezone) -> Value:
    if kind == "bool":
        return _BOOLEANS[text.lower()]
    if kind == "integer":
        return int(text)
    if kind == "decimal":
        return _plain(text)
    if kind in ("instant", "date"):
        at = parse_time(text, zone)
        assert at is not None, "empty text was handled before"
        return at if kind == "instant" else moment(at, zone).date().isoformat()
    if kind == "choices":
        return choices(part.strip() for part in text.split(";"))
    return text


def _plain(text: str) -> str:
    """``text`` as a decimal without an exponent.

    :raises ValueError: not a finite number
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if not number.is_finite():
        raise ValueError("not a number")
    return format(number, "f")


def same(sent: Value, held: Value, kind: FieldType) -> bool:
    """True when ``held`` is what the vendor keeps of ``sent``: decimals by value, instants to the second."""
    if sent is None or held is None or sent == held:
        return sent == held
    if kind == "decimal":
        return Decimal(str(sent)) == Decimal(str(held))
    if kind == "instant":
        return int(sent) // 1_000_000 == int(held) // 1_000_000
    return False
