"""One cycle: pull (and what webhooks brought) → identify → reconcile → evaluate → plan → guard → deliver. Read this first.

``Cycle`` owns no connector and no clock of its own; ``syncd.app`` composes it. Every step works on tables and can be killed
at any point: what it had committed stays true, and the next cycle goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from connectors.errors import ConnectorError
from state.clock import was_set_back
from state.queries import load
from state.relations import Relations
from state.store import Store
from syncd import bursts, guard, runs
from syncd.decide import Decider
from syncd.deliver import Delivered, Lane, send_opt_outs
from syncd.feeds import Feed
from syncd.guard import Limits, Plan
from syncd.inbox import Resolver
from syncd.model import Micros
from syncd.moving import Mover
from syncd.pull import Puller
from syncd.runs import Report


@dataclass(slots=True)
class Cycle:
    """The parts of a cycle. ``lanes`` by connection name."""

    store: Store
    rel: Relations
    puller: Puller
    inbox: Resolver
    decider: Decider
    feeds: Sequence[Feed]
    lanes: Mapping[str, Lane]
    limits: Limits
    clock: Callable[[], Micros]
    max_consent_age: Micros
    failpoint: Callable[[str], None] = lambda name: None
    doubtful: Callable[[], bool] = lambda: False
    """Whether what was read did not fit what the connections once described: then nothing is decided by it."""
    unfit: Mapping[str, ConnectorError] = field(default_factory=dict)
    """What of the mapping does not fit: while there is any, opt-outs are carried and nothing else."""
    unread: Sequence[tuple[Feed, ConnectorError]] = ()
    """The feeds that are left out meanwhile."""

    def run(self, trigger: str, *, full: bool = False, deliver: bool = True, approve: Callable[[Plan], Plan] | None = None,
            deadline: float | None = None, wait: bool = True) -> Report:
        """One cycle; without ``wait`` it leaves requests in flight to the next one. ``approve`` is shown the plan before
        anything is sent, may approve or hold, and returns the plan as it stands then; what it raises ends the run.
        ``deadline`` is in monotonic seconds."""
        now = self.clock()
        with runs.begun(self.store, trigger, self.rel.fingerprint, self.clock) as run:
            try:
                return self._run(run, now, full=full, deliver=deliver, approve=approve, deadline=deadline, wait=wait)
            except OSError:  # the journal's disk: nothing new can be recorded, but what was is owed to everybody
                send_opt_outs(self.lanes.values() if deliver else ())
                raise

    def _run(self, run: int, now: Micros, *, full: bool, deliver: bool, approve: Callable[[Plan], Plan] | None,
             deadline: float | None, wait: bool) -> Report:
        began = time.monotonic()
        was_set_back(self.store, now, self.puller.clock_tolerance)
        brought = self.inbox.run(now)
        self.inbox.tidy(now)
        report = Report(run, self.puller.run(self.feeds, now, full=full))
        self.puller.leave_out(self.unread, report.pulled)
        report.pulled.failed |= {name: error for name, error in self.unfit.items() if name not in report.pulled.failed}
        report.pulled.entries += brought.entries
        report.pulled.failed |= brought.failed
        self.failpoint("pulled")
        if self.doubtful():
            runs.end(self.store, report, self.clock())
            return report
        self._work(report, run)
        if approve is not None and report.plan is not None:
            report.plan = approve(report.plan)
        if deliver:
            # A resolved request can leave people to look at again; two more rounds reach a fixed point.
            for _ in range(3):
                for name, delivered in self.deliver(deadline, wait).items():
                    before = report.delivered.get(name)
                    report.delivered[name] = delivered if before is None else delivered.after(before)
                self.puller.again(self.feeds, self.clock(), report.pulled)
                if not self.unfit:
                    Mover(self.store, self.feeds, self.puller).step(self.clock(), report.pulled)
                if not self._restless() or (deadline is not None and time.monotonic() > deadline):
                    break
                self._work(report, run)
        report.seconds = time.monotonic() - began
        runs.end(self.store, report, self.clock())
        return report

    def _work(self, report: Report, run: int) -> None:
        """Identify to guard, for whoever is dirty; nobody is before every feed was read once."""
        now = self.clock()
        if self.unfit or not self.linked() or self.half_read():
            self._carry(report, run, now)
            return
        self.decider.call_back()
        self.decider.people(now)
        self.failpoint("identified")
        report.people += self.decider.wishes(run, now)
        self.failpoint("planned")
        bursts.step(self.store, self.rel, self.decider.reconciler, self.limits, now)
        guard.step(self.store, self.rel, self.limits, now)
        self.failpoint("guarded")
        report.plan = guard.current_plan(self.store, self.rel, now)

    def _carry(self, report: Report, run: int, now: Micros) -> None:
        """A mistake at one connection does not stop opt-outs between the others: what keeps mail from people is decided and
        queued, the rest about them is put off until all of the mapping is read. Nothing before a first approved plan."""
        if self.store.rows("SELECT 1 FROM connection WHERE approved_at IS NOT NULL"):
            self.decider.people(now)
            report.people += self.decider.carry(run, now)
            bursts.step(self.store, self.rel, self.decider.reconciler, self.limits, now)
            guard.release_opt_outs(self.store)

    def leave(self, conn: Any) -> None:
        """Of opt-outs planned out of turn for the chunk's people: take back what must not be released yet."""
        bursts.leave(conn, self.rel, self.decider.reconciler)

    def deliver(self, deadline: float | None, wait: bool = True) -> dict[str, Delivered]:
        """Drain every lane, all at once."""
        if not self.lanes:
            return {}
        with ThreadPoolExecutor(len(self.lanes), thread_name_prefix="lane") as pool:
            futures = {name: pool.submit(lane.drain, deadline, wait=wait) for name, lane in self.lanes.items()}
            return {name: future.result() for name, future in futures.items()}

    def linked(self) -> bool:
        """Every stream was read to its end at least once: a first plan from half a picture would be wrong."""
        ids = {f.stream for f in self.feeds}
        rows = self.store.rows("SELECT id FROM stream WHERE complete_at IS NOT NULL")
        return ids <= {row[0] for row in rows}

    def half_read(self) -> bool:
        """Some records were not read with the fields that the mapping asks for now: what they lack would be taken for empty,
        and may be a refusal."""
        return not {f.stream for f in self.feeds}.isdisjoint(
            row[0] for row in self.store.rows("SELECT id FROM stream WHERE anew = 1"))

    def consent_is_fresh(self) -> bool:
        """The send gate's second half: every consent-bearing feed was read to its end not longer ago than the policy's
        ``max_consent_age``."""
        if self.unfit or self.half_read():
            return False
        oldest = self.clock() - self.max_consent_age
        ids = {f.stream for f in self.feeds if f.consent}
        fresh = {row[0] for row in self.store.rows(load("registry")["feeds"]) if (row[4] or 0) >= oldest}
        return ids <= fresh

    def _restless(self) -> bool:
        return bool(self.store.rows("SELECT 1 FROM dirty LIMIT 1"))
