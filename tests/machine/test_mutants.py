"""Known-bad versions of the product: each is given away by its stored counterexample, and found afresh by a search."""

from __future__ import annotations

import pytest

from tests.machine.inline import inline
from tests.machine.mutants import MUTANTS, Mutant, stored
from tests.machine.play import run
from tests.machine.report import fresh
from tests.machine.search import breaks, find


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
