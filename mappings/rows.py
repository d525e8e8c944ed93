"""Aggregates over the related rows of a person: state's template is filled, never written here."""

from __future__ import annotations

import re
from dataclasses import replace

from mappings.nodes import Aggregate, print_name, print_node, quote_text
from mappings.parse import ExpressionFault
from mappings.problems import did_you_mean
from mappings.terms import Term, Terms, article, condition, earliest, term
from mappings.types import ANY_CURRENCY, Column, ExpressionScope, Related, Type

_SLOT = re.compile(r"\{(function|argument|filter)\}")

_FITS: dict[str, frozenset[Type]] = {
    "sum": frozenset((Type.INTEGER, Type.DECIMAL, Type.MONEY, Type.ANY)),
    "avg": frozenset((Type.INTEGER, Type.DECIMAL, Type.MONEY, Type.ANY)),
    "min": frozenset((Type.INTEGER, Type.DECIMAL, Type.MONEY, Type.DATE, Type.INSTANT, Type.ANY)),
    "max": frozenset((Type.INTEGER, Type.DECIMAL, Type.MONEY, Type.DATE, Type.INSTANT, Type.ANY)),
}


def fill(related: Related, function: str, argument: str, where: str) -> str:
    """The template with its slots filled, in one pass: text that is filled in is never read as a slot."""
    slots = {"function": function, "argument": argument, "filter": where}
    return f"({_SLOT.sub(lambda slot: slots[slot[1]], related.template)})"


def aggregate(emitter: Terms, node: Aggregate) -> Term:
    """The term of ``sum(orders.amount) filter (where ...)`` and the like.

    :raises ExpressionFault: unknown rows or attribute, or a type the function does not take
    """
    scope = emitter.scope
    related = scope.related.get(node.related)
    if related is None:
        raise _not_related(node, scope)
    where = _filter(emitter, node, related)
    made = _value(emitter, node, related, where)
    clock = earliest(where.due) if where is not None else None
    # Every row's flip counts, also of rows another part of the filter excludes: waking too often is harmless.
    due = () if clock is None else (fill(related, "min", clock, "1"),)
    row = {f"{node.related}.{name}" for name in related.columns}
    outer = frozenset() if where is None else where.columns - row
    return replace(made, due=due, columns=outer, related=frozenset((node.related,)),
                   zones=frozenset() if where is None else where.zones)


def _not_related(node: Aggregate, scope: ExpressionScope) -> ExpressionFault:
    if node.related in scope.columns:
        return ExpressionFault(node.at, f"{print_name(node.related)} has one value: there is nothing to count or sum.",
                               f"{node.function} takes an attribute of related rows.")
    if not scope.related:
        return ExpressionFault(node.at, f"There are no related rows here for {node.function}.")
    return ExpressionFault(node.at, f'There are no related rows called "{node.related}".',
                           did_you_mean(node.related, scope.related))


def _filter(emitter: Terms, node: Aggregate, related: Related) -> Term | None:
    if node.where is None:
        return None
    row = {f"{node.related}.{name}": column for name, column in related.columns.items()}
    scope = ExpressionScope({**emitter.scope.columns, **row}, {}, emitter.scope.currency)
    return condition(emitter.within(scope).term(node.where))


def _value(emitter: Terms, node: Aggregate, related: Related, where: Term | None) -> Term:
    rows = "1" if where is None else where.sql
    if node.attribute is None:
        if node.function != "count":
            raise ExpressionFault(node.at, f"{node.function} needs an attribute of {print_name(node.related)}.",
                                  f"Known: {', '.join(sorted(related.columns))}.")
        return term(node, Type.INTEGER, fill(related, "count", "*", rows))
    column = related.columns.get(node.attribute)
    if column is None:
        raise ExpressionFault(node.at, f'{print_name(node.related)} has no attribute "{node.attribute}".',
                              did_you_mean(node.attribute, related.columns))
    if node.function == "count":
        return term(node, Type.INTEGER, fill(related, "count", column.sql, rows))
    if column.type not in _FITS[node.function]:
        raise ExpressionFault(node.at, f"{node.function} does not take {article(column.type)}.")
    if column.type == Type.MONEY:
        return _money(emitter, node, related, column, rows)
    kind = Type.DECIMAL if node.function == "avg" and column.type == Type.INTEGER else column.type
    return term(node, kind, _figure(node, related, column, rows))


def _figure(node: Aggregate, related: Related, column: Column, rows: str) -> str:
    if node.function != "avg":
        return fill(related, node.function, column.sql, rows)
    # SQLite's avg is a float; a sum divided by a count is exact.
    division = "num_div_scaled" if column.type == Type.INTEGER else "num_div"
    return f"{division}({fill(related, 'sum', column.sql, rows)}, {fill(related, 'count', column.sql, rows)})"


def _money(emitter: Terms, node: Aggregate, related: Related, column: Column, rows: str) -> Term:
    """Money of one currency: the configured one, else the only one among the rows, else null."""
    wanted, code = emitter.scope.currency, column.currency_sql
    if code is None:
        return term(node, Type.MONEY, _figure(node, related, column, rows), currency=emitter.bare_currency)
    if wanted is not None:
        own = f"({rows}) AND {code} = {quote_text(wanted)}"
        others = f"({rows}) AND {column.sql} IS NOT NULL AND {code} IS NOT {quote_text(wanted)}"
        made = term(node, Type.MONEY, _figure(node, related, column, own), currency=quote_text(wanted))
        label = f"{print_node(node)}: rows not in {wanted}, left out"
        return replace(made, notes=((label, fill(related, "count", "*", others)),))
    counted = f"({rows}) AND {column.sql} IS NOT NULL"
    currencies = fill(related, "count", f"DISTINCT ifnull({code}, {quote_text(ANY_CURRENCY)})", counted)
    sql = f"(CASE WHEN {currencies} <= 1 THEN {_figure(node, related, column, rows)} END)"
    made = term(node, Type.MONEY, sql, currency=fill(related, "max", code, counted))
    return replace(made, notes=((f"{print_node(node)}: currencies among the rows", currencies),))
