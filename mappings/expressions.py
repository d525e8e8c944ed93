"""Expressions: a typed subset of SQL scalar expressions. This module is their public face; the way is
``parse`` (text to ``nodes``), ``emit`` (nodes to typed SQL, with ``calls`` and ``rows``).
"""

from __future__ import annotations

from typing import NamedTuple

from mappings.emit import Emitter
from mappings.nodes import Boolean, Node, Null, Number, Text, print_node
from mappings.parse import ExpressionFault, parse, split_order
from mappings.problems import MappingProblems, Place, Problem
from mappings.terms import Term, earliest, fit, still, walk
from mappings.types import Column, Compiled, ExpressionScope, Part, Related, Type

__all__ = [
    "Column", "Compiled", "ExpressionScope", "Order", "Part", "Related", "Type", "compile_expression", "compile_order",
    "explain_columns", "parse_at",
]


class Order(NamedTuple):
    """One key of an order; a person for whom it is null has no rank."""

    value: Compiled
    descending: bool


def compile_expression(text: str, scope: ExpressionScope, *, expect: Type | None, place: Place) -> Compiled:
    """One expression as SQL over ``scope``, of the type ``expect`` (None = any).

    :raises MappingProblems: it cannot be read, names something unknown, or its types do not fit
    """
    try:
        return _compile(parse(text), scope, expect)
    except ExpressionFault as fault:
        raise MappingProblems([_problem(fault, place)]) from None


def compile_order(text: str, scope: ExpressionScope, *, place: Place) -> tuple[Order, ...]:
    """The keys of an ``order_by``.

    :raises MappingProblems: as ``compile_expression``, or a key has no order
    """
    try:
        parts = split_order(text)
    except ExpressionFault as fault:
        raise MappingProblems([_problem(fault, place)]) from None
    orders = []
    for part, offset, descending in parts:
        value = compile_expression(part, scope, expect=None, place=_moved(place, offset))
        if value.type in (Type.BOOL, Type.CHOICES):
            raise MappingProblems([Problem.at(_moved(place, offset), f"{part} has no order.",
                                              "Order by a number, a date or text.")])
        orders.append(Order(value, descending))
    return tuple(orders)


def parse_at(text: str, place: Place) -> Node:
    """The nodes of an expression, types unchecked.

    :raises MappingProblems: it cannot be read
    """
    try:
        return parse(text)
    except ExpressionFault as fault:
        raise MappingProblems([_problem(fault, place)]) from None


def explain_columns(compiled: Compiled) -> list[Part]:
    """Every condition and operand of an expression as a column of one SELECT, outermost first, each label once."""
    return list(compiled.parts)


def _problem(fault: ExpressionFault, place: Place) -> Problem:
    return Problem.at(_moved(place, fault.at), fault.message, fault.remedy)


def _moved(place: Place, offset: int) -> Place:
    # Column 0 says that the text is folded or escaped in its file, so an offset into it means nothing there.
    return place._replace(column=place.column + offset) if place.column else place


def _compile(node: Node, scope: ExpressionScope, expect: Type | None) -> Compiled:
    top = still(Emitter(scope).term(node))
    if top.type == Type.NULL:
        raise ExpressionFault(node.at, "The expression is null.", "Leave it out.")
    if expect is not None:
        top = fit(top, expect)
    money = top.type == Type.MONEY
    return Compiled(top.sql, top.type, top.columns, top.related, top.zones, earliest(top.due), node,
                    top.currency if money else None, _parts(top))


def _parts(top: Term) -> tuple[Part, ...]:
    parts: dict[str, Part] = {}
    for term in walk(top):
        if not isinstance(term.node, Text | Number | Boolean | Null):
            label = print_node(term.node)
            parts.setdefault(label, Part(label, term.sql, term.type))
        for label, sql in term.notes:
            parts.setdefault(label, Part(label, sql, Type.INTEGER))
    return tuple(parts.values())
