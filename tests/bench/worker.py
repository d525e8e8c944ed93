"""The daemon under measurement, in a process of its own: ``python -m tests.bench.worker STEP CONFIG``.

Prints one JSON object per measurement: ``{"name", "cpu", "wall", "peak", "calls", ...}``; CPU in seconds of this process,
all threads; ``pace``: how many times as long as on the reference machine the calibration loop took meanwhile; ``peak`` in
bytes since the process began.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from mappings.functions import clock_parameters
from state import people, plan
from syncd import compose, guard
from syncd.app import App
from syncd.cycle import Cycle
from syncd.desk import grants
from syncd.guard import Plan
from syncd.runs import Report
from tests.bench.calibrate import Speed
from tests.bench.watch import Seen, Watched

QUIET_CYCLES = 5


def peak() -> int:
    """Bytes of the largest resident set so far. ``ru_maxrss`` would count the parent's from before exec."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Meter:
    """Measures what happens between two points, and the steps of a cycle by its failpoints."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._steps: dict[str, float] = {}
        self._at = 0.0
        self._speed: Speed | None = None
        self.looked = 0.0
        app.failpoint = self._pass

    def _pass(self, point: str) -> None:
        now = self._cpu()
        self._steps[point] = self._steps.get(point, 0.0) + now - self._at
        self._at = now
        if self._speed is not None:
            self._speed.passing()

    def _cpu(self) -> float:
        """CPU seconds of this process, those for looking at the machine left out."""
        return time.process_time() - self.looked - (self._speed.spent if self._speed is not None else 0.0)

    def _calls(self) -> dict[str, int]:
        return {f"{name}.{route}": count for name, endpoint in self._app.endpoints.items()
                for route, count in endpoint.connector.counter.by_route.items()}  # type: ignore[attr-defined]

    @contextmanager
    def measure(self, name: str) -> Iterator[dict[str, Any]]:
        """Print what the block took; facts put into the yielded dictionary are printed too."""
        facts: dict[str, Any] = {"name": name}
        self._speed = Speed()
        before, cpu, wall = self._calls(), self._cpu(), time.monotonic()
        self._steps, self._at = {}, cpu
        yield facts
        calls = {route: n for route, count in self._calls().items() if (n := count - before.get(route, 0))}
        facts |= {"cpu": self._cpu() - cpu, "wall": time.monotonic() - wall, "peak": peak(), "steps": self._steps,
                  "calls": calls}
        self._speed.look()
        facts["pace"] = self._speed.pace()
        self.looked, self._speed = self.looked + self._speed.spent, None
        emit(facts)


def emit(facts: dict[str, Any]) -> None:
    print(orjson.dumps(facts).decode(), flush=True)


def facts_of(report: Report) -> dict[str, Any]:
    """What a run did, in counts; a run that failed somewhere measured something else.

    :raises RuntimeError: a stream or a destination failed, or something is left
    """
    errors = [*report.pulled.failed.values(), *(d.error for d in report.delivered.values() if d.error is not None)]
    if errors or report.left:
        raise RuntimeError(f"the run is not complete: {report.left} left, {[str(e) for e in errors]}")
    done: dict[str, int] = {}
    for delivered in report.delivered.values():
        for state, count in delivered.counts.items():
            done[state] = done.get(state, 0) + count
    return {"rows": sum(report.pulled.rows.values()), "entries": report.pulled.entries, "people": report.people,
            "operations": done, "plan": [list(c) for c in report.plan.counts] if report.plan else []}


def approval(app: App, cycle: Cycle) -> Callable[[Plan], Plan]:
    """Approve whatever is planned, by its id."""
    def approve(plan: Plan) -> Plan:
        guard.approve_plan(app.store, cycle.rel, plan.id, "bench", app.clock())
        return plan.approved()
    return approve


def link(app: App, meter: Meter) -> None:
    """A first link, then cycles without news, then everyone decided anew from what is stored."""
    cycle = app.cycle()
    with meter.measure("link") as facts:
        facts |= facts_of(cycle.run("once", approve=approval(app, cycle)))
    emit({"name": "linked", "cpu": time.process_time() - meter.looked, "pace": facts["pace"], "peak": peak()})
    for _ in range(QUIET_CYCLES):
        with meter.measure("quiet") as facts:
            facts |= facts_of(cycle.run("once"))
    stream = cycle.rel.sources[0].stream
    app.store.walk(lambda conn, after, most: people.of_stream(conn, stream, None, after, most)[:2], "")
    with meter.measure("anew") as facts:
        facts |= facts_of(cycle.run("once"))
    with meter.measure("compare") as facts:
        facts["people"] = compare(app, cycle)
    emit({"name": "file", "bytes": app.store.path.stat().st_size})


def compare(app: App, cycle: Cycle) -> int:
    """Every target row against the desired one, by the statements that plan; how many people that were.

    :raises RuntimeError: they differ
    """
    bound = clock_parameters(app.clock(), cycle.decider.zones)

    def chunk(conn: Any, after: int) -> tuple[int, int]:
        conn.execute("DELETE FROM chunk")
        conn.execute("INSERT INTO chunk (person, live) SELECT person, 1 FROM attr WHERE person > ? ORDER BY person LIMIT ?",
                     (after, people.CHUNK))
        plan.audiences(conn, cycle.rel, 0, bound)
        if conn.execute("SELECT 1 FROM operation WHERE state IN (0, 1) AND state = 0 LIMIT 1").fetchone():
            raise RuntimeError("a target differs from what is desired")
        return conn.execute("SELECT count(*), max(person) FROM chunk").fetchone()  # type: ignore[no-any-return]
    total = last = 0
    while True:
        count, highest = app.store.write(lambda conn, last=last: chunk(conn, last))  # type: ignore[misc]
        if not count:
            return total
        total, last = total + count, highest


def leave(app: App, meter: Meter) -> None:
    """The cycle after a change of the mapping, its plan approved."""
    cycle = app.cycle()
    with meter.measure("leave") as facts:
        facts |= facts_of(cycle.run("once", approve=approval(app, cycle)))


def burst(app: App, meter: Meter) -> None:
    """The cycle after a data load ticked everyone's opt-out, the retraction of it, and the two cycles after that."""
    def count(sql: str) -> int:
        return int(app.store.rows(sql)[0][0])
    table = app.cycle().rel.audiences[0].table
    before = count(f"SELECT count(*) FROM {table}")
    cycle = app.cycle()
    with meter.measure("burst") as facts:
        facts |= facts_of(cycle.run("once"))
    written = "SELECT count(*) FROM operation WHERE kind IN ('status', 'update') AND state IN (2, 3, 10)"
    emit({"name": "burst held", "written": count(written),
          "held": count("SELECT count(*) FROM operation WHERE state = 1"),
          "rows": count(f"SELECT count(*) FROM {table}"),
          "mailable": count("SELECT count(*) FROM decision WHERE master <> 3")})
    with meter.measure("retraction") as facts:
        facts |= grants.retract_burst(app.store, count("SELECT max(hold) FROM burst"), evidence="bench", by="bench",
                                      now=app.clock())
    with meter.measure("back"):
        for _ in range(2):
            cycle.run("once")
    emit({"name": "burst undone", "missing": before - count(f"SELECT count(*) FROM {table}")})


def slow(app: App, meter: Meter) -> None:
    """One cycle of everything, watched: how long it took to read and to write, against the slowest of each."""
    seen = Seen()
    for name in app.endpoints:
        app.connectors[name] = Watched(app.connectors[name], name, seen)
    cycle = app.cycle()
    ends: dict[str, float] = {}

    def passed(point: str) -> None:
        ends.setdefault(point, time.monotonic())
        if point == "guarded":
            seen.rounds.append({})
    cycle.failpoint = passed
    approve = approval(app, cycle)

    def approved(plan: Plan) -> Plan:
        ends["approved"] = time.monotonic()
        return approve(plan)
    began = time.monotonic()
    report = cycle.run("once", approve=approved)
    if report.pulled.failed:
        raise RuntimeError(f"streams failed: {sorted(report.pulled.failed)}")
    emit({"name": "slow", "reading": ends["pulled"] - began, "slowest_stream": seen.slowest_stream,
          "sending": time.monotonic() - ends["approved"], "slowest_destination": seen.slowest_destination,
          "gate_kept": seen.gate_kept})


STEPS: dict[str, Callable[[App, Meter], None]] = {"link": link, "leave": leave, "burst": burst, "slow": slow}


def main(step: str, path: str) -> None:
    config, mapping = compose.load(Path(path))
    store = compose.store(config)
    app = compose.app(config, mapping, store, threading.Event())
    try:
        STEPS[step](app, Meter(app))
    finally:
        app.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
