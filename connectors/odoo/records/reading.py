"""Record streams: objects with their fields, fields of parents, tags by name, and listings of ids.

A dotted path (``parent_id.country_id.code``) is resolved by reading the many2one ids with the records and then the
parents' fields. The search for changes watches the parents' ``write_date`` too, because a parent's change does not
always touch the records below it; the same holds of tags. What leaves no trace (a tag that was deleted) is found by
the next full reading only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from connectors.batches import parts
from connectors.errors import Misconfigured, Outage, Retry
from connectors.odoo.records.windows import IDS_SAVED, Window, decode, walk
from connectors.odoo.wire.calls import Wire
from connectors.odoo.wire.describe import Meta
from connectors.odoo.wire.values import choices, micros, reader
from syncd.model import Field, Page, StreamSpec, Value

Record = dict[str, Any]
IDS_PER_PAGE = 20_000


class Column(NamedTuple):
    """One wanted field: where it goes, and how its value is read."""

    at: int
    name: str
    read: Callable[[Any], Value]


class Plan:
    """How the wanted fields of one model are read: plain fields, tags by name, and parents' fields."""

    def __init__(self, meta: Meta, model: str, fields: Sequence[tuple[int, Field]]) -> None:
        self.model = model
        self.plain: list[Column] = []
        self.tags: dict[str, list[int]] = {}
        self.parents: dict[str, Plan] = {}
        self.relations: dict[str, str] = {}
        below: dict[str, list[tuple[int, Field]]] = {}
        for at, field in fields:
            head, _, rest = field.name.partition(".")
            info = meta.one(model, head)
            if rest:
                if info["type"] != "many2one":
                    raise Misconfigured(f"{model}.{head} refers to no single record; {field.name!r} has no one value.",
                                        code="field", remedy="Map the field without the path, or another one.")
                below.setdefault(head, []).append((at, field._replace(name=rest)))
                self.relations[head] = info["relation"]
            elif info["type"] == "many2many":
                self.tags.setdefault(head, []).append(at)
                self.relations[head] = info["relation"]
            else:
                self.plain.append(Column(at, head, reader(info["type"], field.type)))
        for head, nested in below.items():
            self.parents[head] = Plan(meta, self.relations[head], nested)

    @property
    def names(self) -> list[str]:
        """Fields to ask of the model itself."""
        return list(dict.fromkeys(["write_date", *(c.name for c in self.plain), *self.tags, *self.parents]))

    @property
    def watched(self) -> list[str]:
        """Paths whose records' changes are changes of this record."""
        deeper = [f"{head}.{path}" for head, plan in self.parents.items() for path in plan.watched]
        return [*self.tags, *self.parents, *deeper]


class Records:
    """Reads record streams of one connection."""

    def __init__(self, wire: Wire, meta: Meta) -> None:
        self.wire, self.meta = wire, meta
        self.overlap = int(wire.settings.overlap_seconds * 1e6)

    # -- streams

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        """Pages of records, in order of id within a pass."""
        window = Window(spec.object, whole=True) if cursor is None else decode(spec.object, cursor)
        self.wire.session()
        plan = self.plan(spec)
        counted = self.counting(spec.object, [], whole=window.whole)
        for rows, mark, last, complete in walk(window, self.overlap, self.wire.now, lambda w: self._page(plan, spec, w),
                                               lambda row: int(str(row[0])), counted):
            yield Page(rows, mark, last, complete)

    def counting(self, model: str, domain: list[Any], *, whole: bool) -> Callable[[Window], bool]:
        """A check for the end of a listing that begins now: as many rows were seen as the server counts up to the last
        id (a page may have been cut short), and the account sees what it saw at the beginning."""
        sight = self.sight(model) if whole else ()
        return lambda window: self._counted(model, domain, window) and self.sight(model) == sight

    def _counted(self, model: str, domain: list[Any], window: Window) -> bool:
        # Where nothing was seen, nothing may be there: not even rows above the last id, which is none.
        seen = [["id", "<=", window.last]] if window.last else []
        return self.wire.count(model, [*domain, *seen]) <= window.seen

    def plan(self, spec: StreamSpec) -> Plan:
        """:raises Misconfigured: a field cannot be read"""
        return Plan(self.meta, spec.object, list(enumerate(spec.fields)))

    def _page(self, plan: Plan, spec: StreamSpec, window: Window) -> list[tuple[Value, ...]]:
        domain = window.domain(self.overlap, plan.watched)
        return self._rows(plan, spec, domain, self.wire.settings.page_size)

    def _rows(self, plan: Plan, spec: StreamSpec, domain: list[Any], limit: int) -> list[tuple[Value, ...]]:
        try:
            records = self.wire.search_read(plan.model, domain, plan.names, limit=limit)
            columns = self._columns(plan, records, len(spec.fields))
        except Misconfigured:
            # A field may have been hidden since it was described; the next attempt describes it anew.
            self.meta.forget()
            raise
        heads: list[tuple[Value, ...]] = [
            (str(r["id"]), micros(r["write_date"]) if r["write_date"] else None, 0, None) for r in records]
        # A column per wanted field, turned into a row per record.
        return [head + row for head, row in zip(heads, zip(*columns, strict=True), strict=True)] if columns else heads

    def fetch(self, spec: StreamSpec, keys: Sequence[str]) -> Page:
        """Rows of these ids. By a search, which passes over what is missing or hidden; ``read`` would raise."""
        ids = sorted({int(key) for key in keys if key.isascii() and key.isdigit() and int(key) < 2**31})
        plan = self.plan(spec)
        rows: list[tuple[Value, ...]] = []
        for part in parts(ids, self.wire.settings.page_size):
            rows += self._rows(plan, spec, [["id", "in", part]], 0)
        return Page(rows, "", last=True)

    # -- values

    def _columns(self, plan: Plan, records: list[Record], count: int) -> list[list[Value]]:
        """A list of values for each of the ``count`` wanted fields."""
        out: list[list[Value]] = [[] for _ in range(count)]
        for at, values in self._resolve(plan, records).items():
            out[at] = values
        return out

    def _resolve(self, plan: Plan, records: list[Record]) -> dict[int, list[Value]]:
        """Position of a wanted field -> its value for each record."""
        found: dict[int, list[Value]] = {c.at: [c.read(r[c.name]) for r in records] for c in plan.plain}
        for name, places in plan.tags.items():
            names = self._names(plan.relations[name], {i for r in records for i in r[name]})
            values: list[Value] = [choices([names.get(i, "") for i in r[name]]) for r in records]
            found.update(dict.fromkeys(places, values))
        for head, parent in plan.parents.items():
            found |= self._of_parents(plan, head, parent, records)
        return found

    def _names(self, model: str, ids: set[int]) -> dict[int, str]:
        if not ids:
            return {}
        name = "name" if "name" in self.meta.fields(model) else "display_name"
        rows = self.wire.search_read(model, [["id", "in", sorted(ids)]], [name])
        return {r["id"]: str(r[name] or "") for r in rows}

    def _of_parents(self, plan: Plan, head: str, parent: Plan, records: list[Record]) -> dict[int, list[Value]]:
        ids = sorted({r[head] for r in records if r[head]})
        rows = self.wire.search_read(parent.model, [["id", "in", ids]], parent.names) if ids else []
        place = {r["id"]: n for n, r in enumerate(rows)}
        missing = [i for i in ids if i not in place]
        if missing:
            self._explain(plan.model, head, parent.model, missing)
        return {at: [values[place[r[head]]] if r[head] else None for r in records]
                for at, values in self._resolve(parent, rows).items()}

    def _explain(self, model: str, head: str, parent: str, missing: list[int]) -> None:
        """A parent that is referred to but not found is hidden from the account, or was deleted this moment."""
        if self.wire.count(model, [[head, "in", missing]]):
            raise Misconfigured(
                f"The account may not read some {parent} records that {model}.{head} refers to.", code="hidden",
                remedy="Give the account access to them (companies, record rules), or do not map fields through them.")
        raise Retry("A record was deleted while it was read.")

    # -- listings

    def listing(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        """All ids, in order. Complete only if the account sees at least what it saw in the listing whose cursor was
        given: records that rules hide are not deleted."""
        stream = f"ids:{spec.object}"
        window = Window(stream) if cursor is None else decode(stream, cursor, IDS_SAVED)
        fresh = window.last == 0
        sight = self.sight(spec.object)
        before = set(window.sight)
        ids = self._ids(spec.object, 0 if fresh else window.last)
        while True:
            window = window.advance(ids)
            ahead = self._ids(spec.object, window.last) if ids else []
            if not ahead:
                break
            yield Page([(str(i),) for i in ids], window.encode(IDS_SAVED))
            ids = ahead
        complete = fresh and before <= set(sight) and self.sight(spec.object) == sight \
            and self._counted(spec.object, [], window)
        # While the account sees less than before, the listings stay incomplete: the old sight is handed on.
        done = replace(window, last=0, sight=sight if before <= set(sight) else window.sight)
        yield Page([(str(i),) for i in ids], done.encode(IDS_SAVED), last=True, complete=complete)

    def _ids(self, model: str, last: int) -> list[int]:
        return self.wire.search(model, [["id", ">", last]], limit=IDS_PER_PAGE)

    def sight(self, model: str) -> tuple[str, ...]:
        """What decides which records the account sees: its companies, its groups, its right to read the model.
        Losing one of these can hide records without an error; gaining one cannot."""
        known = self.meta.fields("res.users")
        names = [n for n in ("company_ids", "groups_id", "group_ids") if n in known]
        rows = self.wire.search_read("res.users", [["id", "=", self.wire.session().uid]], names)
        if not rows:
            raise Outage("Odoo does not show the user of this connection to itself.", code="res.users",
                         remedy="Check that the user is active and internal.")
        tokens = {f"{'c' if n == 'company_ids' else 'g'}{i}" for n in names for i in rows[0][n]}
        if self.wire.allowed(model, "read"):
            tokens.add("read")
        return tuple(sorted(tokens))
