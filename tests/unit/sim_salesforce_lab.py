"""A simulated organisation without sockets: requests go straight to ``handle``."""

from __future__ import annotations

import urllib.parse
from typing import Any

import orjson

from connectors.sim.kernel import Call, Fault, Kernel, Request, Response
from connectors.sim.salesforce import SalesforceSim

V = "/services/data/v60.0"
START = 1_760_000_000.0


class Org:
    """One organisation, its clock, and a logged-in API user."""

    def __init__(self, **options: Any) -> None:
        self.kernel = Kernel(seed=3)
        self.kernel.clock.advance(START - self.kernel.clock.now())
        self.sim = SalesforceSim(self.kernel, **options)
        self.login()

    def login(self) -> None:
        form = b"grant_type=client_credentials&client_id=sandbox-client&client_secret=sandbox-secret"
        answer = self.sim.handle(Request("POST", "/services/oauth2/token", {}, {}, form), Call())
        self.token = answer.body["access_token"]

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        """One request below the version's root; ``body`` is bytes or JSON."""
        parts = urllib.parse.urlsplit(path if path.startswith("/services") else V + path)
        raw = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        named = {k.replace("_", "-"): v for k, v in headers.items()}
        self.last = Call()
        return self.sim.handle(
            Request(method, urllib.parse.unquote(parts.path), dict(urllib.parse.parse_qsl(parts.query)),
                    {"authorization": f"Bearer {self.token}", **named}, raw), self.last)

    def get(self, path: str, **headers: str) -> Any:
        """The decoded body of a GET that must succeed."""
        answer = self.call("GET", path, **headers)
        assert answer.status == 200, answer.body
        return answer.body

    def query(self, soql: str, *, everything: bool = False) -> list[dict[str, Any]]:
        """All records of a query, every page read."""
        page = self.get(f"/query{'All' if everything else ''}?q=" + urllib.parse.quote(soql))
        records = list(page["records"])
        while not page["done"]:
            page = self.get(page["nextRecordsUrl"])
            records += page["records"]
        return records

    def ids(self, soql: str, *, everything: bool = False) -> list[str]:
        return [r["Id"] for r in self.query(soql, everything=everything)]

    def refusal(self, soql: str) -> tuple[str, str]:
        """(errorCode, message) of a query that must be refused."""
        answer = self.call("GET", "/query?q=" + urllib.parse.quote(soql))
        assert answer.status == 400, answer.body
        return answer.body[0]["errorCode"], answer.body[0]["message"]

    def patch(self, *rows: dict[str, Any], object: str = "Contact", whole: bool = False, **headers: str) -> list[Any]:
        """A collection update; the result rows."""
        records = [{"attributes": {"type": object}, **row} for row in rows]
        answer = self.call("PATCH", "/composite/sobjects", {"allOrNone": whole, "records": records}, **headers)
        assert answer.status == 200, answer.body
        return list(answer.body)

    def create(self, object: str, **values: Any) -> str:
        """Through the API; the id."""
        answer = self.call("POST", f"/sobjects/{object}", values)
        assert answer.status == 201, answer.body
        return str(answer.body["id"])

    def act(self, do: str, **body: Any) -> dict[str, Any]:
        """An employee at the screen."""
        return self.sim.act({"actor": "crm_user", "crm": "salesforce", "do": do, **body})

    def fault(self, fault: str, **about: Any) -> None:
        self.kernel.faults.add(Fault("salesforce", fault, **about))

    def person(self, record: str) -> dict[str, Any]:
        """One person as the control API tells."""
        return next(p for p in self.sim.world()["people"] if p["id"] == record)


def code(row: Any) -> str:
    """The status code of one refused row of a collection."""
    assert row["success"] is False, row
    return str(row["errors"][0]["statusCode"])
