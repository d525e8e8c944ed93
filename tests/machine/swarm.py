"""Random plays, each of its own sort.

Plays that draw from everything at once are all alike: whatever needs five steps about one person hardly ever happens,
because forty other kinds of steps and eleven other people come between. So every play first draws what it is made of: a few
kinds of steps, each with a weight of its own, and of their arguments a few.

A search that knows what kinds of steps a fault needs, or in which scene it shows, draws half of its plays from nothing else,
and some go through these kinds in their order, once: the steps that must come together are then about the same people.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from tests.machine.steps import KINDS, Step, opening

SHARES = (0.1, 0.2, 0.4, 0.8)
"""How many of all kinds of steps one play has at most."""
MANY = 8
LENGTHS = (6, 6, 12, 12, 25, 40)


class Swarm:
    """One sort of play.

    :param rng: draws all that is drawn
    :param favourites: kinds of steps that most plays have, and half of them have alone, in the order in which they might
        come
    :param scene: the scene, None = any
    """

    def __init__(self, rng: random.Random, favourites: Sequence[str] = (), scene: int | None = None) -> None:
        self._rng = rng
        self._scene = scene
        self._few: dict[tuple[Any, ...], list[Any]] = {}
        self._script = favourites if rng.random() < 0.25 else ()
        share = 0.0 if favourites and rng.random() < 0.5 else rng.choice(SHARES)
        weights = {kind: rng.choice((1, 1, 2, 4)) for kind in KINDS if rng.random() < share}
        weights |= {kind: rng.choice((2, 4, 8)) for kind in favourites if rng.random() < 0.8}
        self._weights = weights | {"cycle": max(2, sum(weights.values()) // rng.choice((1, 2, 4, 8)))}

    def _pick(self, options: Sequence[Any]) -> Any:
        """One of the few options this play knows of these; of many people mostly the first, so that steps meet."""
        key = tuple(options)
        if key not in self._few:
            weights = [1 / (place + 1) if len(key) > MANY else 1 for place in range(len(key))]
            self._few[key] = self._rng.choices(key, weights, k=self._rng.choice((1, 1, 2, 3, len(key))))
        return self._rng.choice(self._few[key])

    def step(self) -> Step:
        """One more step."""
        [kind] = self._rng.choices(list(self._weights), list(self._weights.values()))
        return self._of(kind)

    def _of(self, kind: str) -> Step:
        return (kind, *KINDS[kind](self._pick))

    def play(self) -> list[Step]:
        """A whole play; it ends in a calm, when everything must have come right."""
        steps = [self._of(kind) for kind in self._script] or [self.step() for _ in range(self._rng.choice(LENGTHS))]
        return [self.begin(), *steps, ("calm",)]

    def begin(self) -> Step:
        """The first step of a play."""
        begin = opening(self._rng.choice)
        return begin if self._scene is None else (*begin[:-1], self._scene)
