"""Search domains: parsed to a tree, compiled to a predicate over rows and, where an index helps, to candidate ids."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from connectors.sim.odoo import errors
from connectors.sim.odoo.schema import Field
from connectors.sim.odoo.store import Row
from connectors.sim.odoo.values import normalize_email, parse_instant, sql_int

if TYPE_CHECKING:
    from connectors.sim.odoo.orm import Env

Predicate = Callable[[int, Row], bool]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
_TEXT = ("like", "ilike", "not like", "not ilike", "=like", "=ilike")
OPERATORS = frozenset({"=", "!=", "in", "not in", "child_of", "parent_of", "any", "not any", *_COMPARE, *_TEXT})


class Candidates(NamedTuple):
    """Ids that may match: an upper bound of their number, and whether they come in ascending order."""

    size: int
    ids: Iterable[int]
    ordered: bool = False


@dataclass(slots=True)
class Query:
    """A compiled domain; ``candidates`` None means the whole table."""

    test: Predicate
    candidates: Candidates | None = None

    def run(self, env: Env, model: str) -> Iterator[tuple[int, Row]]:
        """Matching (id, row) pairs in ascending order of id."""
        table = env.db.tables[model]
        rows, test = table.rows, self.test
        found = self.candidates
        ids: Iterable[int] = table.ids
        if found is not None:
            ids = found.ids if found.ordered else sorted(set(found.ids))
        for row_id in ids:
            row = rows.get(row_id)
            if row is not None and test(row_id, row):
                yield row_id, row


def uses_active(domain: Any) -> bool:
    """Whether a leaf on ``active`` switches the implicit filter off."""
    return isinstance(domain, list) and any(
        isinstance(leaf, (list, tuple)) and len(leaf) == 3 and leaf[0] == "active" for leaf in domain)


def compile_domain(env: Env, model: str, domain: Any) -> Query:
    """Compile a domain as the API sends it.

    :raises OdooError: as the server does for malformed domains, unknown fields and operators
    """
    items = list(domain or [])
    stack: list[Query] = []
    # Prefix notation is read backwards: operands are on the stack when their operator comes.
    for item in reversed(items):
        if item in ("&", "|") or item == "!":
            _apply(item, stack, items)
        elif isinstance(item, str):
            raise errors.builtin("IndexError", "string index out of range")
        else:
            stack.append(_leaf(env, model, item))
    while len(stack) > 1:
        first = stack.pop()
        stack.append(_and(first, stack.pop()))
    return stack[0] if stack else Query(lambda _id, _row: True)


def _apply(sign: str, stack: list[Query], items: list[Any]) -> None:
    if len(stack) < (1 if sign == "!" else 2):
        raise errors.builtin("ValueError", f"Domain {items!r} is syntactically not correct.")
    first = stack.pop()
    if sign == "!":
        test = first.test
        stack.append(Query(lambda i, row: not test(i, row)))
    else:
        stack.append((_and if sign == "&" else _or)(first, stack.pop()))


def _and(a: Query, b: Query) -> Query:
    one, two = a.test, b.test
    found = [c for c in (a.candidates, b.candidates) if c is not None]
    # Equal sizes: the ordered one, so that a page of a keyset walk need not be sorted.
    best = min(found, key=lambda c: (c.size, not c.ordered), default=None)
    return Query(lambda i, row: one(i, row) and two(i, row), best)


def _or(a: Query, b: Query) -> Query:
    one, two = a.test, b.test
    left, right = a.candidates, b.candidates
    both = None
    if left is not None and right is not None:
        both = Candidates(left.size + right.size, _Chain(left.ids, right.ids))
    return Query(lambda i, row: one(i, row) or two(i, row), both)


class _Chain:
    """Two id sources one after the other, read only when asked."""

    def __init__(self, *parts: Iterable[int]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[int]:
        for part in self._parts:
            yield from part


def _leaf(env: Env, model: str, leaf: Any) -> Query:
    if not isinstance(leaf, (list, tuple)) or len(leaf) != 3:
        raise errors.builtin("ValueError", f"Invalid leaf {leaf!r}")
    name, sign, value = leaf
    shown = (name, sign, value)
    if isinstance(name, int) and isinstance(value, int) and sign == "=":
        constant = name == value
        return Query(lambda _id, _row: constant)
    if sign == "<>":
        sign = "!="
    if sign not in OPERATORS or not isinstance(name, str):
        raise errors.builtin("ValueError", f"Invalid leaf {shown!r}")
    head, _, rest = name.partition(".")
    info = env.visible_fields(model).get(head)
    if info is None:
        raise errors.builtin("ValueError", f"Invalid field {model}.{head} in leaf {shown!r}")
    if rest:
        return _through(env, model, head, info, [[rest, sign, value]], negate=False)
    if sign in ("any", "not any"):
        return _through(env, model, head, info, value, negate=sign == "not any")
    if model == "mail.blacklist" and name == "email" and sign in ("=", "!=") and isinstance(value, str):
        value = normalize_email(value) or value
    return _Condition(env, model, name, info, sign, value).query()


def _through(env: Env, model: str, name: str, info: Field, domain: Any, *, negate: bool) -> Query:
    """A condition on the records a relational field refers to."""
    target = info.relation
    query = compile_domain(env, target, domain)
    rows, test = env.db.tables[target].rows, query.test
    read = env.ids_reader(model, name)

    def match(row_id: int, row: Row) -> bool:
        hit = any(other in rows and test(other, rows[other]) for other in read(row_id, row))
        return hit is not negate

    candidates = None
    table = env.db.tables[model]
    if not negate and query.candidates is not None and name in table.indexes:
        # Few targets (records written lately): go from them to the rows that refer to them.
        hits = [i for i in query.candidates.ids if i in rows and test(i, rows[i])]
        ids = table.matching(name, hits)
        candidates = Candidates(len(ids), ids)
    return Query(match, candidates)


class _Condition:
    """One comparison on one field of the model itself."""

    def __init__(self, env: Env, model: str, name: str, info: Field, sign: str, value: Any) -> None:
        self.env, self.model, self.name, self.info, self.sign, self.value = env, model, name, info, sign, value

    def query(self) -> Query:
        info, name = self.info, self.name
        if name == "id":
            return self._on_id()
        if info.type in ("many2many", "one2many"):
            return Query(self._on_set())
        if info.type == "many2one" and (isinstance(self.value, str) or self.sign in ("child_of", "parent_of")):
            return self._on_reference()
        if not info.store:
            return Query(self._on_computed())
        value = self._convert()
        return Query(self._scalar(value, lambda _id, row: row.get(name)), self._candidates(value))

    # -- values

    def _convert(self) -> Any:
        """The value in the form rows hold, lists included; falsy values of the API become None."""
        if self.sign in ("in", "not in"):
            given = self.value if isinstance(self.value, (list, tuple)) else [self.value]
            return [self._one(v) for v in given]
        return self._one(self.value)

    def _one(self, value: Any) -> Any:
        kind = self.info.type
        if kind == "boolean":
            return bool(value)
        if value is False or value is None:
            return None
        if kind == "datetime" and isinstance(value, str):
            return parse_instant(value, upper=self.sign in (">", "<="))
        if kind == "many2one" and isinstance(value, int):
            return sql_int(value)
        if kind == "char" and value == "":
            return None
        return value

    def _scalar(self, value: Any, get: Callable[[int, Row], Any]) -> Predicate:
        sign, boolean = self.sign, self.info.type == "boolean"
        empty: tuple[Any, ...] = (None, "", False)
        if sign in ("in", "not in"):
            wanted = set(value)
            null = None in wanted or (boolean and False in wanted)
            wanted -= {None, False}
            inside = sign == "in"

            def member(i: int, row: Row) -> bool:
                held = get(i, row)
                return (null if held in empty else held in wanted) is inside

            return member
        if sign in ("=", "!="):
            unset = value is None or (boolean and value is False)
            equal = sign == "="
            if unset:
                return lambda i, row: (get(i, row) in empty) is equal
            return lambda i, row: (get(i, row) == value) is equal
        if sign in _COMPARE:
            compare = _COMPARE[sign]

            def ordered(i: int, row: Row) -> bool:
                held = get(i, row)
                return held is not None and value is not None and compare(held, value)

            return ordered
        return self._text(value, get)

    def _text(self, value: Any, get: Callable[[int, Row], Any]) -> Predicate:
        sign = self.sign
        flags = re.IGNORECASE if "ilike" in sign else 0
        parts = re.findall(r"\\?.", str(value or ""), re.DOTALL)  # a backslash takes what follows as it stands
        pattern = "".join({"%": ".*", "_": "."}.get(part, re.escape(part[-1])) for part in parts)
        if not sign.startswith("="):
            pattern = f".*{pattern}.*"
        match = re.compile(pattern, flags | re.DOTALL).fullmatch
        negate = sign.startswith("not ")

        def like(i: int, row: Row) -> bool:
            held = get(i, row)
            if held is None:
                return negate
            return (match(str(held)) is not None) is not negate

        return like

    # -- indexes

    def _candidates(self, value: Any) -> Candidates | None:
        table = self.env.db.tables[self.model]
        if self.name == "write_date" and self.sign in (">", ">=") and value is not None:
            return Candidates(*table.written_since(value))
        if self.name in table.indexes and self.sign in ("=", "in"):
            values = value if isinstance(value, list) else [value]
            if None not in values:
                ids = table.matching(self.name, values)
                return Candidates(len(ids), ids)
        return None

    def _on_id(self) -> Query:
        table = self.env.db.tables[self.model]
        value, sign = self.value, self.sign
        if sign in ("in", "not in"):
            given = value if isinstance(value, (list, tuple)) else [value]
            wanted = {sql_int(v) for v in given if v}
            if sign == "not in":
                return Query(lambda i, _row: i not in wanted)
            return Query(lambda i, _row: i in wanted, Candidates(len(wanted), sorted(wanted), ordered=True))
        number = sql_int(int(value or 0))
        if sign == "=":
            return Query(lambda i, _row: i == number, Candidates(1, (number,), ordered=True))
        if sign == "!=":
            return Query(lambda i, _row: i != number)
        if sign not in _COMPARE:
            raise errors.builtin("ValueError", f"Invalid leaf {('id', sign, value)!r}")
        compare = _COMPARE[sign]
        found = None
        if sign in (">", ">="):
            found = Candidates(*table.ids_from(number + (sign == ">")), ordered=True)
        return Query(lambda i, _row: compare(i, number), found)

    # -- relations and computed fields

    def _on_set(self) -> Predicate:
        # The comodel's archived records count in domains, though not in reads.
        read, value, sign = self.env.ids_reader(self.model, self.name), self.value, self.sign
        negate = sign in ("!=", "not in", "not like", "not ilike")
        if value is False or value is None or value == []:
            return lambda i, row: bool(read(i, row)) is negate
        if isinstance(value, str):
            wanted = set(self._named(value))
        else:
            wanted = set(value if isinstance(value, (list, tuple)) else [value])
        if sign == "child_of":
            wanted = self._descendants(wanted)
        return lambda i, row: wanted.isdisjoint(read(i, row)) is negate

    def _on_reference(self) -> Query:
        name = self.name
        if self.sign in ("child_of", "parent_of"):
            roots = {self.value} if isinstance(self.value, int) else set(self.value or ())
            wanted = self._descendants(roots) if self.sign == "child_of" else self._ancestors(roots)
        else:
            wanted = set(self._named(self.value))
        negate = self.sign in ("!=", "not like", "not ilike")
        return Query(lambda _id, row: (row.get(name) in wanted) is not negate)

    def _on_computed(self) -> Predicate:
        compute = self.env.reader(self.model, self.name)
        value = self.value
        if self.sign in ("in", "not in"):
            value = [v or None for v in value]
        elif value is False:
            value = None
        return self._scalar(value, lambda i, row: compute(i, row) or None)

    def _named(self, text: str) -> list[int]:
        exact = self.sign in ("=", "!=", "in", "not in")
        show, table = self.env.display_name, self.env.db.tables[self.info.relation]
        low = text.lower()
        return [i for i in table.ids
                if (show(self.info.relation, i) == text if exact else low in show(self.info.relation, i).lower())]

    def _descendants(self, roots: set[int]) -> set[int]:
        rows = self.env.db.tables[self.info.relation or self.model].rows
        found, grown = set(roots), True
        while grown:
            more = {i for i, row in rows.items() if row.get("parent_id") in found} - found
            found |= more
            grown = bool(more)
        return found

    def _ancestors(self, roots: set[int]) -> set[int]:
        rows = self.env.db.tables[self.info.relation or self.model].rows
        found = set(roots)
        for start in roots:
            parent = rows.get(start, {}).get("parent_id")
            while parent is not None and parent not in found:
                found.add(parent)
                parent = rows.get(parent, {}).get("parent_id")
        return found
