"""Known-bad versions of the product: each is given away by its stored counterexample, and found afresh by a search."""

from __future__ import annotations

import time

import pytest

from tests.machine.inline import inline
from tests.machine.mutants import MUTANTS, Mutant, stored
from tests.machine.play import run
from tests.machine.report import fresh
from tests.machine.search import afresh, breaks
from tests.soaking import covered


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_mutant_is_killed_by_its_counterexample(mutant: Mutant) -> None:
    steps = stored()[mutant.name]
    with inline():
        assert run(steps) is None
        assert breaks(mutant, steps) is not None


@pytest.mark.soak
def test_every_mutant_is_found_afresh() -> None:
    seed, began = fresh(), time.monotonic()
    with inline():
        found, broken = afresh(MUTANTS, seed)
    missed = [name for name, steps in found.items() if steps is None]
    covered(f"{len(found) - len(missed)} of {len(MUTANTS)} mutants found afresh in {time.monotonic() - began:.0f} s"
            f" (seed {seed})")
    if broken:
        raise ExceptionGroup("the product breaks a promise", broken)
    assert not missed
