"""The simulated organisation, served, with connectors to it."""

from __future__ import annotations

from typing import Any

from connectors.salesforce import SalesforceConnector, SalesforceSettings
from connectors.sim.kernel import Fault, Kernel, serve
from connectors.sim.salesforce import SalesforceSim

CONNECT = "0055g000000000CAAQ"


class Org:
    """A simulator with ``count`` contacts, two thirds of them changed in one and the same second."""

    def __init__(self, count: int = 60, **options: Any) -> None:
        self.kernel = Kernel(seed=1)
        self.sim = SalesforceSim(self.kernel, connect=True, topics={
            "offers": {"Contact": "Offers_Opt_In__c", "Lead": "Offers_Opt_In__c"}}, **options)
        then = int(self.kernel.clock.now()) - 86_400
        self.ids = [f"0035g{i:010d}" for i in range(1, count + 1)]
        self.sim.load({
            "Account": [{"Id": f"0015g{i:010d}", "Name": f"Company {i}", "SystemModstamp": then} for i in range(1, 4)],
            "Contact": [{"Id": sid, "LastName": f"N{i}", "Email": f"u{i}@x.example",
                         "SystemModstamp": then + max(0, i - 40),
                         **({"AccountId": f"0015g{i % 3 + 1:010d}"} if i % 5 else {})}
                        for i, sid in enumerate(self.ids)]})
        self.server = serve(self.kernel, "salesforce", self.sim.handle)
        self.connectors: list[SalesforceConnector] = []

    def connect(self, **settings: Any) -> SalesforceConnector:
        self.connectors.append(SalesforceConnector(SalesforceSettings(**{
            "client_id": "sandbox-client", "client_secret": "sandbox-secret", "connect_user": CONNECT,
            "endpoint": f"http://127.0.0.1:{self.server.server_address[1]}", **settings}),
            clock=self.kernel.clock.now, sleep=self.kernel.clock.advance))
        return self.connectors[-1]

    def user(self, do: str, **body: Any) -> dict[str, Any]:
        return self.sim.act({"actor": "crm_user", "crm": "salesforce", "do": do, "object": "Contact", **body})

    def fault(self, name: str, **more: Any) -> None:
        self.kernel.faults.add(Fault("salesforce", name, **more))

    def close(self) -> None:
        for connector in self.connectors:
            connector.close()
        self.server.shutdown()
        self.server.server_close()


def id18(org: Org, number: int) -> str:
    """The id of contact ``number``, as the API shows it."""
    return next(p["id"] for p in org.sim.world(None, None)["people"] if p["email"] == f"u{number}@x.example")
