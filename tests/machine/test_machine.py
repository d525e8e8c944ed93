"""The whole product in memory, played at random: whoever must not be mailed is not, and whoever must be is."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.machine.inline import inline
from tests.machine.machine import explore
from tests.machine.mutants import MUTANTS, Mutant, stored
from tests.machine.play import run
from tests.machine.search import breaks, find
from tests.machine.steps import KINDS

STEPS = int(os.environ.get("SYNCD_MACHINE_STEPS", "5000"))


def test_the_whole_product_in_memory() -> None:
    counts: Counter[str] = Counter()
    explore(STEPS, counts, derandomize=True)
    report(counts)
    exercised(counts, STEPS)


@pytest.mark.soak
def test_the_whole_product_in_memory_for_long() -> None:
    counts: Counter[str] = Counter()
    explore(100_000, counts, derandomize=False)
    report(counts)
    exercised(counts, 100_000)


def report(counts: Counter[str]) -> None:
    """Say what was exercised (shown with ``pytest -s``, or when the test fails)."""
    print("\n" + "\n".join(f"{name:40} {counts[name]:8}" for name in sorted(counts)))


def exercised(counts: Counter[str], steps: int) -> None:
    """The test cannot have been empty: every kind of step happened, and both promises were put to the proof."""
    assert counts["steps"] >= steps
    rare = {kind: counts[kind] for kind in KINDS if counts[kind] * 2000 < steps}
    assert not rare, f"hardly ever done: {rare}"
    assert counts["mails judged"] >= steps // 4
    assert counts["addresses that had to be quiet"] >= steps // 20
    assert counts["recipients that had to be reached"] >= steps // 20


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_mutant_is_killed_by_its_counterexample(mutant: Mutant) -> None:
    steps = stored()[mutant.name]
    with inline():
        assert run(steps) is None
        assert breaks(mutant, steps) is not None


@pytest.mark.soak
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_mutant_is_found_afresh(mutant: Mutant) -> None:
    with inline():
        assert find(mutant, 600.0, seed=int.from_bytes(os.urandom(4), "big")) is not None
