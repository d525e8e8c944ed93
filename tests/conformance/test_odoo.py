"""The Odoo connector against the suites, at the simulated server of each version."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.sim.kernel import Kernel
from connectors.sim.odoo import OdooSim
from tests.conformance.odoo_lab import OdooLab
from tests.conformance.suite import Common, Records
from tests.conformance.suite_esp import Statuses


class TestOdoo(Common, Records, Statuses):
    @pytest.fixture(params=["16.0", "18.0", "19.0"])
    def lab(self, request: pytest.FixtureRequest) -> Iterator[OdooLab]:
        kernel = Kernel(seed=13)
        lab = OdooLab(kernel, OdooSim(kernel, version=request.param, topics={"offers": 1, "news": 2}))
        yield lab
        lab.close()
