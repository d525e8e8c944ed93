"""The naive model of docs/consent.md, written from that page alone and as close to its words as Python allows.

It looks at every pair of statements, knows nothing of speed, and shares only the nouns with ``syncd/consent.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from syncd.consent import Decision, Policy, State, TopicDecision, TopicPolicy
from syncd.model import Statement

ALL = TopicPolicy("all marketing", "none")


class Case:
    """One person P at one address A; the methods are the page's sentences, the letters are the page's too."""

    def __init__(self, p: int, a: int | None, statements: Iterable[Statement], holders: Mapping[int, frozenset[int]],
                 policy: Policy, channel: str, unit: str | None) -> None:
        self.p, self.a, self.policy, self.unit = p, a, policy, unit
        self.others = {q for q in holders.get(a, ()) if q != p} if a is not None else set()
        every = set(statements)
        valid = {(x.retracts, x.position) for x in every
                 if x.retracts is not None and x.person_made and x.position > x.retracts}
        said = {self.read(s) for s in every if s.retracts is None and s.channel == channel
                and not (unit is not None and s.scope.unit not in (None, unit))
                and not (s.state == "opt_out" and s.method == "bounce" and not s.person_made)}
        self.void = {(s, by) for s in said for target, by in valid if target == s.position and not s.person_made}
        self.said = said - {s for s, _ in self.void}

    @staticmethod
    def read(s: Statement) -> Statement:
        """H2: stop what? Everything."""
        nameless = s.scope.level == "topic" and not s.scope.topic and s.state != "opt_in"
        return replace(s, scope=replace(s.scope, level="master")) if nameless else s

    def some(self, state: str) -> set[Statement]:
        return {s for s in self.said if s.state == state}

    # H1, H2
    def owner(self, o: Statement) -> str | None:
        if o.person == self.p:
            return "person"
        if o.person is not None and o.person in self.others:
            return "holder"
        return "address" if self.a is not None and o.address == self.a else None

    def speaks(self, s: Statement) -> bool:
        return s.person == self.p or (s.person is None and self.a is not None and s.address == self.a)

    def covers(self, s: Statement, t: TopicPolicy) -> bool:
        if s.scope.level == "topic":
            return t is not ALL and bool(s.scope.topic) and s.scope.topic == t.id
        if s.purpose != t.purpose:
            return False
        return s.scope.level == "company" or t is ALL or t.id not in s.scope.all_except

    # H3, H4
    def own_word(self, s: Statement) -> bool:
        return s.state == "opt_in" and s.person_made and not s.baseline

    def fit(self, s: Statement, t: TopicPolicy) -> bool:
        """All that an opt-in needs in order to count, except whose word it is."""
        method = t.opt_in != "confirmed" or s.method in self.policy.confirmed
        return s.scope.level != "company" and self.covers(s, t) and s.purpose == t.purpose and method

    def follows(self, later: Statement, earlier: Statement) -> bool:
        if later.said_lo is None:
            return False
        first = min(later.said_lo, later.said_hi, later.seen_at)
        last = max(earlier.said_hi, earlier.said_hi if earlier.said_lo is None else earlier.said_lo)
        return first - last > self.policy.clock_tolerance

    def late_enough(self, r: Statement, o: Statement) -> bool:
        knew = r.knowledge is not None and o.position <= r.knowledge and o.position < r.position
        return knew or self.follows(r, o)

    # H5, H6, H8
    def kind(self, r: Statement, o: Statement, t: TopicPolicy) -> bool:
        if not self.own_word(r):
            return False
        if o.scope.level == "company":
            return r.scope.level == "company" and r.method == "grant" and r.purpose == t.purpose
        return self.fit(r, t) and (r.scope.level == "topic" or o.scope.level == "master")

    def unit_fits(self, r: Statement, o: Statement | None = None) -> bool:
        return r.scope.unit is None or r.scope.unit == self.unit or (o is not None and r.scope.unit == o.scope.unit)

    def ends(self, r: Statement, o: Statement, t: TopicPolicy) -> bool:
        same = r.person == o.person and r.person is not None
        there = self.owner(o) == "address" and r.address == self.a and self.speaks(r)
        return (same or there) and self.kind(r, o, t) and self.unit_fits(r, o) and self.late_enough(r, o)

    def answered(self, q: Statement, r: Statement, t: TopicPolicy) -> bool:
        timely = self.late_enough(r, q) or (r.method in self.policy.confirmed and not self.follows(q, r))
        return self.speaks(r) and self.kind(r, q, t) and self.unit_fits(r, q) and timely

    # R1 … R14
    def forbidding(self, t: TopicPolicy) -> list[tuple[str, int, str, Statement]]:
        names = {"topic": "R1", "master": "R2", "company": "R3"}
        standing = [o for o in self.against(t) if not any(self.ends(r, o, t) for r in self.some("opt_in"))]
        rules = {"holder": "R4", "address": "R5"}
        return sorted(((rules.get(w, names[o.scope.level]), -o.position, w, o) for o in standing
                       if (w := self.owner(o))), key=lambda found: found[:2])

    def against(self, t: TopicPolicy) -> list[Statement]:
        return [o for o in self.some("opt_out") if self.covers(o, t) and self.owner(o)]

    def decide(self, t: TopicPolicy) -> TopicDecision:
        if forbidding := self.forbidding(t):
            rule, position, whose, _ = forbidding[0]
            return TopicDecision("unsubscribed", False, -position, rule, whose)  # type: ignore[arg-type]  # one of three
        open_ = [q.position for q in self.some("pending") if self.speaks(q) and self.covers(q, t)
                 and not any(self.answered(q, r, t) for r in self.some("opt_in"))]
        if open_:
            return TopicDecision("pending", False, max(open_), "R6")
        return self.permission(t)

    def permission(self, t: TopicPolicy) -> TopicDecision:
        against = self.against(t)
        to = {s for s in self.some("opt_in") if self.speaks(s)
              and (s.scope.level == "master" if t is ALL else s.scope.level == "topic" and s.scope.topic == t.id)}
        fit = {s for s in to if (t is ALL or self.fit(s, t)) and s.purpose == t.purpose and self.unit_fits(s)}
        own = {s for s in fit if self.own_word(s)}
        baseline = {s for s in fit if s.baseline and s.baseline_approved and not against}
        if t.opt_in != "none" and not own | baseline:
            unconfirmed = {s for s in to if self.own_word(s) and s.purpose == t.purpose and self.unit_fits(s)}
            if t.opt_in == "confirmed" and unconfirmed:
                return TopicDecision("pending", False, max(s.position for s in unconfirmed), "R12")
            top = max((s.position for s in to), default=0)
            return TopicDecision("unknown", False, top, "R13" if to else "R14")
        ended = {r for r in self.some("opt_in") for o in against if self.ends(r, o, t)}
        voided = {by for o, by in self.void if o.state == "opt_out" and self.covers(o, t) and self.owner(o)}
        rules: list[tuple[str, object]] = [("R7", ended), ("R8", own), ("R9", baseline), ("R10", voided), ("R11", True)]
        position = max([s.position for s in ended | own | baseline] + [*voided, 0])
        state: State = "subscribed" if any(map(self.speaks, ended | own | baseline)) else "unknown"
        return TopicDecision(state, True, position, next(rule for rule, found in rules if found))


def fold(person: int, address: int | None, statements: Iterable[Statement], holders: Mapping[int, frozenset[int]],
         policy: Policy, *, channel: str = "email", unit: str | None = None) -> Decision:
    """The same question as ``syncd.consent.fold``."""
    case = Case(person, address, statements, holders, policy, channel, unit)
    topics = [t for t in policy.topics if t.channel == channel]
    blocked = {o.person for t in [*topics, ALL] for _, _, w, o in case.forbidding(t) if w == "holder" and o.person}
    return Decision({t.id: case.decide(t) for t in topics}, case.decide(ALL), tuple(sorted(filter(None, blocked))))
