"""Looking for a play that tells a mutant from the product.

Most plays never come near the fault. One after which mutant and product differ in anything at all, though no invariant is
broken yet, is worth more: what makes them differ is kept, and every other play is that with a few steps more.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from tests.machine.mutants import Mutant
from tests.machine.play import Broken, Play, run
from tests.machine.shrink import finding, shorter, shrink
from tests.machine.steps import Step
from tests.machine.swarm import Swarm

PATIENCE = 900.0
"""Seconds of the processor to search for one mutant; most take less than a minute, an unlucky search takes some."""
NEAR = 5
"""So many plays in which mutant and product differ are kept."""


def tells(mutant: Mutant, steps: Sequence[Step]) -> bool:
    """Whether the mutant breaks an invariant in this play, and the product does not."""
    return breaks(mutant, steps) is not None and run(steps) is None


def breaks(mutant: Mutant, steps: Sequence[Step]) -> str | None:
    """What the mutant breaks in this play."""
    with mutant.applied():
        broken = run(steps)
    return None if broken is None else str(broken)


def find(mutant: Mutant, seconds: float, seed: int, broken: list[Broken]) -> list[Step] | None:
    """A short play that tells the mutant from the product; None when so many seconds of the processor were not enough.

    :param broken: what the product itself breaks, added to
    """
    until = time.process_time() + seconds
    near: list[list[Step]] = []
    while time.process_time() < until:
        rng = random.Random(f"{mutant.name}/{seed}")
        seed += 1
        swarm = Swarm(rng, mutant.hints, mutant.scene)
        steps = _longer(rng, rng.choice(near), swarm) if near and rng.random() < 0.5 else swarm.play()
        with mutant.applied():
            end = _end(steps)
        right = _end(steps) if end is None or len(near) < NEAR else end
        if right is None:
            broken.append(finding(steps))
        elif end is None:
            return shrink(steps, lambda less: tells(mutant, less))
        elif end != right:
            short = _differing(mutant, steps)
            if short not in near:
                near.append(short)
    return None


def afresh(mutants: Sequence[Mutant], seed: int) -> tuple[dict[str, list[Step] | None], list[Broken]]:
    """Search for each mutant, and say what became of it and how long that took.

    :returns: the play of each, None where there is none; and what the product itself broke
    """
    found: dict[str, list[Step] | None] = {}
    broken: list[Broken] = []
    for mutant in mutants:
        began = time.process_time()
        steps = found[mutant.name] = find(mutant, PATIENCE, seed, broken)
        print(f"{time.process_time() - began:6.1f} s  {mutant.name}: {'NOT FOUND' if steps is None else steps}", flush=True)
    return found, broken


def _longer(rng: random.Random, steps: Sequence[Step], swarm: Swarm) -> list[Step]:
    """A play with a few more steps in it, mostly at its end, perhaps without one, and perhaps with another beginning."""
    found = list(steps)
    if rng.random() < 0.3:
        found[0] = swarm.begin()
    if len(found) > 2 and rng.random() < 0.3:
        del found[rng.randrange(1, len(found))]
    for _ in range(rng.randint(1, 5)):
        found.insert(rng.choice((len(found), rng.randint(1, len(found)))), swarm.step())
    return [*found, ("calm",)]


def _differing(mutant: Mutant, steps: Sequence[Step]) -> list[Step]:
    """The shortest play with the same beginning that was found to tell them apart: clocks and scene may matter later."""
    begin, *rest = steps
    return [begin, *shorter(rest, lambda less: _differs(mutant, [begin, *less]))]


def _differs(mutant: Mutant, steps: Sequence[Step]) -> bool:
    with mutant.applied():
        end = _end(steps)
    return end is not None and end != _end(steps)


def _end(steps: Sequence[Step]) -> tuple[object, ...] | None:
    """What the play comes to: the world, and what syncd has written down and decided. None when an invariant broke."""
    play = Play()
    try:
        for step in steps or [("calm",)]:
            play.do(step)
        store = play.company.app.store
        return (play.world.digest(), *store.rows("SELECT record, address, said_hi, knowledge FROM entry ORDER BY position"),
                *(store.rows("SELECT * FROM decision ORDER BY person") if store.meta("relations") else ()))
    except Broken:
        return None
    finally:
        play.close()
