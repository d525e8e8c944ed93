"""How fast this machine is, in CPU seconds of a fixed loop: ``python -m tests.bench.calibrate`` prints it."""

from __future__ import annotations

import hashlib
import sqlite3
import statistics
import time
import tomllib
from pathlib import Path

BUDGETS = Path(__file__).with_name("budgets.toml")
ROUNDS = 4_000
EVERY = 0.2
"""CPU seconds of work between two looks at the machine."""


def loop() -> float:
    """CPU seconds of one round of what the daemon does most: rows made in Python, bound, joined and read back."""
    began = time.thread_time()
    conn = sqlite3.connect(":memory:")
    try:
        conn.execute("CREATE TABLE a (id INTEGER PRIMARY KEY, hash BLOB UNIQUE, name TEXT)")
        conn.execute("CREATE TABLE b (id INTEGER PRIMARY KEY, name TEXT, n INTEGER)")
        rows = []
        for number in range(ROUNDS):
            name = f"Person{number}@Mail{number % 97}.example".strip().lower()
            rows.append((number, hashlib.blake2b(name.encode(), digest_size=16).digest(), name))
        conn.executemany("INSERT INTO a VALUES (?, ?, ?)", rows)
        conn.execute("INSERT INTO b SELECT id, name, length(hash) FROM a WHERE name IS NOT NULL")
        found = conn.execute("SELECT a.id, b.name, json_array(b.name, b.n) FROM a CROSS JOIN b ON b.id = a.id").fetchall()
        if len(found) != ROUNDS:
            raise RuntimeError("the calibration loop lost rows")
    finally:
        conn.close()
    return time.thread_time() - began


class Speed:
    """How fast the machine is while something runs: the loop is run again and again in the midst of it.

    A virtual machine shares its cores with others and may be half as fast for minutes; and where two of them are one core,
    who serves what is measured slows it down. What one sees before or after, with nobody at work, says little of either.
    """

    def __init__(self) -> None:
        self._loops: list[float] = []
        self._at = 0.0
        self.look()

    def passing(self) -> None:
        """Look, if the process has worked a while since."""
        if time.process_time() - self._at >= EVERY:
            self.look()

    def look(self) -> None:
        self._loops.append(loop())
        self._at = time.process_time()

    @property
    def spent(self) -> float:
        """CPU seconds of this process that went into looking."""
        return sum(self._loops)

    def pace(self) -> float:
        """How many times as long as on the reference machine the loop takes: the harmonic mean of all looks, as that is
        what the work done in equal times adds up to."""
        reference: float = tomllib.loads(BUDGETS.read_text())["reference"]["loop"]
        return statistics.harmonic_mean(self._loops) / reference


if __name__ == "__main__":
    print(f"{min(loop() for _ in range(200)):.4f} to {statistics.median(loop() for _ in range(200)):.4f}")
