"""Native rows into the tables, a million at a time: no rules, no history, stamps as given."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import ids, options, values
from .db import Database, Row
from .schema import FieldDef, ObjectDef


def load(db: Database, tables: Mapping[str, Iterable[Mapping[str, Any]]], now: int,
         sequence: ids.Sequence) -> dict[str, int]:
    """Store rows by object name; values as the API would show them, datetimes as text or seconds; the counts.

    Missing: Id (assigned), stamps (SystemModstamp from LastModifiedDate, CreatedDate or ``now``; the others from it),
    OwnerId.
    A person account may be one Account row with its Person* fields, or an Account and a Contact that name each other.

    :raises ValueError: an unknown object or field, a malformed id
    """
    counts: dict[str, int] = {}
    for object, rows in tables.items():
        if object not in db.schema:
            raise ValueError(f"unknown object {object}")
        counts[object] = 0
        make = _maker(db.schema[object], now, sequence, set(db.tables[object].rows))
        put = db.tables[object].put
        for given in rows:
            row = make(given)
            if row.get("IsPersonAccount"):
                row = _person(db, row, sequence)
            put(row, bulk=True)
            counts[object] += 1
    return counts


def _maker(spec: ObjectDef, now: int, sequence: ids.Sequence, taken: set[str]) -> Callable[[Mapping[str, Any]], Row]:
    readers = {name: (name, _reader(f)) for name, f in spec.fields.items()}
    stamped = "SystemModstamp" in spec.fields
    owned = "OwnerId" in spec.fields

    def make(given: Mapping[str, Any]) -> Row:
        row: Row = {}
        for key, value in given.items():
            if value is None or value is False or value == "":
                continue
            try:
                name, read = readers[key]
            except KeyError:
                raise ValueError(f"{spec.name} has no field {key}") from None
            row[name] = value if read is None else read(value)
        if "Id" not in row:
            row["Id"] = sequence.next(spec.prefix)
            while row["Id"] in taken:
                row["Id"] = sequence.next(spec.prefix)
        taken.add(row["Id"])
        if stamped:
            stamp = row.setdefault("SystemModstamp", row.get("LastModifiedDate", row.get("CreatedDate", now)))
            row.setdefault("LastModifiedDate", stamp)
            row.setdefault("LastModifiedById", options.CRM_USER)
        row.setdefault("CreatedDate", row.get("LastModifiedDate", now))
        row.setdefault("CreatedById", options.CRM_USER)
        if owned:
            row.setdefault("OwnerId", options.CRM_USER)
        return row
    return make


def _reader(f: FieldDef) -> Callable[[Any], Any] | None:
    if f.type == "datetime":
        return _seconds
    if f.type in ("id", "reference"):
        return _id
    if f.type in ("currency", "double", "percent"):
        return float
    return None


def _seconds(value: Any) -> int:
    seconds = values.parse_datetime(value) if isinstance(value, str) else int(value)
    if seconds is None:
        raise ValueError("not a datetime with a zone")
    return seconds


def _id(value: Any) -> str:
    known = ids.normal(value)
    if known is None or ids.long_form(known[:15]) != known:
        raise ValueError(f"not an id: {value}")
    return known


def _person(db: Database, account: Row, sequence: ids.Sequence) -> Row:
    """Split the person's fields off into the paired contact, unless that contact is loaded by itself."""
    fields = db.schema["Account"].fields
    contact = {fields[k].person: v for k, v in account.items() if fields[k].person is not None}
    own = {k: v for k, v in account.items() if fields[k].person is None}
    own["RecordTypeId"] = options.PERSON_RECORD_TYPE
    own.setdefault("PersonContactId", sequence.next("003"))
    if contact:
        shared = {k: own[k] for k in ("CreatedDate", "CreatedById", "LastModifiedDate", "LastModifiedById",
                                      "SystemModstamp", "OwnerId")}
        db.tables["Contact"].put({**shared, **{str(k): v for k, v in contact.items()}, "Id": own["PersonContactId"],
                                  "AccountId": own["Id"]}, bulk=True)
    return own
