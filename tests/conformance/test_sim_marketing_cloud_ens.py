"""The Marketing Cloud simulator's event notifications."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from connectors.sim.kernel import Call, Kernel, Request, Response, serve
from connectors.sim.marketing_cloud.ens import signature
from tests.conformance.marketing_cloud_client import AUDIENCE, eventually, running


def mail(number: int) -> str:
    return f"p{number}@mail.example"


class Receiver:
    """A callback on loopback. ``refuse`` answers that many deliveries with 500."""

    def __init__(self) -> None:
        self.probes: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.signatures: list[tuple[str, bytes]] = []
        self.refuse = 0
        self.live = True

    def handle(self, request: Request, call: Call) -> Response:
        body = request.json()
        if isinstance(body, dict):
            self.probes.append(body)
            return Response(200 if self.live else 503)
        if self.refuse:
            self.refuse -= 1
            return Response(500)
        self.signatures.append((request.headers["x-sfmc-ens-signature"], request.body))
        self.events.extend(body)
        return Response(204)


@pytest.fixture
def receiver() -> Iterator[tuple[Receiver, str]]:
    made = Receiver()
    server = serve(Kernel(), "receiver", made.handle)
    yield made, f"http://127.0.0.1:{server.server_address[1]}/hook"
    server.shutdown()
    server.server_close()


def test_notifications_are_verified_signed_retried_and_dropped_when_paused(receiver: tuple[Receiver, str]) -> None:
    hook, url = receiver
    with running(ens={"retry_seconds": 0.01, "duplicate_every": 2}) as mc:
        mc.sim.load({f"DataExtensionObject[{AUDIENCE}]": [
            {"SubscriberKey": f"K{n}", "EmailAddress": mail(n)} for n in range(5)]})
        sent = mc.send()
        wish = [{"callbackName": "syncd", "url": url, "maxBatchSize": 1000}]
        hook.live = False
        assert mc.rest("POST", "/platform/v1/ens-callbacks", json=wish).status_code == 400
        hook.live = True
        away = [{**wish[0], "url": "https://example.com/hook"}]
        assert mc.rest("POST", "/platform/v1/ens-callbacks", json=away).status_code == 400
        [callback] = mc.rest("POST", "/platform/v1/ens-callbacks", json=wish).json()
        subscription = [{"callbackId": callback["callbackId"], "subscriptionName": "unsubs",
                         "eventCategoryTypes": ["EngagementEvents.EmailUnsubscribe"]}]
        assert mc.rest("POST", "/platform/v1/ens-subscriptions", json=subscription).status_code == 400  # not verified
        assert mc.rest("POST", "/platform/v1/ens-verify", json=hook.probes[-1]).status_code == 200
        [made] = mc.rest("POST", "/platform/v1/ens-subscriptions", json=subscription).json()
        assert mc.rest("DELETE", f"/platform/v1/ens-callbacks/{callback['callbackId']}").status_code == 409

        hook.refuse = 2
        mc.act("recipient", "unsubscribe", email=mail(1), origin={"mail": sent["id"]})
        eventually(lambda: hook.events)
        event = hook.events[0]
        assert event["eventCategoryType"] == "EngagementEvents.EmailUnsubscribe"
        assert event["composite"]["jobId"] == str(sent["id"])
        given, body = hook.signatures[0]
        assert given == signature(callback["signatureKey"], body)

        change = [{"subscriptionId": made["subscriptionId"], "status": "paused"}]
        assert mc.rest("PUT", "/platform/v1/ens-subscriptions", json=change).status_code == 200
        mc.act("recipient", "unsubscribe", email=mail(2), origin={"mail": sent["id"]})
        change[0]["status"] = "active"
        mc.rest("PUT", "/platform/v1/ens-subscriptions", json=change)
        mc.act("recipient", "unsubscribe", email=mail(3), origin={"mail": sent["id"]})
        eventually(lambda: len(hook.events) == 3)  # the second batch comes twice, the paused one never
        ids = {s["ID"]: s["SubscriberKey"] for s in mc.retrieve("Subscriber", ["ID", "SubscriberKey"])}
        assert [ids[e["composite"]["subscriberId"]] for e in hook.events] == ["K1", "K3", "K3"]
    assert not any(t.name == "sim-ens" for t in threading.enumerate())
