"""What ``make test`` runs for seconds, run for long: more examples, more seeds, more people.

Each in a process of its own with SYNCD_SOAK (see ``tests/soaking.py``) or SYNCD_ACCEPTANCE_PEOPLE set.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soaking import FACTOR, covered

ROOT = Path(__file__).parents[2]
PEOPLE = int(os.environ.get("SYNCD_ACCEPTANCE_PEOPLE", "20000"))

pytestmark = pytest.mark.soak


def longer(*tests: str, **environment: str) -> None:
    """Run tests as ``make test`` would, show what they print, and say what they covered."""
    last = "nothing"
    with subprocess.Popen([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-s", *tests], cwd=ROOT,
                          env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as run:
        assert run.stdout is not None
        try:
            for line in run.stdout:
                print(line, end="", flush=True)
                last = line.strip() or last
        finally:
            covered(f"{' '.join(tests)} with {environment}: {last}")
    assert run.returncode == 0


def test_kills_in_memory() -> None:
    longer("tests/faults/test_kill.py", "tests/faults/test_kill_transactions.py", SYNCD_SOAK=str(max(2, FACTOR)))


@pytest.mark.parametrize(("name", "times"), [("consent", 100), ("expressions", 100), ("incremental", 10)])
def test_properties(name: str, times: int) -> None:
    """Hours of Hypothesis need no more of the others; the default of ``make soak`` is ten."""
    longer(f"tests/properties/test_{name}.py", SYNCD_SOAK=str(max(1, times * FACTOR // 10)))


def test_acceptance() -> None:
    longer("tests/system/test_acceptance.py", SYNCD_ACCEPTANCE_PEOPLE=str(PEOPLE))
