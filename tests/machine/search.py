"""Looking for a play that tells a mutant from the product.

Most plays never come near the fault. One after which mutant and product differ in anything at all, though no invariant is
broken yet, is worth more: it is kept, and every other play is one of those with a few steps more.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from tests.machine.mutants import Mutant
from tests.machine.play import Broken, Play, run
from tests.machine.shrink import shrink
from tests.machine.steps import Step
from tests.machine.swarm import Swarm

NEAR = 6
"""So many plays in which mutant and product differ are kept."""


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
    near: list[list[Step]] = []
    while time.monotonic() < until:
        rng = random.Random(f"{mutant.name}/{seed}")
        seed += 1
        swarm = Swarm(rng, mutant.hints)
        steps = _longer(rng, rng.choice(near), swarm) if near and rng.random() < 0.5 else swarm.play()
        with mutant.applied():
            end = _end(steps)
        if end is None:
            if run(steps) is None:
                return shrink(steps, lambda shorter: tells(mutant, shorter))
        elif len(near) < NEAR and end != _end(steps):
            near.append(steps)
    return None


def _longer(rng: random.Random, steps: Sequence[Step], swarm: Swarm) -> list[Step]:
    """A play with a few more steps in it, and perhaps without one."""
    found = list(steps)
    if len(found) > 3 and rng.random() < 0.5:
        del found[rng.randrange(1, len(found) - 1)]
    for _ in range(rng.randint(1, 5)):
        found.insert(rng.randint(1, len(found) - 1), swarm.step())
    return found


def _end(steps: Sequence[Step]) -> tuple[object, ...] | None:
    """What the play comes to: the world, and what syncd has written down and decided. None when an invariant broke."""
    play = Play()
    try:
        for step in steps:
            play.do(step)
        store = play.company.app.store
        return (play.world.digest(), *store.rows("SELECT record, address, said_hi, knowledge FROM entry ORDER BY position"),
                *store.rows("SELECT * FROM decision ORDER BY person"))
    except Broken:
        return None
    finally:
        play.close()
