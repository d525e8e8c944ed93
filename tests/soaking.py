"""How much longer than usual the tests run that can: ``make soak`` sets SYNCD_SOAK, a whole number; otherwise it is 1.

Property tests look at so many times the examples, and at other ones every time; the crash test in memory takes so many times
the seeds.
"""

from __future__ import annotations

import os

from hypothesis import settings

FACTOR = int(os.environ.get("SYNCD_SOAK", "1"))
"""Times the usual work."""

USUAL = FACTOR == 1


def examples(count: int, parent: settings | None = None) -> settings:
    """Settings for ``count`` examples, the same ones in every usual run."""
    return settings(parent, max_examples=count * FACTOR, derandomize=USUAL, database=None, deadline=None)
