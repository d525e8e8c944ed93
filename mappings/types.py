"""The types of expressions, and what an expression may name.

How a value of each type looks in SQL (all SQLite):

========  =============================================================================================
text      TEXT, never empty (empty is null); compared case-folded
integer   INTEGER
decimal   INTEGER ten-thousandths (``SCALE``)
money     INTEGER ten-thousandths of the currency's unit, with a second expression for the ISO code
bool      0 or 1
date      TEXT "YYYY-MM-DD"
instant   INTEGER microseconds since the epoch, UTC
choices   TEXT ";a;b;", null = none
========  =============================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from mappings.nodes import Node
    from syncd.model import FieldType

SCALE = 10_000

ANY_CURRENCY = ""
"""The currency of a bare number where money is expected (the 0 of ``coalesce(spent, 0)``) and none is configured:
it may be compared with money of every currency."""


class Type(StrEnum):
    """``ANY`` is a value whose type is not known yet: it fits everywhere, and its SQL is never run."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    MONEY = "money"
    BOOL = "bool"
    DATE = "date"
    INSTANT = "instant"
    CHOICES = "choices"
    NULL = "null"
    ANY = "any"

    @classmethod
    def of_field(cls, kind: FieldType) -> Type:
        """The type of a vendor field; ids are text."""
        return cls.TEXT if kind == "id" else cls(kind)


@dataclass(frozen=True, slots=True)
class Column:
    """Something an expression may name.

    ``choices`` are the members a choices field is known to have (none = not known). ``currency_sql`` gives the ISO code
    of money. ``due_sql`` is for a column whose SQL itself moves with the clock: the instant it next does.
    """

    sql: str
    type: Type
    choices: tuple[str, ...] = ()
    currency_sql: str | None = None
    due_sql: str | None = None


@dataclass(frozen=True, slots=True)
class Related:
    """The related rows of one person. ``template`` is a scalar SQL expression with the slots ``{function}``,
    ``{argument}`` and ``{filter}``, each filled once or more with SQL over ``columns``::

        (SELECT {function}({argument}) FROM orders o JOIN ... WHERE ... AND ({filter}))
    """

    columns: Mapping[str, Column]
    template: str


@dataclass(frozen=True, slots=True)
class ExpressionScope:
    """What can be named: ``columns`` by vendor field (record scope) or attribute (person scope), case-sensitive;
    ``related`` rows in person scope only. With ``currency`` sums of money count rows of that currency only; without
    it they are unknown (null) when the rows are of more than one."""

    columns: Mapping[str, Column]
    related: Mapping[str, Related] = field(default_factory=dict)
    currency: str | None = None


class Part(NamedTuple):
    """One piece of an expression to look at when explaining an answer; ``type`` tells how to show its value."""

    label: str
    sql: str
    type: Type


@dataclass(frozen=True, slots=True)
class Compiled:
    """One expression as SQL.

    sql           the value; uses ``:now`` (instant) and ``:today_<zone>`` (date) and nothing else unbound
    type          its type
    columns       the names of ``scope.columns`` it reads
    related       the names of ``scope.related`` it reads
    zones         the time zones whose today must be bound (``functions.clock_parameters``)
    due_sql       the earliest instant after ``:now`` at which one of its comparisons with the clock changes its
                  answer, null when none ever does; None when no comparison looks at the clock
    currency_sql  the ISO code, for money
    """

    sql: str
    type: Type
    columns: frozenset[str]
    related: frozenset[str]
    zones: frozenset[str]
    due_sql: str | None
    node: Node
    currency_sql: str | None = None
    parts: tuple[Part, ...] = ()

    @property
    def where_sql(self) -> str:
        """1 when a condition is true, 0 when it is false or unknown."""
        return f"({self.sql} IS TRUE)"
