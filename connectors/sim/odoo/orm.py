"""Reading: an ``Env`` is one transaction of one user; it turns rows into the values the API shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from connectors.sim.odoo import computed, errors
from connectors.sim.odoo.domain import Query, compile_domain, uses_active
from connectors.sim.odoo.schema import Field
from connectors.sim.odoo.store import Database, Row, Table
from connectors.sim.odoo.values import instant_text

if TYPE_CHECKING:
    from connectors.sim.odoo.access import Access

Reader = Callable[[int, Row], Any]

_ORDER = re.compile(r"^(\s*[a-z0-9_]+(\s+(desc|asc))?\s*(,|$))+$", re.IGNORECASE)
SUPERUSER = 1


class Env:
    """One transaction: who acts, in which context, and the instant it began (which every row it writes will bear)."""

    def __init__(self, db: Database, access: Access, uid: int, context: Mapping[str, Any], start: int, *,
                 su: bool = False) -> None:
        self.db: Database = db
        self.access, self.uid, self.start = access, uid, start
        self.su = su or uid == SUPERUSER
        """Past all rights and rules, as code of the server itself runs; ``uid`` still signs the rows."""
        self.context = dict(context)
        self._dropped: dict[str, frozenset[str]] = {}
        self.reserved: dict[str, list[int]] = {}
        """Ids taken from a sequence before a late commit; ``create`` uses them first."""

    def sudo(self) -> Env:
        """The same transaction and author, past all rights."""
        other = Env(self.db, self.access, self.uid, self.context, self.start, su=True)
        other.reserved = self.reserved
        return other

    # -- the model

    def table(self, model: str) -> Table:
        """:raises OdooError: for a model that does not exist"""
        found = self.db.tables.get(model)
        if found is None:
            raise errors.user_error(f"Object {model} doesn't exist")
        return found

    def visible_fields(self, model: str) -> Mapping[str, Field]:
        """The model's fields as this server shows them."""
        fields = self.table(model).model.fields
        hidden = self._dropped.get(model)
        if hidden is None:
            hidden = self._dropped[model] = self.access.dropped_fields(model)
        return {n: f for n, f in fields.items() if n not in hidden} if hidden else fields

    def field(self, model: str, name: str) -> Field:
        info = self.visible_fields(model).get(name)
        if info is None:
            raise errors.invalid_field(model, name)
        return info

    def display_name(self, model: str, row_id: int) -> str:
        """What a many2one shows beside the id."""
        row = self.db.tables[model].rows.get(row_id)
        return "" if row is None else computed.display_name(self, model, row_id, row)

    # -- values

    def ids_reader(self, model: str, name: str) -> Callable[[int, Row], Iterable[int]]:
        """Ids a relational field holds, archived ones included."""
        info = self.table(model).model.fields[name]
        if info.type == "many2one":
            if not info.store:
                compute = computed.FIELDS[name]
                return lambda i, row: (compute(self, model, i, row),)
            return lambda _id, row: (row[name],) if name in row else ()
        if not info.inverse:
            return lambda _id, row: row.get(name, ())
        if info.type == "one2many":
            table = self.db.tables[info.relation]
            return lambda i, _row: sorted(table.matching(info.inverse, [i]))
        return computed.virtual_many2many(self, model, info)

    def reader(self, model: str, name: str, *, classic: bool = False) -> Reader:
        """A function from (id, row) to the API's value. ``classic`` shows many2one as [id, name]."""
        info = self.field(model, name)
        if name == "id":
            return lambda i, _row: i
        if info.type in ("many2many", "one2many"):
            return self._set_reader(model, name, info)
        if not info.store:
            return self._computed_reader(model, name, info, classic)
        if info.type == "datetime":
            return lambda _id, row: instant_text(row.get(name))
        if info.type == "many2one":
            if not classic:
                return lambda _id, row: row.get(name, False)
            show, target = self.display_name, info.relation
            return lambda _id, row: [row[name], show(target, row[name])] if name in row else False
        empty: Any = False
        if info.type in ("integer", "float", "monetary"):
            empty = 0 if info.type == "integer" else 0.0
        return lambda _id, row: row.get(name, empty)

    def _computed_reader(self, model: str, name: str, info: Field, classic: bool) -> Reader:
        compute = computed.FIELDS[name]
        if info.type == "many2one" and classic:
            show = self.display_name

            def pair(i: int, row: Row) -> Any:
                other = compute(self, model, i, row)
                return [other, show(info.relation, other)] if other else False

            return pair
        return lambda i, row: compute(self, model, i, row)

    def _set_reader(self, model: str, name: str, info: Field) -> Reader:
        read = self.ids_reader(model, name)
        if "active" not in self.db.models[info.relation].fields or not self.context.get("active_test", True):
            return lambda i, row: list(read(i, row))
        rows = self.db.tables[info.relation].rows
        return lambda i, row: [other for other in read(i, row) if rows[other].get("active")]

    def rows_out(self, model: str, found: Iterable[tuple[int, Row]], fields: Iterable[str] | None,
                 load: str | None) -> list[dict[str, Any]]:
        """Records as ``read`` answers them; all fields when none is named; ``id`` always first."""
        names = [n for n in (fields or self.visible_fields(model)) if n != "id"]
        classic = load == "_classic_read"
        readers = [(n, self.reader(model, n, classic=classic)) for n in names]
        out = []
        for row_id, row in found:
            record: dict[str, Any] = {"id": row_id}
            for name, read in readers:
                record[name] = read(row_id, row)
            out.append(record)
        return out

    # -- finding

    def query(self, model: str, domain: Any) -> Query:
        """The domain with the implicit filters: archived records, and what this user's record rules hide."""
        query = compile_domain(self, model, domain)
        test = query.test
        if "active" in self.table(model).model.fields and self.context.get("active_test", True) \
                and not uses_active(domain):
            asked = test

            def test(i: int, row: Row) -> bool:
                return bool(row.get("active")) and asked(i, row)

        rule = self.access.rule(self, model)
        if rule is not None:
            seen, allowed = test, rule

            def test(i: int, row: Row) -> bool:
                return allowed(i, row) and seen(i, row)

        return Query(test, query.candidates)

    def find(self, model: str, domain: Any, *, offset: int = 0, limit: int | None = None,
             order: str | None = None) -> Iterator[tuple[int, Row]]:
        """(id, row) pairs in order. ``limit`` None or 0 = all."""
        table = self.table(model)
        query = self.query(model, domain)
        if limit is not None and limit < 0:
            raise errors.postgres("InvalidRowCountInLimitClause", "LIMIT must not be negative\n")
        keys = self._order(model, order or table.model.order)
        found: Iterable[tuple[int, Row]] = query.run(self, model)
        if keys != [("id", False)]:
            found = self._sorted(model, list(found), keys)
        return islice(iter(found), offset, offset + limit if limit else None)

    def _order(self, model: str, text: str) -> list[tuple[str, bool]]:
        if not _ORDER.match(text):
            raise errors.user_error(
                f'Invalid "order" specified ({text}). A valid "order" specification is a comma-separated list of valid '
                "field names (optionally followed by asc/desc for the direction)")
        keys = []
        for part in text.split(","):
            name, *direction = part.split()
            self.field(model, name)
            keys.append((name, [d.lower() for d in direction] == ["desc"]))
        return keys

    def _sorted(self, model: str, found: list[tuple[int, Row]], keys: list[tuple[str, bool]]) -> list[tuple[int, Row]]:
        if all(name != "id" for name, _ in keys):
            # Ties come as the database pleases, and differently every time: nothing may rely on them.
            nonce = self.access.nonce()
            found.sort(key=lambda pair: (pair[0] * 2654435761 ^ nonce) & 0xFFFFFFFF)
        for name, descending in reversed(keys):
            info = self.db.models[model].fields[name]
            read = self.reader(model, name)
            if info.type == "many2one":
                key = self._by_name(info.relation, read)
            elif info.type == "datetime":
                key = _by_stored(name)
            else:
                key = _by_value(read)
            found.sort(key=key, reverse=descending)
        return found

    def _by_name(self, model: str, read: Reader) -> Callable[[tuple[int, Row]], Any]:
        show = self.display_name

        def key(pair: tuple[int, Row]) -> Any:
            other = read(*pair)
            return (not other, show(model, other).lower() if other else "")

        return key

    def exists(self, model: str, ids: Iterable[int]) -> list[int]:
        rows = self.table(model).rows
        return [i for i in ids if i in rows]

    def row(self, model: str, row_id: int) -> Row:
        """The row, or MissingError as a write to it would give."""
        row = self.table(model).rows.get(row_id)
        if row is None:
            raise errors.missing(model, row_id, self.uid)
        return row


def _by_stored(name: str) -> Callable[[tuple[int, Row]], Any]:
    return lambda pair: (name not in pair[1], pair[1].get(name, 0))


def _by_value(read: Reader) -> Callable[[tuple[int, Row]], Any]:
    def key(pair: tuple[int, Row]) -> Any:
        value = read(*pair)
        if isinstance(value, str):
            return (False, value.casefold())
        return (value is False, value or 0) if not isinstance(value, bool) else (False, value)

    return key
