"""From an expression's text to our nodes. sqlglot reads the text; whatever we do not know is refused with its place.

The parser is told of no function at all, so that every call arrives as a name with arguments: which functions exist is
decided by the emitter, not by a library's release.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from mappings.nodes import (
    AGGREGATES,
    Aggregate,
    AggregateName,
    Arithmetic,
    ArithmeticOp,
    Between,
    Boolean,
    Call,
    Case,
    Compare,
    CompareOp,
    In,
    Is,
    Like,
    Name,
    Negative,
    Node,
    Not,
    Now,
    Null,
    Number,
    Text,
    depth,
    join,
    logic,
    walk,
)

if TYPE_CHECKING:
    from sqlglot import Token
    from sqlglot.dialects.dialect import Dialect

MAX_LENGTH = 2_000
MAX_DEPTH = 32
MAX_NUMBER = 900_000_000_000_000
"""Numbers are held as ten-thousandths in 64 bits; this leaves room above the largest literal."""


class ExpressionFault(ValueError):
    """An expression that cannot be used; ``at`` is the offset of the fault in its text."""

    def __init__(self, at: int, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} {remedy}".rstrip())
        self.at = at
        self.message = message
        self.remedy = remedy


@cache
def _dialect() -> Dialect:
    from sqlglot import parser
    from sqlglot.dialects.dialect import Dialect

    class Expressions(Dialect):
        class Parser(parser.Parser):
            FUNCTIONS = {}  # noqa: RUF012 - sqlglot's way of configuring a dialect
            FUNCTION_PARSERS = {}  # noqa: RUF012
            NO_PAREN_FUNCTIONS = {}  # noqa: RUF012
            NO_PAREN_FUNCTION_PARSERS = {"CASE": lambda self: self._parse_case()}  # noqa: RUF012

    return Expressions()


def parse(text: str) -> Node:
    """The tree of one expression.

    :raises ExpressionFault: it is not an expression, or uses what is not supported
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionFault(0, f"The expression is longer than {MAX_LENGTH:,} characters.", "Split it.")
    tokens = _tokens(text)
    node = _convert(_tree(text, tokens))
    if depth(node) > MAX_DEPTH:
        raise _too_deep()
    return node


def split_order(text: str) -> list[tuple[str, int, bool]]:
    """The parts of an ``order_by``: (expression, its offset, descending).

    :raises ExpressionFault: a part is empty
    """
    from sqlglot import TokenType

    parts: list[list[Token]] = [[]]
    nesting = 0
    for token in _tokens(text):
        nesting += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        if token.token_type == TokenType.COMMA and nesting == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    found = []
    for part in parts:
        last = part[-1].token_type if part else None
        body = part[:-1] if last in (TokenType.ASC, TokenType.DESC) else part
        if not body:
            raise ExpressionFault(part[0].start if part else 0, "There is nothing to order by here.")
        found.append((text[body[0].start:body[-1].end + 1], body[0].start, last == TokenType.DESC))
    return found


def _too_deep() -> ExpressionFault:
    return ExpressionFault(0, f"The expression is nested more than {MAX_DEPTH} levels deep.", "Split it.")


def _tokens(text: str) -> list[Token]:
    from sqlglot import TokenType
    from sqlglot.errors import TokenError

    if "\0" in text:
        raise ExpressionFault(text.index("\0"), "The expression holds a NUL character.")
    try:
        tokens = list(_dialect().tokenize(text))
    except TokenError:
        raise ExpressionFault(0, "A quotation is not closed.", "Write a quote inside text twice: 'it''s'.") from None
    if not tokens:
        raise ExpressionFault(0, "The expression is empty.")
    nesting = 0
    for token in tokens:
        if token.comments:
            raise ExpressionFault(token.start, "Comments are not allowed in expressions.",
                                  "Put it behind a # in the file; write a - -1 with a space.")
        if token.token_type == TokenType.SEMICOLON:
            raise ExpressionFault(token.start, "An expression has no semicolon.", "Remove it.")
        nesting += (token.token_type == TokenType.L_PAREN) - (token.token_type == TokenType.R_PAREN)
        if nesting > MAX_DEPTH:  # asked before parsing, which recurses
            raise _too_deep()
    return tokens


def _tree(text: str, tokens: list[Token]) -> Any:
    from sqlglot import exp
    from sqlglot.errors import ParseError

    try:
        trees = _dialect().parser().parse_into(exp.Condition, tokens, text)
    except RecursionError:
        raise _too_deep() from None
    except ParseError as error:
        first: dict[str, Any] = error.errors[0] if error.errors else {}
        near = str(first.get("highlight") or "")
        at = text.find(near, max(0, int(first.get("col") or 0) - len(near))) if near and first.get("line") == 1 else 0
        what = f'It cannot be read near "{near}".' if near else "It cannot be read."
        raise ExpressionFault(max(at, 0), f"This is not an expression. {what}") from None
    if len(trees) != 1:
        raise ExpressionFault(0, "This is not one expression.")
    return trees[0]


# --------------------------------------------------------------------------- conversion

_HARMLESS = frozenset({"safe", "quoted"})
"""Arguments of sqlglot's nodes that say nothing about the meaning."""


def _at(tree: Any) -> int:
    """The offset of a tree's text: that of its leftmost part that has one."""
    starts = [node.meta["start"] for node in tree.walk() if "start" in node.meta]
    return min(starts, default=0)


def _only(tree: Any, *names: str) -> None:
    """Refuse a tree that says more than ``names``: silently dropping it would change the meaning."""
    for name, value in tree.args.items():
        if value and name not in names and name not in _HARMLESS:
            raise _unsupported(tree)


def _unsupported(tree: Any) -> ExpressionFault:
    return ExpressionFault(_at(tree), f"{type(tree).__name__.upper()} is not supported in expressions.",
                           "docs/expressions.md lists what is.")


def _convert(tree: Any) -> Node:
    if tree is None:
        raise ExpressionFault(0, "A part of the expression is missing.")
    converter = _converters().get(type(tree).__name__)
    if converter is None:
        raise _unsupported(tree)
    return converter(tree)


def _all(trees: Any) -> tuple[Node, ...]:
    return tuple(map(_convert, trees))


@cache
def _converters() -> dict[str, Callable[[Any], Node]]:
    compare: dict[str, CompareOp] = {"EQ": "=", "NEQ": "!=", "LT": "<", "LTE": "<=", "GT": ">", "GTE": ">="}
    arithmetic: dict[str, ArithmeticOp] = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/"}
    table: dict[str, Callable[[Any], Node]] = {
        "Paren": _paren, "Literal": _literal, "Boolean": lambda t: Boolean(bool(t.this)), "Null": lambda t: Null(),
        "Column": _column, "Not": _not, "Neg": _negative, "And": _logic, "Or": _logic, "DPipe": _pipe, "Is": _is,
        "In": _in, "Between": _between, "Like": _like, "Escape": _like, "Case": _case, "Anonymous": _call,
        "Filter": _filter,
    }
    for name, op in compare.items():
        table[name] = _binary(Compare, op)
    for name, sign in arithmetic.items():
        table[name] = _binary(Arithmetic, sign)
    return table


def _binary(node: Any, op: str) -> Callable[[Any], Node]:
    def convert(tree: Any) -> Node:
        # "typed" marks integer division in other dialects; ours is always decimal.
        _only(tree, "this", "expression", "typed")
        return cast(Node, node(op, _convert(tree.this), _convert(tree.expression), at=_at(tree)))
    return convert


def _paren(tree: Any) -> Node:
    _only(tree, "this")
    return _convert(tree.this)


def _literal(tree: Any) -> Node:
    at = _at(tree)
    if tree.is_string:
        if not tree.this:
            raise ExpressionFault(at, "Empty text is null here, and nothing is equal to null.", 'Write "is null".')
        return Text(tree.this, at=at)
    whole, _, fraction = str(tree.this).partition(".")
    if not (whole + fraction).isdecimal() or not (whole + fraction).isascii() or len(fraction.rstrip("0")) > 4:
        raise ExpressionFault(at, f'"{tree.this}" is not a number written plainly with at most 4 decimals.')
    value = Decimal(f"{whole or 0}.{fraction or 0}")
    if value > MAX_NUMBER:
        raise ExpressionFault(at, f"Numbers go up to {MAX_NUMBER:,}.")
    return Number(_plain(value), at=at)


def _plain(value: Decimal) -> Decimal:
    """One representation per value, never with an exponent."""
    whole = value.to_integral_value()
    return whole if whole == value else value.normalize()


def _column(tree: Any) -> Node:
    _only(tree, "this", "table", "db", "catalog")
    if type(tree.this).__name__ != "Identifier":
        raise ExpressionFault(_at(tree), "* is not supported.", "Count related rows with count(orders).")
    parts = [part for part in (tree.args.get(key) for key in ("catalog", "db", "table", "this")) if part is not None]
    if len(parts) == 1 and not tree.this.quoted and tree.this.name.lower() == "now":
        return Now(at=_at(tree))
    if any("." in part.name or not part.name for part in parts):
        raise ExpressionFault(_at(tree), "A name may not be empty nor hold a dot.", "Quote the parts of a path singly.")
    return Name(".".join(part.name for part in parts), at=_at(tree))


def _not(tree: Any) -> Node:
    _only(tree, "this")
    return Not(_convert(tree.this), at=_at(tree))


def _negative(tree: Any) -> Node:
    _only(tree, "this")
    if type(tree.this).__name__ == "Literal" and not tree.this.is_string:
        number = cast(Number, _literal(tree.this))
        return Number(-number.value, at=number.at)
    return Negative(_convert(tree.this), at=_at(tree))


def _spread(tree: Any) -> list[Any]:
    """The operands of a chain of one left-associative operator, without recursion."""
    kind, items = type(tree), []
    while type(tree) is kind:
        _only(tree, "this", "expression")
        items.append(tree.expression)
        tree = tree.this
    return [tree, *reversed(items)]


def _logic(tree: Any) -> Node:
    return logic("and" if type(tree).__name__ == "And" else "or", _all(_spread(tree)), _at(tree))


def _pipe(tree: Any) -> Node:
    return join(_all(_spread(tree)), _at(tree))


def _is(tree: Any) -> Node:
    _only(tree, "this", "expression")
    value = tree.expression
    kind = type(value).__name__
    if kind not in ("Null", "Boolean"):
        raise ExpressionFault(_at(tree), '"is" compares with null, true or false only.', "Write = instead.")
    return Is(_convert(tree.this), None if kind == "Null" else bool(value.this), at=_at(tree))


def _in(tree: Any) -> Node:
    _only(tree, "this", "expressions")
    if not tree.expressions:
        raise ExpressionFault(_at(tree), '"in" needs a list in parentheses.')
    items = _all(tree.expressions)
    if any(isinstance(item, Null) for item in items):
        raise ExpressionFault(_at(tree), "null in a list makes every answer unknown.",
                              'Remove it and add "or ... is null".')
    return In(_convert(tree.this), items, at=_at(tree))


def _between(tree: Any) -> Node:
    _only(tree, "this", "low", "high")
    return Between(_convert(tree.this), _convert(tree.args["low"]), _convert(tree.args["high"]), at=_at(tree))


def _like(tree: Any) -> Node:
    escape = None
    like = tree
    if type(tree).__name__ == "Escape":
        _only(tree, "this", "expression")
        like, escape = tree.this, _pattern(tree.expression)
        if len(escape) != 1 or escape.isalnum() or escape in "%_":
            raise ExpressionFault(_at(tree), "The escape is one character that is no letter, digit, % or _.")
    if type(like).__name__ != "Like":
        raise _unsupported(tree)
    _only(like, "this", "expression", "negate")
    pattern = _pattern(like.expression)
    if escape is not None and _dangling(pattern, escape):
        raise ExpressionFault(_at(tree), "The escape stands before a %, a _ or itself.")
    node = Like(_convert(like.this), pattern, escape, at=_at(tree))
    return Not(node, at=node.at) if like.args.get("negate") else node


def _dangling(pattern: str, escape: str) -> bool:
    rest = iter(pattern)
    return any(character == escape and next(rest, "") not in (escape, "%", "_") for character in rest)


def _pattern(tree: Any) -> str:
    node = _convert(tree)
    if not isinstance(node, Text):
        raise ExpressionFault(node.at, '"like" needs its pattern written out.', "Write like 'text%'.")
    return node.value


def _case(tree: Any) -> Node:
    _only(tree, "this", "ifs", "default")
    tested = tree.args.get("this")
    subject = None if tested is None else _convert(tested)
    # "case x when" compares x with each value, so nested ones multiply.
    if subject is not None and sum(1 for _ in walk(subject)) * len(tree.args["ifs"]) > MAX_LENGTH:
        raise ExpressionFault(_at(tree), '"case ... when" is nested too often.', 'Write "case when x = ... then".')
    whens = []
    for branch in tree.args["ifs"]:
        _only(branch, "this", "true")
        condition = _convert(branch.this)
        if subject is not None:
            condition = Compare("=", subject, condition, at=condition.at)
        whens.append((condition, _convert(branch.args["true"])))
    if not whens:
        raise ExpressionFault(_at(tree), '"case" needs a "when".')
    default = tree.args.get("default")
    return Case(tuple(whens), None if default is None else _convert(default), at=_at(tree))


def _call(tree: Any) -> Node:
    _only(tree, "this", "expressions")
    if not isinstance(tree.this, str):
        raise _unsupported(tree)
    name = tree.this.lower()
    if name in AGGREGATES:
        return _aggregate(name, tree, None)
    if name == "now" and not tree.expressions:
        return Now(at=_at(tree))
    return Call(name, _all(tree.expressions), at=_at(tree))


def _filter(tree: Any) -> Node:
    _only(tree, "this", "expression")
    if type(tree.this).__name__ != "Anonymous" or tree.this.name.lower() not in AGGREGATES:
        raise ExpressionFault(_at(tree), '"filter" follows count, sum, min, max or avg only.')
    _only(tree.this, "this", "expressions")
    return _aggregate(tree.this.name.lower(), tree.this, _convert(tree.expression.this))


def _aggregate(function: AggregateName, tree: Any, where: Node | None) -> Node:
    at = _at(tree)
    argument = _all(tree.expressions)[0] if len(tree.expressions) == 1 else None
    if not isinstance(argument, Name):
        raise ExpressionFault(at, f"{function} takes one attribute of related rows.",
                              f"Write {function}(orders.amount).")
    related, _, attribute = argument.path.partition(".")
    return Aggregate(function, related, attribute or None, where, at=at)

