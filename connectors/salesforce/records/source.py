"""What is selected of an object, and how its columns become rows: one ``Source`` for each kind of stream."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from connectors.errors import CursorLost, Misconfigured, Outage
from connectors.salesforce.wire.describe import history_of, is_identifier
from connectors.salesforce.wire.values import json_column, read_column, soql_instant
from connectors.shapes import Columns
from syncd.model import FieldInfo, FieldType, StreamSpec, Value

Row = tuple[Value, ...]
Column = Callable[[str, FieldType | None], list[Any]]
"""Name and type of a field -> its values in one page; without a type, as the wire has them."""

csv.field_size_limit(16 * 2**20)  # the default, 128 kB, is just what a long text area holds

_STAMPS = ("SystemModstamp", "LastModifiedDate", "CreatedDate")


class Position(NamedTuple):
    """The place of the last row in (stamp, id) order: seconds and id; ("" = before the first row of that second)."""

    stamp: int
    id: str


@dataclass(frozen=True, slots=True)
class Source:
    """One object's SELECT.

    object   the API's name; ``stamp`` the field that orders its rows, "" = by id alone
    select   the fields, in order
    build    makes rows from columns
    where    a condition that always applies, in SOQL
    deleted  also rows in the recycle bin
    parents  relationships through which fields are reached, and whose changes are followed
    """

    object: str
    stamp: str
    select: tuple[str, ...]
    build: Callable[[Column], Sequence[Row]]
    where: str = ""
    deleted: bool = True
    parents: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names an error may quote: each field, also without its parent, and the object."""
        return (*self.select, *(name.rpartition(".")[2] for name in self.select if "." in name), self.object)

    def soql(self, *conditions: str, order: str = "") -> str:
        """The statement. Bulk queries go without ``order``: it would switch their chunking off."""
        terms = [c for c in (self.where, *conditions) if c]
        where = f" WHERE {' AND '.join(terms)}" if terms else ""
        return f"SELECT {', '.join(self.select)} FROM {self.object}{where}{order and f' ORDER BY {order}'}"

    def after(self, at: Position, upto: int | None, limit: int) -> str:
        """The statement for the first ``limit`` rows that follow ``at``, before the instant ``upto``, in order."""
        from simple_salesforce.format import format_soql

        beyond = format_soql("Id > {}", at.id) if at.id else ""
        if not self.stamp:
            return self.soql(beyond, order=f"Id LIMIT {limit}")
        since = soql_instant(at.stamp)
        lower = f"{self.stamp} >= {since}" if at.stamp else ""
        if at.id:
            lower = f"(({self.stamp} = {since} AND {beyond}) OR {self.stamp} > {since})"
        upper = f"{self.stamp} < {soql_instant(upto)}" if upto is not None else ""
        return self.soql(lower, upper, order=f"{self.stamp}, Id LIMIT {limit}")

    def beneath(self, parent: str, since: int, after: str, limit: int) -> str:
        """The statement for the first ``limit`` rows whose parent has changed since an instant, by id, beyond ``after``."""
        from simple_salesforce.format import format_soql

        return self.soql(f"{parent}.SystemModstamp >= {soql_instant(since)}",
                         format_soql("Id > {}", after) if after else "", order=f"Id LIMIT {limit}")

    def from_json(self, records: Sequence[Any]) -> tuple[Sequence[Row], Position | None]:
        """Rows of a REST page, and the position of its last record.

        :raises Misconfigured: a field is hidden, or holds values of another type
        """
        def column(name: str, kind: FieldType | None) -> list[Any]:
            return self._typed(name, kind, json_column(records, name.split(".")))
        if not records:
            return [], None
        stamp = self._typed(self.stamp, "instant", json_column(records[-1:], [self.stamp]))[0] if self.stamp else 0
        if not isinstance(stamp, int):
            raise Outage("Salesforce's answer makes no sense.", detail="a row without its time of change")
        return self.build(column), Position(stamp // 1_000_000, str(records[-1]["Id"]))

    def from_csv(self, text: str, first: bool) -> Sequence[Row]:
        """Rows of a Bulk page. Whether later pages repeat the header differs; ``first`` says it must be there.

        :raises Misconfigured: as ``from_json``
        :raises CursorLost: the text is cut
        :raises Outage: these are not the columns that were asked for
        """
        columns = _columns(text, len(self.select))
        header = [column[0] for column in columns]
        if first or header == list(self.select):
            if missing := set(self.select) - set(header):
                raise Misconfigured(f"Salesforce no longer shows the field {min(missing)}.", code="INVALID_FIELD",
                                    remedy="Give the integration user read access to it.")
            if header != list(self.select):
                raise Outage("Salesforce's answer makes no sense.", detail="columns of a Bulk result")
            columns = [column[1:] for column in columns]
        if columns and len(columns) != len(self.select):
            raise _cut()
        raw: dict[str, Sequence[str]] = dict(zip(self.select, columns or [()] * len(self.select), strict=True))
        return self.build(lambda name, kind: self._typed(name, kind, raw[name]))

    def _typed(self, name: str, kind: FieldType | None, raw: Sequence[Any]) -> list[Any]:
        if kind is None:
            return list(raw)
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            return read_column(kind, raw)
        raise Misconfigured(f"{self.object}.{name} does not hold values of type {kind}.",
                            remedy="Give the mapped field its real type.", code="FIELD_TYPE")


def _columns(text: str, width: int) -> Sequence[Sequence[str]]:
    """Columns of CSV text. As long as no value holds a quote, every quote is one around a value, and splitting gives in a
    fraction of the time what the csv module gives. A quote in a value is two in the text, so counting tells.

    :raises CursorLost: rows are not equally long
    """
    rows = text.count('"\n"') + 1
    if text.endswith('"\n') and text.startswith('"') and text.count('"') == 2 * width * rows:
        # One more value between two rows, in whose place there is nothing else if each row has its width.
        cells = text[1:-2].replace('"\n"', '","\n","').split('","')
        if len(cells) == (width + 1) * rows - 1 and cells[width::width + 1] == ["\n"] * (rows - 1):
            return [cells[place::width + 1] for place in range(width)]
    with contextlib.suppress(ValueError):
        return list(zip(*csv.reader(io.StringIO(text, newline="")), strict=True))
    raise _cut()


def _cut() -> CursorLost:
    return CursorLost("A page of Salesforce's answer was cut.", code="CUT", detail="CSV")


def record_source(spec: StreamSpec, fields: Mapping[str, FieldInfo], parents: tuple[str, ...] = (), *,
                  persons: bool = False) -> Source:
    """The source of a ``record`` stream; ``fields`` is what we may read of the object, ``parents`` as in ``Source``.
    ``persons``: its records may become accounts, and of these some are persons."""
    stamp = next((name for name in _STAMPS if name in fields), None)
    if stamp is None:
        raise Misconfigured(f"Salesforce's {spec.object} does not say when its rows change.",
                            remedy="It cannot be a stream; reach it through another object.")
    _check_names(spec.object, *(f.name for f in spec.fields))
    # A lead that became a contact is not deleted, but its person goes on under the contact's id.
    # Beside a company's account stands a contact, and nobody is the company.
    account = [name for name in ("ConvertedAccountId", "ConvertedAccount.IsPersonAccount") if persons]
    contact = [name for name in ("ConvertedContactId",) if name in fields and spec.becomes != "Account"]
    absorbed = [*(name for name in ("MasterRecordId",) if name in fields), *contact]
    has_bin = "IsDeleted" in fields
    system = ("Id", stamp, *(("IsDeleted",) if has_bin else ()), *absorbed, *account)

    def build(column: Column) -> Sequence[Row]:
        ids = column("Id", "id")
        into: list[Value] = [None] * len(ids)
        for name in absorbed:
            into = [a or b for a, b in zip(into, column(name, "id"), strict=True)]
        if account:
            converted = zip(column(account[0], "id"), column(account[1], "bool"), strict=True)
            into = [a or (b if person else None) for a, (b, person) in zip(into, converted, strict=True)]
        deleted = column("IsDeleted", "bool") if has_bin else [0] * len(ids)
        own = [column(f.name, f.type) for f in spec.fields]
        return Columns([ids, column(stamp, "instant"), deleted, into, *own])

    return Source(spec.object, stamp, tuple(dict.fromkeys((*system, *(f.name for f in spec.fields)))), build,
                  deleted=has_bin, parents=parents)


def id_source(spec: StreamSpec) -> Source:
    """The source of an ``ids_only`` listing: living rows, by id."""
    _check_names(spec.object)
    return Source(spec.object, "", ("Id",), lambda column: [(i,) for i in column("Id", "id")], deleted=False)


def history_source(spec: StreamSpec, fields: Mapping[str, FieldInfo], origins: Mapping[str, str]) -> Source:
    """The source of a ``history`` stream: changes of ``spec.fields`` (none = of all tracked fields). ``origins`` tells
    ORIGINS by user id; everyone else is a ``user``."""
    from simple_salesforce.format import format_soql

    name, parent = history_of(spec.object)
    _check_names(spec.object)
    kinds = {f.name: f.type for f in fields.values()} | {f.name: f.type for f in spec.fields}

    def build(column: Column) -> list[Row]:
        record, changed = column(parent, "id"), column("Field", "text")
        old, new = ([_tracked(kinds.get(f, "text"), v) for f, v in zip(changed, column(side, None), strict=True)]
                    for side in ("OldValue", "NewValue"))
        by = [origins.get(user, "user") for user in column("CreatedById", "id")]
        return list(zip(record, changed, old, new, column("CreatedDate", "instant"), by, strict=True))

    wanted = [f.name for f in spec.fields]
    return Source(name, "CreatedDate", ("Id", parent, "Field", "OldValue", "NewValue", "CreatedById", "CreatedDate"),
                  build, where=format_soql("Field IN {}", wanted) if wanted else "")


def _tracked(kind: FieldType, value: Any) -> Value:
    """An old or new value in its field's type; where history holds something else (a label), the text."""
    for attempt in (kind, "text"):
        with contextlib.suppress(ValueError, TypeError, AttributeError):
            return read_column(attempt, (value,))[0]
    return None


def _check_names(*names: str) -> None:
    """:raises Misconfigured: a name that SOQL would read as something else"""
    for name in names:
        if not is_identifier(name):
            raise Misconfigured("A name in the mapping is not one of Salesforce's.", code="INVALID_FIELD",
                                remedy="Use the API names of objects and fields.")
