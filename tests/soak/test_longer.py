"""What ``make test`` runs for seconds, run for long: more examples, more seeds, more people.

Each in a process of its own with SYNCD_SOAK (see ``tests/soaking.py``) or SYNCD_ACCEPTANCE_PEOPLE set.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soaking import FACTOR

ROOT = Path(__file__).parents[2]
PEOPLE = int(os.environ.get("SYNCD_ACCEPTANCE_PEOPLE", "20000"))

pytestmark = pytest.mark.soak


def longer(*tests: str, **environment: str) -> None:
    """Run tests as ``make test`` would, and show what they covered."""
    run = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-s", *tests], cwd=ROOT, check=False,
                         env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(f"\n{' '.join(tests)} with {environment}:\n{run.stdout[-2000:]}")
    assert run.returncode == 0


def test_kills_in_memory() -> None:
    longer("tests/faults/test_kill.py", SYNCD_SOAK=str(FACTOR))


@pytest.mark.parametrize(("name", "times"), [("consent", 100), ("expressions", 100), ("incremental", 10)])
def test_properties(name: str, times: int) -> None:
    """Hours of Hypothesis need no more of the others; the default of ``make soak`` is ten."""
    longer(f"tests/properties/test_{name}.py", SYNCD_SOAK=str(max(1, times * FACTOR // 10)))


def test_acceptance() -> None:
    longer("tests/system/test_acceptance.py", SYNCD_ACCEPTANCE_PEOPLE=str(PEOPLE))
