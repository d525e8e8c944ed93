"""Step 3, reconcile: fold each dirty person's statements into the decision the state keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mappings.model import Mapping as MappingFile
from state.people import Case, Decided
from state.relations import ADDRESS_OUT, NEVER_SAID, OPTED_IN, OPTED_OUT, PENDING, TopicDef, unit_id
from syncd import consent
from syncd.consent import CLOCK_TOLERANCE, Decision, Policy, TopicDecision, TopicPolicy
from syncd.model import Micros, Statement

CODES = {"subscribed": OPTED_IN, "unsubscribed": OPTED_OUT, "pending": PENDING, "unknown": NEVER_SAID}


def policy(topics: tuple[TopicDef, ...], clock_tolerance: Micros = CLOCK_TOLERANCE) -> Policy:
    """The fold's policy for the mapping's topics."""
    return Policy(tuple(TopicPolicy(t.id, t.opt_in, t.channel, t.purpose) for t in topics),  # type: ignore[arg-type]
                  clock_tolerance)


NO_SENDERS: Mapping[str, str] = {}


def senders_of(mapping: MappingFile) -> Mapping[str, str]:
    """The connections that are a business unit, by name, and what the mapping calls that today."""
    return {d.connection: d.unit for d in mapping.destinations.values() if d.unit is not None}


class Reconciler:
    """Folds cases. ``decision`` gives the full answer (for explain), ``decided`` what the state keeps."""

    def __init__(self, topics: tuple[TopicDef, ...], clock_tolerance: Micros = CLOCK_TOLERANCE,
                 units: tuple[str, ...] = (), senders: Mapping[str, str] = NO_SENDERS) -> None:
        """:param units: business units that have a decision of their own about all mail
        :param senders: the connections that are a business unit, by name, and what that is called (``senders_of``)
        """
        self.policy = policy(topics, clock_tolerance)
        self.units = units
        self._now = {former: topic.id for topic in topics for former in topic.was}
        self._purposes = {topic.id: topic.purpose for topic in topics}
        self._unit_of = {topic.id: topic.unit for topic in topics}
        self._senders = senders
        self._as_said = not self._now and {*self._purposes.values()} <= {"marketing"}
        self._by_unit: dict[str | None, list[str]] = {None: [], **{unit: [] for unit in units}}
        for topic in topics:
            self._by_unit.setdefault(topic.unit, []).append(topic.id)
        self.default = self.decided(Case(0, None, (), {}))

    def decision(self, case: Case) -> Decision:
        """The full answer: each topic's for its business unit, all mail's for mail that may come from any."""
        case = self._of_today(case)
        folds = self._folds(case, case.statements)
        topics = {topic: folds[unit].topics[topic] for unit, names in self._by_unit.items() for topic in names}
        return Decision(topics, folds[None].master, folds[None].blocked_by)

    def _of_today(self, case: Case) -> Case:
        """The case with every topic and business unit under the name it has now. What was said about a topic is about mail
        of its purpose: who said it knew of no purposes."""
        if self._as_said and all(s.scope.unit is None for s in case.statements):
            return case
        return case._replace(statements=[self._statement(s) for s in case.statements])

    def _statement(self, s: Statement) -> Statement:
        topic = self._now.get(s.scope.topic, s.scope.topic) if s.scope.topic is not None else None
        unit = s.scope.unit
        if unit is not None:
            about = topic if s.scope.level == "topic" else None
            unit = self._unit_of[about] if about in self._unit_of else self._senders.get(s.source, unit)
        scope = replace(s.scope, topic=topic, all_except=tuple(self._now.get(t, t) for t in s.scope.all_except), unit=unit)
        purpose = self._purposes.get(topic, s.purpose) if topic is not None and scope.level == "topic" else s.purpose
        return replace(s, scope=scope, purpose=purpose)

    def _folds(self, case: Case, statements: Sequence[Statement]) -> dict[str | None, Decision]:
        return {unit: consent.fold(case.person, case.address, statements, case.holders, self.policy, unit=unit)
                for unit in self._by_unit}

    def decided(self, case: Case) -> Decided:
        """The decision in codes. ``standing`` of a topic is what was said about that topic itself: a master opt-out
        must not set a topic's own flag. Neither must that of one business unit set what is about all mail everywhere."""
        case = self._of_today(case)
        full = self._folds(case, case.statements)
        narrow: dict[str | None, Decision] | None = None
        topics = {unit_id(unit): (int(full[unit].master.mailable), self._code(full[unit].master)) for unit in self.units}
        for unit, names in self._by_unit.items():
            for topic in names:
                answer = full[unit].topics[topic]
                code = self._code(answer)
                if code in (OPTED_OUT, ADDRESS_OUT):
                    if narrow is None:
                        narrow = self._folds(case, [s for s in case.statements
                                                    if s.scope.level == "topic" or s.state == "opt_in"])
                    code = self._code(narrow[unit].topics[topic])
                    if code == OPTED_IN:
                        code = NEVER_SAID
                topics[topic] = (int(answer.mailable), code)
        position = max((s.position for s in case.statements), default=0)
        return Decided(position, self._code(self._everywhere(case, full[None]).master), topics)

    def _everywhere(self, case: Case, full: Decision) -> Decision:
        """The answer from what was said about more than one business unit."""
        wide = [s for s in case.statements if s.scope.unit is None or s.state == "opt_in"]
        if len(wide) == len(case.statements):
            return full
        return consent.fold(case.person, case.address, wide, case.holders, self.policy)

    @staticmethod
    def _code(answer: TopicDecision) -> int:
        """Another holder's opt-out, or one that nobody in particular made, silences the address; it is not this person's
        wish."""
        if answer.state == "unsubscribed" and answer.whose != "person":
            return ADDRESS_OUT
        if answer.state == "subscribed" and answer.position == 0:
            return NEVER_SAID
        return CODES[answer.state]
