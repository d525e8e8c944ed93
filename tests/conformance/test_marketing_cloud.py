"""The Marketing Cloud connector against the suites, at the simulated tenant."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.sim.kernel import Kernel, serve
from connectors.sim.marketing_cloud import DEFAULT_MID, MarketingCloudSim
from tests.conformance.marketing_cloud_lab import MarketingCloudLab
from tests.conformance.suite import Common
from tests.conformance.suite_esp import Audiences, Statuses


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
