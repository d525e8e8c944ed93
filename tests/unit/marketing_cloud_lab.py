"""What the tests of the Marketing Cloud connector share: a scripted vendor, and the simulator with a small world."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import ThreadingHTTPServer
from typing import Any

from connectors.marketing_cloud import MarketingCloudConnector, MarketingCloudSettings
from connectors.sim.kernel import Call, Clock, Kernel, Request, Response, serve
from connectors.sim.marketing_cloud import MarketingCloudSim
from syncd.model import Batch, Outcome

MID, SISTER, ENTERPRISE = 12345, 777, 1
LIST = "4711"
SECRET = "mc-secret"
NOW = 1_795_000_000.0
"""The scripted vendor's and the simulator's time: 2026-11-18T11:06:40Z."""

API = "http://exacttarget.com/wsdl/partnerAPI"


def envelope(content: str) -> str:
    """A SOAP answer around ``content``."""
    return ('<?xml version="1.0"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/" '
            f'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soap:Body>{content}</soap:Body></soap:Envelope>')


def retrieved(*results: str, status: str = "OK", request: str = "r1") -> Response:
    """A RetrieveResponseMsg."""
    rows = "".join(f"<Results>{row}</Results>" for row in results)
    return xml(f'<RetrieveResponseMsg xmlns="{API}"><OverallStatus>{status}</OverallStatus>'
               f"<RequestID>{request}</RequestID>{rows}</RetrieveResponseMsg>")


def fault(code: str, text: str) -> Response:
    """A SOAP fault, HTTP 500."""
    return xml(f"<soap:Fault><faultcode>{code}</faultcode><faultstring>{text}</faultstring></soap:Fault>", 500)


def xml(content: str, status: int = 200) -> Response:
    """A SOAP answer."""
    return Response(status, envelope(content), content_type="text/xml")


def token(**more: Any) -> Response:
    """A login answer."""
    return Response(200, {"access_token": "tok", "token_type": "Bearer", "expires_in": 1079, "scope": "", **more})


class Script:
    """A vendor that answers from a list, and remembers what it was asked. Logins are answered by ``login``."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.answers: list[Response | Callable[[Request], Response]] = []
        self.login: Callable[[Request], Response] = lambda request: token()
        self.logins: list[Request] = []

    def handle(self, request: Request, call: Call) -> Response:
        if request.path == "/v2/token":
            self.logins.append(request)
            return self.login(request)
        self.asked.append(request)
        answer = self.answers.pop(0) if self.answers else Response(599, "nothing left in the script")
        return answer if isinstance(answer, Response) else answer(request)


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[str]:
    """The base URL of a server that is stopped at the end."""
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def scripted(clock: Callable[[], float] = lambda: NOW,
             **settings: Any) -> Iterator[tuple[Script, MarketingCloudConnector]]:
    """A connector and the scripted vendor it talks to."""
    script = Script()
    with serving(serve(Kernel(clock=Clock(NOW)), "marketing_cloud", script.handle)) as url:
        connector = MarketingCloudConnector(
            MarketingCloudSettings("mc-client", SECRET, mid=MID, endpoint=url, **settings), clock=clock)
        try:
            yield script, connector
        finally:
            connector.close()


class World:
    """The simulator with two business units, one list, one data extension and five subscribers, and a connector."""

    def __init__(self, kernel: Kernel, sim: MarketingCloudSim, connector: MarketingCloudConnector) -> None:
        self.kernel = kernel
        self.sim = sim
        self.connector = connector
        self.tenant = sim.tenant

    def calls(self) -> int:
        return self.connector.counter.calls

    def rows(self) -> dict[str, tuple[str | None, ...]]:
        extension = self.tenant.extension(MID, "OFFERS")
        assert extension is not None
        return extension.rows

    def status(self, key: str, mid: int = MID) -> str:
        """Status in All Subscribers of a business unit."""
        found = self.tenant.find(key)
        assert found is not None
        return self.tenant.status_in(found, mid)

    def on_list(self, key: str) -> str | None:
        member = self.tenant.lists[int(LIST)].members.get(key)
        return member.status if member is not None else None


FIELDS = [
    {"Name": "SubscriberKey", "FieldType": "Text", "MaxLength": 254, "IsPrimaryKey": True, "IsRequired": True},
    {"Name": "Email", "FieldType": "EmailAddress", "MaxLength": 254}, {"Name": "FirstName", "MaxLength": 50},
    {"Name": "Spent", "FieldType": "Decimal", "MaxLength": 18, "Scale": 2}, {"Name": "Born", "FieldType": "Date"},
    {"Name": "Vip", "FieldType": "Boolean"}, {"Name": "Visits", "FieldType": "Number"},
]


@contextmanager
def simulated(options: dict[str, Any] | None = None, **settings: Any) -> Iterator[World]:
    """A connector and the simulator it talks to; the simulator's clock only moves when told."""
    kernel = Kernel(seed=7, clock=Clock(NOW))
    units = {MID: {"name": "Main", "behavior": "BUSINESS_UNIT_ONLY"}, SISTER: {"name": "Sister"}}
    sim = MarketingCloudSim(kernel, business_units=units, eid=ENTERPRISE, **{
        "topics": {"offers": int(LIST)}, "audiences": {"offers": {"de": "OFFERS", "topic": "offers", "bu": MID}},
        **(options or {})})
    sim.load({
        "List": [{"ID": LIST, "ListName": "Offers"}],
        "Subscriber": [{"SubscriberKey": f"k{n}", "EmailAddress": f"p{n}@mail.example"} for n in range(5)],
        "ListSubscriber": [{"ListID": LIST, "SubscriberKey": "k0"}, {"ListID": LIST, "SubscriberKey": "k1"}],
        "DataExtension": [{"CustomerKey": "OFFERS", "Name": "Offers & more", "Fields": FIELDS,
                           "SendableDataExtensionField": "SubscriberKey"}],
    })
    with serving(serve(kernel, sim.side, sim.handle)) as url:
        connector = MarketingCloudConnector(
            MarketingCloudSettings("mc-client", SECRET, mid=MID, endpoint=url, **settings), clock=kernel.clock.now)
        try:
            yield World(kernel, sim, connector)
        finally:
            connector.close()
            sim.close()


def threads(count: int, work: Callable[[], object]) -> None:
    """``work`` in ``count`` threads at once."""
    started = [threading.Thread(target=work) for _ in range(count)]
    for each in started:
        each.start()
    for each in started:
        each.join()


# --------------------------------------------------------------------------- batches

OBJECT = "de:OFFERS"


def end(world: World, batch: Batch, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes once the queue has run; the accepted ones must share one request."""
    accepted = [op for op, o in zip(batch.ops, outcomes, strict=True) if o.state == "accepted"]
    if not accepted:
        return list(outcomes)
    [request] = {o.request_id for o in outcomes if o.state == "accepted"}
    assert request is not None
    world.kernel.clock.advance(60)
    settled = world.connector.settle(request, replace(batch, ops=accepted))
    assert settled is not None
    ends = iter(settled)
    return [next(ends) if o.state == "accepted" else o for o in outcomes]


def drive(world: World, batch: Batch) -> list[Outcome]:
    """Final outcomes, cutting batches as the connector asks."""
    finals: dict[int, Outcome] = {}
    waiting = [list(batch.ops)]
    for _ in range(60):
        if not waiting:
            break
        part = replace(batch, ops=waiting.pop(0))
        outcomes = end(world, part, world.connector.apply(part))
        again = [op for op, o in zip(part.ops, outcomes, strict=True) if o.state == "retry"]
        finals.update((op.id, o) for op, o in zip(part.ops, outcomes, strict=True) if o.state != "retry")
        size = min((o.max_batch or len(part.ops) for o in outcomes if o.state == "retry"), default=1)
        waiting += [again[at:at + size] for at in range(0, len(again), size)]
    assert not waiting, "the same rows again and again"
    return [finals[op.id] for op in batch.ops]


def states(outcomes: Sequence[Outcome]) -> list[str]:
    return [o.state for o in outcomes]
