"""Step 3, reconcile: fold each dirty person's statements into the decision the state keeps."""

from __future__ import annotations

from collections.abc import Mapping

from state.people import Case, Decided
from state.relations import ADDRESS_OUT, NEVER_SAID, OPTED_IN, OPTED_OUT, PENDING, TopicDef
from syncd import consent
from syncd.consent import CLOCK_TOLERANCE, Decision, Policy, TopicDecision, TopicPolicy
from syncd.model import Micros

CODES = {"subscribed": OPTED_IN, "unsubscribed": OPTED_OUT, "pending": PENDING, "unknown": NEVER_SAID}


def policy(topics: tuple[TopicDef, ...], clock_tolerance: Micros = CLOCK_TOLERANCE) -> Policy:
    """The fold's policy for the mapping's topics."""
    return Policy(tuple(TopicPolicy(t.id, t.opt_in, t.channel, t.purpose) for t in topics),  # type: ignore[arg-type]
                  clock_tolerance)


class Reconciler:
    """Folds cases. ``decision`` gives the full answer (for explain), ``decided`` what the state keeps."""

    def __init__(self, topics: tuple[TopicDef, ...], clock_tolerance: Micros = CLOCK_TOLERANCE) -> None:
        self.policy = policy(topics, clock_tolerance)
        self.default = self.decided(Case(0, None, (), {}))

    def decision(self, case: Case) -> Decision:
        return consent.fold(case.person, case.address, case.statements, case.holders, self.policy)

    def decided(self, case: Case) -> Decided:
        """The decision in codes. ``standing`` of a topic is what was said about that topic itself: a master opt-out
        must not set a topic's own flag."""
        full = self.decision(case)
        narrow: Mapping[str, TopicDecision] | None = None
        topics = {}
        for topic in self.policy.topics:
            answer = full.topics[topic.id]
            code = self._code(answer)
            if code in (OPTED_OUT, ADDRESS_OUT):
                if narrow is None:
                    own = [s for s in case.statements if s.scope.level == "topic" or s.state == "opt_in"]
                    narrow = consent.fold(case.person, case.address, own, case.holders, self.policy).topics
                code = self._code(narrow[topic.id])
                if code == OPTED_IN:
                    code = NEVER_SAID
            topics[topic.id] = (int(answer.mailable), code)
        position = max((s.position for s in case.statements), default=0)
        return Decided(position, self._code(full.master), topics)

    @staticmethod
    def _code(answer: TopicDecision) -> int:
        """Another holder's opt-out, or one that nobody in particular made, silences the address; it is not this person's
        wish."""
        if answer.state == "unsubscribed" and answer.whose != "person":
            return ADDRESS_OUT
        if answer.state == "subscribed" and answer.position == 0:
            return NEVER_SAID
        return CODES[answer.state]
