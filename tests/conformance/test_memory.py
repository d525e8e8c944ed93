"""The connector in memory against the suites."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.memory import World
from tests.conformance.memory_lab import CrmLab, EspLab
from tests.conformance.suite import Common, Records
from tests.conformance.suite_esp import Audiences, Statuses


@pytest.fixture(autouse=True)
def _no_faults_left(world: World) -> Iterator[None]:
    yield
    world.clear_faults()


class TestCrm(Common, Records):
    @pytest.fixture(params=[
        {}, {"visible_after_ticks": 1, "overlap": 5}, {"deletes_visible": False, "merges_visible": False},
    ], ids=["plain", "late", "sweeps"])
    def lab(self, world: World, request: pytest.FixtureRequest) -> Iterator[CrmLab]:
        lab = CrmLab(world, **request.param)
        yield lab
        lab.connector.close()


class TestEsp(Common, Statuses, Audiences):
    @pytest.fixture(params=[
        {}, {"asynchronous": ["upsert", "remove", "status"], "late_ticks": 2, "reorder": True},
        {"keyed_by": "address"}, {"visible_after_ticks": 1, "overlap": 5},
    ], ids=["plain", "late writes", "by address", "late reads"])
    def lab(self, world: World, request: pytest.FixtureRequest) -> Iterator[EspLab]:
        lab = EspLab(world, **request.param)
        yield lab
        lab.connector.close()
