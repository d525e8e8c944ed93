"""The emitter: nodes to typed SQL. One method per kind of node; functions are in ``calls``, aggregates in ``rows``.

SQL of our own making only: nothing of the expression's text reaches the output but quoted literals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mappings import nodes
from mappings.calls import call
from mappings.functions import fold
from mappings.nodes import Compare, Name, Node, Null, Number, Text, logic, print_name, quote_text
from mappings.parse import ExpressionFault
from mappings.problems import did_you_mean
from mappings.rows import aggregate
from mappings.terms import (
    MIRRORED,
    NUMERIC,
    Clock,
    Term,
    article,
    common,
    condition,
    flip,
    scaled,
    still,
    term,
)
from mappings.types import ANY_CURRENCY, ExpressionScope, Type


class Emitter:
    """Turns nodes into terms within one scope. A node that several rules repeat is worked out once."""

    def __init__(self, scope: ExpressionScope) -> None:
        self.scope = scope
        self._done: dict[int, Term] = {}

    def term(self, node: Node) -> Term:
        """The node's term.

        :raises ExpressionFault: a name is unknown, a type does not fit
        """
        done = self._done.get(id(node))
        # A term keeps its node alive, so an id met again is the same node; made-up nodes are not kept.
        if done is None or done.node is not node:
            done = self._done[id(node)] = _EMITTERS[type(node)](self, node)
        return done

    def within(self, scope: ExpressionScope) -> Emitter:
        """An emitter of other names."""
        return Emitter(scope)

    def terms(self, *items: Node) -> list[Term]:
        return [self.term(item) for item in items]

    @property
    def bare_currency(self) -> str:
        """SQL of the currency of a bare number."""
        return quote_text(self.scope.currency or ANY_CURRENCY)

    # ------------------------------------------------------------------ leaves

    def text(self, node: Text) -> Term:
        return term(node, Type.TEXT, quote_text(node.value))

    def number(self, node: Number) -> Term:
        if node.whole:
            return term(node, Type.INTEGER, f"{node.value:f}", currency=self.bare_currency)
        return term(node, Type.DECIMAL, str(scaled(node.value)), currency=self.bare_currency)

    def boolean(self, node: nodes.Boolean) -> Term:
        return term(node, Type.BOOL, str(int(node.value)))

    def null(self, node: Null) -> Term:
        return term(node, Type.NULL, "NULL")

    def now(self, node: nodes.Now) -> Term:
        return term(node, Type.INSTANT, ":now", clock=Clock("instant"))

    def name(self, node: Name) -> Term:
        column = self.scope.columns.get(node.path)
        if column is None:
            raise self._unknown(node)
        due = () if column.due_sql is None else (column.due_sql,)
        currency = column.currency_sql or self.bare_currency
        made = term(node, column.type, column.sql, due=due, currency=currency if column.type == Type.MONEY else None)
        return replace(made, columns=frozenset((node.path,)))

    def _unknown(self, node: Name) -> ExpressionFault:
        first = node.path.partition(".")[0]
        if first in self.scope.related:
            return ExpressionFault(node.at, f"{print_name(node.path)} has many values per person.",
                                   f"Say which, such as max({print_name(node.path)}), or count({print_name(first)}).")
        hint = did_you_mean(node.path, [*self.scope.columns, *self.scope.related])
        if not hint.startswith("Did"):
            hint = f"A text is written in single quotes, '{node.path}'. {hint}".rstrip()
        return ExpressionFault(node.at, f'"{node.path}" is not known here.', hint)

    # ------------------------------------------------------------------ conditions

    def not_(self, node: nodes.Not) -> Term:
        operand = condition(self.term(node.operand))
        return term(node, Type.BOOL, f"(NOT {operand.sql})", [operand])

    def logic(self, node: nodes.Logic) -> Term:
        items = [condition(item) for item in self.terms(*node.items)]
        return term(node, Type.BOOL, f"({f' {node.op.upper()} '.join(item.sql for item in items)})", items)

    def compare(self, node: Compare) -> Term:
        kind, (left, right) = common(self.terms(node.left, node.right))
        self._comparable(node, kind, left, right)
        due: tuple[str, ...] = ()
        if left.clock is not None and right.clock is not None:
            raise ExpressionFault(node.at, "Both sides move with the clock.", "Compare a field with the clock.")
        if left.clock is not None:
            due = (flip(node.op, left.clock, right),)
        elif right.clock is not None:
            due = (flip(MIRRORED[node.op], right.clock, left),)
        # IS would treat two nulls as equal; = and <> keep the third truth value.
        sql = f"({_comparable_sql(left)} {'<>' if node.op == '!=' else node.op} {_comparable_sql(right)})"
        return term(node, Type.BOOL, guarded(sql, left, right), [left, right], due=due)

    def _comparable(self, node: Compare, kind: Type, left: Term, right: Term) -> None:
        if isinstance(left.node, Null) or isinstance(right.node, Null):
            raise ExpressionFault(node.at, "Nothing is equal to null, not even null.", 'Write "is null".')
        if kind == Type.CHOICES:
            raise ExpressionFault(node.at, "A multiple choice is not compared as a whole.",
                                  "Ask for a member with has(x, 'member').")
        if kind == Type.BOOL and node.op not in ("=", "!="):
            raise ExpressionFault(node.at, f"True and false have no order for {node.op}.", "Use = or !=.")

    def is_(self, node: nodes.Is) -> Term:
        operand = still(self.term(node.operand))
        if node.value is not None:
            condition(operand)
        word = "NULL" if node.value is None else str(node.value).upper()
        return term(node, Type.BOOL, f"({operand.sql} IS {word})", [operand])

    def in_(self, node: nodes.In) -> Term:
        kind, (operand, *items) = common(self.terms(node.operand, *node.items))
        plain = all(isinstance(item.node, Text | Number | nodes.Boolean) for item in items)
        if plain and operand.clock is None and len(items) > 1 and kind != Type.CHOICES:
            sql = f"({_comparable_sql(operand)} IN ({', '.join(map(_comparable_sql, items))}))"
            return term(node, Type.BOOL, sql, [operand])
        # Fields, money and the clock need the care of a comparison each.
        spelled = logic("or", tuple(Compare("=", node.operand, item, at=item.at) for item in node.items), node.at)
        return replace(self.term(spelled if len(items) > 1 else Compare("=", node.operand, node.items[0], at=node.at)),
                       node=node)

    def between(self, node: nodes.Between) -> Term:
        kind, (operand, low, high) = common(self.terms(node.operand, node.low, node.high))
        simple = kind in (Type.INTEGER, Type.DECIMAL, Type.TEXT, Type.DATE, Type.INSTANT)
        if simple and not any(t.clock or isinstance(t.node, Null) for t in (operand, low, high)):
            tested, least, most = map(_comparable_sql, (operand, low, high))
            return term(node, Type.BOOL, f"({tested} BETWEEN {least} AND {most})", [operand, low, high])
        return replace(self.term(logic("and", (
            Compare(">=", node.operand, node.low, at=node.at),
            Compare("<=", node.operand, node.high, at=node.at)), node.at)), node=node)

    def like(self, node: nodes.Like) -> Term:
        operand = still(self.term(node.operand))
        if operand.type not in (Type.TEXT, Type.ANY):
            raise ExpressionFault(node.at, f'"like" is about text, not {article(operand.type)}.')
        tail = "" if node.escape is None else f" ESCAPE {quote_text(node.escape)}"
        pattern = quote_text(fold(node.pattern) or "")
        return term(node, Type.BOOL, f"(fold({operand.sql}) LIKE {pattern}{tail})", [operand])

    # ------------------------------------------------------------------ values

    def negative(self, node: nodes.Negative) -> Term:
        operand = self._numeric(node, still(self.term(node.operand)))
        return term(node, operand.type, f"num_sub(0, {operand.sql})", [operand], currency=operand.currency)

    def join(self, node: nodes.Join) -> Term:
        items = [still(item) for item in self.terms(*node.items)]
        for item in items:
            if item.type not in (Type.TEXT, Type.ANY):
                raise ExpressionFault(item.at, f"|| joins text, not {article(item.type)}.")
        return term(node, Type.TEXT, f"({' || '.join(item.sql for item in items)})", items)

    def case(self, node: nodes.Case) -> Term:
        conditions = [condition(self.term(when)) for when, _ in node.whens]
        results = [still(self.term(result)) for _, result in node.whens]
        default = None if node.default is None else still(self.term(node.default))
        kind, fitted = common([*results, *([] if default is None else [default])])
        if kind == Type.NULL:
            raise ExpressionFault(node.at, 'Every branch of "case" is null.')

        def branches(values: list[str]) -> str:
            whens = " ".join(f"WHEN {c.sql} THEN {v}" for c, v in zip(conditions, values, strict=False))
            return f"(CASE {whens}{'' if default is None else f' ELSE {values[-1]}'} END)"

        currency = branches([value.currency or "NULL" for value in fitted]) if kind == Type.MONEY else None
        return term(node, kind, branches([value.sql for value in fitted]), [*conditions, *fitted], currency=currency)

    def arithmetic(self, node: nodes.Arithmetic) -> Term:
        left, right = (self._numeric(node, still(side)) for side in self.terms(node.left, node.right))
        if node.op in ("+", "-"):
            kind, (left, right) = common([left, right])
            function = "num_add" if node.op == "+" else "num_sub"
            return self._money_aware(node, kind, f"{function}({left.sql}, {right.sql})", left, right)
        kinds = (left.type, right.type)
        if Type.ANY in kinds:
            return term(node, Type.ANY, "NULL", [left, right])
        return self._product(node, left, right) if node.op == "*" else self._quotient(node, left, right)

    def _product(self, node: nodes.Arithmetic, left: Term, right: Term) -> Term:
        if left.type == right.type == Type.MONEY:
            raise ExpressionFault(node.at, "Money times money has no meaning.")
        function = "num_mul" if Type.INTEGER in (left.type, right.type) else "num_mul_scaled"
        kind = max(left.type, right.type, key=[Type.INTEGER, Type.DECIMAL, Type.MONEY].index)
        money = left if left.type == Type.MONEY else right
        return term(node, kind, f"{function}({left.sql}, {right.sql})", [left, right], currency=money.currency)

    def _quotient(self, node: nodes.Arithmetic, left: Term, right: Term) -> Term:
        if right.type == Type.MONEY:
            kind, (left, right) = common([left, right])
            sql = guarded(f"num_div_scaled({left.sql}, {right.sql})", left, right)
            return term(node, Type.DECIMAL, sql, [left, right])
        if left.type == Type.INTEGER and right.type == Type.DECIMAL:
            left = replace(left, sql=f"num_scale({left.sql})")
        plain = right.type == Type.INTEGER and left.type != Type.INTEGER
        kind = Type.MONEY if left.type == Type.MONEY else Type.DECIMAL
        function = "num_div" if plain else "num_div_scaled"
        return term(node, kind, f"{function}({left.sql}, {right.sql})", [left, right], currency=left.currency)

    def _money_aware(self, node: Node, kind: Type, sql: str, left: Term, right: Term) -> Term:
        """A sum of two: in the currency they share; a bare number is in that of the other."""
        if kind != Type.MONEY:
            return term(node, kind, sql, [left, right])
        bare = quote_text(ANY_CURRENCY)
        currency, other = left.currency or "NULL", right.currency or "NULL"
        if currency == bare or isinstance(left.node, Number):
            currency = other
        elif other not in (currency, bare) and not isinstance(right.node, Number):
            currency = f"(CASE {currency} WHEN {bare} THEN {other} ELSE {currency} END)"
        return term(node, kind, guarded(sql, left, right), [left, right], currency=currency)

    def _numeric(self, node: Node, value: Term) -> Term:
        if value.type in NUMERIC:
            return value
        advice = {Type.TEXT: "Join text with ||.", Type.DATE: "Use add_days(x, n) or days_between(x, y).",
                  Type.INSTANT: "Use date(x, 'UTC') and days_between, or hours_ago(n)."}
        raise ExpressionFault(value.at, f"{article(value.type).capitalize()} cannot be calculated with.",
                              advice.get(value.type, ""))


def _comparable_sql(value: Term) -> str:
    """A term's SQL as it is compared: text folded, literals at once."""
    if value.type != Type.TEXT:
        return value.sql
    return quote_text(fold(value.node.value) or "") if isinstance(value.node, Text) else f"fold({value.sql})"


def guarded(sql: str, left: Term, right: Term) -> str:
    """``sql`` where the two are money of one currency (or no money at all), else null."""
    bare = quote_text(ANY_CURRENCY)
    money = left.type == right.type == Type.MONEY
    if not money or left.currency == right.currency or bare in (left.currency, right.currency) \
            or isinstance(left.node, Number) or isinstance(right.node, Number):
        return sql
    a, b = left.currency or "NULL", right.currency or "NULL"
    return f"(CASE WHEN {a} = {b} OR {a} = {bare} OR {b} = {bare} THEN {sql} END)"


_EMITTERS: dict[type[Node], Callable[[Emitter, Any], Term]] = {
    Text: Emitter.text, Number: Emitter.number, nodes.Boolean: Emitter.boolean, Null: Emitter.null,
    nodes.Now: Emitter.now, Name: Emitter.name, nodes.Not: Emitter.not_, nodes.Negative: Emitter.negative,
    nodes.Logic: Emitter.logic, nodes.Join: Emitter.join, Compare: Emitter.compare, nodes.Is: Emitter.is_,
    nodes.In: Emitter.in_, nodes.Between: Emitter.between, nodes.Like: Emitter.like, nodes.Case: Emitter.case,
    nodes.Arithmetic: Emitter.arithmetic, nodes.Call: call, nodes.Aggregate: aggregate,
}
