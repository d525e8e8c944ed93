"""Salesforce's values and ours, column by column: a page of a million-row table is converted in a handful of passes.

REST answers JSON (numbers, booleans, ``2021-12-02T18:23:39.000+0000``), Bulk answers CSV text (``true``,
``…000Z``). Both must give the same value, or a backfill and the poll after it would differ.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from connectors import shapes
from connectors.errors import Misconfigured, RejectRecord
from syncd.model import FieldType, Micros, Value

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_ID = re.compile(r"[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?\Z")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?\Z")


def is_id(text: str) -> bool:
    """True for what can be a Salesforce id, of 15 or 18 characters."""
    return _ID.match(text) is not None


def id18(text: str) -> str:
    """The 18-character form of an id; other text as it is.

    The suffix says which characters are capitals, five to a letter, so that ids differ without case too.
    """
    if len(text) != 15 or not is_id(text):
        return text
    suffix = ""
    for start in (0, 5, 10):
        bits = sum(1 << i for i, c in enumerate(text[start:start + 5]) if c.isupper())
        suffix += _ALPHABET[bits]
    return text + suffix


def micros(text: str) -> Micros:
    """Microseconds of a dateTime; without a zone it is UTC."""
    return shapes.micros(datetime.fromisoformat(text))


def soql_instant(seconds: int) -> str:
    """A dateTime literal; SystemModstamp has whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# --------------------------------------------------------------------------- reading

def read_column(kind: FieldType, raw: Iterable[Any]) -> list[Value]:
    """One column of JSON values or CSV text as values of ``kind``.

    :raises ValueError: a value that is not of this kind (without quoting it)
    """
    return _READERS[kind](raw)


def _text(raw: Iterable[Any]) -> list[Value]:
    return [v if type(v) is str and v else _text_of(v) for v in raw]


def _text_of(value: Any) -> Value:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _decimal_of(value)
    if isinstance(value, str):
        return value
    raise ValueError("a compound value")


def _ids(raw: Iterable[Any]) -> list[Value]:
    return [v if v and len(v) == 18 else id18(v) if v else None for v in raw]


class _Memo(dict[Any, Value]):
    """Converts each distinct value of a column once."""

    def __init__(self, convert: Callable[[Any], Value]) -> None:
        super().__init__({None: None, "": None})
        self._convert = convert

    def __missing__(self, raw: Any) -> Value:
        value = self[raw] = self._convert(raw)
        return value


def _each(convert: Callable[[Any], Value]) -> Callable[[Iterable[Any]], list[Value]]:
    """A column converter; nothing and empty text are None."""
    def column(raw: Iterable[Any]) -> list[Value]:
        known = _Memo(convert)
        return [known[v] for v in raw]
    return column


def _bool_of(value: Any) -> Value:
    if value in (True, "true"):
        return 1
    if value in (False, "false"):
        return 0
    raise ValueError("not a checkbox")


def _integer_of(value: Any) -> Value:
    if isinstance(value, str) and value.lstrip("-").isdigit():
        return int(value)
    number = float(value)
    if not number.is_integer():
        raise ValueError("not a whole number")
    return value if type(value) is int else int(number)


def _decimal_of(value: Any) -> Value:
    """Salesforce writes one number as 100, 100.0 or 1.0E2, by interface."""
    return shapes.decimal_text(float(value))


_READERS: dict[FieldType, Callable[[Iterable[Any]], list[Value]]] = {
    "text": _text, "id": _ids, "bool": _each(_bool_of), "integer": _each(_integer_of), "decimal": _each(_decimal_of),
    "date": _each(lambda value: value[:10]), "instant": _each(micros),
    "choices": _each(lambda value: shapes.choices(value.split(";"))),
}


def json_column(records: Sequence[Any], path: Sequence[str]) -> list[Any]:
    """The raw values under ``path`` (Account, Name); None where a parent is missing.

    :raises Misconfigured: a record lacks the field: it is hidden now, which is not the same as empty
    """
    with contextlib.suppress(KeyError, TypeError, IndexError):
        values: list[Any] = list(records)
        for name in path:
            values = [None if v is None else v[name] for v in values]
        return values
    # Raised outside the handler: the exception may hold a record.
    raise Misconfigured(f"Salesforce no longer shows the field {'.'.join(path)}.",
                        remedy="Give the integration user read access to it.", code="INVALID_FIELD")


# --------------------------------------------------------------------------- writing

def to_json(kind: FieldType, value: Value) -> Any:
    """A value as Salesforce's JSON wants it; None clears the field.

    :raises RejectRecord: the value does not fit the field's type
    """
    if value is None:
        if kind == "bool":  # a checkbox is never null; Salesforce would refuse the row or, worse, ignore it
            raise RejectRecord("A checkbox cannot be cleared.", code="INVALID_TYPE_ON_FIELD_IN_RECORD")
        return None
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return _WRITERS.get(kind, str)(value)
    raise RejectRecord(f"A value is not of type {kind}.", code="INVALID_TYPE_ON_FIELD_IN_RECORD")


def _write_bool(value: str | int) -> bool:
    if value not in (0, 1):
        raise ValueError
    return bool(value)


def _write_number(value: str | int) -> orjson.Fragment:
    """The digits themselves: a float would change "0.1" and money beyond 2**53."""
    text = str(value)
    if not _NUMBER.match(text):
        raise ValueError
    return orjson.Fragment(text.encode())


def _write_instant(value: str | int) -> str:
    at = datetime.fromtimestamp(int(value) // 1_000_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{int(value) % 1_000_000 // 1000:03d}Z"


_WRITERS: dict[FieldType, Callable[[str | int], Any]] = {
    "bool": _write_bool,
    "integer": _write_number,
    "decimal": _write_number,
    "instant": _write_instant,
    "choices": lambda value: str(value).strip(";"),
}
