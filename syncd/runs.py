"""What a cycle did, and its row in the history of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from state.queries import load
from state.store import Store
from syncd.deliver import Delivered
from syncd.feeds import Pulled
from syncd.guard import Plan
from syncd.model import Micros

QUIET_RUNS = 7 * 86_400_000_000
"""µs for which runs are remembered in which nobody said or got anything."""


@dataclass(slots=True)
class Report:
    """What a cycle did, as `once --json`, the log and the tests read it."""

    run: int
    pulled: Pulled
    people: int = 0
    plan: Plan | None = None
    delivered: dict[str, Delivered] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def held(self) -> bool:
        return self.plan is not None and self.plan.held > 0

    @property
    def left(self) -> int:
        return sum(d.left for d in self.delivered.values())

    @property
    def outcome(self) -> str:
        """In one word, as the run's row keeps it."""
        return "partial" if self.pulled.failed else "held" if self.held else "left" if self.left else "ok"


@contextmanager
def begun(store: Store, trigger: str, mapping: str, clock: Callable[[], Micros]) -> Iterator[int]:
    """A run's row, under its id. Whatever ends the run early is written there as a failure."""
    run = store.write(lambda conn: int(conn.execute(
        "INSERT INTO run (trigger, started_at, mapping) VALUES (?, ?, ?) RETURNING id",
        (trigger, clock(), mapping)).fetchone()[0]))
    try:
        yield run
    except BaseException:
        _close(store, run, "failed", {}, clock())
        raise


def end(store: Store, report: Report, now: Micros) -> None:
    """Write down how a run ended. Quiet ones, some half a million a year, are forgotten in time."""
    operations = {name: d.counts for name, d in report.delivered.items() if d.counts}
    counts: dict[str, Any] = {
        "rows": {stream: count for stream, count in report.pulled.rows.items() if count},
        "entries": report.pulled.entries, "people": report.people, "operations": operations}
    quiet = not (report.pulled.entries or report.people or operations)
    _close(store, report.run, report.outcome, counts, now, quiet=quiet)


def _close(store: Store, run: int, outcome: str, counts: Mapping[str, Any], now: Micros, *, quiet: bool = False) -> None:
    q = load("registry")

    def job(conn: Any) -> None:
        conn.execute(q["close_run"], {"now": now, "outcome": outcome, "counts": orjson.dumps(counts).decode(),
                                      "quiet": int(quiet), "run": run})
        conn.execute(q["forget_quiet_runs"], {"before": now - QUIET_RUNS})
    store.write(job)
