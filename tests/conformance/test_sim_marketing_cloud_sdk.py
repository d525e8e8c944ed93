"""The Marketing Cloud simulator driven by an independent client: the npm package sfmc-sdk."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from connectors.sim.kernel import Call, Kernel, Request, Response, serve
from connectors.sim.marketing_cloud import MarketingCloudSim
from tests.conformance.marketing_cloud_client import EXTENSION, LIST

NODE = Path(__file__).parent / "node"


@pytest.mark.node
def test_the_sdk_of_somebody_else_understands_the_simulator() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not (NODE / "node_modules" / "sfmc-sdk").is_dir():
        pytest.skip("sfmc-sdk is not installed: run npm install --no-package-lock in tests/conformance/node")
    kernel = Kernel(seed=1)
    sim = MarketingCloudSim(kernel, topics={"offers": LIST}, queue_seconds=0.05)
    sim.load({"DataExtension": [{**EXTENSION, "CustomerKey": "OFFERS&ALL"}]})

    def handle(request: Request, call: Call) -> Response:
        if request.path == "/expire":
            sim.act({"actor": "platform", "do": "expire_tokens"})
            return Response(204)
        return sim.handle(request, call)

    server = serve(kernel, sim.side, handle)
    try:
        ran = subprocess.run([node, str(NODE / "marketing_cloud.mjs"), f"http://127.0.0.1:{server.server_address[1]}"],
                             capture_output=True, text=True, timeout=60, check=False)
    finally:
        server.shutdown()
        server.server_close()
    assert ran.returncode == 0, ran.stderr[-2000:]
    seen = json.loads(ran.stdout)
    assert seen["status"]["status"]["hasErrors"] is True
    assert seen["results"]["count"] == 1
    assert seen["rowset"]["items"][0]["values"]["firstname"] == "Ann & <Bo"
    assert seen["forgotten"]["resultMessages"][0]["resultCode"] == "AsyncRequestStatusNotFound"
    assert seen["created"]["Results"][0]["StatusMessage"] == "Created Subscriber."
    assert seen["again"]["results"][0]["ErrorCode"] == 12014
    assert seen["missing"]["results"][0]["ErrorCode"] == 12001
    assert [m["Status"] for m in seen["members"]["Results"]] == ["Unsubscribed"]
    assert sorted(s["SubscriberKey"] for s in seen["everyone"]["Results"]) == ["K1", "K2"]
    assert seen["extension"]["Results"][0]["SendableSubscriberField"]["Name"] == "_SubscriberKey"
    assert seen["after"]["Results"][0]["Status"] == "Unsubscribed"
    assert {"Name": "Status"}.items() <= next(
        p for p in seen["described"]["ObjectDefinition"]["Properties"] if p["Name"] == "Status").items()
    assert seen["unknown"]["message"].startswith("Unable to find a handler for object type: Deliveryprofile")
    assert seen["deletedRow"]["OverallStatus"] == seen["cleared"]["OverallStatus"] == "OK"
    assert (seen["refreshes"], len(seen["afterExpiry"]["Results"])) == (1, 2)
