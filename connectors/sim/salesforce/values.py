"""Field values: from the wire into storage, and out again for REST (JSON) and Bulk (CSV).

Stored: text ``str``, boolean ``bool``, date "YYYY-MM-DD", datetime ``int`` seconds since the epoch, number ``float`` or
``int``; multi-select picklists as "a;b" in the order of their definition. Null is the absence of the key in the row.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from . import ids
from .errors import Refused
from .schema import NUMBER_TYPES, FieldDef

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_EMAIL = re.compile(rf"[^\s@<>(),;:\\\"\[\]]+@{_LABEL}(?:\.{_LABEL})+")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:?\d\d)")


@lru_cache(65536)
def rest_datetime(seconds: int) -> str:
    """``2021-12-02T18:23:39.000+0000``"""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


@lru_cache(65536)
def bulk_datetime(seconds: int) -> str:
    """``2021-12-02T18:23:39.000Z``"""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def parse_datetime(text: str) -> int | None:
    """Whole seconds since the epoch (fractions are cut), None for anything that is no dateTime with a zone."""
    if not _DATETIME.fullmatch(text):
        return None
    try:
        return math.floor(dt.datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        return None


def parse_date(text: str) -> str | None:
    """The date itself if it exists in the calendar, else None."""
    if not _DATE.fullmatch(text):
        return None
    try:
        dt.date.fromisoformat(text)
    except ValueError:
        return None
    return text


def today(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).date().isoformat()


def rest(f: FieldDef) -> Callable[[Any], Any] | None:
    """How a stored value of ``f`` becomes JSON; None = as it is."""
    if f.type == "datetime":
        return lambda v: None if v is None else rest_datetime(v)
    return None


def bulk(f: FieldDef) -> Callable[[Any], str]:
    """How a stored value of ``f`` becomes a CSV cell, unquoted; null and empty text are the same there."""
    if f.type == "datetime":
        return lambda v: "" if v is None else bulk_datetime(v)
    if f.type == "boolean":
        return lambda v: "true" if v else "false"
    if f.type in NUMBER_TYPES:
        return lambda v: "" if v is None else str(v)
    return lambda v: "" if v is None else v if isinstance(v, str) else str(v).lower()


def coerce(f: FieldDef, value: Any) -> Any:
    """The stored form of ``value`` as a client sent it (JSON value or CSV text); None clears.

    :raises Refused: the value does not fit the field
    """
    if value is None or value == "":
        if f.type == "boolean":
            raise Refused("INVALID_TYPE_ON_FIELD_IN_RECORD", f"{f.label or f.name}: value not of required type: null",
                          [f.name])
        return None
    return (_COERCE.get(f.type) or _text)(f, value)


def _boolean(f: FieldDef, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "1"):
        return True
    if isinstance(value, str) and value.lower() in ("false", "0"):
        return False
    raise Refused("INVALID_TYPE_ON_FIELD_IN_RECORD", f"{f.name}: value not of required type: {value}", [f.name])


def _text(f: FieldDef, value: Any) -> str:
    if not isinstance(value, str):
        raise Refused("JSON_PARSER_ERROR", f"Cannot deserialize instance of {f.type} from VALUE of {f.name}")
    if f.length and len(value) > f.length:
        raise Refused("STRING_TOO_LONG", f"{f.label or f.name}: data value too large: {value} (max length={f.length})",
                      [f.name])
    return value


def _email(f: FieldDef, value: Any) -> str:
    text = _text(f, value)
    if not _EMAIL.fullmatch(text):
        raise Refused("INVALID_EMAIL_ADDRESS", f"{f.label or f.name}: invalid email address: {text}", [f.name])
    return text


def _picklist(f: FieldDef, value: Any) -> str:
    text = _text(f, value)
    if f.restricted and text not in f.values:
        raise Refused("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
                      f"{f.label or f.name}: bad value for restricted picklist field: {text}", [f.name])
    return text


def _multipicklist(f: FieldDef, value: Any) -> str | None:
    members = {m for m in _text(f, value).split(";") if m}
    for member in sorted(members):
        _picklist(f, member)
    known = [v for v in f.values if v in members]
    return ";".join(known + sorted(members.difference(f.values))) or None


def _date(f: FieldDef, value: Any) -> str:
    text = parse_date(value) if isinstance(value, str) else None
    if text is None and isinstance(value, str):
        seconds = parse_datetime(value)
        text = None if seconds is None else today(seconds)
    if text is None:
        raise Refused("JSON_PARSER_ERROR", f"Cannot deserialize instance of date from VALUE of {f.name}")
    return text


def _datetime(f: FieldDef, value: Any) -> int:
    seconds = parse_datetime(value) if isinstance(value, str) else None
    if seconds is None:
        raise Refused("JSON_PARSER_ERROR", f"Cannot deserialize instance of datetime from VALUE of {f.name}")
    return seconds


def _number(f: FieldDef, value: Any) -> float | int:
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
        if not math.isfinite(number) or (f.type == "int" and not number.is_integer()):
            raise ValueError
    except (TypeError, ValueError):
        raise Refused("INVALID_TYPE_ON_FIELD_IN_RECORD", f"{f.name}: value not of required type: {value}",
                      [f.name]) from None
    return int(number) if f.type == "int" else number


def _reference(f: FieldDef, value: Any) -> str:
    known = ids.normal(value)
    if known is None:
        raise Refused("MALFORMED_ID", f"{f.label or f.name}: id value of incorrect type: {value}", [f.name])
    return known


_COERCE: dict[str, Callable[[FieldDef, Any], Any]] = {
    "boolean": _boolean, "email": _email, "picklist": _picklist, "multipicklist": _multipicklist, "date": _date,
    "datetime": _datetime, "reference": _reference, "id": _reference, **dict.fromkeys(NUMBER_TYPES, _number),
}
