"""Queries against the rows: names resolved, a way through the indexes chosen, rows rendered.

``Engine.prepare`` refuses what the organisation does not have (or the user may not see); ``Prepared.rows`` finds the
rows; ``rest_renderer`` and ``csv_renderer`` write them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from . import ids, soql, values
from .db import HIGHEST, LOWEST, Database, Key, Row, fold
from .errors import Refused, invalid_field, invalid_type, malformed_query
from .schema import NUMBER_TYPES, FieldDef, ObjectDef

Predicate = Callable[[Row], bool]
Hidden = Callable[[str], Collection[str]]
"""Object name -> names of fields the user may not see."""

_PLAIN = frozenset({"id", "reference", "boolean", "date", "datetime", *NUMBER_TYPES})
"""Types whose values compare as they are; all others are text and compare without case."""
_REFERENCE = "Please reference your WSDL or the describe call for the appropriate names."
_UNIQUE_ENOUGH = frozenset({"id", "reference", "email"})


@dataclass(frozen=True, slots=True)
class Column:
    """One selected field: canonical path, definition, and how to read it from a row."""

    path: soql.Path
    field: FieldDef
    read: Callable[[Row], Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A query whose names are known to exist."""

    object: str
    query: soql.Query
    columns: tuple[Column, ...]
    rows: Callable[[], Iterator[Row]]

    def count(self) -> int:
        return sum(1 for _ in self.rows())


class Engine:
    """Turns query text into rows of one database."""

    def __init__(self, db: Database, hidden: Hidden, shared: Callable[[str], Predicate | None]) -> None:
        self.db = db
        self.hidden = hidden
        self.shared = shared
        """Object name -> which of its rows the user may see; None = all."""

    def prepare(self, text: str, *, deleted: bool) -> Prepared:
        """Parse and resolve; ``deleted`` = queryAll.

        :raises Refused: MALFORMED_QUERY, INVALID_TYPE, INVALID_FIELD
        """
        query = soql.parse(text)
        object = self.db.objects.get(query.object.lower())
        if object is None:
            raise invalid_type(query.object)
        columns = tuple(self.column(object, path, text) for path in query.fields)
        tests: list[Predicate] = []
        if not deleted:
            tests.append(lambda row: not row.get("IsDeleted", False))
        if (visible := self.shared(object)) is not None:
            tests.append(visible)
        if query.where is not None:
            tests.append(self.predicate(object, query.where, text))
        order = [(self.column(object, o.path, text), o) for o in query.order]
        for column, _ in order:
            if not column.field.sortable:
                raise malformed_query(f"field '{'.'.join(column.path)}' can not be sorted in a query call")
        return Prepared(object, query, columns, lambda: self._rows(object, query, tests, order))

    # ------------------------------------------------------------------ names

    def column(self, object: str, path: soql.Path, text: str) -> Column:
        """Resolve a dotted path, field-level security included."""
        spec = self.db.schema[object]
        if path[0].lower() == spec.name.lower() and len(path) > 1:
            path = path[1:]
        canonical: list[str] = []
        if len(path) > 6:
            raise malformed_query("relationships go at most five levels up")
        for part in path[:-1]:
            reference = spec.relations.get(part.lower())
            if reference is None or reference.name in self.hidden(spec.name):
                raise invalid_field(f"{_place(text, part)}Didn't understand relationship '{part}' in field path. If "
                                    "you are attempting to use a custom relationship, be sure to append the '__r' "
                                    f"after the custom relationship name. {_REFERENCE}")
            canonical.append(reference.relationship or part)
            spec = self.db.schema[reference.reference_to[0]]
        f = self._field(spec, path[-1], text)
        full = (*canonical, f.name)
        return Column(full, f, self.db.path_reader(object, full))

    def _field(self, spec: ObjectDef, name: str, text: str) -> FieldDef:
        f = spec.lower.get(name.lower())
        if f is None or f.name in self.hidden(spec.name):
            raise invalid_field(f"{_place(text, name)}No such column '{name}' on entity '{spec.name}'. If you are "
                                "attempting to use a custom field, be sure to append the '__c' after the custom field "
                                f"name. {_REFERENCE}")
        return f

    # ------------------------------------------------------------------ conditions

    def predicate(self, object: str, node: soql.Node, text: str = "") -> Predicate:
        """A function that tells whether a row fulfils a condition."""
        if isinstance(node, soql.Not):
            inner = self.predicate(object, node.item, text)
            return lambda row: not inner(row)
        if isinstance(node, soql.And):
            tests = [self.predicate(object, item, text) for item in node.items]
            if len(tests) == 2:
                first, second = tests
                return lambda row: first(row) and second(row)
            return lambda row: all(t(row) for t in tests)
        if isinstance(node, soql.Or):
            tests = [self.predicate(object, item, text) for item in node.items]
            return lambda row: any(t(row) for t in tests)
        column = self.column(object, node.path, text)
        if not column.field.filterable:
            raise invalid_field(f"{_place(text, node.path[-1])}field '{column.field.name}' can not be filtered in a "
                                "query call")
        return _compare(column, node)

    # ------------------------------------------------------------------ finding

    def _rows(self, object: str, query: soql.Query, tests: list[Predicate],
              order: list[tuple[Column, soql.Order]]) -> Iterator[Row]:
        table = self.db.tables[object]
        keys = [(c.path, o.descending) for c, o in order]
        stamp = table.spec.stamp
        by_stamp = bool(keys) and keys[0][0] == (stamp,) and keys in (
            [((stamp,), d) for d in (keys[0][1],)], [((stamp,), keys[0][1]), (("Id",), keys[0][1])])
        found = self._looked_up(object, query.where)
        sort = bool(keys)
        if found is not None:
            source: Iterable[Row] = found
            sort = bool(keys) and keys != [(("Id",), False)]
        elif by_stamp:
            low, high = _bounds(query.where, stamp)
            source, sort = table.by_stamp(low, high, backwards=keys[0][1]), False
        elif keys in ([], [(("Id",), False)]):
            source, sort = table.by_id(_after(query.where)), False
        else:
            low, high = _bounds(query.where, stamp)
            source = table.by_stamp(low, high) if (low, high) != (LOWEST, HIGHEST) else table.by_id()
        rows: Iterator[Row] = iter(source)
        for test in tests:
            rows = filter(test, rows)
        if sort:
            rows = iter(_sorted(list(rows), order))
        stop = None if query.limit is None else query.offset + query.limit
        return islice(rows, query.offset, stop)

    def _looked_up(self, object: str, where: soql.Node | None) -> list[Row] | None:
        """Candidate rows by a hash index, when one conjunct pins a nearly unique field."""
        parts = where.items if isinstance(where, soql.And) else () if where is None else (where,)
        best: list[Row] | None = None
        for part in parts:
            if not isinstance(part, soql.Compare) or len(part.path) != 1 or part.op not in ("=", "in"):
                continue
            f = self.db.schema[object].lower.get(part.path[0].lower())
            if f is None or f.formula or f.person or not (f.type in _UNIQUE_ENOUGH or f.external or f.unique):
                continue
            if any(c.kind == "null" for c in part.constants):
                continue
            wanted = [ids.normal(c.value) or c.value if f.type in ("id", "reference") else c.value
                      for c in part.constants]
            rows = self.db.tables[object].lookup(f.name, wanted)
            if best is None or len(rows) < len(best):
                best = rows
        return best


def _place(text: str, name: str) -> str:
    """The pointer into the statement that precedes Salesforce's own messages."""
    at = text.lower().find(name.lower())
    if at < 0:
        return ""
    start = max(0, at - 30)
    return f"\n{text[start:at + 30]}\n{' ' * (at - start)}^\nERROR at Row:1:Column:{at + 1}\n"


def _bounds(node: soql.Node | None, stamp: str) -> tuple[Key, Key]:
    """The widest (stamp, id) interval, both ends inclusive, in which a row can fulfil ``node``."""
    if isinstance(node, soql.Compare) and node.path == (stamp,) and isinstance(node.constants[0].value, int):
        at = node.constants[0].value
        return {"=": ((at, ""), (at + 1, "")), ">=": ((at, ""), HIGHEST), ">": ((at + 1, ""), HIGHEST),
                "<=": (LOWEST, (at + 1, "")), "<": (LOWEST, (at, ""))}.get(node.op, (LOWEST, HIGHEST))
    if isinstance(node, soql.And):
        spans = [_bounds(item, stamp) for item in node.items]
        low, high = max(s[0] for s in spans), min(s[1] for s in spans)
        after = _after(node)
        pinned = any(isinstance(i, soql.Compare) and i.path == (stamp,) and i.op == "=" for i in node.items)
        return ((low[0], after) if pinned and after else low), high
    if isinstance(node, soql.Or):
        spans = [_bounds(item, stamp) for item in node.items]
        return min(s[0] for s in spans), max(s[1] for s in spans)
    return LOWEST, HIGHEST


def _after(node: soql.Node | None) -> str | None:
    """The id every matching row's id must exceed (or equal), when the condition says so."""
    parts = node.items if isinstance(node, soql.And) else () if node is None else (node,)
    for part in parts:
        if isinstance(part, soql.Compare) and part.path == ("Id",) and part.op == ">":
            return ids.normal(part.constants[0].value)
    return None


def _sorted(rows: list[Row], order: list[tuple[Column, soql.Order]]) -> list[Row]:
    """Stable sort by several fields; ties by id; nulls first unless asked otherwise."""
    rows.sort(key=lambda row: row["Id"])
    for column, o in reversed(order):
        rows.sort(key=_sort_key(column, nulls_high=o.nulls_last != o.descending), reverse=o.descending)
    return rows


def _sort_key(column: Column, *, nulls_high: bool) -> Callable[[Row], tuple[bool, Any]]:
    plain = column.field.type in _PLAIN

    def key(row: Row) -> tuple[bool, Any]:
        value = column.read(row)
        return (nulls_high, 0) if value is None else (not nulls_high, value if plain else fold(value))
    return key


# --------------------------------------------------------------------------- one comparison

def _constant(f: FieldDef, constant: soql.Constant) -> Any:
    """The comparable form of a literal against a field.

    :raises Refused: the literal's kind does not fit the field's type
    """
    kind, value = constant
    if kind == "null":
        return None
    wanted = {"boolean": "boolean", "datetime": "datetime", "date": "date"}.get(
        f.type, "number" if f.type in NUMBER_TYPES else "string")
    if kind != wanted:
        quoted = "should be enclosed in quotes" if wanted == "string" else "should not be enclosed in quotes"
        shown = {"datetime": "dateTime", "number": "double"}.get(wanted, wanted)
        refuse = malformed_query if (wanted, kind) == ("date", "datetime") else invalid_field
        raise refuse(f"value of filter criterion for field '{f.name}' must be of type {shown} and {quoted}")
    if f.type in ("id", "reference"):
        known = ids.normal(value)
        if known is None:
            raise Refused("INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {value}")
        return known
    return fold(value)


def _compare(column: Column, node: soql.Compare) -> Predicate:
    f, read, op = column.field, column.read, node.op
    if op == "like":
        return _like(f, read, node.constants[0])
    if op in ("includes", "excludes"):
        return _includes(f, read, node)
    get: Callable[[Row], Any] = read if f.type in _PLAIN else lambda row: fold(read(row))
    wanted = [_constant(f, c) for c in node.constants]
    if op in ("in", "not in"):
        members = frozenset(wanted)
        return (lambda row: get(row) in members) if op == "in" else (lambda row: get(row) not in members)
    value = wanted[0]
    if op == "=":
        return lambda row: bool(get(row) == value)
    if op == "!=":
        return lambda row: bool(get(row) != value)
    if value is None or f.type == "boolean":
        raise invalid_field(f"operator {op} is not allowed for field '{f.name}'")
    tests: dict[str, Predicate] = {
        "<": lambda row: (v := get(row)) is not None and v < value,
        "<=": lambda row: (v := get(row)) is not None and v <= value,
        ">": lambda row: (v := get(row)) is not None and v > value,
        ">=": lambda row: (v := get(row)) is not None and v >= value,
    }
    return tests[op]


def _like(f: FieldDef, read: Callable[[Row], Any], constant: soql.Constant) -> Predicate:
    if constant.kind != "string" or f.type in _PLAIN:
        raise invalid_field(f"invalid operator on {f.type} field '{f.name}'")
    parts = re.findall(r"\\.|.", constant.value, flags=re.DOTALL)
    pattern = "".join({"%": ".*", "_": "."}.get(p) or re.escape(p.removeprefix("\\") or "\\") for p in parts)
    match = re.compile(pattern, re.IGNORECASE | re.DOTALL).fullmatch
    return lambda row: (v := read(row)) is not None and match(v) is not None


def _includes(f: FieldDef, read: Callable[[Row], Any], node: soql.Compare) -> Predicate:
    if f.type != "multipicklist":
        raise invalid_field(f"field '{f.name}' does not support the {node.op} operator")
    groups = [frozenset(str(_constant(f, c)).split(";")) for c in node.constants]
    wanted = node.op == "includes"

    def test(row: Row) -> bool:
        members = set(fold(read(row) or "").split(";"))
        return any(g <= members for g in groups) is wanted
    return test


# --------------------------------------------------------------------------- rendering

def rest_renderer(db: Database, object: str, columns: Iterable[Column],
                  version: str) -> Callable[[Row], dict[str, Any]]:
    """A function from a row to the record of a REST answer: attributes, own fields, parents nested."""
    prefix = f"/services/data/{version}/sobjects/{object}/"
    own: list[tuple[str, Callable[[Row], Any], Callable[[Any], Any] | None]] = []
    nested: dict[str, list[Column]] = {}
    places: list[str] = []
    for column in columns:
        name = column.path[0]
        if len(column.path) == 1:
            own.append((name, column.read, values.rest(column.field)))
        else:
            nested.setdefault(name, []).append(column)
        if name not in places:
            places.append(name)
    parents: dict[str, tuple[FieldDef, Callable[[Row], dict[str, Any]]]] = {}
    for name, group in nested.items():
        reference = db.schema[object].relations[name.lower()]
        target = reference.reference_to[0]
        inner = [Column(c.path[1:], c.field, db.path_reader(target, c.path[1:])) for c in group]
        parents[name] = (reference, rest_renderer(db, target, inner, version))

    def render(row: Row) -> dict[str, Any]:
        out: dict[str, Any] = dict.fromkeys(places)
        for name, read, convert in own:
            out[name] = read(row) if convert is None else convert(read(row))
        for name, (reference, inner) in parents.items():
            parent = db.parent(reference, row)
            out[name] = None if parent is None else inner(parent)
        return {"attributes": {"type": object, "url": prefix + row["Id"]}, **out}
    return render


def csv_renderer(columns: Iterable[Column], delimiter: str) -> Callable[[Row], str]:
    """A function from a row to its CSV line, every cell quoted, without a line end."""
    cells = [(c.read, values.bulk(c.field)) for c in columns]
    glue = f'"{delimiter}"'

    def render(row: Row) -> str:
        return '"' + glue.join([convert(read(row)).replace('"', '""') for read, convert in cells]) + '"'
    return render
