"""Field values from the API to the shapes of ``syncd.model`` and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from connectors import shapes
from connectors.errors import RejectRecord
from syncd.model import FieldType, Value

TYPES: dict[str, FieldType] = {
    "char": "text", "text": "text", "html": "text", "selection": "text", "reference": "text", "boolean": "bool",
    "integer": "integer", "many2one_reference": "integer", "float": "decimal", "monetary": "decimal", "date": "date",
    "datetime": "instant", "many2one": "id", "many2many": "choices",
}
"""Odoo's field types that can be read, and what they are here. A many2one is the id of the other record; its fields
are reached by a dotted path. A many2many is the names of the other records."""


@lru_cache(maxsize=65536)
def micros(text: str) -> int:
    """"YYYY-MM-DD HH:MM:SS" (UTC) as micros. Cached: the rows of one transaction share it."""
    return shapes.micros(datetime.fromisoformat(text))


def instant_text(instant: int) -> str:
    """Micros as a domain or a write takes them, cut to the second: earlier, never later."""
    return shapes.moment(instant).strftime("%Y-%m-%d %H:%M:%S")


def choices(names: list[str]) -> str | None:
    """Names as the model writes a set; a semicolon inside a name becomes a comma."""
    return shapes.choices(name.replace(";", ",") for name in names)


# ``False`` is how the API writes an unset value; zero is a value.
_READ: dict[FieldType, Callable[[Any], Value]] = {
    "text": lambda v: str(v) if v or (v == 0 and v is not False) else None,
    "bool": int,
    "integer": lambda v: None if v is False else int(v),
    "decimal": lambda v: None if v is False else shapes.decimal_text(v),
    "date": lambda v: v or None,
    "instant": lambda v: micros(v) if v else None,
    "id": lambda v: str(v) if v else None,
}


def reader(kind: str, wanted: FieldType) -> Callable[[Any], Value]:
    """From an API value of Odoo type ``kind`` to a model value; asked for as text, anything is text."""
    own = TYPES[kind]
    read = _READ[own]
    if wanted == "text" and own not in ("text", "id"):
        def as_text(value: Any) -> Value:
            held = read(value)
            return None if held is None else str(held)
        return as_text
    return read


def to_api(kind: str, value: Value, tags: Mapping[str, int]) -> Any:
    """A model value as ``write`` takes it; ``tags`` are ids by name for many2many fields.

    :raises RejectRecord: the value cannot be one of this field
    """
    if value is None:
        return [[5, 0, 0]] if kind == "many2many" else 0 if kind in ("integer", "float", "monetary") else False
    try:
        return _TO_API.get(kind, str)(value) if kind != "many2many" else _tag_command(str(value), tags)
    except (ValueError, InvalidOperation, OverflowError):
        raise RejectRecord("A value does not fit its field.", code="value") from None


def _tag_command(value: str, tags: Mapping[str, int]) -> list[Any]:
    names = [name for name in value.split(";") if name]
    if any(name not in tags for name in names):
        raise RejectRecord("A tag does not exist in Odoo.", code="tag")
    return [[6, 0, sorted(tags[name] for name in names)]]


_TO_API: dict[str, Callable[[Value], Any]] = {
    "boolean": lambda v: bool(int(v or 0)),
    "integer": lambda v: int(v or 0),
    "many2one": lambda v: int(v or 0),
    "float": lambda v: float(Decimal(str(v))),
    "monetary": lambda v: float(Decimal(str(v))),
    "datetime": lambda v: instant_text(int(v or 0)),
}


def normal_address(address: str) -> str | None:
    """The address as Odoo's ``email_normalized`` has it: lower case, except a local part with letters beyond ASCII.
    None for what is no single address."""
    local, at, domain = address.strip().rpartition("@")
    if not (local and at and domain) or any(c.isspace() or c in ",;<>\"" for c in address.strip()):
        return None
    return f"{local.lower() if local.isascii() else local}@{domain.lower()}"


def mailbox(address: str) -> str:
    """One spelling of what is one mailbox and several addresses to Odoo: all of it in lower case, the domain in letters of
    its own. Given as ``normal_address`` gives it."""
    local, _, domain = address.rpartition("@")
    return f"{local.lower()}@{'.'.join(map(_letters, domain.split('.')))}"


def _letters(label: str) -> str:
    """A label of a domain as people write it."""
    if not label.startswith("xn--"):
        return label
    try:
        return label[4:].encode().decode("punycode")
    except UnicodeError:  # it only looks like one
        return label


def exactly(text: str) -> str:
    """A pattern of =ilike that stands for this text alone."""
    return re.sub(r"([\\%_])", r"\\\1", text)
