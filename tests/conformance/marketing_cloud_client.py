"""A bare client of Marketing Cloud for the simulator's own tests: no connector, so that nobody checks himself."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from xml.sax.saxutils import escape

import requests
from lxml import etree

from connectors.sim.kernel import Fault, Kernel, serve
from connectors.sim.marketing_cloud import DEFAULT_MID, MarketingCloudSim

MID = DEFAULT_MID
API = "http://exacttarget.com/wsdl/partnerAPI"
AUDIENCE = "OFFERS_ALL"
FIELDS = [
    {"Name": "SubscriberKey", "FieldType": "Text", "MaxLength": 254, "IsPrimaryKey": True},
    {"Name": "EmailAddress", "FieldType": "EmailAddress", "MaxLength": 254},
    {"Name": "FirstName", "FieldType": "Text", "MaxLength": 10},
    {"Name": "Spent", "FieldType": "Decimal", "MaxLength": 10, "Scale": 2},
    {"Name": "Visits", "FieldType": "Number"},
    {"Name": "Since", "FieldType": "Date"},
    {"Name": "Vip", "FieldType": "Boolean"},
]
EXTENSION = {"CustomerKey": AUDIENCE, "Name": "Offers all", "Fields": FIELDS,
             "SendableDataExtensionField": "SubscriberKey"}
LIST = 4711


class Client:
    """One simulator behind HTTP, one token."""

    def __init__(self, sim: MarketingCloudSim, kernel: Kernel, base: str) -> None:
        self.sim = sim
        self.kernel = kernel
        self.base = base
        self.http = requests.Session()
        self.token = ""

    # ---- REST

    def login(self, mid: int | None = None, **more: Any) -> requests.Response:
        body = {"grant_type": "client_credentials", "client_id": "mc-client", "client_secret": "mc-secret", **more}
        if mid is not None:
            body["account_id"] = mid
        reply = self.http.post(f"{self.base}/v2/token", json=body, timeout=10)
        if reply.ok:
            self.token = reply.json()["access_token"]
            self.http.headers["Authorization"] = f"Bearer {self.token}"
        return reply

    def rest(self, method: str, path: str, **options: Any) -> requests.Response:
        return self.http.request(method, self.base + path, timeout=10, **options)

    def put_rows(self, items: list[dict[str, Any]], key: str = AUDIENCE, method: str = "PUT") -> requests.Response:
        return self.rest(method, f"/data/v1/async/dataextensions/key:{key}/rows", json={"items": items})

    def status(self, request_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.rest("GET", f"/data/v1/async/{request_id}/status").json()
        return found

    def results(self, request_id: str, query: str = "") -> dict[str, Any]:
        found: dict[str, Any] = self.rest("GET", f"/data/v1/async/{request_id}/results{query}").json()
        return found

    def store(self, *items: dict[str, Any]) -> dict[str, Any]:
        """Write rows through the queue to the end."""
        request_id = self.put_rows(list(items)).json()["requestId"]
        self.pass_time(60)
        return self.results(request_id)

    def rowset(self, query: str = "", key: str = AUDIENCE) -> dict[str, Any]:
        reply = self.rest("GET", f"/data/v1/customobjectdata/key/{key}/rowset{query}")
        assert reply.status_code == 200, reply.text
        found: dict[str, Any] = reply.json()
        return found

    def row_keys(self) -> list[str]:
        return sorted(i["keys"]["subscriberkey"] for i in self.rowset("?$pagesize=2500")["items"])

    # ---- SOAP

    def soap(self, action: str, message: str, token: str | None = None, **headers: str) -> requests.Response:
        body = ('<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/" '
                'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><Header><fueloauth '
                f'xmlns="http://exacttarget.com">{token or self.token}</fueloauth></Header><Body>{message}</Body>'
                "</Envelope>")
        return self.http.post(f"{self.base}/Service.asmx", data=body.encode(), timeout=10,
                              headers={"Content-Type": "text/xml", "SOAPAction": action, **headers})

    def answer(self, action: str, message: str) -> etree._Element:
        reply = self.soap(action, message)
        assert reply.status_code == 200, reply.text
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        body = etree.fromstring(reply.content, parser).find("{http://schemas.xmlsoap.org/soap/envelope/}Body")
        assert body is not None
        return body[0]

    def page(self, kind: str, properties: Iterable[str], where: str = "", more: str = "", size: int = 0,
             extra: str = "") -> tuple[str, list[dict[str, str]], str]:
        """One Retrieve: (OverallStatus, rows flattened to dotted names, RequestID)."""
        parts = f"<ObjectType>{escape(kind)}</ObjectType>"
        parts += "".join(f"<Properties>{p}</Properties>" for p in properties)
        parts += where + (f"<ContinueRequest>{more}</ContinueRequest>" if more else "") + extra
        parts += f"<Options><BatchSize>{size}</BatchSize></Options>" if size else ""
        answer = self.answer("Retrieve", f'<RetrieveRequestMsg xmlns="{API}"><RetrieveRequest>{parts}</RetrieveRequest>'
                                         "</RetrieveRequestMsg>")
        rows = [flatten(r) for r in answer.iterfind(f"{{{API}}}Results")]
        return (answer.findtext(f"{{{API}}}OverallStatus") or "", rows,
                answer.findtext(f"{{{API}}}RequestID") or "")

    def retrieve(self, kind: str, properties: Iterable[str], where: str = "") -> list[dict[str, str]]:
        status, rows, _ = self.page(kind, properties, where)
        assert status == "OK", status
        return rows

    def write(self, action: str, objects: str, options: str = "") -> tuple[str, list[dict[str, str]]]:
        answer = self.answer(action, f'<{action}Request xmlns="{API}">{options}{objects}</{action}Request>')
        return (answer.findtext(f"{{{API}}}OverallStatus") or "",
                [flatten(r) for r in answer.iterfind(f"{{{API}}}Results")])

    def subscriber(self, action: str, key: str, email: str = "", status: str = "", lists: str = "",
                   upsert: bool = False) -> dict[str, str]:
        """Create, Update or Delete one subscriber and return its result."""
        inner = (f"<EmailAddress>{email}</EmailAddress>" if email else "") + f"<SubscriberKey>{key}</SubscriberKey>"
        inner += (f"<Status>{status}</Status>" if status else "") + lists
        options = ("<Options><SaveOptions><SaveOption><PropertyName>*</PropertyName><SaveAction>UpdateAdd</SaveAction>"
                   "</SaveOption></SaveOptions></Options>") if upsert else ""
        return self.write(action, f'<Objects xsi:type="Subscriber">{inner}</Objects>', options)[1][0]

    def unsubscribe(self, **parameters: Any) -> dict[str, str]:
        """Execute LogUnsubEvent."""
        given = "".join(f"<Parameters><Name>{n}</Name><Value>{v}</Value></Parameters>" for n, v in parameters.items())
        answer = self.answer("Execute", f'<ExecuteRequestMsg xmlns="{API}"><Requests><Name>LogUnsubEvent</Name>{given}'
                                        "</Requests></ExecuteRequestMsg>")
        found = answer.find(f"{{{API}}}Results")
        assert found is not None
        return flatten(found)

    def delete_row(self, key: str, extension: str = AUDIENCE, name: str = "SubscriberKey") -> dict[str, str]:
        return self.write("Delete", '<Objects xsi:type="DataExtensionObject">'
                          f"<CustomerKey>{extension}</CustomerKey><Keys><Key><Name>{name}</Name><Value>{key}</Value></Key>"
                          "</Keys></Objects>")[1][0]

    # ---- the truth

    def pass_time(self, seconds: float) -> None:
        self.kernel.clock.advance(seconds)

    def fault(self, fault: str, **options: Any) -> None:
        self.kernel.faults.add(Fault("marketing_cloud", fault, **options))

    def act(self, actor: str, do: str, **body: Any) -> dict[str, Any]:
        if "origin" in body:
            body["from"] = body.pop("origin")
        return self.sim.act({"actor": actor, "do": do, **body})

    def send(self, classification: str = "commercial", **more: Any) -> dict[str, Any]:
        return self.act("esp_user", "send", to={"audience": "everyone"}, classification=classification, **more)

    def truth(self, key: str) -> dict[str, Any]:
        """The world's entry of a subscriber in the home unit."""
        found: dict[str, Any] = next(s for s in self.sim.world()["subscribers"] if s["key"] == key)
        return found


def flatten(element: etree._Element, prefix: str = "") -> dict[str, str]:
    """Leaves by dotted name; Property name/value pairs by their name; nil and empty as ""."""
    out: dict[str, str] = {}
    for child in element:
        name = etree.QName(child).localname
        if name == "Property":
            out[child.findtext(f"{{{API}}}Name") or ""] = child.findtext(f"{{{API}}}Value") or ""
        elif len(child):
            out.update(flatten(child, "" if name == "Properties" else f"{prefix}{name}."))
        else:
            out[prefix + name] = child.text or ""
    return out


def where(name: str, operator: str, *values: str, date: bool = False) -> str:
    tag = "DateValue" if date else "Value"
    return (f'<Filter xsi:type="SimpleFilterPart"><Property>{name}</Property>'
            f"<SimpleOperator>{operator}</SimpleOperator>"
            + "".join(f"<{tag}>{escape(v)}</{tag}>" for v in values) + "</Filter>")


def both(left: str, right: str, how: str = "AND") -> str:
    def inner(text: str, name: str) -> str:
        return re.sub("(</?)Filter", rf"\1{name}", text)
    return (f'<Filter xsi:type="ComplexFilterPart">{inner(left, "LeftOperand")}<LogicalOperator>{how}</LogicalOperator>'
            f'{inner(right, "RightOperand")}</Filter>')


@contextmanager
def running(**options: Any) -> Iterator[Client]:
    """A simulator with one audience over one topic, served, logged in."""
    kernel = Kernel(seed=7)
    options.setdefault("audiences", {"everyone": {"de": AUDIENCE, "topic": "offers", "bu": MID}})
    sim = MarketingCloudSim(kernel, **{"topics": {"offers": LIST}, **options})
    sim.load({"DataExtension": [EXTENSION]})
    server = serve(kernel, sim.side, sim.handle)
    client = Client(sim, kernel, f"http://127.0.0.1:{server.server_address[1]}")
    try:
        client.login()
        yield client
    finally:
        client.http.close()
        sim.close()
        server.shutdown()
        server.server_close()


def eventually(test: Any, seconds: float = 5.0) -> None:
    """Wait until ``test()`` is true."""
    end = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
