"""An organisation that answers as a test tells it to, and a connector to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from connectors.salesforce import SalesforceConnector, SalesforceSettings
from connectors.sim.kernel import Call, Kernel, Request, Response, serve
from syncd.model import Field, StreamSpec

ROOT = "/services/data/v67.0"
FIELDS = [{"name": n, "type": t, "updateable": u} for n, t, u in (
    ("Id", "id", False), ("SystemModstamp", "datetime", False), ("IsDeleted", "boolean", False),
    ("MasterRecordId", "reference", False), ("Email", "email", True), ("HasOptedOutOfEmail", "boolean", True),
    ("Born__c", "datetime", True))]
SPEC = StreamSpec("Contact", fields=(Field("Email"), Field("HasOptedOutOfEmail", "bool")))

Answer = Callable[[Request], Response | None]


class Org:
    """A scripted org: ``answers`` are asked first, in order; the rest is plain."""

    def __init__(self, **settings: Any) -> None:
        self.kernel = Kernel()
        self.answers: list[Answer] = []
        self.requests: list[Request] = []
        self.tokens = 0
        self.usage = "api-usage=275/15000"
        self.server = serve(self.kernel, "salesforce", self.handle)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.connector = SalesforceConnector(
            SalesforceSettings(**{"client_id": "key", "client_secret": "s3cret", "endpoint": self.url, **settings}),
            clock=self.kernel.clock.now, sleep=lambda seconds: None)

    def handle(self, request: Request, call: Call) -> Response:
        self.requests.append(request)
        for answer in self.answers:
            response = answer(request)
            if response is not None:
                return response
        response = self.plain(request)
        response.headers["Sforce-Limit-Info"] = self.usage
        return response

    def plain(self, request: Request) -> Response:
        path = request.path.removeprefix(ROOT)
        if path == "/services/oauth2/token":
            self.tokens += 1
            return Response(200, {"access_token": f"T{self.tokens}", "instance_url": self.url, "token_type": "Bearer",
                                  "id": "https://login.salesforce.com/id/00D5g000000000AEAQ/0055g000000000AAAQ"})
        if path == "/sobjects/Contact/describe":
            return Response(200, {"name": "Contact", "fields": FIELDS})
        if path.startswith("/query"):
            return Response(200, {"totalSize": 0, "done": True, "records": []})
        if path == "/limits":
            return Response(200, {"DailyApiRequests": {"Max": 15000, "Remaining": 14000}})
        if path == "/composite/sobjects":
            return Response(200, [{"id": r["id"], "success": True, "errors": []} for r in request.json()["records"]])
        return Response(404, [{"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}])

    def on(self, part: str, response: Response, times: int = 10**6) -> None:
        """Answer the next ``times`` requests whose path contains ``part``."""
        left = [times]

        def answer(request: Request) -> Response | None:
            if part not in request.path or not left[0]:
                return None
            left[0] -= 1
            return response
        self.answers.append(answer)

    def paths(self, part: str = "") -> list[str]:
        return [r.path for r in self.requests if part in r.path]


Make = Callable[..., Org]


@contextmanager
def orgs() -> Iterator[Make]:
    """Makes organisations, which end with the context."""
    made: list[Org] = []

    def make(**settings: Any) -> Org:
        made.append(Org(**settings))
        return made[-1]
    yield make
    for one in made:
        one.connector.close()
        one.server.shutdown()
        one.server.server_close()
