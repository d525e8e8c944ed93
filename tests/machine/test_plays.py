"""The second depth: the whole product in memory."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.machine.machine import explore
from tests.machine.report import exercised, report
from tests.soaking import covered


def test_the_whole_product_in_memory() -> None:
    played(5_000, derandomize=True)


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
