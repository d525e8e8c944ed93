"""Looking for a play that tells a mutant from the product."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from tests.machine.mutants import Mutant
from tests.machine.play import run
from tests.machine.shrink import shrink
from tests.machine.steps import Step
from tests.machine.swarm import Swarm


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
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        steps = Swarm(random.Random(f"{mutant.name}/{seed}"), mutant.hints).play()
        seed += 1
        if tells(mutant, steps):
            return shrink(steps, lambda shorter: tells(mutant, shorter))
    return None
