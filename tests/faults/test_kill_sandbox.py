"""kill -9 while three vendors' queues are full and people keep leaving: nobody is mailed against their word at any moment,
and in the end nobody could tell that anything happened.

Two companies live through the same events, each a served sandbox and a syncd started as from a shell. One is left in
peace; the other's syncd is killed at every named point, behind any transaction, and now and then anywhere. Between the
kills mails are sent.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from syncd.failures import HELD
from tests.faults.killing import EARLY, LATE, OFTEN, POINTS, TRANSACTION, counted, driving, enough, intact, spoken, unlike
from tests.faults.sandbox_side import FINE, QUEUE, Side, differences, hash_key, side
from tests.faults.sandbox_story import Story, residents

ANYWHERE = "anywhere"
PLACES = (*POINTS, ANYWHERE, TRANSACTION)
LONGEST = 1.5
"""Seconds within which a kill that is aimed at no point happens."""
USUAL, FIRST = 60, 180
"""Transactions of a cycle in which something happens, and of a first plan, in a small company."""
HOUR = 3_600.0
MANY = 5_000
"""People to whom three mails after each kill are too many: the provider remembers every single one."""


class Killed:
    """Starts the syncd of a company so that it dies."""

    def __init__(self, company: Side, seed: int) -> None:
        self.company = company
        self.kills: Counter[str] = Counter()
        self.rng = random.Random(seed)
        self._mailings = cycle(company.topics)
        self._mails = 3 if company.people <= MANY else 1

    def start(self, place: str, *words: str, fine: tuple[int, ...] = FINE) -> int:
        """Start a command that is to die at ``place``; with what it ended. Then ask who would be mailed."""
        how: dict[str, Any] = {"failpoint": f"{place}:{self._passing(place)}"}
        if place == ANYWHERE:
            how = {"after": self.rng.uniform(0.05, LONGEST)}
        elif place == TRANSACTION:
            how = {"transactions": self.rng.randint(1, FIRST if words[0] in ("plan", "apply") else USUAL)}
        answer = self.company.start(*words, fine=fine, **how)
        self.kills[place] += answer["killed"]
        self.company.check(("offers", "tips", next(self._mailings))[-self._mails:])
        return int(answer["code"])

    def _passing(self, place: str) -> int:
        return self.rng.randint(1, 20 if place == "page_stored" else 3 if place in OFTEN else 1)

    def link(self) -> None:
        """The first synchronisation: killed while the plan is made, and while it is carried out."""
        self.company.slow_queue()
        for place in (*EARLY, TRANSACTION, ANYWHERE):
            self.start(place, "plan", fine=(0, 4))
        plan = self._plan()
        for place in (*EARLY, *LATE, TRANSACTION):
            if place in LATE:
                self.company.advance(QUEUE)
            if self.start(place, "apply", plan, *self.company.briefly, fine=(*FINE, 2, HELD)) == HELD:
                plan = self._plan()  # time changes it, too: somebody is a newcomer no longer
                self.start(place, "apply", plan, *self.company.briefly)
        while self.company.start("apply", plan, *self.company.briefly, fine=(*FINE, 2, HELD))["code"] == 7:
            self.company.advance(QUEUE)

    def _plan(self) -> str:
        return str(self.company.start("plan", fine=(0, 4))["plan"]["id"])

    def places(self) -> list[str]:
        """Where to kill in a round: later and later in the work, with something unforeseen in between."""
        chosen = sorted([*self.rng.sample(EARLY, 3), *LATE], key=POINTS.index)
        for place in (ANYWHERE, TRANSACTION):
            chosen.insert(self.rng.randrange(len(chosen)), place)
        return chosen


def together(calm: Side, other: Side, seconds: float = 0.0) -> None:
    """Both companies' clocks show the same time, so many seconds from now."""
    until = max(calm.now(), other.now()) + seconds
    for company in (calm, other):
        company.advance(max(0.0, until - company.now()))


@pytest.mark.parametrize(("people", "least"), [
    pytest.param(1_000, 40, id="small"), pytest.param(20_000, 200, id="soak", marks=pytest.mark.soak)])
def test_kills_change_nothing_that_anybody_could_see(tmp_path: Path, people: int, least: int) -> None:
    with driving() as driver, side(tmp_path / "calm", people, driver) as calm, \
            side(tmp_path / "killed", people, driver) as other:
        for company in (calm, other):
            company.refused_before()
            company.mail_everyone()
        killer = Killed(other, seed=people)
        calm.start("apply", calm.start("plan", fine=(4,))["plan"]["id"], fine=FINE)
        killer.link()
        with counted(killer.kills, PLACES):
            story = Story(residents(calm, _end_of_round(calm, other, 0)), seed=people)
            for n in range(1, least // 4):  # a round has twice as many places, not all of which it comes to
                _round(story, n, calm, killer)
                _end_of_round(calm, other, n)
                print(f"after round {n}: {killer.kills.total()} kills", flush=True)
                if killer.kills.total() >= least and min(killer.kills[p] for p in PLACES) >= 3:
                    break
        enough(killer.kills, PLACES, 3, least)
        states = [c.config.parent / "state" / "syncd.db" for c in (calm, other)]
        one, two = (intact(state, c.config.parent / "journal" / "consent.log", hash_key(c), people)
                    for c, state in zip((calm, other), states, strict=True))
        different = unlike(one, two)
        assert not different, "the states know different things:\n" + "\n".join([*different, *spoken(one, two, *states)])


def _round(story: Story, n: int, calm: Side, killer: Killed) -> None:
    """The same events for both; the calm company synchronises twice, the other is killed after each of the first."""
    events = story.round(n)
    for number, event in enumerate(events):
        event.happen(calm)
        if number == len(events) // 2:
            calm.cycle()
    places = killer.places()
    killer.company.slow_queue()
    for number, event in enumerate(events):
        event.happen(killer.company)
        if number < len(places):
            _kill(killer, places[number])
    for place in places[len(events):]:
        _kill(killer, place)


def _kill(killer: Killed, place: str) -> None:
    if place == "settled":
        killer.company.advance(QUEUE)
    words = ("run",) if place == ANYWHERE and killer.rng.random() < 0.5 else ("once", *killer.company.briefly)
    killer.start(place, *words)


def _end_of_round(calm: Side, other: Side, n: int) -> dict[str, set[str]]:
    together(calm, other)
    for company in (calm, other):
        company.settle()
    together(calm, other, HOUR)
    for company in (calm, other):
        company.settle()
    mailed = calm.end_of_round()
    assert mailed == other.end_of_round(), f"round {n} ended with other mails"
    together(calm, other, HOUR)
    for company in (calm, other):
        company.settle()
    unlike = differences(calm, other)
    assert not unlike, f"round {n} ended otherwise:\n" + "\n".join(unlike)
    return mailed
