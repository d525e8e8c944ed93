"""Who may be mailed: the fold of consent statements into one decision.

Pure: data in, data out; no clock, no I/O, no logging. ``docs/consent.md`` states every rule with its reason and an
example; the ids used here (H1 … H8 for reading a history, R1 … R14 for the answers) are the headings of that page.

The order of the statements, duplicates among them and statements about other people change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from syncd.model import Micros, ScopeLevel, Statement

OptInNeed = Literal["none", "required", "confirmed"]
State = Literal["subscribed", "unsubscribed", "pending", "unknown"]
Whose = Literal["nobody", "person", "holder", "address"]

CLOCK_TOLERANCE: Micros = 600_000_000
"""Clocks of two systems may differ by this much: ten minutes."""

CONFIRMED_METHODS = frozenset({"double opt-in", "confirmed"})
"""Methods that prove that the owner of the address asked."""

RULES: Mapping[str, str] = {
    "R1": "The person opted out of this topic.",
    "R2": "The person opted out of all marketing on this channel.",
    "R3": "The person's company asked not to be mailed.",
    "R4": "Someone else who holds this address opted out.",
    "R5": "This address was opted out.",
    "R6": "A confirmation was asked for and has not come.",
    "R7": "There was an opt-out, and a later opt-in ended it.",
    "R8": "The person opted in.",
    "R9": "The opt-in found at the first link was approved.",
    "R10": "The opt-out was never the person's and has been retracted.",
    "R11": "Nothing forbids it and this topic needs no opt-in.",
    "R12": "The opt-in has not been confirmed.",
    "R13": "There is an opt-in, but it does not count.",
    "R14": "This topic needs an opt-in and there is none.",
}
"""Every value of ``TopicDecision.rule`` with its sentence for support staff."""


@dataclass(frozen=True, slots=True)
class TopicPolicy:
    """What one topic asks for.

    opt_in   "none": mailable unless opted out; "required": needs a standing opt-in; "confirmed": needs one whose method
             is among ``Policy.confirmed``
    purpose  a master opt-out covers the topics of its own purpose only (transactional mail goes on)
    """

    id: str
    opt_in: OptInNeed
    channel: str = "email"
    purpose: str = "marketing"


@dataclass(frozen=True, slots=True)
class Policy:
    """All topics, and what is configurable about the fold."""

    topics: tuple[TopicPolicy, ...]
    clock_tolerance: Micros = CLOCK_TOLERANCE
    confirmed: frozenset[str] = CONFIRMED_METHODS


@dataclass(frozen=True, slots=True)
class TopicDecision:
    """The answer for one topic, or for all marketing.

    state     what to show and to write to an ESP
    mailable  consent permits a mail (the address may still be undeliverable, a segment may not match)
    position  the ledger position that permits or forbids it, 0 when no statement does
    rule      key of RULES
    whose     for "unsubscribed": whose opt-out it is. Only "person" concerns the person's own CRM flags
    """

    state: State
    mailable: bool
    position: int
    rule: str
    whose: Whose = "nobody"


@dataclass(frozen=True, slots=True)
class Decision:
    """The answers for one person at one address, on one channel and in one unit.

    topics      by topic id, for the policy's topics of this channel
    master      all marketing on the channel: what holds for a topic about which nothing else is known
    blocked_by  the other holders of the address whose opt-outs stand, for any topic; sorted
    """

    topics: Mapping[str, TopicDecision]
    master: TopicDecision
    blocked_by: tuple[int, ...] = ()


class _Bar(NamedTuple):
    """Opt-outs that the same opt-ins can end: equal whose, person, level and unit."""

    whose: Whose
    person: int | None
    level: ScopeLevel
    unit: str | None


@dataclass(slots=True)
class _History:
    """The statements that matter for one person at one address, sorted by kind; see ``_read``."""

    person: int
    address: int | None
    others: frozenset[int]
    unit: str | None
    policy: Policy
    opt_outs: list[Statement] = field(default_factory=list)
    opt_ins: list[Statement] = field(default_factory=list)
    pendings: list[Statement] = field(default_factory=list)
    retracted: list[tuple[Statement, int]] = field(default_factory=list)
    """Opt-outs that were retracted, with the position that did it."""
    blockers: set[int] = field(default_factory=set)
    """Other holders whose opt-outs were found standing; filled by ``_decide``."""

    def bar(self, opt_out: Statement) -> _Bar | None:
        """The bar an opt-out belongs to, None when it does not concern this person here (H1)."""
        whose: Whose
        if opt_out.person == self.person:
            whose = "person"
        elif opt_out.person in self.others:
            whose = "holder"
        elif self.address is not None and opt_out.address == self.address:
            whose = "address"
        else:
            return None
        return _Bar(whose, opt_out.person, _level(opt_out), opt_out.scope.unit)

    def speaks(self, statement: Statement) -> bool:
        """The person said it, or nobody in particular said it from the person's address (H1)."""
        if statement.person is None:
            return self.address is not None and statement.address == self.address
        return statement.person == self.person


def fold(person: int, address: int | None, statements: Iterable[Statement], holders: Mapping[int, frozenset[int]],
         policy: Policy, *, channel: str = "email", unit: str | None = None) -> Decision:
    """Decide for ``person`` at its current ``address`` (None: it has none) in business unit ``unit`` (None: any).

    :param statements: every statement bound to the person, to the address, and to the other current holders of the
        address; more does no harm
    :param holders: address id -> the persons that hold it now
    """
    others = _NOBODY if address is None else holders.get(address, _NOBODY) - {person}
    history = _read(_History(person, address, others, unit, policy), statements, channel)
    topics = {t.id: _decide(t, history) for t in policy.topics if t.channel == channel}
    master = _decide(_MASTER, history)
    return Decision(topics, master, tuple(sorted(history.blockers)))


def reopens(statement: Statement, opt_out: Statement, tolerance: Micros = CLOCK_TOLERANCE) -> bool:
    """Whether ``statement`` is of the kind, and said late enough, to end ``opt_out`` (H3, H4).

    It says nothing about whom the two bind and what they cover; ``fold`` looks at that too.
    """
    return _is_own_word(statement) and (
        opt_out.position <= _known(statement) or _follows(_earliest(statement), opt_out, tolerance))


_MASTER = TopicPolicy("", "none")
"""Stands for every topic at once: only master and company statements cover it."""

_NOBODY: frozenset[int] = frozenset()
_NOTHING_NEEDED = TopicDecision("unknown", True, 0, "R11")
_NOTHING_SAID = TopicDecision("unknown", False, 0, "R14")


# --------------------------------------------------------------------------- reading a history

def _read(history: _History, statements: Iterable[Statement], channel: str) -> _History:
    """Sort the statements by kind; leave out other channels and units, bounces, and what was retracted (H2, H6, H7)."""
    unit, retractions = history.unit, dict[int, int]()
    for s in statements:
        if s.retracts is not None:
            if s.person_made and s.retracts < s.position:
                retractions[s.retracts] = max(s.position, retractions.get(s.retracts, 0))
        elif s.channel != channel or (unit is not None and s.scope.unit is not None and s.scope.unit != unit):
            continue
        elif s.state == "opt_in":
            history.opt_ins.append(s)
        elif s.state == "pending":
            history.pendings.append(s)
        elif s.method != "bounce" or s.person_made:
            history.opt_outs.append(s)
    if retractions:
        history.retracted = [(s, retractions[s.position]) for s in history.opt_outs if _is_void(s, retractions)]
        history.opt_outs = [s for s in history.opt_outs if not _is_void(s, retractions)]
        history.opt_ins = [s for s in history.opt_ins if not _is_void(s, retractions)]
        history.pendings = [s for s in history.pendings if not _is_void(s, retractions)]
    return history


def _is_void(statement: Statement, retractions: Mapping[int, int]) -> bool:
    """Nobody can retract what a person said (H7)."""
    return statement.position in retractions and not statement.person_made


def _level(statement: Statement) -> ScopeLevel:
    """An opt-out or pending that does not say which topic it means is about all (H2)."""
    scope = statement.scope
    return "master" if scope.level == "topic" and not scope.topic else scope.level


def _covers(statement: Statement, topic: TopicPolicy, level: ScopeLevel) -> bool:
    """Whether a statement, read as one of ``level``, is about this topic (H2)."""
    if level == "topic":
        return statement.scope.topic == topic.id and topic is not _MASTER
    return statement.purpose == topic.purpose and (
        level == "company" or topic is _MASTER or topic.id not in statement.scope.all_except)


def _is_own_word(statement: Statement) -> bool:
    """An opt-in the person made: the only kind that can end anything (H3)."""
    return (statement.state == "opt_in" and statement.person_made and not statement.baseline
            and statement.retracts is None)


def _known(opt_in: Statement) -> int:
    """The newest ledger position the author of an opt-in knew; it cannot be one that came after it (H4)."""
    return 0 if opt_in.knowledge is None else min(opt_in.knowledge, opt_in.position - 1)


def _earliest(statement: Statement) -> Micros | None:
    """The first instant at which it may have been said, never later than it was read; None = since ever (H4)."""
    if statement.said_lo is None:
        return None
    return min(statement.said_lo, statement.said_hi, statement.seen_at)


def _latest(statement: Statement) -> Micros:
    """The last instant at which it may have been said (H4)."""
    return statement.said_hi if statement.said_lo is None else max(statement.said_lo, statement.said_hi)


def _follows(earliest: Micros | None, other: Statement, tolerance: Micros) -> bool:
    """Surely said after ``other``, whatever the clocks; a tie is no (H4)."""
    return earliest is not None and earliest > _latest(other) + tolerance


def _may_end(opt_in: Statement, level: ScopeLevel, topic: TopicPolicy, policy: Policy) -> bool:
    """Whether an opt-in is of the kind that ends opt-outs of ``level`` for this topic (H3, H5)."""
    if not _is_own_word(opt_in):
        return False
    said = opt_in.scope.level
    if level == "company":
        return said == "company" and opt_in.method == "grant" and opt_in.purpose == topic.purpose
    return (said == "topic" or said == level == "master") and _counts(opt_in, topic, policy)


def _counts(opt_in: Statement, topic: TopicPolicy, policy: Policy) -> bool:
    """Covers the topic for its purpose, and is confirmed where the topic asks for that (H3)."""
    return (_covers(opt_in, topic, opt_in.scope.level) and opt_in.purpose == topic.purpose
            and (topic.opt_in != "confirmed" or opt_in.method in policy.confirmed))


def _enders(bar: _Bar, topic: TopicPolicy, history: _History) -> list[Statement]:
    """The opt-ins that end opt-outs of this bar, if they were said late enough (H5)."""
    def is_bound(r: Statement) -> bool:
        if r.person is not None and r.person == bar.person:
            return True
        return bar.whose == "address" and r.address == history.address and history.speaks(r)

    return [r for r in history.opt_ins if is_bound(r) and _may_end(r, bar.level, topic, history.policy)
            and r.scope.unit in (None, history.unit, bar.unit)]


# --------------------------------------------------------------------------- answering

def _decide(topic: TopicPolicy, history: _History) -> TopicDecision:
    """The first answer of R1 … R14 that fits."""
    opt_outs = _opt_outs(topic, history) if history.opt_outs else {}
    ended: list[Statement] = []
    standing: list[tuple[str, int, _Bar]] = []
    for bar, said in opt_outs.items():
        enders, left = _end(said, _enders(bar, topic, history), history.policy.clock_tolerance)
        ended += enders
        standing += [(_rule(bar), -o.position, bar) for o in left]
    if standing:
        history.blockers.update(b.person for _, _, b in standing if b.whose == "holder" and b.person is not None)
        rule, negated, bar = min(standing, key=lambda s: s[:2])
        return TopicDecision("unsubscribed", False, -negated, rule, bar.whose)
    if history.pendings and (asked := _pending(topic, history)):
        return TopicDecision("pending", False, asked, "R6")
    if not history.opt_ins and not history.retracted:
        return _NOTHING_NEEDED if topic.opt_in == "none" else _NOTHING_SAID
    return _permission(topic, history, ended, bool(opt_outs))


def _opt_outs(topic: TopicPolicy, history: _History) -> dict[_Bar, list[Statement]]:
    """The opt-outs that cover the topic and concern this person here, by bar; ended ones too."""
    found: dict[_Bar, list[Statement]] = {}
    for o in history.opt_outs:
        if _covers(o, topic, _level(o)) and (bar := history.bar(o)):
            found.setdefault(bar, []).append(o)
    return found


def _end(opt_outs: list[Statement], enders: list[Statement],
         tolerance: Micros) -> tuple[list[Statement], list[Statement]]:
    """Which of ``enders`` end at least one of the opt-outs, and which opt-outs nothing ends (H4).

    Linear in both: what the best of the opt-ins cannot end, none can; and an opt-in ends one of the opt-outs exactly
    when it ends the one recorded first or the one said first.
    """
    if not enders:
        return [], opt_outs
    known = max(map(_known, enders))
    latest = max((at for r in enders if (at := _earliest(r)) is not None), default=None)
    left = [o for o in opt_outs if o.position > known and not _follows(latest, o, tolerance)]
    recorded, said = min(opt_outs, key=lambda o: o.position), min(opt_outs, key=_latest)
    return [r for r in enders if reopens(r, recorded, tolerance) or reopens(r, said, tolerance)], left


def _rule(bar: _Bar) -> str:
    """The answer while an opt-out of this bar stands (R1 … R5)."""
    if bar.whose == "person":
        return {"topic": "R1", "master": "R2", "company": "R3"}[bar.level]
    return "R4" if bar.whose == "holder" else "R5"


def _pending(topic: TopicPolicy, history: _History) -> int:
    """The newest position that still waits for a confirmation, 0 when none does (H8)."""
    policy, tolerance = history.policy, history.policy.clock_tolerance

    def answers(r: Statement, p: Statement) -> bool:
        if not (history.speaks(r) and _may_end(r, _level(p), topic, policy)
                and r.scope.unit in (None, history.unit, p.scope.unit)):
            return False
        is_confirmation = r.method in policy.confirmed and not _follows(_earliest(p), r, tolerance)
        return is_confirmation or reopens(r, p, tolerance)

    return max((p.position for p in history.pendings if history.speaks(p) and _covers(p, topic, _level(p))
                and not any(answers(r, p) for r in history.opt_ins)), default=0)


def _permission(topic: TopicPolicy, history: _History, ended: list[Statement], was_out: bool) -> TopicDecision:
    """The answer when nothing forbids it (R7 … R14).

    :param ended: the opt-ins that ended an opt-out
    :param was_out: there was an opt-out that nobody retracted, so that no baseline counts (H3)
    """
    about = [s for s in history.opt_ins
             if (s.scope.level == "master" if topic is _MASTER
                 else s.scope.topic == topic.id and s.scope.level == "topic") and history.speaks(s)]
    if not about and not ended and not history.retracted:
        return _NOTHING_NEEDED if topic.opt_in == "none" else _NOTHING_SAID
    valid = [s for s in about if s.scope.unit in (None, history.unit) and s.purpose == topic.purpose]
    sufficient = [s for s in valid if topic.opt_in != "confirmed" or s.method in history.policy.confirmed]
    own = [s for s in sufficient if _is_own_word(s)]
    approved = [] if was_out else [s for s in sufficient if s.baseline and s.baseline_approved]
    if topic.opt_in != "none" and not own and not approved:
        if topic.opt_in == "confirmed" and (asked := _newest(s for s in valid if _is_own_word(s))):
            return TopicDecision("pending", False, asked, "R12")
        return TopicDecision("unknown", False, _newest(about), "R13") if about else _NOTHING_SAID
    permits = [*ended, *own, *approved]
    retracted = max((by for o, by in history.retracted if _covers(o, topic, _level(o)) and history.bar(o)), default=0)
    if not permits and not retracted:
        return _NOTHING_NEEDED
    rule = "R7" if ended else "R8" if own else "R9" if approved else "R10"
    is_wanted = any(map(history.speaks, permits))
    return TopicDecision("subscribed" if is_wanted else "unknown", True, max(_newest(permits), retracted), rule)


def _newest(statements: Iterable[Statement]) -> int:
    """The highest ledger position, 0 when there is none."""
    return max((s.position for s in statements), default=0)
