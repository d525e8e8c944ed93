"""The first depth: whoever must not be mailed is not, and whoever must be is, by identity and fold alone."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.machine.folds import fold_at_random
from tests.machine.report import fresh, report
from tests.soaking import covered


def test_identity_fold_and_gate() -> None:
    folded(100_000, seed=1)


@pytest.mark.soak
def test_identity_fold_and_gate_for_long() -> None:
    folded(1_000_000, seed=fresh())


def folded(steps: int, seed: int) -> None:
    counts: Counter[str] = Counter(seed=seed)
    fold_at_random(steps, seed, counts)
    report(counts)
    covered(f"{counts['steps']} steps of identity, fold and gate alone (seed {seed})")
    assert counts["steps"] >= steps
    assert counts["had to be quiet"] >= steps // 4
    assert counts["had to be mailed"] >= steps // 20
