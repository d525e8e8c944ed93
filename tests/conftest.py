"""What holds for every test: no skipping where a tool is required, no deadlines on a busy machine."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

from state import parcels
from tests.soaking import COVERED

# A slow machine is no failure. Built on the profile in force, so that Hypothesis' own choice for CI stands.
settings.register_profile("syncd", settings(), deadline=None, print_blob=True)
settings.load_profile("syncd")

parcels.LEAST = 1  # few people make a parcel, too


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test marked ``node`` (systemd, hadolint) that skips fails where SYNCD_REQUIRE_NODE (…) is set."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        for marker in item.iter_markers():
            variable = f"SYNCD_REQUIRE_{marker.name.upper()}"
            if os.environ.get(variable):
                reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
                report.outcome = "failed"
                report.longrepr = f"{variable} is set, and the test was skipped: {reason}"
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One of several processes tells the one that has the terminal what its tests covered."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["covered"] = COVERED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    COVERED.extend(getattr(node, "workeroutput", {}).get("covered", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if COVERED:
        terminalreporter.section("covered")
        for line in COVERED:
            terminalreporter.write_line(line)
