"""The Marketing Cloud connector against the suites, at the simulated tenant."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors.marketing_cloud import MarketingCloudConnector, MarketingCloudSettings
from connectors.sim.kernel import Fault, Kernel, serve
from connectors.sim.marketing_cloud import DEFAULT_MID, MarketingCloudSim
from tests.conformance.lab import AudienceLab, StatusLab
from tests.conformance.suite import Common
from tests.conformance.suite_esp import Audiences, Statuses

SIDE = "marketing_cloud"


class MarketingCloudLab(StatusLab, AudienceLab):
    """Hands in a tenant with two publication lists and one sendable data extension."""

    containers = ("", "4711", "4712")
    audience, columns = "de:OFFERS", ("FirstName", "Spent")
    secrets = ("mc-secret",)

    def __init__(self, kernel: Kernel, sim: MarketingCloudSim, endpoint: str, **settings: Any) -> None:
        self.kernel, self.sim = kernel, sim
        sim.load({"DataExtension": [{
            "CustomerKey": "OFFERS", "SendableDataExtensionField": "SubscriberKey", "Fields": [
                {"Name": "SubscriberKey", "MaxLength": 254, "IsRequired": True, "IsPrimaryKey": True},
                {"Name": "EmailAddress", "FieldType": "EmailAddress", "MaxLength": 254},
                {"Name": "FirstName", "MaxLength": 80},
                {"Name": "Spent", "FieldType": "Decimal", "MaxLength": 18, "Scale": 2}]}]})
        self.connector = MarketingCloudConnector(
            MarketingCloudSettings(client_id="mc-client", client_secret="mc-secret", mid=DEFAULT_MID,
                                   endpoint=endpoint, **settings), clock=kernel.clock.now)

    def settle(self) -> None:
        self.kernel.clock.advance(1.0)

    def throttle(self, seconds: int) -> None:
        self.kernel.faults.add(Fault(SIDE, "http_429", count=1, seconds=seconds))

    def break_read(self) -> None:
        self.kernel.faults.add(Fault(SIDE, "http_500", count=1))

    def revoke(self) -> None:
        self.sim.access.clients = {}
        self.sim.act({"actor": "platform", "do": "expire_tokens"})

    def lose_reply(self, kind: str) -> None:
        route = "key:OFFERS/row" if kind == "upsert" else "Service.asmx"
        self.kernel.faults.add(Fault(SIDE, "reset_after", route=route, count=1))

    def end_deletions(self) -> None:
        self.kernel.clock.advance(3 * 86_400)

    def join(self, key: str, email: str) -> str:
        self.sim.load({"Subscriber": [{"SubscriberKey": key, "EmailAddress": email}],
                       "ListSubscriber": [{"ListID": each, "SubscriberKey": key} for each in self.containers if each]})
        return key

    def unsubscribe(self, key: str, email: str, container: str) -> None:
        place: Any = {"topic": {"4711": "offers", "4712": "news"}[container]} if container else "all"
        answer = self.sim.act({"actor": "recipient", "do": "unsubscribe", "email": email, "key": key, "from": place})
        assert answer["changed"] == 1


class TestMarketingCloud(Common, Statuses, Audiences):
    @pytest.fixture(params=[
        ({"page_size": 3, "max_async_rows": 300}, {}), ({}, {"rowset_reading": False}),
    ], ids=["small pages", "as shipped"])
    def lab(self, request: pytest.FixtureRequest) -> Iterator[MarketingCloudLab]:
        settings, options = request.param
        kernel = Kernel(seed=11)
        sim = MarketingCloudSim(
            kernel, topics={"offers": 4711, "news": 4712},
            audiences={"OFFERS": {"de": "OFFERS", "topic": "offers", "bu": DEFAULT_MID}}, **options)
        server = serve(kernel, sim.side, sim.handle)
        lab = MarketingCloudLab(kernel, sim, f"http://127.0.0.1:{server.server_address[1]}", **settings)
        yield lab
        lab.connector.close()
        server.shutdown()
        server.server_close()
        sim.close()
