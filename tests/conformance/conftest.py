"""Fixtures of the conformance suites."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.memory import World

pytest.register_assert_rewrite("tests.conformance.lab", "tests.conformance.suite", "tests.conformance.suite_esp")


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """One world for all tests of the session; each test makes connections of its own in it."""
    with World.start(seed=1) as world:
        yield world
