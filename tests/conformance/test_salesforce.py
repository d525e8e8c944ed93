"""The Salesforce connector against the suites, at the simulated organisation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.sim.kernel import Kernel, serve
from connectors.sim.salesforce import SalesforceSim
from tests.conformance.salesforce_lab import SalesforceLab
from tests.conformance.suite import Common, Records


class TestSalesforce(Common, Records):
    @pytest.fixture(params=[
        (2_100, {}, 0.0), (2_100, {}, 20.0), (7, {"bulk_threshold": 2, "bulk_page": 3, "bulk_poll": 0.1}, 0.0),
        (250, {"page_size": 200}, 20.0),
    ], ids=["queries", "late commits", "bulk", "consent objects"])
    def lab(self, request: pytest.FixtureRequest) -> Iterator[SalesforceLab]:
        many, settings, delay = request.param
        kernel = Kernel(seed=12)
        sim = SalesforceSim(kernel, commit_delay=delay, data_protection="page_size" in settings)
        server = serve(kernel, sim.side, sim.handle)
        lab = SalesforceLab(kernel, sim, f"http://127.0.0.1:{server.server_address[1]}", many, **settings)
        yield lab
        lab.connector.close()
        server.shutdown()
        server.server_close()
