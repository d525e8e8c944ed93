"""Salesforce record ids: 15 case-sensitive base-62 characters plus 3 that spell out their case."""

from __future__ import annotations

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_ALLOWED = frozenset(ALPHABET)


def long_form(id15: str) -> str:
    """The 18-character form of a 15-character id."""
    suffix = ""
    for start in (0, 5, 10):
        bits = sum(1 << i for i, c in enumerate(id15[start:start + 5]) if "A" <= c <= "Z")
        suffix += _SUFFIX[bits]
    return id15 + suffix


def normal(value: object) -> str | None:
    """The 18-character form of a well-formed id of either length, else None. A wrong suffix stays: nobody has it."""
    if not isinstance(value, str) or len(value) not in (15, 18) or not _ALLOWED.issuperset(value):
        return None
    return value if len(value) == 18 else long_form(value)


class Sequence:
    """Hands out ids that grow, one sequence per key prefix."""

    def __init__(self, pod: str = "5g0") -> None:
        self._pod = pod
        self._last: dict[str, int] = {}

    def next(self, prefix: str) -> str:
        """The next 18-character id that begins with ``prefix``."""
        number = self._last.get(prefix, 0) + 1
        self._last[prefix] = number
        digits = ""
        while number:
            number, rest = divmod(number, 62)
            digits = ALPHABET[rest] + digits
        return long_form(f"{prefix}{self._pod}{digits.rjust(9, '0')}")
