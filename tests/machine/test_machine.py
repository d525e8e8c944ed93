"""The product played at random, at three depths: whoever must not be mailed is not, and whoever must be is."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.machine.folds import fold_at_random
from tests.machine.inline import inline
from tests.machine.machine import explore
from tests.machine.mutants import MUTANTS, Mutant, stored
from tests.machine.play import run
from tests.machine.search import breaks, find
from tests.machine.simulated import simulate
from tests.machine.steps import KINDS

STEPS = int(os.environ.get("SYNCD_MACHINE_STEPS", "5000"))


def test_identity_fold_and_gate() -> None:
    folded(100_000, seed=1)


@pytest.mark.soak
def test_identity_fold_and_gate_for_long() -> None:
    folded(1_000_000, seed=fresh())


def folded(steps: int, seed: int) -> None:
    counts: Counter[str] = Counter(seed=seed)
    fold_at_random(steps, seed, counts)
    report(counts)
    assert counts["steps"] >= steps
    assert counts["had to be quiet"] >= steps // 4
    assert counts["had to be mailed"] >= steps // 20


def fresh() -> int:
    """A seed nobody chose; the run prints it."""
    return int.from_bytes(os.urandom(4), "big")


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
    assert counts["steps"] >= steps
    assert counts["mails judged"] >= steps
    assert counts["addresses that had to be quiet"] >= steps
    assert counts["recipients that had to be reached"] >= steps


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
        assert find(mutant, 600.0, seed=fresh()) is not None
