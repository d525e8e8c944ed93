"""The fold against the naive model, and what must hold of every history (docs/consent.md, "What always holds")."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.consent import RULES, Decision, TopicDecision, TopicPolicy, fold, reopens
from syncd.model import Scope, Statement
from tests.properties import reference_consent
from tests.properties.consent_histories import MINUTE, TOPICS, History, answers, any_statement, build, parse
from tests.properties.mutants_consent import MUTANTS, Mutant
from tests.soaking import FACTOR, covered, examples

HISTORIES = 10_000 * min(FACTOR, 20)
"""How many random histories are compared besides Hypothesis's; all of them are held in memory."""

PROPERTY = examples(150)



@st.composite
def _histories(draw: st.DrawFn) -> History:
    return build(lambda options: draw(st.sampled_from(options)))


@st.composite
def _statements(draw: st.DrawFn) -> Statement:
    def pick(options: Sequence[Any]) -> Any:
        return draw(st.sampled_from(options))

    return any_statement(pick, pick(range(1, 13)), 8, pick(["offers", "news", "club"]))


histories, statements = _histories(), _statements()


def decide(history: History, *more: Statement) -> Decision:
    person, address, said, holders, policy = history.arguments()
    return fold(person, address, [*said, *more], holders, policy, unit=history.unit)


def model(history: History) -> Decision:
    return reference_consent.fold(*history.arguments(), unit=history.unit)


def everything(decision: Decision) -> dict[str, TopicDecision]:
    return {"all marketing": decision.master, **decision.topics}


def mailable(decision: Decision) -> set[str]:
    return {name for name, d in everything(decision).items() if d.mailable}


def opted_out(decision: Decision) -> set[str]:
    return {name for name, d in everything(decision).items() if d.state == "unsubscribed"}


@cache
def corpus() -> list[tuple[History, Decision]]:
    """Seeded histories with the right answers according to the model."""
    rng = random.Random(20)
    return [(h, model(h)) for h in (build(rng.choice) for _ in range(HISTORIES))]


# --------------------------------------------------------------------------- agreement

@PROPERTY
@given(histories)
def test_it_agrees_with_the_model(history: History) -> None:
    assert decide(history) == model(history)


def test_it_agrees_with_the_model_on_many_histories_and_every_rule_decides() -> None:
    decided: Counter[str] = Counter()
    for history, right in corpus():
        decision = decide(history)
        assert decision == right, history
        decided.update(d.rule for d in decision.topics.values())
    covered(f"{HISTORIES} histories on which fold and model agree; topics decided by each rule of docs/consent.md: "
            + ", ".join(f"{rule} {count}" for rule, count in sorted(decided.items())))
    assert set(decided) == set(RULES)
    assert min(decided.values()) >= HISTORIES // 500, decided


# --------------------------------------------------------------------------- properties

@PROPERTY
@given(histories, st.randoms())
def test_order_and_duplicates_change_nothing(history: History, rng: random.Random) -> None:
    said = [*history.statements, *(s for s in history.statements if rng.random() < 0.5)]
    rng.shuffle(said)
    assert decide(replace(history, statements=tuple(said))) == decide(history)


@PROPERTY
@given(histories, st.randoms())
def test_order_of_arrival_changes_only_the_positions_reported(history: History, rng: random.Random) -> None:
    plain = [replace(s, knowledge=None) for s in history.statements if s.retracts is None]
    numbers = rng.sample(range(1, 100), len(plain))
    arrived = [replace(s, position=n) for s, n in zip(plain, numbers, strict=True)]
    one, other = (decide(replace(history, statements=tuple(said))) for said in (plain, arrived))
    for a, b in zip(everything(one).values(), everything(other).values(), strict=True):
        assert replace(a, position=0) == replace(b, position=0)


@PROPERTY
@given(histories, statements)
def test_one_more_opt_out_makes_nobody_mailable(history: History, extra: Statement) -> None:
    opt_out = replace(extra, state="opt_out", retracts=None)
    assert mailable(decide(history, opt_out)) <= mailable(decide(history))


@PROPERTY
@given(histories, statements)
def test_an_opt_out_of_ones_own_counts_at_once(history: History, extra: Statement) -> None:
    last = max((s.position for s in history.statements), default=0)
    opt_out = replace(extra, position=last + 10, person=1, state="opt_out", method="unsubscribe", retracts=None,
                      channel="email", scope=Scope("topic", "news"), said_lo=101 * MINUTE, said_hi=101 * MINUTE)
    assert decide(history, opt_out).topics["news"].state == "unsubscribed"


@PROPERTY
@given(histories, statements)
def test_what_no_person_made_reopens_nothing(history: History, extra: Statement) -> None:
    assert not opted_out(decide(history)) & mailable(decide(history, replace(extra, person_made=False)))


@PROPERTY
@given(histories, statements)
def test_a_stale_opt_in_reopens_nothing(history: History, extra: Statement) -> None:
    opt_outs = [s for s in history.statements if s.state == "opt_out"]
    soonest = min((max(s.said_lo or s.said_hi, s.said_hi) for s in opt_outs), default=0)
    stale = replace(extra, position=50, state="opt_in", retracts=None, knowledge=None,
                    said_lo=soonest + 10 * MINUTE, said_hi=soonest + 10 * MINUTE)
    assert not any(reopens(stale, o) for o in opt_outs)
    assert not opted_out(decide(history)) & mailable(decide(history, stale))


@PROPERTY
@given(histories, st.sampled_from([t for t in TOPICS if t.channel == "email"]), st.booleans())
def test_coming_back_works(history: History, topic: TopicPolicy, by_knowledge: bool) -> None:
    last = max((s.position for s in history.statements), default=0)
    at = 100 * MINUTE
    back = Statement(last + 1, "keyed", 1, 10, "email", Scope("topic", topic.id), "opt_in", "page",
                     "double opt-in", True, 0 if by_knowledge else at, at, at, last if by_knowledge else None,
                     purpose=topic.purpose)
    nobodys = [replace(s, scope=replace(s.scope, level="master")) if s.scope.level == "company" else s
               for s in history.statements if s.person not in history.holders[10] - {1}]
    decision = decide(replace(history, statements=tuple(nobodys)), back).topics[topic.id]
    assert decision.mailable
    assert decision.state == "subscribed"
    assert decision.position == last + 1


@PROPERTY
@given(histories, statements)
def test_strangers_change_nothing(history: History, extra: Statement) -> None:
    stranger = replace(extra, person=7, address=20, retracts=None)
    assert decide(history, stranger) == decide(history)


# --------------------------------------------------------------------------- mutants

@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_mutant_is_killed(mutant: Mutant) -> None:
    history, wrong = parse(mutant.history), mutant.fold()
    expected = list(history.expected)
    assert answers(decide(history), history) == expected
    assert answers(model(history), history) == expected
    assert answers(wrong(*history.arguments(), unit=history.unit), history) != expected


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_mutant_is_found_by_random_histories(mutant: Mutant) -> None:
    wrong = mutant.fold()  # its classes are its own, so decisions are compared as text
    assert any(repr(wrong(*h.arguments(), unit=h.unit)) != repr(right) for h, right in corpus())
