"""kill -9 at every named point, again and again, while people keep acting: the world ends as if nothing had happened."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.company import Company, company
from tests.faults.killing import (
    EARLY,
    LATE,
    OFTEN,
    POINTS,
    TRANSACTION,
    Driver,
    Memory,
    counted,
    driving,
    enough,
    unlike,
)
from tests.soaking import FACTOR

ROUNDS, KILLS = 9, 100
PLACES = (*POINTS, TRANSACTION)
USUAL = 30
"""Transactions of a cycle."""


@pytest.fixture(scope="module")
def killer() -> Iterator[Driver]:
    with driving() as found:
        yield found


def undisturbed(driver: Driver, directory: Path) -> tuple[list[str], Memory]:
    """What the world is like after each round if nobody kills anything, and what is known then."""
    with company(driver, directory) as c:
        c.cycle(approve=True)
        digests = [c.end_of_round()]
        for n in range(1, ROUNDS):
            c.first_acts(n)
            c.cycle()
            c.later_acts(n)
            c.cycle()
            c.cycle()
            digests.append(c.end_of_round())
        return digests, c.memory()


def disturbed(c: Company, rng: random.Random, kills: Counter[str], **options: Any) -> None:
    """Cycles that are killed at some of the points, later and later in their work, and behind a transaction; each is
    checked."""
    chosen = [*rng.sample(EARLY, 3), *rng.sample(LATE, 2)]
    for point in sorted(chosen, key=POINTS.index):
        answer = c.cycle(f"{point}:{rng.choice((1, 2, 3)) if point in OFTEN else 1}", **options)
        kills[point] += answer["killed"]
        c.nobody_who_refused_would_be_mailed()
    kills[TRANSACTION] += c.cycle(transactions=rng.randint(1, USUAL), **options)["killed"]
    c.nobody_who_refused_would_be_mailed()


def finish(c: Company, **options: Any) -> None:
    for _ in range(6):
        answer = c.cycle(**options)
        assert not answer["held"]
        if not answer["left"] and not any(answer["counts"].values()):
            return
    raise AssertionError(f"the sixth cycle in a row still wrote something: {answer}")


def test_kills_anywhere_change_nothing_that_can_be_seen(killer: Driver, tmp_path: Path) -> None:
    expected, memory = undisturbed(killer, tmp_path / "quiet")
    kills: Counter[str] = Counter()
    with counted(kills, PLACES):
        for seed in range(1, 2 * FACTOR + 1):
            with company(killer, tmp_path / f"killed-{seed}") as c:
                rng = random.Random(seed)
                disturbed(c, rng, kills, approve=True)
                finish(c, approve=True)
                assert c.end_of_round() == expected[0]
                for n in range(1, ROUNDS):
                    c.first_acts(n)
                    disturbed(c, rng, kills, wait=bool(n % 3))
                    c.later_acts(n)
                    disturbed(c, rng, kills)
                    finish(c)
                    c.nobody_who_refused_would_be_mailed()
                    assert c.end_of_round() == expected[n], f"round {n} of seed {seed} ended otherwise"
                known = c.memory()
                assert not known["waiting"]
                assert not unlike(memory, known)
    enough(kills, PLACES, 3, KILLS)
