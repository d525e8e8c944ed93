"""Instants, addresses and numbers as the server reads and writes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from connectors.sim.odoo import errors

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ADDRESS = re.compile(r"[^\s,;<>\"()@]+@[^\s,;<>\"()@]+")
MAX_INT4 = 2**31 - 1


@lru_cache(maxsize=65536)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%d %H:%M:%S")


def instant_text(micros: int | None) -> str | bool:
    """Micros as the API writes them: UTC, cut to the second, ``False`` for NULL."""
    return False if micros is None else _second(micros // 1_000_000)


def parse_instant(value: str, *, upper: bool = False) -> int:
    """Text of a domain or of a write as micros. A bare date means its last second where ``upper``, else its first."""
    text = value
    if len(value) <= 10:
        text = f"{value} {'23:59:59' if upper else '00:00:00'}"
    try:
        parsed = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise errors.postgres(
            "InvalidDatetimeFormat", f'invalid input syntax for type timestamp: "{text}"\nLINE 1: ...\n') from None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    delta = parsed - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def normalize_email(text: Any) -> str | None:
    """The first address in ``text``, lower-cased; a local part with non-ASCII letters keeps its case. None if there is
    none."""
    if not text or not isinstance(text, str):
        return None
    found = _ADDRESS.search(text)
    if found is None:
        return None
    local, _, domain = found.group().rpartition("@")
    return f"{local.lower() if local.isascii() else local}@{domain.lower()}"


def sql_int(value: int) -> int:
    """``value`` if PostgreSQL's integer holds it."""
    if abs(value) > MAX_INT4:
        raise errors.postgres(
            "NumericValueOutOfRange", f'value "{value}" is out of range for type integer\nLINE 1: ...\n')
    return value
