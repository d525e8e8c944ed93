"""The organisation's rows. A row is never changed in place: whoever holds one holds a snapshot.

Rows are sparse: a key that is absent is null (false for a checkbox). Every table keeps its ids sorted, an index of
(stamp, id) and, once asked for, hash indexes of single fields. Index entries of superseded rows are skipped when read.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .schema import FieldDef, ObjectDef

Row = dict[str, Any]
Key = tuple[int, str]
LOWEST: Key = (-(2**62), "")
HIGHEST: Key = (2**62, "")


def fold(value: Any) -> Any:
    """Text compares without case."""
    return value.casefold() if isinstance(value, str) else value


class Table:
    """The rows of one object."""

    def __init__(self, spec: ObjectDef) -> None:
        self.spec = spec
        self.rows: dict[str, Row] = {}
        self.hidden: dict[str, tuple[float, Row | None]] = {}
        """Rows whose transaction has not committed yet: id -> (when it will, what everyone sees until then)."""
        self._ids: list[str] = []
        self._stamps: list[Key] = []
        self._loose = False
        self._hashes: dict[str, dict[Any, list[str]]] = {}

    def visible(self, record: str) -> Row | None:
        """The row as a query sees it now."""
        if self.hidden and record in self.hidden:
            return self.hidden[record][1]
        return self.rows.get(record)

    def put(self, row: Row, *, bulk: bool = False) -> None:
        """Insert or replace; ``bulk`` leaves the sorting to the next read."""
        record, stamp = row["Id"], row[self.spec.stamp]
        old = self.rows.get(record)
        self.rows[record] = row
        if bulk:
            self._loose = True
            self._ids.append(record)
            self._stamps.append((stamp, record))
            return
        self._tidy()
        if old is None:
            self._enter(self._ids, record)
        if old is None or old[self.spec.stamp] != stamp:
            self._enter(self._stamps, (stamp, record))
        for name, index in self._hashes.items():
            value = row.get(name)
            if value is not None and (old is None or old.get(name) != value):
                index.setdefault(fold(value), []).append(record)

    @staticmethod
    def _enter(items: list[Any], item: Any) -> None:
        if not items or items[-1] < item:
            items.append(item)
        else:
            insort(items, item)

    def drop(self, record: str) -> None:
        """Remove for good."""
        self.rows.pop(record, None)
        self.hidden.pop(record, None)

    def _tidy(self) -> None:
        if self._loose or len(self._stamps) > 2 * len(self.rows) + 10_000:
            stamp = self.spec.stamp
            self._ids = sorted(self.rows)
            keys = {(row[stamp], record) for record, row in self.rows.items()}
            keys.update((old[stamp], record) for record, (_, old) in self.hidden.items() if old is not None)
            self._stamps = sorted(keys)
            self._hashes.clear()
            self._loose = False

    def by_id(self, after: str | None = None) -> Iterator[Row]:
        """Visible rows in the order of their ids, from the first id greater than ``after``."""
        self._tidy()
        ids, rows, hidden = self._ids, self.rows, self.hidden
        last = None
        for i in range(0 if after is None else bisect_right(ids, after), len(ids)):
            record = ids[i]
            row = self.visible(record) if hidden else rows.get(record)
            if row is not None and record != last:
                last = record
                yield row

    def by_stamp(self, low: Key = LOWEST, high: Key = HIGHEST, *, backwards: bool = False) -> Iterator[Row]:
        """Visible rows in the order of (stamp, id), both bounds inclusive; ``backwards`` from the last to the first."""
        self._tidy()
        keys, rows, stamp, hidden = self._stamps, self.rows, self.spec.stamp, self.hidden
        span = range(bisect_left(keys, low), bisect_right(keys, high))
        last: Key | None = None
        for i in reversed(span) if backwards else span:
            key = keys[i]
            record = key[1]
            row = self.visible(record) if hidden else rows.get(record)
            if row is not None and row[stamp] == key[0] and key != last:
                last = key
                yield row

    def lookup(self, name: str, values: Iterable[Any]) -> list[Row]:
        """Visible rows whose field ``name`` holds one of ``values`` (text without case), in the order of their ids."""
        if name == "Id":
            found = {v for v in values if v is not None}
        else:
            self._tidy()
            index = self._hashes.get(name)
            if index is None:
                index = self._hashes[name] = {}
                for record, row in self.rows.items():
                    value = row.get(name)
                    if value is not None:
                        index.setdefault(fold(value), []).append(record)
                for record, (_, old) in self.hidden.items():
                    if old is not None and old.get(name) is not None:
                        index.setdefault(fold(old[name]), []).append(record)
            wanted = {fold(v) for v in values}
            found = {r for v in wanted for r in index.get(v, ())}
            seen = map(self.visible, sorted(found))
            return [row for row in seen if row is not None and fold(row.get(name)) in wanted]
        return [row for row in map(self.visible, sorted(found)) if row is not None]


class Database:
    """All tables, and transactions that can be taken back or become visible late."""

    def __init__(self, schema: Mapping[str, ObjectDef]) -> None:
        self.schema = schema
        self.tables = {name: Table(spec) for name, spec in schema.items()}
        self.prefixes = {spec.prefix: name for name, spec in schema.items()}
        self.objects = {name.lower(): name for name in schema}
        self._undo: list[tuple[Table, str, Row | None, tuple[float, Row | None] | None]] = []
        self._depth = 0
        self.visible_at: float | None = None
        """While set, everything put is seen by others only from then on."""

    def object_of(self, record: str) -> str | None:
        """The object a record id belongs to, by its key prefix."""
        return self.prefixes.get(record[:3])

    def put(self, object: str, row: Row) -> None:
        table, record = self.tables[object], row["Id"]
        old = table.rows.get(record)
        if self._depth:
            self._undo.append((table, record, old, table.hidden.get(record)))
        if self.visible_at is not None:
            seen = table.hidden[record][1] if record in table.hidden else old
            table.hidden[record] = (self.visible_at, seen)
        elif record in table.hidden:
            del table.hidden[record]
        table.put(row)

    def drop(self, object: str, record: str) -> None:
        table = self.tables[object]
        if self._depth and record in table.rows:
            self._undo.append((table, record, table.rows[record], table.hidden.get(record)))
        table.drop(record)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside, or none when an exception leaves the block. Nests."""
        mark = len(self._undo)
        self._depth += 1
        try:
            yield
        except BaseException:
            for table, record, old, hidden in reversed(self._undo[mark:]):
                table.drop(record)
                if old is not None:
                    table.put(old)
                if hidden is not None:
                    table.hidden[record] = hidden
            del self._undo[mark:]
            raise
        finally:
            self._depth -= 1
            if not self._depth:
                self._undo.clear()

    def settle(self, now: float) -> None:
        """Make visible what has committed by ``now``."""
        for table in self.tables.values():
            if table.hidden:
                for record in [r for r, (at, _) in table.hidden.items() if at <= now]:
                    del table.hidden[record]

    def parent(self, reference: FieldDef, row: Row) -> Row | None:
        """The visible row a reference points to."""
        record = row.get(reference.name)
        object = self.object_of(record) if record else None
        return self.tables[object].visible(record) if object and record else None

    def reader(self, object: str, f: FieldDef) -> Callable[[Row], Any]:
        """A function from a row of ``object`` to the value of ``f``: stored, computed, or read through parents."""
        name = f.name
        if f.formula is not None:
            return self.path_reader(object, f.formula)
        if f.person is not None:
            return self._person_reader(self.schema["Contact"].fields[f.person])
        computed = _COMPUTED.get((object, name))
        if computed is not None:
            return lambda row: computed(self, row)
        if f.type == "boolean":
            return lambda row: row.get(name, False)
        return lambda row: row.get(name)

    def path_reader(self, object: str, path: tuple[str, ...]) -> Callable[[Row], Any]:
        """A reader for a dotted path; null where a parent is missing. The path must exist."""
        spec = self.schema[object]
        if len(path) == 1:
            return self.reader(object, spec.lower[path[0].lower()])
        reference = spec.relations[path[0].lower()]
        rest = self.path_reader(reference.reference_to[0], path[1:])

        def read(row: Row) -> Any:
            parent = self.parent(reference, row)
            return None if parent is None else rest(parent)
        return read

    def _person_reader(self, f: FieldDef) -> Callable[[Row], Any]:
        inner = self.reader("Contact", f)
        contacts = self.tables["Contact"]

        def read(row: Row) -> Any:
            contact = contacts.visible(row.get("PersonContactId", ""))
            if contact is None:
                return False if f.type == "boolean" else None
            return inner(contact)
        return read


def _full_name(db: Database, row: Row) -> str | None:
    return " ".join(part for part in (row.get("FirstName"), row.get("LastName")) if part) or None


def _account_name(db: Database, row: Row) -> str | None:
    if row.get("IsPersonAccount"):
        contact = db.tables["Contact"].visible(row.get("PersonContactId", ""))
        return None if contact is None else _full_name(db, contact)
    return row.get("Name")


def _contact_is_person(db: Database, row: Row) -> bool:
    account = db.tables["Account"].visible(row.get("AccountId", ""))
    return account is not None and account.get("PersonContactId") == row["Id"]


_COMPUTED: dict[tuple[str, str], Callable[[Database, Row], Any]] = {
    ("Contact", "Name"): _full_name, ("Lead", "Name"): _full_name, ("User", "Name"): _full_name,
    ("Individual", "Name"): _full_name,
    ("Account", "Name"): _account_name, ("Contact", "IsPersonAccount"): _contact_is_person,
    ("Contact", "IsEmailBounced"): lambda db, row: row.get("EmailBouncedDate") is not None,
    ("Opportunity", "IsClosed"): lambda db, row: str(row.get("StageName", "")).startswith("Closed"),
    ("Opportunity", "IsWon"): lambda db, row: row.get("StageName") == "Closed Won",
}
