"""Consent histories as text: the notation of docs/consent.md, read into arguments for ``fold``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from syncd.consent import Decision, Policy, TopicPolicy
from syncd.model import Scope, Statement

MINUTE = 60_000_000


@dataclass(frozen=True, slots=True)
class History:
    """The arguments of one ``fold`` and the answers expected of it: (topic id or "all", words of the answer)."""

    statements: tuple[Statement, ...]
    holders: Mapping[int, frozenset[int]]
    policy: Policy
    unit: str | None = None
    expected: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def arguments(self) -> tuple[int, int, tuple[Statement, ...], Mapping[int, frozenset[int]], Policy]:
        """The positional arguments of ``fold``, for person 1 at address 10."""
        return 1, 10, self.statements, self.holders, self.policy


def parse(text: str) -> History:
    """Read one example; see the section "Words" of docs/consent.md for the notation."""
    topics, statements, expected = [], [], []
    holders, unit = frozenset({1}), None
    for line in filter(None, map(str.strip, text.splitlines())):
        first, *rest = line.split()
        if first == "topic":
            topics.append(TopicPolicy(rest[0], rest[1], **dict(w.split("=") for w in rest[2:])))  # type: ignore[arg-type]  # text of a test
        elif first == "holds":
            holders = frozenset(map(int, rest))
        elif first == "unit":
            unit = rest[0]
        elif first == "=>":
            expected.append((rest[0], tuple(rest[1:])))
        else:
            statements.append(statement(int(first), *rest))
    return History(tuple(statements), {10: holders}, Policy(tuple(topics)), unit, tuple(expected))


def statement(position: int, state: str, scope: str, *words: str) -> Statement:
    """One line of an example."""
    said = {"of": "1", "on": "10", "at": "..0", "via": "flag"} | dict(w.split("=") for w in words if "=" in w)
    said_lo, said_hi = _interval(said["at"])
    level = scope if scope in ("master", "company") else "topic"
    values: dict[str, Any] = {
        "position": position,
        "subject": "address" if said["of"] == "nobody" else "keyed",
        "person": None if said["of"] == "nobody" else int(said["of"]),
        "address": None if said["on"] == "nowhere" else int(said["on"]),
        "channel": said.get("channel", "email"),
        "scope": Scope(level, scope if level == "topic" and scope != "nothing" else None,  # type: ignore[arg-type]  # checked by the line above
                       tuple(filter(None, said.get("all_except", "").split(","))), said.get("unit")),
        "state": state, "source": "test", "method": said["via"].replace("_", " "), "person_made": "person" in words,
        "said_lo": said_lo, "said_hi": said_hi, "seen_at": int(said.get("seen", "100000")) * MINUTE,
        "knowledge": int(said["knows"]) if "knows" in said else None,
        "retracts": int(said["retracts"]) if "retracts" in said else None,
        "purpose": said.get("purpose", "marketing"),
        "baseline": "baseline" in words, "baseline_approved": "approved" in words,
    }
    return Statement(**values)


def answers(decision: Decision, history: History) -> list[tuple[str, tuple[str, ...]]]:
    """The decision in the words of the example's answers; ``whose`` only where the example names it."""
    given = []
    for name, words in history.expected:
        d = decision.master if name == "all" else decision.topics[name]
        said = [d.state, *["mailable"] * d.mailable, d.rule, str(d.position)]
        given.append((name, tuple(said + [d.whose] * (words[-1:] != tuple(said[-1:])))))
    return given


def examples(page: str) -> dict[str, list[str]]:
    """The examples of docs/consent.md by rule id."""
    found: dict[str, list[str]] = {}
    rule = ""
    for heading, block in re.findall(r"^## ([HR]\d+)\.|^```consent\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        rule = heading or rule
        if block:
            found.setdefault(rule, []).append(block)
    return found


def _interval(text: str) -> tuple[int | None, int]:
    lo, dots, hi = text.partition("..")
    start = int(lo) * MINUTE if lo else None
    if not dots:
        assert start is not None
        return start, start
    return start, int(hi) * MINUTE


TOPICS = (TopicPolicy("offers", "required"), TopicPolicy("news", "none"), TopicPolicy("club", "confirmed"),
          TopicPolicy("invoices", "none", purpose="transactional"), TopicPolicy("alerts", "none", channel="sms"))


class Pick(Protocol):
    """``random.Random.choice``, or the same drawn by Hypothesis."""

    def __call__(self, options: Sequence[Any], /) -> Any: ...


def build(pick: Pick) -> History:
    """A small random history, mostly about one topic, in which every rule of docs/consent.md is common."""
    size = pick([0, 1, 2, 2, 3, 3, 3, 4, 5, 8])
    holders = frozenset(pick([(1,), (1,), (1,), (1, 2), (1, 2), (1, 2, 3), (2,), ()]))
    topic = pick(["offers", "offers", "news", "club", "invoices"])
    return History(tuple(any_statement(pick, n + 1, size, topic) for n in range(size)),
                   {10: holders, 20: frozenset({1, 3})}, Policy(TOPICS), pick([None, None, "shop"]))


def any_statement(pick: Pick, position: int, last: int, topic: str) -> Statement:
    """A random statement, probably about ``topic``; it may know, or retract, a position that comes after it."""
    level, name = pick([("topic", topic)] * 12 + [("master", None)] * 8 + [
        ("company", None), ("company", None), ("topic", "offers"), ("topic", "news"), ("topic", None)])
    state = pick(["opt_in"] * 6 + ["opt_out"] * 5 + ["pending"] * 2)
    lo, width = pick([None, 0, 1, 10, 11, 20, 21, 40]), pick([0, 0, 0, 0, 1, 10, -5])
    hi = width if lo is None else lo + width
    retracts = pick([None] * 14 + [max(position - 1, 1), last])
    return Statement(
        position, "keyed", pick([1] * 8 + [2, 2, 3, None, None]), pick([10] * 8 + [20, None]),
        pick(["email"] * 19 + ["sms"]),
        Scope(level, name, pick([(), (), (topic,)]), pick([None] * 10 + ["shop", "brand"])), state, "test",
        pick(["web", "web", "flag", "grant", "double opt-in", "confirmed"] + ["bounce"] * (state == "opt_out")),
        pick([True, True, False]) or (retracts is not None and pick([True, True, False])),
        None if lo is None else lo * MINUTE, hi * MINUTE, pick([100] * 4 + [15]) * MINUTE,
        pick([None, None, None, last + 2, position, *range(last)]), retracts,
        pick(["marketing", "transactional"] if topic == "invoices" else ["marketing"] * 14 + ["transactional"]),
        pick([False] * 4 + [True]), pick([True, True, False]))
