"""The Hypothesis state machine: any step, in any order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.machine.inline import inline
from tests.machine.play import Broken, Play
from tests.machine.shrink import finding
from tests.machine.steps import KINDS, MORE_IN, SCENE_OF, WEIGHTS, WHO, Step, opening

STEPS = 50
"""Steps of one play."""


@st.composite
def _opening(draw: st.DrawFn) -> Step:
    return opening(lambda options: draw(st.sampled_from(options)))


@st.composite
def _step(draw: st.DrawFn, kind: str) -> Step:
    """A step about somebody of the play's cast."""
    cast = draw(st.runner()).cast
    return (kind, *KINDS[kind](lambda options: draw(st.sampled_from(cast if options is WHO else options))))


_CAST = st.one_of(st.lists(st.sampled_from(WHO), min_size=1, max_size=4, unique=True), st.just(WHO))
"""Whom a play is about: mostly few, so that the steps meet in them."""


def machine(counts: Counter[str], broken: list[list[Step]]) -> type[RuleBasedStateMachine]:
    """A machine whose plays count what they exercise in ``counts``, and are kept in ``broken`` when they break something."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.play = Play(counts)
            self.cast: Sequence[int] = WHO
            self.scene = 0

        @initialize(step=_opening(), cast=_CAST)
        def begin(self, step: Step, cast: Sequence[int]) -> None:
            self.cast, self.scene = cast, step[-1]
            self.do(step)

        def do(self, step: Step) -> None:
            try:
                self.play.do(step)
            except Broken:
                broken.append(self.play.steps)
                raise

        def teardown(self) -> None:
            self.play.close()

    for kind in KINDS:
        for copy in range(WEIGHTS.get(kind, 1)):
            setattr(Machine, f"{kind}_{copy}" if copy else kind, _rule(kind))
    for scene, more in MORE_IN.items():
        for kind, copies in more.items():
            for copy in range(copies):
                setattr(Machine, f"{kind}_{scene}_{copy}", _rule(kind, scene))
    return Machine


def _rule(kind: str, scene: int | None = None) -> Callable[[Any, Step], None]:
    """Do this kind of step, in this scene or the one that knows it, and a burst's once there is one."""
    doing, only = rule(step=_step(kind))(_doing(kind)), SCENE_OF.get(kind, scene)
    if only is None:
        return doing
    return precondition(lambda self: self.scene == only and (kind != "retract_burst" or self.play.bursts))(doing)


def _doing(kind: str) -> Callable[[Any, Step], None]:
    def do(self: Any, step: Step) -> None:
        self.do(step)

    do.__name__ = kind
    return do


def explore(steps: int, counts: Counter[str], *, derandomize: bool) -> None:
    """Play at least so many steps. What breaks something is shortened by our own means: they know what a step is.

    :raises Broken: with the shortest play found that breaks an invariant
    """
    with inline():
        while counts["steps"] < steps:
            examples, broken = max(10, (steps - counts["steps"]) // STEPS), list[list[Step]]()
            try:
                run_state_machine_as_test(machine(counts, broken), settings=settings(
                    max_examples=examples, stateful_step_count=STEPS, deadline=None, database=None, derandomize=derandomize,
                    suppress_health_check=list(HealthCheck), print_blob=False, phases=[Phase.generate]))
            except Broken:
                raise finding(broken[0]) from None
