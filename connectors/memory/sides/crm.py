"""The CRM half of a world: typed records, field history, late commits, and what people do in a CRM's screens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connectors.memory.sides.table import BadCall, Delay, Refused, Table, Time, When, checked, only_keys
from syncd.model import FieldInfo, Micros, ObjectInfo, Value

HistoryRow = tuple[Value, ...]
_PREFIXES = {"Contact": "003", "Lead": "00Q", "Account": "001", "Opportunity": "006"}


@dataclass(frozen=True, slots=True)
class Record:
    """One version of one record."""

    id: str
    values: Mapping[str, Value]
    modified: Micros
    deleted: int = 0
    merged_into: str | None = None


@dataclass(slots=True)
class CrmObject:
    """An object: its fields, its consent fields by topic, and which fields keep history."""

    info: ObjectInfo
    fields: dict[str, FieldInfo]
    topics: dict[str, str]
    tracked: frozenset[str]
    prefix: str
    records: Table[Record]
    history: Table[HistoryRow]
    made: int = 0

    def new_id(self) -> str:
        """The next record id: 18 characters that look like Salesforce's."""
        self.made += 1
        return f"{self.prefix}5f{self.made:010d}AAA"


@dataclass(frozen=True, slots=True)
class _Commit:
    """A change whose transaction is still open: its number and instant are older than its visibility."""

    due: When
    seq: int
    object: str
    record: Record
    history: tuple[tuple[int, HistoryRow], ...]


class Crm:
    """All objects of one CRM connection. Not thread-safe: the world's lock guards it."""

    def __init__(self, time: Time, objects: Mapping[str, Mapping[str, Any]], *, visibility: Delay) -> None:
        self.time = time
        self.visibility = visibility
        self.objects = {name: _object(name, number, about) for number, (name, about) in enumerate(objects.items())}
        self.hidden: frozenset[str] = frozenset()
        self._open: list[_Commit] = []

    # ------------------------------------------------------------------ reading

    def object(self, name: str) -> CrmObject:
        try:
            return self.objects[name]
        except KeyError:
            raise BadCall(f"There is no object {name}.") from None

    def commit(self, only: str | None = None) -> None:
        """Close the transactions whose time has come, or the ones of record ``only``."""
        still = []
        for change in self._open:
            if change.record.id == only if only is not None else self.time.passed(change.due):
                about = self.objects[change.object]
                about.records.put(change.record.id, change.record, change.seq)
                for seq, row in change.history:
                    about.history.put(str(seq), row, seq)
            else:
                still.append(change)
        self._open = still

    def stable(self) -> int:
        """No change with a number up to this one is still to become visible."""
        return min((c.seq for c in self._open), default=self.time.seq + 1) - 1

    def find(self, name: str, key: str) -> Record:
        """The newest version of a record; an open change of it is committed first, as a row lock would wait."""
        self.commit(only=key)
        try:
            return self.object(name).records.rows[key]
        except KeyError:
            raise Refused("NOT_FOUND: there is no such record.") from None

    # ------------------------------------------------------------------ writing

    def write(self, name: str, key: str, values: Mapping[str, Value], by: str, **marks: Any) -> Record:
        """Make one new version of a record (or its first), with history of the tracked fields.

        :param marks: ``deleted``, ``merged_into``
        :raises Refused: a value does not fit its field
        """
        about = self.object(name)
        for field in values:
            if field not in about.fields:
                raise BadCall(f"Object {name} has no field {field}.")
        clean = {field: checked(about.fields[field], value) for field, value in values.items()}
        self.commit(only=key)
        old = about.records.rows.get(key)
        now = self.time.now()
        if old is None:
            new = Record(key, dict.fromkeys(about.fields) | clean, now)
        else:
            new = replace(old, values={**old.values, **clean}, modified=now, **marks)
        history = tuple(
            (self.time.next(), (key, field, _text(old.values[field]), _text(value), now, by))
            for field, value in clean.items()
            if old is not None and field in about.tracked and old.values[field] != value)
        change = _Commit(self.time.after(self.visibility), self.time.next(), name, new, history)
        self._open.append(change)
        self.commit()
        return new

    def update(self, name: str, key: str, values: Mapping[str, Value]) -> None:
        """The API's write of one record. Writing equal values still moves ``modified``, as in the vendors' worlds."""
        if self.find(name, key).deleted:
            raise Refused("ENTITY_IS_DELETED: the record was deleted.")
        for field in values:
            if not self.object(name).fields[field].writable:
                raise Refused(f"INVALID_FIELD_FOR_INSERT_UPDATE: field {field} is read-only.")
        self.write(name, key, values, by="self")

    def load(self, name: str, rows: Iterable[Mapping[str, Value]]) -> list[str]:
        """Create records; a row's ``id`` is used when it has one. Their ids, in order."""
        ids = []
        for row in rows:
            key = str(row.get("id") or self.object(name).new_id())
            self.write(name, key, {f: v for f, v in row.items() if f != "id"}, by="user")
            ids.append(key)
        return ids

    # ------------------------------------------------------------------ acts of people

    def do_create(self, object: str, set: dict[str, Value], by: str = "user") -> dict[str, Any]:
        """A user makes a record, or (``by`` person) a web form does."""
        key = self.object(object).new_id()
        self.write(object, key, set, by)
        return {"changed": 1, "id": key}

    def do_edit(self, object: str, id: str, set: dict[str, Value], by: str = "user") -> dict[str, Any]:
        """A user edits a record; ``by`` may say person (a form) or connect (Marketing Cloud Connect)."""
        if self.find(object, id).deleted:
            raise BadCall("A deleted record cannot be edited.")
        self.write(object, id, set, by)
        return {"changed": 1}

    def do_mass_edit(self, object: str, where: dict[str, Value], set: dict[str, Value],
                     by: str = "import") -> dict[str, Any]:
        """A data loader sets fields on every live record whose fields equal ``where``."""
        ids = [r.id for r in self._newest(object)
               if not r.deleted and all(r.values.get(f) == v for f, v in where.items())]
        for key in ids:
            self.write(object, key, set, by)
        return {"changed": len(ids)}

    def do_delete(self, object: str, id: str) -> dict[str, Any]:
        self.find(object, id)
        self.write(object, id, {}, "user", deleted=1)
        return {"changed": 1}

    def do_undelete(self, object: str, id: str) -> dict[str, Any]:
        self.find(object, id)
        self.write(object, id, {}, "user", deleted=0, merged_into=None)
        return {"changed": 1}

    def do_merge(self, object: str, id: str, into: str, set: dict[str, Value] | None = None) -> dict[str, Any]:
        """``id`` loses, ``into`` wins and keeps its own values, except what ``set`` says the user chose."""
        self.find(object, into)
        self.find(object, id)
        self.write(object, into, set or {}, "user")
        self.write(object, id, {}, "user", deleted=1, merged_into=into)
        return {"changed": 2}

    def do_convert(self, object: str, id: str, to: str, into: str | None = None) -> dict[str, Any]:
        """A lead becomes a record of ``to``, a new one or the one with the id ``into``. Fields of the same name are
        copied; where there is a record already, only into empty ones, and a box is never empty."""
        lead, about = self.find(object, id), self.object(to)
        given = {f: v for f, v in lead.values.items() if f in about.fields}
        if into is not None:
            given = {f: v for f, v in given.items() if self.find(to, into).values[f] is None}
        key = into or about.new_id()
        self.write(to, key, given, "user")
        self.write(object, id, {}, "user", deleted=1, merged_into=key)
        return {"changed": 2, "id": key}

    # ------------------------------------------------------------------ truth

    def _newest(self, name: str) -> list[Record]:
        newest = dict(self.object(name).records.rows)
        newest.update((c.record.id, c.record) for c in self._open if c.object == name)
        return [newest[key] for key in sorted(newest)]

    def state(self) -> dict[str, Any]:
        """Everything a person would find in the CRM, without instants or numbers, sorted by id."""
        people = []
        for name, about in sorted(self.objects.items()):
            flag = about.info.master_flag
            people += [
                {"id": r.id, "object": name, "email": r.values.get("email"),
                 "opted_out": bool(flag and r.values[flag]),
                 "topics": {topic: _flag(r.values[field]) for topic, field in about.topics.items()},
                 "fields": dict(r.values), "deleted": bool(r.deleted), "merged_into": r.merged_into}
                for r in self._newest(name)]
        return {"people": people}


def _object(name: str, number: int, about: Mapping[str, Any]) -> CrmObject:
    only_keys(f"Object {name}", about, "fields", "topics", "master_flag", "tracked", "prefix")
    fields = {f["name"]: FieldInfo(**{**f, "choices": tuple(f.get("choices", ()))}) for f in about["fields"]}
    topics = dict(about.get("topics", {}))
    flag = about.get("master_flag")
    for field in (*topics.values(), *about.get("tracked", ()), *([flag] if flag else ())):
        if field not in fields:
            raise BadCall(f"Object {name} has no field {field}.")
    info = ObjectInfo(name, name, tuple(fields.values()), flag)
    prefix = about.get("prefix") or _PREFIXES.get(name) or f"a{number:02d}"
    return CrmObject(info, fields, topics, frozenset(about.get("tracked", ())), prefix, Table(), Table())


def _text(value: Value) -> str | None:
    return None if value is None else str(value)


def _flag(value: Value) -> Value | bool:
    return bool(value) if isinstance(value, int) else value


def record_rows(records: Iterator[tuple[int, str, Record]], fields: Sequence[str], *, deletes: bool, merges: bool,
                hidden: frozenset[str]) -> Iterator[tuple[int, str, list[Value]]]:
    """Records as rows of a ``record`` stream, without what the vendor does not show."""
    for seq, key, record in records:
        if key in hidden or (record.deleted and not deletes):
            continue
        head: list[Value] = [key, record.modified, record.deleted, record.merged_into if merges else None]
        yield seq, key, head + [record.values[field] for field in fields]
