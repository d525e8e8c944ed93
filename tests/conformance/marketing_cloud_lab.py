"""Hands in a simulated tenant, and the connector to it."""

from __future__ import annotations

from typing import Any

from connectors.marketing_cloud import MarketingCloudConnector, MarketingCloudSettings
from connectors.sim.kernel import Kernel
from connectors.sim.marketing_cloud import DEFAULT_MID, MarketingCloudSim
from tests.conformance.lab import AudienceLab, StatusLab
from tests.conformance.simulated_lab import SimulatedLab


class MarketingCloudLab(SimulatedLab, StatusLab, AudienceLab):
    """Hands in a tenant with two publication lists and one sendable data extension."""

    side = "marketing_cloud"
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

    def revoke(self) -> None:
        self.sim.access.clients = {}
        self.sim.act({"actor": "platform", "do": "expire_tokens"})

    def lose_reply(self, kind: str) -> None:
        route = "key:OFFERS/row" if kind == "upsert" else "Service.asmx"
        self.fault("reset_after", route=route)

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
