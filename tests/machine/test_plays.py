"""The second depth: the whole product in memory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.machine.inline import inline
from tests.machine.machine import explore
from tests.machine.play import Broken, run
from tests.machine.report import exercised, report
from tests.soaking import covered

FINDINGS: dict[str, list[list[Any]]] = orjson.loads(Path(__file__).with_name("findings.json").read_bytes())


def test_the_whole_product_in_memory() -> None:
    played(5_000, derandomize=True)


@pytest.mark.parametrize("name", FINDINGS)
def test_what_once_broke(name: str) -> None:
    """Plays that the machine found, of faults of the product or of the oracle."""
    with inline():
        assert run([tuple(step) for step in FINDINGS[name]]) is None


@pytest.mark.soak
def test_the_whole_product_in_memory_for_long() -> None:
    """Ten turns, as Hypothesis keeps what it has tried. What breaks in one turn does not spare the product the others."""
    played(100_000, turns=10, derandomize=False)


def played(steps: int, *, derandomize: bool, turns: int = 1) -> None:
    counts: Counter[str] = Counter()
    broken = []
    for turn in range(1, turns + 1):
        try:
            explore(turn * steps // turns, counts, derandomize=derandomize)
        except Broken as error:
            print(f"turn {turn}: {error}", flush=True)
            broken.append(error)
        if turns > 1:
            print(f"turn {turn}: {counts['steps']} steps by now", flush=True)
    report(counts)
    covered(f"{counts['steps']} steps on the whole product in memory: {counts['mails judged']} mails judged,"
            f" {counts['cycle'] + counts['full']} cycles, {counts['crash']} crashes")
    if broken:
        raise ExceptionGroup("the product breaks a promise", broken)
    exercised(counts, steps)
