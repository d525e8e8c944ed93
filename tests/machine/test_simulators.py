"""The third depth: the real connectors against the shipped simulators."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.machine.report import fresh, report
from tests.machine.simulated import simulate
from tests.soaking import covered


def test_the_simulators(tmp_path: Path) -> None:
    simulated(tmp_path, 300, seed=2)


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(10))
def test_the_simulators_for_long(tmp_path: Path, turn: int) -> None:
    simulated(tmp_path, 1_000, seed=fresh())


def simulated(directory: Path, steps: int, seed: int) -> None:
    counts: Counter[str] = Counter(seed=seed)
    simulate(directory, steps, seed, counts)
    report(counts)
    covered(f"{counts['steps']} steps on the simulators (seed {seed})")
    assert counts["steps"] >= steps
    assert counts["mails judged"] >= steps // 4, "fewer and fewer are left to be mailed"
    assert counts["addresses that had to be quiet"] >= steps
    assert counts["recipients that had to be reached"] >= steps
