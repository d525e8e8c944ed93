"""Looking for a play that tells a mutant from the product."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any

from tests.machine.mutants import Mutant
from tests.machine.play import run
from tests.machine.shrink import shrink
from tests.machine.steps import KINDS, WHO, Step, any_step, opening

FEW = (0, 1, 2, 8, 9)
"""A search looks at a few people only, the first and the newest: what concerns one of them meets sooner."""


def tells(mutant: Mutant, steps: Sequence[Step]) -> bool:
    """Whether the mutant breaks an invariant in this play, and the product does not."""
    return breaks(mutant, steps) is not None and run(steps) is None


def breaks(mutant: Mutant, steps: Sequence[Step]) -> str | None:
    """What the mutant breaks in this play."""
    with mutant.applied():
        broken = run(steps)
    return None if broken is None else str(broken)


def find(mutant: Mutant, seconds: float, seed: int = 0) -> list[Step] | None:
    """A short play that tells the mutant from the product; None when so many seconds were not enough."""
    until, kinds = time.monotonic() + seconds, mutant.hints or tuple(KINDS)
    while time.monotonic() < until:
        rng = random.Random(f"{mutant.name}/{seed}")
        seed += 1

        def pick(options: Sequence[Any], rng: random.Random = rng) -> Any:
            return rng.choice(FEW if options is WHO else options)

        steps = [opening(pick), *(any_step(pick, kinds) for _ in range(rng.choice((6, 12, 25)))), ("calm",)]
        if tells(mutant, steps):
            return shrink(steps, lambda shorter: tells(mutant, shorter))
    return None
