"""Shortening a counterexample: leave out what is not needed, then make what is left plainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from tests.machine.play import Broken, run
from tests.machine.steps import Step

Fails = Callable[[Sequence[Step]], bool]


def finding(steps: Sequence[Step]) -> Broken:
    """What the product itself breaks, in the shortest play found, and how to play that. ``steps`` must break something."""
    short = shrink(steps, lambda less: run(less) is not None)
    return Broken(f"{run(short)}\npython -m tests.machine play '{orjson.dumps(short).decode()}'")


def shrink(steps: Sequence[Step], fails: Fails) -> list[Step]:
    """The shortest and plainest list found that still fails. ``steps`` must fail."""
    found = shorter(steps, fails)
    for index, step in enumerate(found):
        for plainer in _plainer(step):
            candidate = [*found[:index], plainer, *found[index + 1:]]
            if fails(candidate):
                found = candidate
                break
    return found


def shorter(steps: Sequence[Step], fails: Fails) -> list[Step]:
    """Without all steps that can be left out. ``steps`` must fail."""
    found = list(steps)
    size = max(1, len(found) // 2)
    while size:
        start, less = 0, False
        while start < len(found):
            rest = found[:start] + found[start + size:]
            if fails(rest):
                found, less = rest, True
            else:
                start += size
        if size > 1:
            size //= 2
        elif not less:
            break
    return found


def _plainer(step: Step) -> list[Step]:
    """Steps that say less: a cycle for a crash, small numbers for large ones."""
    kind, *args = step
    plain: list[Step] = [("cycle",)] if kind in ("full", "hasty", "crash", "calm") else []
    for index, value in enumerate(args):
        if isinstance(value, int) and value > 0 and kind not in ("begin", "wait", "spend"):
            plain += [(kind, *args[:index], small, *args[index + 1:]) for small in range(min(value, 3))]
    return plain
