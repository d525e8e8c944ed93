"""Data extensions: columns, rows, retention, paging.

A row is a tuple of cells in column order, kept under its primary key (compared without regard to case, as the
platform's database does). One million rows fit in a few hundred megabytes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from connectors.sim.marketing_cloud.values import FIELD_TYPES, CellError, Column, store

Row = tuple[str | None, ...]

MAX_TEXT = 4000
_UNIT_DAYS = {"days": 1.0, "weeks": 7.0, "months": 30.44, "years": 365.25, "3": 1.0, "4": 7.0, "5": 30.44, "6": 365.25}


class SchemaError(ValueError):
    """A data-extension definition the platform refuses."""


@dataclass(slots=True)
class Retention:
    """When rows go: ``days`` after they were written (``row_based``) or all of them ``days`` after creation."""

    days: float | None = None
    row_based: bool = False
    delete_extension: bool = False
    length: int | None = None
    unit: str = "Days"
    retain_until: str = ""

    @classmethod
    def of(cls, length: int | None, unit: str, row_based: bool, delete_at_end: bool) -> Retention:
        """From the four properties of the SOAP object; no length means no retention."""
        if not length:
            return cls()
        days = length * _UNIT_DAYS.get(unit.lower(), 1.0)
        return cls(days, row_based, not row_based and not delete_at_end, length, unit)


@dataclass(slots=True)
class DataExtension:
    """``sendable_field`` is the column matched to ``subscriber_field`` ("Subscriber Key" or "Email Address")."""

    mid: int
    key: str
    name: str
    number: int
    object_id: str
    columns: list[Column]
    created: float
    sendable_field: str | None = None
    subscriber_field: str | None = None
    description: str = ""
    retention: Retention = field(default_factory=Retention)
    modified: float = 0.0
    rows: dict[str, Row] = field(default_factory=dict)
    written: dict[str, float] | None = None
    version: int = 0
    serial: int = 0
    index: dict[str, int] = field(default_factory=dict)
    primary: tuple[int, ...] = ()
    needed: tuple[int, ...] = ()
    blank: Row = ()
    listing: tuple[int, list[str]] | None = None

    def __post_init__(self) -> None:
        self.modified = self.modified or self.created
        if self.retention.row_based and self.written is None:
            self.written = {}
        self.compile()

    def compile(self) -> None:
        """Derive the lookups from ``columns``; call after every change of them."""
        self.index = {}
        for position, column in enumerate(self.columns):
            self.index[column.name] = position
            self.index[column.name.lower()] = position
        self.primary = tuple(i for i, c in enumerate(self.columns) if c.primary)
        self.needed = tuple(i for i, c in enumerate(self.columns) if c.required or c.primary)
        self.blank = tuple(c.default for c in self.columns)

    # ---- rows

    def position(self, name: str) -> int | None:
        found = self.index.get(name)
        return self.index.get(name.lower()) if found is None else found

    def pk(self, cells: Iterable[str | None]) -> str:
        """The key rows are kept under, from primary-key cells in column order."""
        return "\x1f".join((c or "").lower() for c in cells)

    def prepare(self, item: Mapping[str, Any], tz: tzinfo) -> dict[int, str | None]:
        """The cells of one row by column position.

        :raises CellError: an unknown column, a bad value, a required one that is missing
        """
        cells: dict[int, str | None] = {}
        columns, index = self.columns, self.index
        for name, value in item.items():
            position = index.get(name)
            if position is None:
                position = index.get(name.lower())
                if position is None:
                    raise CellError("FieldNotFound", f"The column [{name}] does not exist. Parse error [FieldNotFound]")
            cells[position] = store(columns[position], value, tz)
        for position in self.needed:
            if cells.get(position) in (None, "") and self.blank[position] is None:
                raise CellError("MissingRequired", f"The required column [{self.columns[position].name}] has no value. "
                                                   "Parse error [MissingRequired]")
        return cells

    def write(self, item: Mapping[str, Any], mode: str, now: float, tz: tzinfo) -> None:
        """Store one row. ``mode``: upsert, insert (an existing key is refused), update (a missing one is).

        :raises CellError: the row is refused; nothing of it is stored
        """
        self.put(self.prepare(item, tz), mode, now)

    def put(self, cells: dict[int, str | None], mode: str, now: float) -> None:
        """Store prepared cells; columns that are not named keep their value or get their default."""
        if self.primary:
            key = self.pk([cells.get(p) for p in self.primary])
        else:
            self.serial += 1
            key = f"#{self.serial}"
        old = self.rows.get(key)
        if old is not None and mode == "insert":
            shown = ", ".join(cells.get(p) or "" for p in self.primary)
            raise CellError("UnexpectedError", "Violation of PRIMARY KEY constraint. Cannot insert duplicate key in "
                                               f"object. The duplicate key value is ({shown}).")
        if old is None and mode == "update":
            raise CellError("RowNotFound", "No row has these keys.")
        merged = list(self.blank if old is None else old)
        for position, cell in cells.items():
            merged[position] = cell
        if old is None:
            self.version += 1
        self.rows[key] = tuple(merged)
        if self.written is not None:
            self.written.pop(key, None)  # keeps the oldest first, for expire
            self.written[key] = now
        self.modified = now

    def delete(self, keys: Mapping[str, str], now: float) -> bool:
        """Delete the row with these primary-key values; False when there is none.

        :raises CellError: when the names are not exactly the primary key
        """
        named = {self.position(name): value for name, value in keys.items()}
        if None in named or set(named) != set(self.primary) or not self.primary:
            raise CellError("InvalidKey", "The given keys do not match the primary key of the data extension.")
        return self.drop(self.pk([named[p] for p in self.primary]), now)

    def drop(self, pk: str, now: float) -> bool:
        if self.rows.pop(pk, None) is None:
            return False
        if self.written is not None:
            self.written.pop(pk, None)
        self.version += 1
        self.modified = now
        return True

    def clear(self, now: float) -> int:
        gone = len(self.rows)
        self.rows.clear()
        if self.written is not None:
            self.written.clear()
        self.version += 1
        self.modified = now
        return gone

    def keys(self) -> list[str]:
        """All row keys in the order of insertion, kept until a row comes or goes."""
        if self.listing is None or self.listing[0] != self.version:
            self.listing = (self.version, list(self.rows))
        return self.listing[1]

    def select(self, predicate: Callable[[Row], bool] | None, order: tuple[int, bool] | None) -> list[str]:
        """Keys of matching rows; ``order`` is (column, descending)."""
        keys = self.keys()
        if predicate is not None:
            keys = [k for k in keys if predicate(self.rows[k])]
        if order is not None:
            column, descending = order
            keys = sorted(keys, key=lambda k: self.rows[k][column] or "", reverse=descending)
        return keys

    def expire(self, now: float) -> bool:
        """Apply retention. True when the extension itself is to be deleted."""
        if self.retention.days is None:
            return False
        limit = now - self.retention.days * 86_400
        if self.retention.row_based:
            for key in list(itertools.takewhile(lambda k: self.written is not None and self.written[k] <= limit,
                                                self.written or ())):
                self.drop(key, now)
            return False
        if self.created > limit:
            return False
        if self.rows:
            self.clear(now)
        return self.retention.delete_extension

    # ---- what a send needs

    def email_column(self) -> int | None:
        return next((i for i, c in enumerate(self.columns) if c.type == "EmailAddress"), None)

    def key_column(self) -> int | None:
        return None if self.sendable_field is None else self.position(self.sendable_field)


def check_columns(columns: list[Column]) -> None:
    """Refuse a definition as the platform does.

    :raises SchemaError:
    """
    seen: set[str] = set()
    for column in columns:
        if not column.name or column.name.lower() in seen:
            raise SchemaError("Field names must be given and unique.")
        seen.add(column.name.lower())
        if column.type not in FIELD_TYPES:
            raise SchemaError(f"{column.type} is not a valid FieldType.")
        if column.type == "Text" and column.length is not None and not 1 <= column.length <= MAX_TEXT:
            raise SchemaError(f"MaxLength of a text field is 1 to {MAX_TEXT}.")
        if column.type == "Decimal" and (column.length is None or column.scale is None):
            raise SchemaError("A decimal field must state MaxLength and Scale.")
        if column.primary and (column.type == "Date" or (column.type == "Text" and column.length is None)):
            raise SchemaError(f"A field of type {column.type} cannot be a primary key here.")


def change_columns(extension: DataExtension, wanted: list[Column]) -> None:
    """Add columns and grow lengths; every other change of a column is refused.

    :raises SchemaError:
    """
    for column in wanted:
        position = extension.position(column.name)
        if position is None:
            if (column.primary or (column.required and column.default is None)) and extension.rows:
                raise SchemaError("A primary key or required field without default cannot be added to a data "
                                  "extension with rows.")
            check_columns([column])
            extension.columns.append(column)
            extension.rows = {k: (*r, column.default) for k, r in extension.rows.items()}
            extension.compile()
            continue
        old = extension.columns[position]
        if column.type != old.type or column.primary != old.primary:
            raise SchemaError("The type and the primary key of an existing field cannot change.")
        if old.length is None or (column.length is not None and column.length < old.length):
            if column.length != old.length:
                raise SchemaError("The length of a field can only grow.")
        else:
            old.length = column.length
