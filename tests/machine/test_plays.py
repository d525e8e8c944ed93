"""The second depth: the whole product in memory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.machine.inline import inline
from tests.machine.machine import explore
from tests.machine.play import run
from tests.machine.report import exercised, report
from tests.soaking import covered

FINDINGS: dict[str, list[list[Any]]] = orjson.loads(Path(__file__).with_name("findings.json").read_bytes())


def test_the_whole_product_in_memory() -> None:
    played(5_000, derandomize=True)


@pytest.mark.parametrize("name", FINDINGS)
def test_what_once_broke(name: str) -> None:
    """Plays that the machine found, of faults of the product or of the oracle."""
    with inline():
        assert run([tuple(step) for step in FINDINGS[name]]) is None


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(10))
def test_the_whole_product_in_memory_for_long(turn: int) -> None:
    """Ten times ten thousand: Hypothesis keeps what it has tried."""
    played(10_000, derandomize=False)


def played(steps: int, *, derandomize: bool) -> None:
    counts: Counter[str] = Counter()
    explore(steps, counts, derandomize=derandomize)
    report(counts)
    covered(f"{counts['steps']} steps on the whole product in memory: {counts['mails judged']} mails judged,"
            f" {counts['cycle'] + counts['full']} cycles, {counts['crash']} crashes")
    exercised(counts, steps)
