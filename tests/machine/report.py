"""What a run exercised: said in full, and enough of it that the run cannot have been empty."""

from __future__ import annotations

import os
from collections import Counter

from tests.machine.steps import KINDS, SCENE_OF


def fresh() -> int:
    """A seed nobody chose; the run prints it."""
    return int.from_bytes(os.urandom(4), "big")


def report(counts: Counter[str]) -> None:
    """Say what was exercised (shown with ``pytest -s``, or when the test fails)."""
    print("\n" + "\n".join(f"{name:40} {counts[name]:8}" for name in sorted(counts)))


def exercised(counts: Counter[str], steps: int) -> None:
    """Every kind of step happened, and both promises were put to the proof. What only one scene knows may be missing from a
    short run."""
    assert counts["steps"] >= steps
    short = steps < 10_000
    least = 1 if short else steps / 2000
    rare = {kind: counts[kind] for kind in KINDS if counts[kind] < least and not (short and kind in SCENE_OF)}
    assert not rare, f"hardly ever done: {rare}"
    assert counts["mails judged"] >= steps // 4
    assert counts["addresses that had to be quiet"] >= steps // 20
    assert counts["recipients that had to be reached"] >= steps // 20
