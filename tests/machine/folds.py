"""The first depth: identity, fold and gate alone, a hundred thousand steps in seconds.

Three people and three addresses. Words are said in a true order that only the play knows; they arrive later, in any order
and more than once, with clocks that differ by up to the tolerance. People move, share addresses, and are merged and parted
again. After every step somebody is decided and judged: against the naive model of the rules, and by what was truly said.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace

from syncd.consent import Policy, TopicPolicy, fold
from syncd.model import Scope, Statement
from tests.machine.play import Broken
from tests.properties import reference_consent

MINUTE = 60_000_000
SKEW = 5
"""Minutes that any clock is ahead or behind at most: two of them differ by the tolerance."""
TOPICS = ("offers", "news")
POLICY = Policy((TopicPolicy("offers", "required"), TopicPolicy("news", "none")))
RECORDS, ADDRESSES = (1, 2, 3), (10, 20, 30)
LENGTHS = (4, 8, 16)
"""Steps of one history: long ones decide little that short ones do not."""
COMPARED = 5
"""Every so many decisions are also compared with the naive model, which takes its time."""


@dataclass(frozen=True, slots=True)
class Word:
    """What a record's owner really said: ``order`` is the true one, of the whole history."""

    order: int
    record: int
    address: int
    topic: str | None
    no: bool
    by_person: bool


class History:
    """One history, as it happens and as it becomes known."""

    def __init__(self, rng: random.Random, counts: Counter[str]) -> None:
        self.rng, self.counts = rng, counts
        self.minute, self.position = 0, 0
        self.at = dict(zip(RECORDS, ADDRESSES, strict=True))
        self.person = {r: r for r in RECORDS}
        self.words: list[Word] = []
        self.late: list[tuple[Word, int]] = []
        self.arrived: list[tuple[Word, Statement]] = []

    def step(self) -> None:
        """Something happens, something may arrive, and somebody is judged."""
        self.minute += self.rng.choice((0, 1, 4, 11, 40))
        act = self.rng.choices((self.say, self.move, self.merge, self.part), (10, 2, 1, 1))[0]
        act()
        self.counts[act.__name__] += 1
        while self.late and self.rng.random() < 0.6:
            self.hear(*self.late.pop(self.rng.randrange(len(self.late))))
        self.judge(self.rng.choice(RECORDS))
        self.counts["steps"] += 1

    # ------------------------------------------------------------------ what happens

    def say(self) -> None:
        record, no = self.rng.choice(RECORDS), self.rng.random() < 0.5
        word = Word(len(self.words), record, self.at[record], self.rng.choice((*TOPICS, None)), no, self.rng.random() < 0.7)
        self.words.append(word)
        self.late.append((word, self.minute + self.rng.randint(-SKEW, SKEW)))

    def move(self) -> None:
        """An address changes, perhaps to that of somebody else."""
        self.at[self.rng.choice(RECORDS)] = self.rng.choice(ADDRESSES)

    def merge(self) -> None:
        """Two records turn out to be one person's: the smallest record gives the person its id."""
        one, other = self.rng.sample(RECORDS, 2)
        group = [r for r in RECORDS if self.person[r] in (self.person[one], self.person[other])]
        self.person |= dict.fromkeys(group, min(group))

    def part(self) -> None:
        """They were several people after all."""
        self.person = {r: r for r in RECORDS}

    def hear(self, word: Word, claimed: int) -> None:
        """A word arrives, with what its author's clock said; some arrive twice."""
        self.position += 1
        level = "topic" if word.topic is not None else "master"
        at = claimed * MINUTE
        statement = Statement(
            self.position, "keyed", word.record, word.address, "email", Scope(level, word.topic),  # type: ignore[arg-type]  # one of two words
            "opt_out" if word.no else "opt_in", "here", "web" if word.by_person else "flag", word.by_person, at, at,
            max(at, (self.minute + SKEW) * MINUTE))
        self.arrived += [(word, statement)] * self.rng.choice((1, 1, 1, 2))

    # ------------------------------------------------------------------ what must hold

    def judge(self, record: int) -> None:
        """The decision about whoever has this record, as the gate reads it."""
        person, address = self.person[record], self.at[record]
        said = [replace(s, person=self.person[w.record]) for w, s in self.arrived]
        self.rng.shuffle(said)
        holders = {a: frozenset(self.person[r] for r in RECORDS if self.at[r] == a) for a in ADDRESSES}
        decision = fold(person, address, said, holders, POLICY)
        if self.counts["steps"] % COMPARED == 0 \
                and decision != reference_consent.fold(person, address, said, holders, POLICY):
            raise Broken(f"the model does not agree: {said}")
        for topic in TOPICS:
            against = self._against(person, address, topic)
            if against is not None:
                self.counts["had to be quiet"] += 1
                if decision.topics[topic].mailable:
                    raise Broken(f"{topic} is mailable against {against}: {said}")
            elif self._wanted(person, topic, holders[address]):
                self.counts["had to be mailed"] += 1
                if not decision.topics[topic].mailable:
                    raise Broken(f"{topic} is not mailable, and nobody refused: {said}")

    def _against(self, person: int, address: int, topic: str) -> Word | None:
        """A refusal that was heard, at this address or of somebody who has it now, with nobody's return after it."""
        heard = {w for w, _ in self.arrived if w.topic in (topic, None)}
        for word in sorted(heard, key=lambda w: w.order):
            speaker = self.person[word.record]
            holds = any(self.at[r] == address for r in RECORDS if self.person[r] == speaker)
            if word.no and (speaker == person or holds or word.address == address) and not any(
                    not w.no and w.by_person and w.order > word.order for w in heard):
                return word
        return None

    def _wanted(self, person: int, topic: str, holders: frozenset[int]) -> bool:
        """Nobody refused the topic, ever, and where it needs an opt-in this person's own was heard."""
        if any(w.no and w.topic in (topic, None) for w, _ in self.arrived) or holders != {person}:
            return False
        return topic == "news" or any(w.topic == topic and w.by_person and self.person[w.record] == person
                                      for w, _ in self.arrived)


def fold_at_random(steps: int, seed: int, counts: Counter[str]) -> None:
    """So many steps, in histories of a few dozen.

    :raises Broken:
    """
    rng = random.Random(seed)
    while counts["steps"] < steps:
        history = History(rng, counts)
        for _ in range(rng.choice(LENGTHS)):
            history.step()
