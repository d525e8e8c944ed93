"""Places in files, and the problems found there, in the one form every command prints."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple


class Place(NamedTuple):
    """Where something is written; ``line`` and ``column`` count from 1, 0 = the whole file or line."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join([self.file, *(str(number) for number in (self.line, self.column) if number)])


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong: a sentence that says what, and one that says what to do about it.

    ``level`` "error" stops the configuration from being used, "warning" is printed and goes on.
    """

    file: str
    line: int
    column: int
    message: str
    remedy: str = ""
    level: Literal["error", "warning"] = "error"

    @classmethod
    def at(cls, place: Place, message: str, remedy: str = "", level: Literal["error", "warning"] = "error") -> Problem:
        return cls(place.file, place.line, place.column, message, remedy, level)

    @property
    def place(self) -> Place:
        return Place(self.file, self.line, self.column)

    def __str__(self) -> str:
        kind = "warning: " if self.level == "warning" else ""
        return f"{self.place}: {kind}{self.message} {self.remedy}".rstrip()


class Problems(ValueError):
    """Everything that is wrong with the files read, in the order of their lines. Never empty, never a secret in it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: list[Problem] = sorted(problems)
        super().__init__("\n".join(map(str, self.problems)))


class MappingProblems(Problems):
    """The mapping files cannot be used."""


class ConfigProblems(Problems):
    """``syncd.yaml`` cannot be used."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'Did you mean "x"?' for the closest known word, else the known words themselves, else nothing."""
    names = sorted(known)
    if close := closest(word, names):
        return f'Did you mean "{close}"?'
    return f"Known here: {join_words(names)}." if names else ""


def closest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word most like ``word``, upper and lower case alike, if any is as like as ``cutoff`` (0 to 1, difflib)."""
    by_folded = {name.casefold(): name for name in sorted(known)}
    found = difflib.get_close_matches(word.casefold(), by_folded, n=1, cutoff=cutoff)
    return by_folded[found[0]] if found else None


def join_words(words: Sequence[str], limit: int = 12) -> str:
    """``a, b, c``, cut after ``limit`` words with the number of the rest."""
    shown = ", ".join(words[:limit])
    return f"{shown} and {len(words) - limit} more" if len(words) > limit else shown
