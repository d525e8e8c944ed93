"""Where a syncd is killed, and the process that makes the processes that are."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from state.ledger import verify
from syncd.app import open_store

ROOT = Path(__file__).parents[2]
POINTS = ("page_stored", "pulled", "identified", "planned", "guarded", "sealed", "sent", "recorded", "settled")
"""In the order in which a cycle passes them."""
EARLY, LATE = POINTS[:5], POINTS[5:]
"""Those that every cycle passes, and those that only one with something to write does."""
OFTEN = ("page_stored", "sealed", "sent", "recorded")
OPEN, SENT = 10, 3
"""Operations in a state below the one are not finished; those in the other were sent, and their end is not known."""


class Driver:
    """The process that makes the processes that are killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "tests.faults.driver"], cwd=ROOT, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE)

    def run(self, *, fine: tuple[int, ...] = (0,), **request: Any) -> dict[str, Any]:
        """Carry out a request as ``driver`` describes them; ``fine`` are the exit codes that are no failure."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(orjson.dumps(request) + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = orjson.loads(self._process.stdout.readline())
        assert answer["killed"] or answer["code"] in fine, f"it failed by itself; see its messages: {answer}"
        return answer

    def close(self) -> None:
        self._process.communicate(timeout=60)


@contextmanager
def driving() -> Iterator[Driver]:
    """A driver, ended with the block."""
    driver = Driver()
    try:
        yield driver
    finally:
        driver.close()


def coverage(kills: Counter[str], points: tuple[str, ...], least: int, total: int) -> None:
    """Print how often it was killed where; fail if that was too seldom."""
    print(f"{kills.total()} kills by point:", {point: kills[point] for point in points})
    assert min(kills[point] for point in points) >= least, kills
    assert kills.total() >= total, kills


def intact(state: Path, journal: Path, hash_key: bytes, entries: int) -> set[tuple[Any, ...]]:
    """The state file is whole, every entry (of more than ``entries``) fits its commitment, nothing that was sent is left
    open; what still waits to be sent."""
    store = open_store(state, journal, hash_key)
    assert store.rows("PRAGMA integrity_check") == [("ok",)]
    assert store.rows("SELECT count(*) FROM operation WHERE state = ?", (SENT,)) == [(0,)]
    assert store.rows("SELECT count(*) FROM batch WHERE state <> 'closed'") == [(0,)]
    with store.reading() as conn:
        count, bad = verify(conn)
    assert count > entries
    assert not bad
    waiting = set(store.rows("SELECT b.connection, b.name, o.kind, o.key FROM operation o JOIN object b ON b.id = o.object"
                             " WHERE o.state < ?", (OPEN,)))
    store.close()
    return waiting
