"""kill -9 behind every sort of transaction, each time with news of every sort on its way: nobody's word is lost with it.

In the stories of ``test_kill.py`` what one stream loses another one tells; here each word has one witness.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.company import Company, company
from tests.faults.killing import Driver, driving
from tests.faults.mutants import MUTANTS, Mutant
from tests.soaking import USUAL, covered
from tests.system.lab import NEWS, OFFERS

MOST = 120
"""People, of whom three speak for each sort of transactions."""
TURNS = 8
"""So many companies a mutant may get through before it counts as not noticed: whose transaction comes first is chance, as
streams are read side by side, and about every second time it is one with which the mutant loses nothing."""


@pytest.fixture(scope="module")
def killer() -> Iterator[Driver]:
    with driving() as found:
        yield found


class Told(Company):
    """Three people speak before each cycle that dies, each to one witness."""

    left: list[int]
    """The numbers of those who have not spoken yet."""

    def everybody(self) -> None:
        """Whoever will ever speak is linked, and was mailed."""
        self.left = list(range(len(self.ids), len(self.ids) + MOST))
        self.add(MOST)
        self.cycle(approve=True)
        for audience in (OFFERS, NEWS):
            self.world.send("mc", audience)
        self.settle()

    def speak(self) -> tuple[int, int, int]:
        """One by an event alone, as her subscriber is deleted at once; one by a status alone, as an ESP user stops her mail;
        one by a record alone. Their numbers."""
        by_event, by_status, by_record = self.left.pop(), self.left.pop(), self.left.pop()
        self.world.act("mc", "unsubscribe", email=f"p{by_event}@mail.example", list="L2")
        self.world.act("mc", "delete_subscribers", keys=[self.ids[by_event]])
        self.world.act("mc", "suppress", email=f"p{by_status}@mail.example")
        self.edit(by_record, no_news=1)
        return by_event, by_status, by_record

    def settle(self, **options: str) -> list[str]:
        """Cycles until nothing is left to do; the names of the transactions of the first."""
        names: list[str] = []
        for _ in range(6):
            answer = self.cycle(**options)
            names = names or answer["transactions"]
            if not answer["left"] and not any(answer["counts"].values()):
                return names
        raise AssertionError(f"never settled: {answer}")

    def heard(self, by_event: int, by_status: int, by_record: int) -> bool:
        """Whether the CRM holds what was said to the provider, and no mail of news goes to any of them."""
        crm = {p["id"]: p["fields"] for p in self.world.truth()["sf"]["people"]}
        mailed = {*self.world.send("mc", NEWS)["mailed"]}
        return bool(crm[self.ids[by_event]]["no_news"] and crm[self.ids[by_status]]["opted_out"]
                    and not mailed & {f"p{n}@mail.example" for n in (by_event, by_status, by_record)})


def speaks_through_transactions(killer: Driver, directory: Path, each: int = 1, **options: str) -> int:
    """How many sorts of transactions it was killed behind; ``each`` third, say, of those that there are.

    :raises AssertionError: somebody's word was lost
    """
    with company(killer, directory, Told) as c:
        assert isinstance(c, Told)
        c.everybody()
        told = c.speak()
        names = c.settle(**options)
        assert c.heard(*told), "nobody was killed"
        killed = 0
        for name in names[::each]:
            told = c.speak()
            killed += c.cycle(behind=name, **options)["killed"]
            c.settle(**options)
            assert c.heard(*told), f"killed behind {name}"
        return killed


def test_nobodys_word_is_lost_with_any_transaction(killer: Driver, tmp_path: Path) -> None:
    """A third of the sorts will do, unless there is more time."""
    killed = speaks_through_transactions(killer, tmp_path / "company", 3 if USUAL else 1)
    covered(f"{killed} sorts of transactions")
    assert killed >= 6


def gets_through(killer: Driver, directory: Path, mutant: Mutant) -> None:
    for turn in range(TURNS):
        speaks_through_transactions(killer, directory / f"company{turn}", mutant=mutant.name)


@pytest.mark.soak
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_a_mutant_that_loses_words_is_noticed(killer: Driver, tmp_path: Path, mutant: Mutant) -> None:
    with pytest.raises(AssertionError, match=r"killed behind|never settled"):
        gets_through(killer, tmp_path, mutant)
