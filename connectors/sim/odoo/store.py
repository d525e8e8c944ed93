"""Tables of the simulated database: sparse rows, a few indexes, and undo for all-or-nothing transactions.

A row is a dict of the fields that hold a value; what is absent is NULL. Instants are integer microseconds, references
are ids, many2many fields tuples of ids. Rows are replaced, never changed in place, so a reader may keep one.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from typing import Any

from connectors.sim.odoo.schema import Model

Row = dict[str, Any]


class Table:
    """Rows of one model by id, with the ids in order, equality indexes and an index on ``write_date``."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.rows: dict[int, Row] = {}
        self.ids: list[int] = []
        self.next_id = 1
        self.indexes: dict[str, dict[Any, dict[int, None]]] = {
            name: {} for name, info in model.fields.items() if info.indexed}
        """Field -> value -> ids, in an order and as a set at once; NULL is not indexed."""
        self.stamps: list[tuple[int, int]] = []
        """(write_date, id) in order; entries of rows written again since are stale and are skipped by readers."""

    def take_id(self) -> int:
        """The next id of the sequence; a sequence never goes back, not even on rollback."""
        taken = self.next_id
        self.next_id += 1
        return taken

    def put(self, row_id: int, row: Row | None) -> Row | None:
        """Replace (or with None delete) a row; returns what was there."""
        old = self.rows.get(row_id)
        for name, index in self.indexes.items():
            before = None if old is None else old.get(name)
            after = None if row is None else row.get(name)
            if before == after:
                continue
            if before is not None:
                del index[before][row_id]
                if not index[before]:
                    del index[before]
            if after is not None:
                index.setdefault(after, {})[row_id] = None
        if row is None:
            if old is not None:
                del self.rows[row_id]
                del self.ids[bisect.bisect_left(self.ids, row_id)]
            return old
        if old is None:
            self._insert_id(row_id)
        self.rows[row_id] = row
        self._stamp(row.get("write_date"), row_id)
        return old

    def _insert_id(self, row_id: int) -> None:
        if not self.ids or row_id > self.ids[-1]:
            self.ids.append(row_id)
        else:
            bisect.insort(self.ids, row_id)
        self.next_id = max(self.next_id, row_id + 1)

    def _stamp(self, instant: int | None, row_id: int) -> None:
        if instant is None:
            return
        entry = (instant, row_id)
        if not self.stamps or entry > self.stamps[-1]:
            self.stamps.append(entry)
        else:
            bisect.insort(self.stamps, entry)
        if len(self.stamps) > 4 * len(self.rows) + 1000:
            self.stamps = sorted((r["write_date"], i) for i, r in self.rows.items() if "write_date" in r)

    def written_since(self, instant: int) -> tuple[int, Iterator[int]]:
        """(upper bound of the count, ids) of rows whose write_date is at or after ``instant``."""
        start = bisect.bisect_left(self.stamps, (instant, 0))
        rows = self.rows

        def live() -> Iterator[int]:
            for at in range(start, len(self.stamps)):
                stamp, row_id = self.stamps[at]
                row = rows.get(row_id)
                if row is not None and row.get("write_date") == stamp:
                    yield row_id

        return len(self.stamps) - start, live()

    def ids_from(self, first: int) -> tuple[int, Iterator[int]]:
        """(count, ids in order) of the rows with id >= ``first``."""
        start = bisect.bisect_left(self.ids, first)
        return len(self.ids) - start, (self.ids[at] for at in range(start, len(self.ids)))

    def matching(self, name: str, values: Iterable[Any]) -> list[int]:
        """Ids of the rows whose indexed field ``name`` holds one of ``values`` (never NULL)."""
        index = self.indexes[name]
        found: list[int] = []
        for value in values:
            found += index.get(value, ())
        return found


class Database:
    """All tables, and the undo log of the transaction in progress."""

    def __init__(self, models: dict[str, Model]) -> None:
        self.models = models
        self.tables = {name: Table(model) for name, model in models.items()}
        self.tombstones: dict[tuple[str, int], Row] = {}
        """Rows that were deleted. The server keeps none; they are for the truth told to the control API."""
        self._undo: list[tuple[Table, int, Row | None]] = []

    def put(self, model: str, row_id: int, row: Row | None) -> None:
        """Replace or delete a row within the current transaction."""
        table = self.tables[model]
        self._undo.append((table, row_id, table.put(row_id, row)))

    def commit(self) -> int:
        """End the transaction; returns how many row versions it wrote."""
        written = len(self._undo)
        for table, row_id, old in self._undo:
            if old is not None and row_id not in table.rows:
                self.tombstones[table.model.name, row_id] = old
        self._undo.clear()
        return written

    def rollback(self) -> None:
        """Undo everything since the last commit."""
        while self._undo:
            table, row_id, old = self._undo.pop()
            table.put(row_id, old)
