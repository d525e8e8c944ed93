"""The examples of docs/consent.md, and the corners of the fold's interface."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from syncd.consent import RULES, Decision, Policy, TopicPolicy, fold, reopens
from syncd.model import Statement
from tests.properties import reference_consent
from tests.properties.consent_histories import MINUTE, answers, examples, parse, statement

PAGE = (Path(__file__).parents[2] / "docs" / "consent.md").read_text(encoding="utf-8")
EXAMPLES = [(rule, block) for rule, blocks in examples(PAGE).items() for block in blocks]

OFFERS = Policy((TopicPolicy("offers", "required"),))
NEWS = Policy((TopicPolicy("news", "none"),))
ALONE = {10: frozenset({1})}


def ends(opt_out: Statement, opt_in: Statement) -> bool:
    """Whether the fold lets ``opt_in`` end ``opt_out``, asked in both orders."""
    answer = [fold(1, 10, said, ALONE, OFFERS).topics["offers"].mailable
              for said in itertools.permutations((opt_out, opt_in))]
    assert answer[0] == answer[1]
    return answer[0]


# --------------------------------------------------------------------------- the page

@pytest.mark.parametrize(("rule", "example"), EXAMPLES, ids=[f"{r}-{n}" for n, (r, _) in enumerate(EXAMPLES)])
@pytest.mark.parametrize("decide", [fold, reference_consent.fold], ids=["fold", "model"])
def test_example_of_the_page(rule: str, example: str, decide: Callable[..., Decision]) -> None:
    history = parse(example)
    assert answers(decide(*history.arguments(), unit=history.unit), history) == list(history.expected)


def test_every_rule_has_an_example_that_it_decides() -> None:
    for rule in RULES:
        deciding = {words for block in examples(PAGE)[rule] for _, given in parse(block).expected for words in given}
        assert rule in deciding


def test_every_heading_and_every_mentioned_rule_exists() -> None:
    headings = set(re.findall(r"^## ([HR]\d+)\.", PAGE, re.MULTILINE))
    assert headings == {*RULES, *(f"H{n}" for n in range(1, 9))}
    source = (Path(__file__).parents[2] / "syncd" / "consent.py").read_text(encoding="utf-8")
    assert set(re.findall(r"\b[HR]\d+\b", source + PAGE)) == headings


# --------------------------------------------------------------------------- time and knowledge

@pytest.mark.parametrize(("said_out", "said_in", "expected"), [
    ("0", "10", False),
    ("0", "11", True),
    ("0..20", "30", False),
    ("0..20", "31", True),
    ("..20", "31", True),
    ("20", "0..60", False),
    ("20", "31..60", True),
    ("20", "..60", False),
])
def test_time_decides_where_nothing_was_known(said_out: str, said_in: str, expected: bool) -> None:
    opt_out = statement(1, "opt_out", "offers", f"at={said_out}")
    opt_in = statement(2, "opt_in", "offers", f"at={said_in}", "person")
    assert reopens(opt_in, opt_out) is expected
    assert ends(opt_out, opt_in) is expected


def test_the_tolerance_is_the_policys() -> None:
    said = [statement(1, "opt_out", "offers", "at=0"), statement(2, "opt_in", "offers", "at=2", "person")]
    for tolerance, expected in [(2 * MINUTE, False), (2 * MINUTE - 1, True)]:
        decision = fold(1, 10, said, ALONE, replace(OFFERS, clock_tolerance=tolerance))
        assert decision.topics["offers"].mailable is expected
        assert reopens(said[1], said[0], tolerance) is expected


def test_an_opt_in_that_arrives_before_the_opt_out_it_follows_still_ends_it() -> None:
    assert ends(statement(2, "opt_out", "offers", "at=0"), statement(1, "opt_in", "offers", "at=60", "person"))


def test_knowledge_beats_every_clock() -> None:
    opt_out = statement(4, "opt_out", "offers", "at=9000")
    for knows, expected in [(3, False), (4, True), (7, True)]:
        opt_in = statement(8, "opt_in", "offers", "at=0", "person", f"knows={knows}")
        assert reopens(opt_in, opt_out) is expected
        assert ends(opt_out, opt_in) is expected


@pytest.mark.parametrize("fault", [{"person_made": False}, {"baseline": True, "baseline_approved": True},
                                   {"state": "pending"}, {"retracts": 7}])
def test_only_ones_own_opt_in_reopens(fault: dict[str, object]) -> None:
    opt_out = statement(1, "opt_out", "offers", "at=0")
    opt_in = replace(statement(8, "opt_in", "offers", "at=60", "person", "knows=7"), **fault)  # type: ignore[arg-type]  # keys are fields
    assert not reopens(opt_in, opt_out)
    assert not ends(opt_out, opt_in)


# --------------------------------------------------------------------------- the interface

def test_only_topics_of_the_channel_are_decided() -> None:
    policy = Policy((TopicPolicy("offers", "none"), TopicPolicy("alerts", "none", channel="sms")))
    said = [statement(1, "opt_out", "master", "channel=sms")]
    assert {n: d.mailable for n, d in fold(1, 10, said, ALONE, policy).topics.items()} == {"offers": True}
    sms = fold(1, 10, said, ALONE, policy, channel="sms")
    assert {n: d.rule for n, d in sms.topics.items()} == {"alerts": "R2"}
    assert sms.master.state == "unsubscribed"


def test_without_an_address_only_the_person_counts() -> None:
    said = [statement(1, "opt_out", "news", "of=2"), statement(2, "opt_out", "news", "of=nobody", "on=nowhere")]
    assert fold(1, None, said, {10: frozenset({1, 2})}, NEWS).topics["news"].rule == "R11"
    own = statement(3, "opt_out", "news", "on=20")
    assert fold(1, None, [*said, own], {}, NEWS).topics["news"].rule == "R1"


def test_all_other_holders_that_block_are_named() -> None:
    said = [statement(1, "opt_out", "news", "of=3"), statement(2, "opt_out", "master", "of=2", "on=20"),
            statement(3, "opt_out", "news", "of=1"), statement(4, "opt_out", "news", "of=4")]
    decision = fold(1, 10, said, {10: frozenset({1, 2, 3})}, NEWS)
    assert decision.blocked_by == (2, 3)
    assert (decision.topics["news"].rule, decision.master.rule) == ("R1", "R4")
    assert decision.master.whose == "holder"


def test_a_decision_for_any_unit_heeds_every_unit() -> None:
    opt_out = statement(1, "opt_out", "news", "at=0", "unit=shop")
    for unit, expected in [("shop", False), ("brand", True), (None, False)]:
        assert fold(1, 10, [opt_out], ALONE, NEWS, unit=unit).topics["news"].mailable is expected
    back = statement(2, "opt_in", "news", "at=60", "person", "unit=shop")
    assert fold(1, 10, [opt_out, back], ALONE, NEWS).topics["news"].mailable


def test_what_counts_as_confirmed_is_configurable() -> None:
    policy = Policy((TopicPolicy("club", "confirmed"),), confirmed=frozenset({"grant"}))
    for method, expected in [("grant", True), ("double_opt-in", False)]:
        said = [statement(1, "opt_in", "club", "person", f"via={method}")]
        assert fold(1, 10, said, ALONE, policy).topics["club"].mailable is expected


def test_statements_may_come_from_a_generator() -> None:
    said = [statement(1, "opt_out", "news"), statement(2, "opt_in", "master", "retracts=1", "person")]
    assert fold(1, 10, (s for s in said), ALONE, NEWS).topics["news"].rule == "R10"


def test_a_long_history_is_not_compared_pair_by_pair() -> None:
    looks = 0

    class Counted(int):
        """A position that counts comparisons."""

        def __le__(self, other: int) -> bool:
            nonlocal looks
            looks += 1
            return int(self) <= other

        def __gt__(self, other: int) -> bool:
            nonlocal looks
            looks += 1
            return int(self) > other

    outs = [replace(statement(n, "opt_out", "news"), position=Counted(n)) for n in range(1, 301)]
    ins = [statement(n, "opt_in", "news", "person", f"knows={n - 1}") for n in range(301, 601)]
    assert fold(1, 10, outs + ins, ALONE, NEWS).topics["news"].position == 600
    assert looks < 300 * 10
