"""SOAP Retrieve: filters, rows, pages of at most 2,500, and the continue token that expires."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from connectors.sim.kernel import Faults
from connectors.sim.marketing_cloud.access import SIDE
from connectors.sim.marketing_cloud.extensions import DataExtension
from connectors.sim.marketing_cloud.model import Tenant
from connectors.sim.marketing_cloud.objects import TYPES, ObjectType, Prop
from connectors.sim.marketing_cloud.values import parse_instant, show_instant
from connectors.sim.marketing_cloud.xml import RETRIEVE_ORDER, Node, check_order, clean, element

PAGE = 2_500
CONTINUE_SECONDS = 600.0
"""How long a continue token lives; the vendor does not say."""
MAX_OPEN = 100

Predicate = Callable[[Any], bool]
ROWS = "DataExtensionObject["
ROUTE = "POST /Service.asmx Retrieve"

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "equals": operator.eq, "notEquals": operator.ne, "greaterThan": operator.gt, "lessThan": operator.lt,
    "greaterThanOrEqual": operator.ge, "lessThanOrEqual": operator.le,
}
_TEXT: dict[str, Callable[[str, str], bool]] = {
    "like": lambda a, b: b.strip("%") in a, "beginsWith": str.startswith, "endsWith": str.endswith,
    "contains": operator.contains, "notContains": lambda a, b: b not in a, "existsInString": lambda a, b: a in b,
}


class RetrieveError(ValueError):
    """Answered as HTTP 200 with OverallStatus ``Error: <text>``."""


@dataclass(slots=True)
class _Open:
    """An unfinished retrieve: rows still to come and how to show one."""

    mid: int
    rows: Sequence[Any]
    start: int
    size: int
    show: Callable[[Any], str]
    expires: float


class Retriever:
    """Answers Retrieve for one tenant."""

    def __init__(self, tenant: Tenant, faults: Faults) -> None:
        self.tenant = tenant
        self.faults = faults
        self._open: dict[str, _Open] = {}

    def answer(self, message: Node, mid: int, scopes: frozenset[str] | None) -> tuple[str, int]:
        """The content of a RetrieveResponseMsg and how many rows it holds."""
        request = message.first("RetrieveRequest") or Node("RetrieveRequest")
        check_order(request, RETRIEVE_ORDER)
        try:
            more, results, count = self._page(request, mid, scopes)
        except RetrieveError as error:
            return _message(f"Error: {error}", self.tenant.guid(), ""), 0
        return _message("MoreDataAvailable" if more else "OK", more or self.tenant.guid(), results), count

    def _page(self, request: Node, mid: int, scopes: frozenset[str] | None) -> tuple[str | None, str, int]:
        object_type = request.get("ObjectType") or ""
        token = request.get("ContinueRequest")
        if token:
            state = self._open.get(token)
            if state is None or state.mid != mid or state.expires < self.tenant.now():
                raise RetrieveError("The ContinueRequest is not valid or has expired.")
        else:
            state = self._start(request, object_type, mid, scopes)
        key = object_type[len(ROWS):-1] if object_type.startswith(ROWS) else object_type
        end = min(state.start + state.size, len(state.rows))
        rows = state.rows[state.start:end]
        if self.faults.active(SIDE, "truncated_page", ROUTE, key):
            # The rest of the listing is lost and the answer does not say so.
            rows, end = rows[:len(rows) // 2], len(state.rows)
        following = None
        if end < len(state.rows):
            following = self.tenant.guid()
            while len(self._open) >= MAX_OPEN:
                del self._open[next(iter(self._open))]
            self._open[following] = _Open(mid, state.rows, end, state.size, state.show,
                                          self.tenant.now() + CONTINUE_SECONDS)
        return following, "".join(map(state.show, rows)), len(rows)

    def _start(self, request: Node, object_type: str, mid: int, scopes: frozenset[str] | None) -> _Open:
        if (request.get("RetrieveAllSinceLastBatch") or "").lower() == "true":
            raise RetrieveError("RetrieveAllSinceLastBatch is not available.")
        names = [p.text.strip() for p in request.all("Properties")]
        if not names:
            raise RetrieveError("At least one property must be requested.")
        size = PAGE
        asked = request.get("Options", "BatchSize")
        if asked and asked.strip().isdigit():
            size = max(1, min(PAGE, int(asked)))
        mids = self._mids(request, mid)
        if object_type.startswith(ROWS):
            check_scope(scopes, "data_extensions", object_type)
            rows, show = self._extension_rows(object_type[len(ROWS):-1], names, request.first("Filter"), mids)
        else:
            kind = TYPES.get(object_type)
            if kind is None:
                raise RetrieveError(f"Unable to find a handler for object type: {object_type}. "
                                    "Object types are case-sensitive, check spelling.")
            check_scope(scopes, kind.scope, object_type)
            rows, show = self._object_rows(kind, names, request.first("Filter"), mids)
        return _Open(mid, rows, 0, size, show, 0.0)

    def _mids(self, request: Node, mid: int) -> list[int]:
        """Business units to look into: the token's own, or others where the token is the enterprise's."""
        known = self.tenant.units
        if (request.get("QueryAllAccounts") or "").lower() == "true" and mid == self.tenant.eid:
            return [mid, *(m for m in known if m != mid)]
        asked = [int(n.text) for c in request.all("ClientIDs") for n in c.all("ID") if n.text.strip().isdigit()]
        if not asked:
            return [mid]
        if any(m not in known or (m != mid and mid != self.tenant.eid) for m in asked):
            raise RetrieveError("The requested client is not accessible.")
        return asked

    # ---- rows of objects

    def _object_rows(self, kind: ObjectType, names: list[str], filter_: Node | None,
                     mids: list[int]) -> tuple[Sequence[Any], Callable[[Any], str]]:
        strange = [n for n in names if n not in kind.props]
        if strange:
            raise RetrieveError(f"The Request Property(s) {', '.join(strange)} do not match with the fields of "
                                f"{kind.name} retrieve")
        dropped = self.faults.active(SIDE, "drop_field", ROUTE, kind.name)
        props = {n: kind.props[n] for n in names if dropped is None or n != dropped.field}
        show = _show_pairs(kind.name, props, self.tenant.tz) if kind.pairs else _show(kind.name, props, self.tenant.tz)
        if self.faults.active(SIDE, "empty_list", ROUTE, kind.name):
            return [], show
        wanted: dict[str, list[str]] = {}
        if filter_ is None:
            return list(kind.rows(self.tenant, mids, wanted)), show
        _demands(filter_, wanted)
        test = compile_filter(filter_, kind.props, self.tenant.tz)
        rows = kind.rows(self.tenant, mids, wanted)
        if filter_.get("Property") == "ListID" and "ListID" in wanted and kind.name == "ListSubscriber":
            return list(rows), show  # the source has looked up the list: a million members need no second test
        return [r for r in rows if test(r)], show

    # ---- rows of data extensions

    def _extension_rows(self, key: str, names: list[str], filter_: Node | None,
                        mids: list[int]) -> tuple[Sequence[Any], Callable[[Any], str]]:
        extension = self.tenant.extension(mids[0], key)
        if extension is None:
            raise RetrieveError(f"The data extension {key} does not exist or is not accessible.")
        dropped = self.faults.active(SIDE, "drop_field", ROUTE, extension.key)
        places = [(n, extension.position(n)) for n in names if dropped is None or n != dropped.field]
        if any(p is None for _, p in places):
            raise RetrieveError("The Request Property(s) " + ", ".join(n for n, p in places if p is None)
                                + " do not match with the fields of DataExtensionObject retrieve")
        head = ('<Results xsi:type="DataExtensionObject"><PartnerKey xsi:nil="true" /><ObjectID xsi:nil="true" />'
                "<Properties>")
        parts = [(f"<Property><Name>{clean(n)}</Name><Value>", p) for n, p in places if p is not None]

        def show(row: tuple[str | None, ...]) -> str:
            cells = "".join([f"{start}{clean(row[p] or '')}</Value></Property>" for start, p in parts])
            return f"{head}{cells}</Properties></Results>"

        if self.faults.active(SIDE, "empty_list", ROUTE, extension.key):
            return [], show
        if filter_ is None:
            return list(extension.rows.values()), show
        wanted: dict[str, list[str]] = {}
        _demands(filter_, wanted)
        test = compile_filter(filter_, extension_props(extension, self.tenant.tz), self.tenant.tz)
        return [r for r in _candidates(extension, wanted) if test(r)], show


def _candidates(extension: DataExtension, wanted: Mapping[str, list[str]]) -> Iterable[tuple[str | None, ...]]:
    """Rows to test: by key where the filter names every primary-key value, else all."""
    if len(extension.primary) == 1:
        name = extension.columns[extension.primary[0]].name.lower()
        for asked, values in wanted.items():
            if asked.lower() == name:
                found = (extension.rows.get(k) for k in dict.fromkeys(v.lower() for v in values))
                return [r for r in found if r is not None]
    return extension.rows.values()


def extension_props(extension: DataExtension, tz: tzinfo) -> dict[str, Prop]:
    """Columns as filterable properties, under their own name and in lower case."""
    props: dict[str, Prop] = {}
    for position, column in enumerate(extension.columns):
        prop = _column_prop(position, column.type, tz)
        props[column.name] = prop
        props[column.name.lower()] = prop
    return props


def _column_prop(position: int, type_: str, tz: tzinfo) -> Prop:
    if type_ == "Date":
        return Prop("instant", lambda r: None if r[position] is None else parse_instant(r[position], tz))
    if type_ in ("Number", "Decimal"):
        return Prop("int", lambda r: None if r[position] is None else float(r[position]))
    return Prop("text", lambda r: r[position])


def check_scope(scopes: frozenset[str] | None, family: str, what: str, right: str = "read") -> None:
    """:raises RetrieveError: the token lacks ``<family>_<right>``; ``scopes`` None = all"""
    if family and scopes is not None and f"{family}_{right}" not in scopes:
        raise RetrieveError(f"API Permission Failed. Object Type: {what}, Action: {right.title()}")


# --------------------------------------------------------------------------- filters

def _demands(node: Node, into: dict[str, list[str]]) -> None:
    """Values every matching row must have, from equals and IN joined by AND."""
    if node.type == "ComplexFilterPart":
        if node.get("LogicalOperator") == "AND":
            for side in ("LeftOperand", "RightOperand"):
                part = node.first(side)
                if part is not None:
                    _demands(part, into)
        return
    name, how = node.get("Property"), node.get("SimpleOperator")
    if name and how in ("equals", "IN"):
        into.setdefault(name, [v.text for v in node.all("Value")])


def compile_filter(node: Node, props: Mapping[str, Prop], tz: tzinfo) -> Predicate:
    """A test for rows. Text compares without regard to case.

    :raises RetrieveError: an unknown property or operator, or a value of the wrong type
    """
    if node.type == "ComplexFilterPart":
        left, right = node.first("LeftOperand"), node.first("RightOperand")
        how = node.get("LogicalOperator")
        if left is None or right is None or how not in ("AND", "OR"):
            raise RetrieveError("The complex filter is not complete.")
        one, two = compile_filter(left, props, tz), compile_filter(right, props, tz)
        return (lambda r: one(r) and two(r)) if how == "AND" else (lambda r: one(r) or two(r))
    if node.type != "SimpleFilterPart":
        raise RetrieveError("The filter must be a SimpleFilterPart or a ComplexFilterPart.")
    name, how = node.get("Property") or "", node.get("SimpleOperator") or ""
    prop = props.get(name) or props.get(name.lower())
    if prop is None or prop.kind == "nest":
        raise RetrieveError(f"The filter property {name} is not a filterable field.")
    if how in ("isNull", "isNotNull"):
        empty = how == "isNull"
        return lambda r: (prop.get(r) is None) == empty
    values = [_operand(prop, v, tz) for v in node.children if v.name in ("Value", "DateValue")]
    if not values:
        raise RetrieveError(f"The filter on {name} has no value.")
    return _simple(prop, how, values)


def _simple(prop: Prop, how: str, values: list[Any]) -> Predicate:
    fold = prop.kind == "text"

    def value(row: Any) -> Any:
        found = prop.get(row)
        return found.lower() if fold and found is not None else found

    if how == "IN":
        chosen = frozenset(values)
        return lambda r: value(r) in chosen
    if how == "between":
        if len(values) != 2:
            raise RetrieveError("The operator between needs two values.")
        low, high = values
        return lambda r: (v := value(r)) is not None and low <= v <= high
    compare = _COMPARE.get(how) or (_TEXT.get(how) if fold else None)
    if compare is None:
        raise RetrieveError(f"The operator {how} is not supported here.")
    wanted = values[0]
    if how == "notEquals":
        return lambda r: value(r) != wanted
    return lambda r: (v := value(r)) is not None and compare(v, wanted)


def _operand(prop: Prop, node: Node, tz: tzinfo) -> Any:
    try:
        if prop.kind == "instant":
            return parse_instant(node.text, tz)
        if prop.kind == "int":
            return float(node.text)
    except ValueError:
        raise RetrieveError("A filter value does not fit the type of its property.") from None
    if prop.kind == "bool":
        return node.text.strip().lower() in ("true", "1")
    return node.text.lower()


# --------------------------------------------------------------------------- showing rows

def _message(status: str, request_id: str, results: str) -> str:
    return f"{element('OverallStatus', status)}{element('RequestID', request_id)}{results}"


def _wire(prop: Prop, tz: tzinfo) -> Callable[[Any], Any]:
    if prop.kind == "instant":
        return lambda r: show_instant(prop.get(r), tz)
    return prop.get


def _show(type_: str, props: Mapping[str, Prop], tz: tzinfo) -> Callable[[Any], str]:
    """Properties as elements; ``A.B`` nests; PartnerKey and ObjectID are always there."""
    flat = {n: _wire(p, tz) for n, p in props.items() if "." not in n and n not in ("PartnerKey", "ObjectID")}
    nested: dict[str, dict[str, Callable[[Any], Any]]] = {}
    for name, prop in props.items():
        if "." in name:
            parent, _, leaf = name.partition(".")
            nested.setdefault(parent, {})[leaf] = _wire(prop, tz)
    object_id = props["ObjectID"].get if "ObjectID" in props else None
    head = f'<Results xsi:type="{type_}">'

    def show(row: Any) -> str:
        parts = [head]
        for parent, leaves in nested.items():
            parts.append(element(parent, {leaf: get(row) for leaf, get in leaves.items()}))
        parts.append('<PartnerKey xsi:nil="true" />')
        parts.append(element("ObjectID", object_id(row) if object_id is not None else None))
        parts.extend([element(name, get(row)) for name, get in flat.items()])
        parts.append("</Results>")
        return "".join(parts)

    return show


def _show_pairs(type_: str, props: Mapping[str, Prop], tz: tzinfo) -> Callable[[Any], str]:
    getters = {n: _wire(p, tz) for n, p in props.items()}

    def show(row: Any) -> str:
        pairs = "".join(element("Property", {"Name": n, "Value": get(row)}) for n, get in getters.items())
        return (f'<Results xsi:type="ObjectExtension"><PartnerKey xsi:nil="true" /><ObjectID xsi:nil="true" />'
                f"<Type>{type_}</Type><Properties>{pairs}</Properties></Results>")

    return show
