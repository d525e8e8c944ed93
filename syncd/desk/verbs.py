"""What can be asked of syncd, by name: every verb of the command line that needs the state, whoever holds the state.

The daemon answers these over its socket (``syncd.desk.control``); without a daemon the command line opens the state and asks
the desk itself. Verbs in ``EXCLUSIVE`` run cycles: one at a time, in the thread that owns the schedule.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from state.queries import load
from syncd import guard, normalise, sends
from syncd.catalogues import LIFE
from syncd.cycle import Cycle
from syncd.desk import accounts, audit, forget, grants, keys, suppressions, views
from syncd.desk.answers import Answer, exit_of_plan, exit_of_run, report_json
from syncd.desk.instance import Instance
from syncd.desk.resync import Resync
from syncd.desk.views import Json
from syncd.failures import FAILED, USAGE, Failure
from syncd.guard import Plan
from syncd.model import Micros
from syncd.runs import Report

EXCLUSIVE = frozenset(("plan", "apply", "once", "resync", "audit", "forget", "accept_account"))
"""Verbs that run a cycle, or must not run beside one."""

LOOKS = frozenset(("status", "runs", "holds", "hold", "quarantine", "quarantined", "explain", "keys", "former_keys",
                   "accounts", "consent_show", "consent_history", "consent_verify", "consent_requests", "consent_export"))
"""Verbs that change nothing: asking twice does no harm, and they are not worth a line in the log."""

DEADLINE = 300.0
"""Seconds after which `once` gives up waiting for a slow destination."""


class Desk(Instance):
    """Thread-safe except for the verbs in ``EXCLUSIVE``."""

    def call(self, verb: str, parameters: Mapping[str, Any]) -> Answer:
        """Answer a verb.

        :raises Failure: it cannot be done, or there is no such verb
        """
        method = VERBS.get(verb)
        if method is None:
            raise Failure(USAGE, f'this syncd knows no verb "{verb}".', next="Use the same version on both sides.")
        answer: Answer = method(self, **parameters)
        return answer

    # ------------------------------------------------------------------ looking

    def status(self) -> Answer:
        size = Path(self.config.state).stat().st_size
        now = self.now()
        return Answer({"state": str(self.config.state), "bytes": size, **views.status(self.store, now),
                       "erasures": views.erasures(self.store, now, self.config.policy.max_erasure_age),
                       "sends": [views.send_json(w) for w in sends.wrong(self.store, self.mapping, now - sends.RECENT)]})

    def runs(self, limit: int = 20) -> Answer:
        return Answer({"runs": views.runs(self.store, limit)})

    def holds(self) -> Answer:
        return Answer({"holds": views.holds(self.store)})

    def hold(self, id: int) -> Answer:
        return Answer(self._hold(id))

    def quarantine(self) -> Answer:
        return Answer({"quarantine": views.quarantine(self.store, self.mask)})

    def quarantined(self, id: int) -> Answer:
        return Answer(self._quarantined(id))

    def explain(self, address: str | None = None, crm_id: str | None = None) -> Answer:
        from syncd.desk import explain

        compiled = self.settled
        explainer = explain.Explainer(self.store, compiled, self.mapping, self.config, self.now())
        return Answer({"as_of": explainer.as_of(self.app.catalogues.oldest), **explainer.explain(address, crm_id)})

    def keys(self, connection: str | None = None) -> Answer:
        """Under which keys people are known at the destinations, and how far a move to others is."""
        return Answer(keys.survey(self, connection))

    def former_keys(self, connection: str, after: str = "") -> Answer:
        """Some of the keys that were given up, from the one after ``after`` on."""
        return Answer(keys.former(self, connection, after))

    def accounts(self) -> Answer:
        """Which account each connection is about."""
        return Answer(accounts.survey(self))

    # ------------------------------------------------------------------ deciding

    def accept_account(self, connection: str) -> Answer:
        """A connection leads to another account, and an admin says that it holds the same people."""
        return Answer(accounts.accept(self, connection))

    def migrate_keys(self, connection: str) -> Answer:
        """Begin to move everyone to the key that the mapping gives."""
        return Answer(keys.migrate(self, connection))

    def stop_keys(self, connection: str) -> Answer:
        """Whoever has not moved yet keeps the present key."""
        return Answer(keys.stop(self, connection))

    def decide_hold(self, id: int, verdict: str) -> Answer:
        """Approve or reject a hold; the answer says what that frees or drops."""
        before = self._hold(id)
        if before["class"] == "burst" and verdict == "rejected":
            raise Failure(USAGE, "the opt-outs of a burst stand until they are retracted.",
                          next=f"If nobody meant them: `syncd consent retract --burst {id} --evidence TEXT --by NAME`.")
        try:
            count = guard.decide_hold(self.store, id, verdict, self.now())
        except KeyError:
            raise Failure(USAGE, f"hold {id} is not open any more.", next="Run `syncd holds list`.") from None
        return Answer({**before, "verdict": verdict, "operations": count})

    def quarantine_retry(self, ids: list[int] | None = None) -> Answer:
        """Take rows out of quarantine and look at their people again; ``ids`` None = all rows."""
        chosen = [self._quarantined(i) for i in ids] if ids is not None else views.quarantine(self.store, str)
        q, now = load("views"), self.now()
        people: set[int] = set()
        for row in chosen:
            given = {"connection": self._connection(row["connection"]), "key": row["key"], "id": row["id"], "now": now,
                     "hash": self._hashed(row["key"]) if "@" in row["key"] else None}
            found = [r[0] for r in self.store.rows(q["quarantined_people"], given)]
            people.update(found)

            def job(conn: Any, given: Json = given, found: list[int] = found) -> None:
                conn.executemany("INSERT OR IGNORE INTO dirty VALUES (?)", ((p,) for p in found))
                conn.execute(q["try_now"], given)
                conn.execute(q["close_quarantine"], given)
            self.store.write(job)
        return Answer({"retried": len(chosen), "people": len(people)})

    def quarantine_drop(self, id: int) -> Answer:
        """Forget that a row was refused; never one that carries an opt-out."""
        row = self._quarantined(id)
        if row["opt_out"]:
            raise Failure(USAGE, f"row {id} carries an opt-out, which is never dropped: it is sent again every hour.",
                          next="Correct the cause, then `syncd quarantine retry`.")
        self.store.write(lambda conn: conn.execute(
            load("views")["close_quarantine"], {"id": id, "now": self.now()}).rowcount)
        return Answer({**row, "key": self.mask(row["key"]), "dropped": True})

    # ------------------------------------------------------------------ consent

    def consent_show(self, address: str) -> Answer:
        return Answer(grants.show(self.store, self.mapping, self.config, address))

    def consent_history(self, address: str) -> Answer:
        return Answer(grants.history(self.store, self.config, address))

    def consent_grant(self, address: str, topic: str | None, evidence: str, by: str,
                      crm_id: str | None = None) -> Answer:
        return Answer(grants.grant(self.store, self.mapping, self.config, address, topic=topic, evidence=evidence,
                                   by=by, crm_id=crm_id, now=self.now()))

    def consent_retract(self, evidence: str, by: str, statement: int | None = None, burst: int | None = None) -> Answer:
        """Retract one statement, or all of a burst."""
        if burst is not None:
            return Answer(grants.retract_burst(self.store, burst, evidence=evidence, by=by, now=self.now()))
        return Answer(grants.retract(self.store, statement or 0, evidence=evidence, by=by, now=self.now()))

    def consent_verify(self) -> Answer:
        return grants.verify(self.store)

    def consent_requests(self) -> Answer:
        return Answer(suppressions.requests(self.store, self.mapping, self.config))

    def consent_import(self, values: list[str], topic: str | None = None, evidence: str | None = None,
                       by: str | None = None, dry_run: bool = False, more: bool = False) -> Answer:
        """Take a part of a suppression list; ``more`` = another one follows."""
        return Answer(suppressions.take(self.store, self.mapping, self.config, values, topic=topic, evidence=evidence,
                                        by=by, dry_run=dry_run, now=self.now(), pace=self.import_pace))

    def consent_export(self, what: str, after: int = 0, limit: int = 1_000) -> Answer:
        return Answer(suppressions.part(self.store, self.mapping, self.config, what, after, limit))

    # ------------------------------------------------------------------ cycles

    def plan(self, operations: bool = False) -> Answer:
        """Read everything and compute what would be written; write nothing."""
        calls = self.calls()
        report = self._ran(lambda cycle: cycle.run("plan", deliver=False), writes=False)
        data = self._report(report, calls)
        data["mapping"] = self.mapping.fingerprint
        if operations:
            data["operations"] = views.plan_operations(self.store)
        return Answer(data, exit_of_plan(report))

    def apply(self, plan: str, deadline: float = DEADLINE) -> Answer:
        """Read, check that the plan still says what would happen, write it."""
        return self._run("apply", lambda current: self.approve(current, plan), deadline)

    def once(self, approve: str | None = None, deadline: float = DEADLINE) -> Answer:
        """One cycle. ``approve``: a plan's id; "" = whatever needs no look at it; None = nothing."""
        return self._run("once", lambda plan: self._may(plan, approve), deadline, whole=False)

    def resync(self, **how: Any) -> Answer:
        """Read again, decide again; whatever that would change beyond opt-outs waits for approval."""
        resync = Resync(self, **how)
        calls, cycle = self.calls(), self.cycle_of_now(0)
        found = resync.prepare(cycle)
        report = cycle.run("resync", full=resync.full, deliver=not resync.dry_run, approve=resync.decide,
                           deadline=time.monotonic() + resync.deadline)
        self.app.catalogues.save()
        data = {**self._report(report, calls), "resync": found}
        return Answer(data, exit_of_plan(report) if resync.dry_run else exit_of_run(report, self._unfinished(report)))

    def audit(self, sample: int | None = None, everything: bool = False, deadline: float = DEADLINE,
              scheduled: bool = False) -> Answer:
        """Compare what every side holds with the ledger, and repair opt-outs."""
        return audit.run(self, sample=sample, everything=everything, deadline=deadline, scheduled=scheduled)

    def forget(self, address: str, crm_id: str | None = None, everyone: bool = False, crms: Sequence[str] = (),
               delete: bool = False, preview: bool = False, deadline: float = DEADLINE) -> Answer:
        """Erase a person here, at the providers and in the CRMs named; the answer is the receipt."""
        return forget.run(self, address, crm_id=crm_id, everyone=everyone, deadline=deadline, crms=crms, delete=delete,
                          preview=preview)

    def backup(self, target: str) -> Answer:
        """Copy the state while it is in use, check the copy, move it to ``target``."""
        path = Path(target)
        if not path.parent.is_dir():
            raise Failure(USAGE, f"{path.parent} is not a directory.", next="Make it first.")
        try:
            self.store.backup(path)
        except OSError as error:
            raise Failure(FAILED, f"{path} cannot be written: {error.strerror}.") from None
        forget.remember_backup(self, path)
        return Answer({"backup": str(path), "bytes": path.stat().st_size, "ledger": self.store.head()})

    def cycle(self, trigger: str, deadline: float) -> tuple[Report, Json]:
        """One cycle of the daemon's schedule; nothing is approved by it."""
        calls = self.calls()
        report = self._ran(lambda cycle: cycle.run(trigger, deadline=time.monotonic() + deadline, wait=False), life=0,
                           whole=False)
        return report, self._report(report, calls)

    def _run(self, trigger: str, approve: Callable[[Plan], Plan], deadline: float, *, whole: bool = True) -> Answer:
        calls = self.calls()
        report = self._ran(lambda cycle: cycle.run(trigger, approve=approve, deadline=time.monotonic() + deadline),
                           whole=whole)
        return Answer(self._report(report, calls), exit_of_run(report, self._unfinished(report)))

    def _ran(self, run: Callable[[Cycle], Report], life: Micros = LIFE, *, writes: bool = True,
             whole: bool = True) -> Report:
        """One cycle, after what is left of an erasure. If it stopped because what it read did not fit a description, another
        one by a new description. Unless the mapping must be ``whole``, opt-outs go where it fits."""
        cycle = self.cycle_of_now(life, whole=whole)
        if writes and self.store.rows(load("forget")["is_any"])[0][0]:
            forget.follow(self, cycle)
        report = run(cycle)
        if report.plan is None and self.app.catalogues.doubtful:
            begun, report = report, run(self.cycle_of_now(life, whole=whole))
            report.pulled = report.pulled.after(begun.pulled)
        self.app.catalogues.save()
        return report

    def _report(self, report: Report, before: Mapping[str, int]) -> Json:
        return report_json(report, {name: count - before[name] for name, count in self.calls().items()})

    def _unfinished(self, report: Report) -> bool:
        """Whether something that was due is still open. What a vendor deferred, or refused until a person corrects it,
        does not make a run unfinished."""
        q, now = load("views"), self.now()
        for name, delivered in report.delivered.items():
            if delivered.left:
                connection = self._connection(name)
                if self.store.rows(q["overdue"], (connection, now))[0][0] or self.store.rows(
                        q["flying"], (connection,))[0][0]:
                    return True
        return False

    # ------------------------------------------------------------------ approving

    def _may(self, plan: Plan, approve: str | None) -> Plan:
        """The plan after ``--approve``: approved, if that covers it."""
        if approve is None or not (approve or plan.held):
            return plan
        if approve:
            return self.approve(plan, approve)
        return self.approve(plan, plan.id) if self.is_covered(plan) else plan

    def is_covered(self, plan: Plan) -> bool:
        """Whether a plan may be approved without naming it: no removals, no reopenings, and only on connections whose
        first approved plan is not yet wholly done."""
        first = {row[0] for row in self.store.rows(load("views")["unfinished_first"])}
        return not plan.removals and not plan.reopenings and {
            c.connection for c in plan.counts if c.state == "held"} <= first

    # ------------------------------------------------------------------ small look-ups

    def _hold(self, id: int) -> Json:
        found = views.hold(self.store, id, self.mask)
        if found is None:
            raise Failure(USAGE, f"there is no hold {id}.", next="Run `syncd holds list`.")
        return found

    def _quarantined(self, id: int) -> Json:
        found = views.quarantined(self.store, id)
        if found is None:
            raise Failure(USAGE, f"there is no row {id} in quarantine.", next="Run `syncd quarantine list`.")
        return found

    def _hashed(self, address: str) -> bytes:
        return normalise.hasher(self.config.hash_key.reveal().encode())(address)

    def _connection(self, name: str) -> int:
        return int(self.store.rows(load("views")["connection_id"], (name,))[0][0])


VERBS: Mapping[str, Callable[..., Answer]] = {
    name: getattr(Desk, name) for name in (
        "status", "runs", "holds", "hold", "decide_hold", "quarantine", "quarantined", "quarantine_retry",
        "quarantine_drop", "explain", "accounts", "accept_account", "keys", "former_keys", "migrate_keys", "stop_keys",
        "consent_show", "consent_history", "consent_grant", "consent_retract", "consent_verify",
        "consent_requests", "consent_import", "consent_export", "plan", "apply", "once", "resync", "audit", "forget",
        "backup")}
"""Every verb with the method that answers it; nothing else can be called from outside."""
