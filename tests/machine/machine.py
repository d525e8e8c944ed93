"""The Hypothesis state machine: any step, in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.machine.inline import inline
from tests.machine.play import Play
from tests.machine.steps import KINDS, WEIGHTS, Step, opening

STEPS = 50
"""Steps of one play."""


@st.composite
def _opening(draw: st.DrawFn) -> Step:
    return opening(lambda options: draw(st.sampled_from(options)))


@st.composite
def _step(draw: st.DrawFn, kind: str) -> Step:
    return (kind, *KINDS[kind](lambda options: draw(st.sampled_from(options))))


def machine(counts: Counter[str]) -> type[RuleBasedStateMachine]:
    """A machine whose plays count what they exercise in ``counts``."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.play = Play(counts)

        @initialize(step=_opening())
        def begin(self, step: Step) -> None:
            self.play.do(step)

        def teardown(self) -> None:
            self.play.close()

    for kind in KINDS:
        for copy in range(WEIGHTS.get(kind, 1)):
            setattr(Machine, f"{kind}_{copy}" if copy else kind, rule(step=_step(kind))(_doing(kind)))
    return Machine


def _doing(kind: str) -> Callable[[Any, Step], None]:
    def do(self: Any, step: Step) -> None:
        self.play.do(step)

    do.__name__ = kind
    return do


def explore(steps: int, counts: Counter[str], *, derandomize: bool, shrink: bool = True) -> None:
    """Play at least so many steps.

    :raises Broken: with the shortest play Hypothesis found that breaks an invariant
    """
    with inline():
        while counts["steps"] < steps:
            examples = max(10, (steps - counts["steps"]) // STEPS)
            run_state_machine_as_test(machine(counts), settings=settings(
                max_examples=examples, stateful_step_count=STEPS, deadline=None, database=None, derandomize=derandomize,
                suppress_health_check=list(HealthCheck), print_blob=False,
                phases=[Phase.generate, *([Phase.shrink] if shrink else [])]))
