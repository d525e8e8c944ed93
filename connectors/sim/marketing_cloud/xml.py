"""SOAP envelopes: parsing requests strictly, writing answers quickly.

A parsed element is ``Node``: local name, text, children, xsi:type. Everything in the body must be in the platform's
namespace. Answers are built as text, one escape per value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from lxml import etree

SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
API = "http://exacttarget.com/wsdl/partnerAPI"
AUTH = "http://exacttarget.com"
XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")

RETRIEVE_ORDER = ("ClientIDs", "ObjectType", "Properties", "Filter", "RespondTo", "PartnerProperties",
                  "ContinueRequest", "RetrieveAllSinceLastBatch", "RepeatLastResult")
ANYWHERE = frozenset({"Options", "QueryAllAccounts"})
"""Clients known to work put these before, between and after the others."""


class SoapFault(Exception):
    """Answered as HTTP 500 with a soap:Fault."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class Node:
    """One element of a request."""

    name: str
    type: str = ""
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def all(self, name: str) -> list[Node]:
        return [c for c in self.children if c.name == name]

    def first(self, name: str) -> Node | None:
        return next((c for c in self.children if c.name == name), None)

    def get(self, *path: str) -> str | None:
        """The text at a path of names; None when an element on the way is missing. Empty text is ""."""
        node: Node | None = self
        for name in path:
            node = node.first(name) if node is not None else None
        return None if node is None else node.text

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Name/Value children (Property, Key, Attribute, Parameter) of this node."""
        for child in self.children:
            name = child.get("Name")
            if name is not None:
                yield name, child.get("Value") or ""


def parse(body: bytes) -> tuple[str | None, Node]:
    """The OAuth token and the message of an envelope; the header may stand after the body.

    :raises SoapFault: not XML, wrong namespaces, or not exactly one message
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(body, parser)
    except etree.XMLSyntaxError:
        raise SoapFault("soap:Client", "The request could not be parsed as XML.") from None
    if b"<!DOCTYPE" in body[:4096]:
        raise SoapFault("soap:Client", "DTD is prohibited.")
    if root.tag != f"{{{SOAP}}}Envelope":
        raise SoapFault("soap:VersionMismatch", "The envelope is not SOAP 1.1.")
    token = root.findtext(f"{{{SOAP}}}Header/{{{AUTH}}}fueloauth")
    messages = list(root.iterfind(f"{{{SOAP}}}Body/*"))
    if len(messages) != 1:
        raise SoapFault("soap:Client", "The body must hold one message.")
    return token, _node(messages[0])


def _node(element: etree._Element) -> Node:
    tag = etree.QName(element)
    if tag.namespace != API:
        raise SoapFault("soap:Client", f"The element {tag.localname} is not in the namespace {API}.")
    type_ = element.get(XSI_TYPE, "").rpartition(":")[2]
    children = [_node(c) for c in element if isinstance(c.tag, str)]
    return Node(tag.localname, type_, "" if children else (element.text or ""), children)


def check_order(node: Node, order: tuple[str, ...]) -> None:
    """:raises SoapFault: when the children do not follow the schema's sequence"""
    last = 0
    for child in node.children:
        if child.name in ANYWHERE:
            continue
        if child.name not in order:
            raise SoapFault("soap:Client", f"The element {child.name} is not expected in {node.name}.")
        place = order.index(child.name)
        if place < last:
            raise SoapFault("soap:Client", f"The element {child.name} is out of sequence in {node.name}.")
        last = place


# --------------------------------------------------------------------------- writing

def clean(text: str) -> str:
    """Escaped text without the characters XML 1.0 cannot carry."""
    return escape(_ILLEGAL.sub("", text))


def element(name: str, value: Any) -> str:
    """``value`` None is xsi:nil, a dict nests, a list repeats the element, a ``Raw`` is taken as it is."""
    if value is None:
        return f'<{name} xsi:nil="true" />'
    if isinstance(value, dict):
        type_ = f' xsi:type="{value["@type"]}"' if "@type" in value else ""
        return f"<{name}{type_}>" + "".join(element(k, v) for k, v in value.items() if k != "@type") + f"</{name}>"
    if isinstance(value, list):
        return "".join(element(name, v) for v in value)
    if isinstance(value, bool):
        value = "true" if value else "false"
    text = clean(str(value))
    return f"<{name}>{text}</{name}>" if text else f"<{name} />"


def envelope(action: str, content: str, ids: tuple[str, str, str]) -> str:
    """A whole answer around ``content``."""
    message, relates, _ = ids
    wsa = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
    return (
        f'<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="{SOAP}" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
        f'xmlns:wsa="{wsa}" xmlns:wsse="{_WSSE}"><soap:Header><wsa:Action>{action}</wsa:Action>'
        f"<wsa:MessageID>urn:uuid:{message}</wsa:MessageID><wsa:RelatesTo>urn:uuid:{relates}</wsa:RelatesTo>"
        f"<wsa:To>{wsa}/role/anonymous</wsa:To></soap:Header><soap:Body>{content}</soap:Body></soap:Envelope>")


def fault(code: str, message: str, actor: str) -> str:
    """The body of a soap:Fault; ``q0:`` codes are in the security namespace."""
    prefix = f' xmlns:q0="{_WSSE}"' if code.startswith("q0:") else ""
    return (f"<soap:Fault><faultcode{prefix}>{code}</faultcode><faultstring>{clean(message)}</faultstring>"
            f"<faultactor>{clean(actor)}</faultactor></soap:Fault>")
