"""Values as the state wants them: addresses in one spelling, decimals as whole ten-thousandths, text without controls.

Versioned, because identity and consent hang on it: a change of the rules is a migration, not an edit.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

from syncd.model import Field, Value

VERSION = 1
SCALE = 10_000
"""Decimals and money are integers of this many parts."""

_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]++"
_LABEL = "[a-z0-9]++(?:-++[a-z0-9]++)*+"
_PLAIN = re.compile(rf"{_ATOM}(?:\.{_ATOM})*+@(?:{_LABEL}\.)+[a-z]{{2,}}")
_DECIMAL = re.compile(r"(-?)(\d+)(?:\.(\d+))?")
MAX_TEXT = 4000
"""Characters of a text value that are kept; more is cut, because no ESP takes it."""


def email(text: str | None) -> str | None:
    """The normalised address, or None where the text is no address.

    Trimmed, NFC, in lower case on both sides (no provider in use tells cases apart), the domain in its ASCII form. Not
    case-folded: that makes "strasse.de" of "straße.de", which is somebody else's domain. A plus-tag is part of the address.
    """
    if not text:
        return None
    lowered = text.strip().lower()
    if _PLAIN.fullmatch(lowered) and len(lowered) <= 254:
        return lowered
    return _careful(text)


def emails(column: Sequence[Value]) -> list[str | None]:
    """``email`` of each value of a column."""
    plain = _PLAIN.fullmatch
    # Spelled out: nearly every address is plain, and there are millions.
    return [v if type(v) is str and plain(v) and len(v) <= 254 else email(None if v is None else str(v)) for v in column]


@lru_cache(maxsize=4096)
def _careful(text: str) -> str | None:
    from email_validator import EmailNotValidError, validate_email

    candidate = unicodedata.normalize("NFC", text.strip()).strip("<>").lower()
    try:
        checked = validate_email(candidate, check_deliverability=False, allow_quoted_local=True, test_environment=True)
    except EmailNotValidError:
        return None
    return f"{checked.local_part.lower()}@{checked.ascii_domain.lower()}"


def hasher(key: bytes) -> Callable[[str], bytes]:
    """The keyed hash of a normalised address (16 bytes)."""
    keyed = hashlib.blake2b(digest_size=16, key=key[:64])

    def hashed(address: str) -> bytes:
        start = keyed.copy()
        start.update(address.encode())
        return start.digest()
    return hashed


def decimal(text: Value) -> int | None:
    """Plain decimal text as whole ten-thousandths, rounded half away from zero.

    :raises ValueError: for anything that is not a decimal number
    """
    if text is None:
        return None
    if isinstance(text, int):
        value = text * SCALE
    else:
        match = _DECIMAL.fullmatch(text)
        if match is None or len(match[2]) > 20:
            raise ValueError("not a decimal number")
        digits = (match[3] or "").ljust(5, "0")
        value = int(match[2]) * SCALE + int(digits[:4]) + (digits[4] >= "5")
        value = -value if match[1] else value
    if abs(value) >= 2**63:
        raise ValueError("more than the state can hold")
    return value


def decimal_text(value: int | None) -> str | None:
    """Ten-thousandths back to plain decimal text: two places at least, no needless zeros beyond."""
    if value is None:
        return None
    sign, value = ("-", -value) if value < 0 else ("", value)
    whole, parts = divmod(value, SCALE)
    digits = f"{parts:04d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole}.{digits}"


def text(value: Value) -> Value:
    """Text without control characters and at most MAX_TEXT long; printable text comes back untouched."""
    if isinstance(value, str):
        if not value.isprintable():
            value = "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else "" for c in value)
            value = value.strip() or None
        if value is not None and len(value) > MAX_TEXT:
            return value[:MAX_TEXT]
    return value


def column(field: Field, values: Sequence[Value]) -> tuple[list[Value], list[int]]:
    """One column as the state wants it, and the rows whose value is not of the field's type, which become None."""
    if field.type == "text":
        # Spelled out: nearly every text is fine as it is, and there are millions.
        return [v if type(v) is str and len(v) <= MAX_TEXT and v.isprintable() else text(v) for v in values], []
    if field.type != "decimal":
        return list(values), []
    found: list[Value] = []
    bad = []
    for row, value in enumerate(values):
        try:
            found.append(decimal(value))
        except ValueError:
            found.append(None)
            bad.append(row)
    return found, bad


def converters(fields: Sequence[Field]) -> list[tuple[int, Callable[[Value], Value]]]:
    """(position, function) for the fields of a row that need one."""
    found: list[tuple[int, Callable[[Value], Value]]] = []
    for index, field in enumerate(fields):
        if field.type == "decimal":
            found.append((index, decimal))
        elif field.type == "text":
            found.append((index, text))
    return found
