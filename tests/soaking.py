"""How much longer than usual the tests run that can: ``make soak`` sets SYNCD_SOAK, a whole number; otherwise it is 1.

Tests of random histories and kills say what they covered (``covered``); the run says all of it again at its end, also
where several processes share it.

Property tests look at so many times the examples, and at other ones every time; the crash test in memory takes so many times
the seeds.
"""

from __future__ import annotations

import os

from hypothesis import settings

FACTOR = int(os.environ.get("SYNCD_SOAK", "1"))
"""Times the usual work."""

USUAL = FACTOR == 1

COVERED: list[str] = []
"""What this run's tests covered, a line each."""


def covered(line: str) -> None:
    """Say what a test covered: at once, and again when the run ends, however it ends."""
    print(line, flush=True)
    COVERED.append(line)


def examples(count: int, parent: settings | None = None) -> settings:
    """Settings for ``count`` examples, the same ones in every usual run."""
    return settings(parent, max_examples=count * FACTOR, derandomize=USUAL, database=None, deadline=None)
