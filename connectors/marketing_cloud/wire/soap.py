"""SOAP envelopes of the partner API: written as text, read with lxml (entities, DTDs and network off).

Element order follows the vendor's WSDL, which is an ``xsd:sequence`` throughout: ``Options`` comes first in Create,
Update and Delete and last in Retrieve.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape

from connectors.errors import Outage
from connectors.marketing_cloud.wire.values import sanitise, utc_text
from syncd.model import Micros

if TYPE_CHECKING:
    from lxml.etree import _Element

API = "http://exacttarget.com/wsdl/partnerAPI"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
_PROPERTIES, _PROPERTY, _NAME = (f"{{{API}}}{name}" for name in ("Properties", "Property", "Name"))

Row = dict[str, str | None]
"""One result, flattened: ``List/ID`` is "List.ID", a name/value property is its name; empty and nil are None."""


def leaf(name: str, text: str | int) -> str:
    """``<name>text</name>``, escaped and sanitised."""
    return f"<{name}>{escape(sanitise(str(text)))}</{name}>"


def branch(name: str, parts: Iterable[str], kind: str = "") -> str:
    """``<name>…</name>`` around finished parts; ``kind`` is its ``xsi:type``."""
    attribute = f' xsi:type="{kind}"' if kind else ""
    return f"<{name}{attribute}>{''.join(parts)}</{name}>"


def envelope(token: str, body: str) -> str:
    """A request, the token in its header."""
    return ('<?xml version="1.0" encoding="UTF-8"?>'
            f'<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="{XSI}"><Header>'
            f'<fueloauth xmlns="http://exacttarget.com">{escape(token)}</fueloauth></Header>'
            f"<Body>{body}</Body></Envelope>")


# --------------------------------------------------------------------------- filters

class Filter(NamedTuple):
    """A filter part that can stand as Filter, LeftOperand or RightOperand."""

    kind: str
    inner: str

    def xml(self, name: str = "Filter") -> str:
        return branch(name, (self.inner,), self.kind)


def one_of(prop: str, values: Sequence[str]) -> Filter:
    """``prop`` is one of ``values`` (at least one)."""
    operator = "equals" if len(values) == 1 else "IN"
    return Filter("SimpleFilterPart", leaf("Property", prop) + leaf("SimpleOperator", operator)
                  + "".join(leaf("Value", value) for value in values))


def after(prop: str, at: Micros) -> Filter:
    """The date ``prop`` is later than ``at``; only > and < are known to be reliable for dates."""
    return Filter("SimpleFilterPart", leaf("Property", prop) + leaf("SimpleOperator", "greaterThan")
                  + leaf("DateValue", utc_text(at)))


def compared(prop: str, how: str, value: str) -> Filter:
    """``prop`` compared with a text by a SimpleOperator."""
    return Filter("SimpleFilterPart", leaf("Property", prop) + leaf("SimpleOperator", how) + leaf("Value", value))


def joined(left: Filter | None, right: Filter) -> Filter:
    """``right``, and ``left`` where there is one."""
    return right if left is None else both(left, right)


def both(left: Filter, right: Filter) -> Filter:
    """``left`` and ``right``."""
    return Filter("ComplexFilterPart",
                  left.xml("LeftOperand") + leaf("LogicalOperator", "AND") + right.xml("RightOperand"))


# --------------------------------------------------------------------------- requests

def retrieve(kind: str, properties: Iterable[str], where: Filter | None, more: str | None, size: int) -> str:
    """The body of a Retrieve; ``more`` is the RequestID of the page before."""
    parts = [leaf("ObjectType", kind), *(leaf("Properties", name) for name in properties)]
    if where is not None:
        parts.append(where.xml())
    if more is not None:
        parts.append(leaf("ContinueRequest", more))
    parts.append(branch("Options", (leaf("BatchSize", size),)))
    return f'<RetrieveRequestMsg xmlns="{API}">{branch("RetrieveRequest", parts)}</RetrieveRequestMsg>'


def write(action: str, objects: Iterable[str]) -> str:
    """The body of a Create, Update or Delete of finished ``Objects`` elements."""
    return f'<{action}Request xmlns="{API}"><Options/>{"".join(objects)}</{action}Request>'


# --------------------------------------------------------------------------- answers

class Retrieved(NamedTuple):
    """One page of a Retrieve; ``more`` continues it, None at the end. ``error`` is vendor text, never to be shown."""

    rows: list[Row]
    more: str | None
    error: str | None


class Result(NamedTuple):
    """What became of one object of a write. ``code`` is "" or the vendor's number; ``text`` is never to be shown."""

    ok: bool
    code: str
    text: str


class Fault(NamedTuple):
    """A SOAP fault; ``code`` without its prefix."""

    code: str
    text: str


def parse(body: bytes) -> _Element:
    """The content of the SOAP body.

    :raises Outage: not a SOAP answer
    """
    from lxml import etree  # imported when first needed: 20 ms

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True,
                             remove_pis=True)
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError:
        root = None
    if root is not None and root.getroottree().docinfo.internalDTD is None and _local(root) == "Envelope":
        for part in root:
            if _local(part) == "Body" and len(part):
                return part[0]
    # Raised outside the handler: the parser's exception quotes the document.
    raise Outage("Marketing Cloud's SOAP answer makes no sense.", detail=f"{len(body)} bytes")


def fault(content: _Element) -> Fault | None:
    """The fault that ``content`` is, if it is one."""
    if _local(content) != "Fault":
        return None
    parts = {_local(child): child.text or "" for child in content}
    return Fault(parts.get("faultcode", "").rpartition(":")[2], parts.get("faultstring", ""))


def retrieved(content: _Element) -> Retrieved:
    """The page in a RetrieveResponseMsg.

    :raises Outage: another element
    """
    if _local(content) != "RetrieveResponseMsg":
        raise Outage("Marketing Cloud answered something else than was asked.", detail=_local(content))
    status, request, rows = "", None, []
    for child in content:
        name = _local(child)
        if name == "Results":
            rows.append(flatten(child))
        elif name == "OverallStatus":
            status = child.text or ""
        elif name == "RequestID":
            request = child.text
    if status == "MoreDataAvailable" and not request:
        raise Outage("Marketing Cloud announced more rows and did not say how to read them.")
    error = None if status in ("OK", "MoreDataAvailable") else status or "no status"
    return Retrieved(rows, request if status == "MoreDataAvailable" else None, error)


def results(content: _Element, count: int) -> list[Result | None]:
    """The results of a write of ``count`` objects, in their order; None where the answer has none for an object."""
    found: list[Result | None] = [None] * count
    for position, child in enumerate(c for c in content if _local(c) == "Results"):
        row = {_local(part): part.text or "" for part in child}  # not flattened: an echoed column may have these names
        text = row.get("OrdinalID", "")
        ordinal = int(text) if text.isdigit() else position
        if 0 <= ordinal < count:
            found[ordinal] = Result(row.get("StatusCode") == "OK", row.get("ErrorCode", ""),
                                    row.get("StatusMessage", ""))
    return found


def flatten(element: _Element, prefix: str = "", into: Row | None = None) -> Row:
    """The leaves below ``element`` by their dotted path; the second branch of one name is ``name[2]``, and so on."""
    row: Row = {} if into is None else into
    seen: dict[str, int] = {}
    for child in element:
        tag = child.tag
        if tag == _PROPERTY:
            name, value = "", None
            for part in child:  # quicker than find by a factor of three
                if part.tag == _NAME:
                    name = part.text or ""
                else:
                    value = part.text or None
            row[name] = value
        elif len(child):
            name = _local(child)
            seen[name] = count = seen.get(name, 0) + 1
            flatten(child, "" if tag == _PROPERTIES else f"{prefix}{name}{f'[{count}]' if count > 1 else ''}.", row)
        else:
            row[prefix + _local(child)] = child.text or None
    return row


def _local(element: _Element) -> str:
    return str(element.tag).rpartition("}")[2]
