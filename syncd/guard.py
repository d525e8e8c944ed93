"""Step 6, guard: let planned operations go, or hold a class of them until somebody approves it by name.

Opt-outs are never held, except by a connection's first plan. The limits are per remote object; a configuration can only
name other numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from state import drift
from state.pace import Pace
from state.plan import GRANT, HARMLESS
from state.queries import load
from state.relations import AudienceDef, Relations, quote
from state.store import Store
from syncd import doubles, meaning, pending
from syncd.model import Micros
from syncd.pending import Count


@dataclass(frozen=True, slots=True)
class Limits:
    """Shares are fractions of an object's size. The meaning of each is in docs/operating.md."""

    removals_share: float = 0.02
    removals_count: int = 20
    removals_most: int = 500
    creations_share: float = 0.20
    creations_count: int = 20
    blanking_share: float = 0.05
    blanking_count: int = 20
    burst_share: float = 0.02
    burst_count: int = 20
    burst_most: int = 500
    churn: Mapping[int, float] = field(default_factory=dict)
    """object -> expected_churn of its segment."""


Todo = tuple[str, Mapping[str, Any]]
"""An UPDATE that changes a part of what it is about, and what it is given."""

FIRST_PLAN = "the first plan of this connection needs approval"
CHANGED = "the mapping changed since the last approved plan"
MOST = 20_000
"""Operations changed at a time, at most: that is quicker than planning them."""


class Hold(NamedTuple):
    """An open hold: ``operations`` wait for it."""

    id: int
    connection: str
    object: str | None
    cls: str
    reason: str
    opened_at: Micros
    operations: int


class Wanted(NamedTuple):
    """A hold that there should be; the query ``how`` puts under it what is its own."""

    connection: int
    object: int | None
    cls: str
    reason: str
    how: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The exact operations that wait: its id is a hash of them, so equal plans have equal ids. ``notes`` are sentences about
    what they mean."""

    id: str
    counts: tuple[Count, ...]
    holds: tuple[Hold, ...]
    notes: tuple[str, ...] = ()

    def approved(self) -> Plan:
        """The same plan, nothing of it waiting for approval."""
        return Plan(self.id, tuple(c._replace(state="queued") for c in self.counts), (), self.notes)

    @property
    def empty(self) -> bool:
        return not self.counts

    @property
    def removals(self) -> int:
        return sum(c.operations for c in self.counts if c.sort == "remove")

    @property
    def reopenings(self) -> int:
        return sum(c.operations for c in self.counts if c.sort == "reopen")

    @property
    def held(self) -> int:
        return sum(c.operations for c in self.counts if c.state == "held")


def step(store: Store, rel: Relations, limits: Limits, now: Micros) -> None:
    """Hold what the limits say, release the rest to the lanes. What is to be held is decided at once and done part by part,
    a transaction each; what is not held yet is not released either, so a crash in between leaves it to the next step."""
    q = load("guard")
    for (hold,) in store.rows(q["being_freed"]):
        _free(store, hold)
    store.write(lambda conn: conn.execute(q["planned_by"], {"mapping": rel.fingerprint}).rowcount)
    _open(store, store.look(lambda conn: _unapproved(conn, rel)), now)
    second = store.look(lambda conn: doubles.found(conn, rel))
    if second or store.rows(q["holds_of_doubled"]):
        store.write(lambda conn: doubles.hold(conn, second, now))
    _open(store, store.look(lambda conn: _limits(conn, rel, limits)), now)
    _do(store, [(q["release"], {})])
    store.write(lambda conn: conn.execute(q["empty_holds"], (now,)).rowcount)


def release_opt_outs(store: Store) -> None:
    """Release the planned opt-outs alone: they are not for the guard to hold."""
    _do(store, [(load("guard")["release_opt_outs"], {})])


def _unapproved(conn: Any, rel: Relations) -> list[Wanted]:
    """The lanes that are shut until their first plan is approved, and what a mapping does that nobody has approved."""
    q, found = load("guard"), list[Wanted]()
    approved = {row[0]: bool(row[2]) for row in conn.execute(q["approved"])}
    for connection, known in approved.items():
        if not known and conn.execute(q["waiting"], {"connection": connection}).fetchone()[0]:
            found.append(Wanted(connection, None, "first_plan", FIRST_PLAN, "queue_connection"))
    mapping = conn.execute("SELECT value FROM meta WHERE name = 'approved_mapping'").fetchone()
    if mapping is not None and mapping[0] != rel.fingerprint:
        for connection, known in approved.items():
            if known and conn.execute("SELECT 1 FROM operation WHERE state IN (0, 1) AND state = 0 AND class > 0"
                                      " AND connection = ? LIMIT 1", (connection,)).fetchone():
                reason = ". ".join([CHANGED, *meaning.notes(conn, rel, connection)])
                found.append(Wanted(connection, None, "mapping", reason, "hold_open"))
    return found


def _limits(conn: Any, rel: Relations, limits: Limits) -> list[Wanted]:
    q, wanted = load("guard"), list[Wanted]()
    tables = {a.object: a for a in rel.audiences}
    sums: dict[tuple[int, int, str], int] = {}
    for connection, obj, kind, cls, count, fresh, unproved in conn.execute(q["planned"]):
        if kind == "remove" and cls == HARMLESS:
            found = {"removals": count}
        elif kind == "upsert":
            found = {sort: n for sort, n in (("creations", fresh), ("updates", count - fresh)) if n}
        elif cls == GRANT and unproved:
            wanted.append(Wanted(connection, obj, "reopening", f"{unproved} reopenings without evidence", "hold_reopenings"))
            continue
        else:
            continue
        for sort, n in found.items():
            sums[connection, obj, sort] = sums.get((connection, obj, sort), 0) + n
    for (connection, obj, sort), count in sums.items():
        audience = tables.get(obj)
        if audience is None:
            continue
        size = conn.execute(f"SELECT count(*) FROM {audience.table}").fetchone()[0]
        churn = max(limits.removals_share, limits.churn.get(obj, 0.0))
        if sort == "removals" and ((count > limits.removals_count and count > size * churn)
                                   or (count > limits.removals_most and obj not in limits.churn)):
            wanted.append(Wanted(connection, obj, "removals", f"{count} of {size} rows would be removed", "hold_removals"))
        elif (sort == "creations" and size and count > max(limits.creations_count, size * limits.creations_share)
              and count - conn.execute(q["taken_back"], (obj,)).fetchone()[0] > limits.creations_count):
            wanted.append(Wanted(connection, obj, "creations", f"{count} rows would be added to {size}", "hold_creations"))
        elif sort == "updates":
            wanted += [Wanted(connection, obj, "blanking", f"{quote(name)} would become empty for {blank} of {size}",
                              "hold_updates")
                       for name, blank in zip(audience.columns, _blanks(conn, audience), strict=True)
                       if blank > limits.blanking_count and blank > size * limits.blanking_share]
    return wanted


def _blanks(conn: Any, audience: AudienceDef) -> Sequence[int]:
    """How many rows each column would become empty in."""
    if not audience.columns:
        return ()
    sums = ", ".join(f"coalesce(sum(before->>{index} IS NOT NULL AND payload->>{index} IS NULL), 0)"
                     for index in range(len(audience.columns)))
    found: tuple[int, ...] = conn.execute(f"SELECT {sums} FROM operation WHERE state IN (0, 1) AND object = ?"
                                          " AND kind = 'upsert' AND before IS NOT NULL", (audience.object,)).fetchone()
    return found


def _do(store: Store, todo: Sequence[Todo]) -> int:
    """Run UPDATEs that change ``:most`` rows at a time until nothing is left to change; returns how many they changed."""
    return sum(store.bit_by_bit(lambda conn, most, sql=sql, given=given: conn.execute(  # type: ignore[misc]  # bound now
        sql, {**given, "most": most}).rowcount, Pace(most=MOST)) for sql, given in todo)


def _open(store: Store, wanted: Sequence[Wanted], now: Micros) -> None:
    """Open these holds, and put under them what is theirs."""
    if wanted:
        _do(store, store.write(lambda conn: [_hold(conn, each, now) for each in wanted]))


def _hold(conn: Any, wanted: Wanted, now: Micros, **given: int) -> Todo:
    """Open a hold, or find it open; what is to be done to put under it what is its own."""
    q = load("guard")
    named = {"connection": wanted.connection, "object": wanted.object, "class": wanted.cls, "reason": wanted.reason,
             "now": now}
    found = conn.execute(q["find_hold"], named).fetchone() if wanted.object is None else None
    hold = (found or conn.execute(q["open_hold"], named).fetchone())[0]
    return q[wanted.how], {"hold": int(hold), "connection": wanted.connection, "object": wanted.object, **given}


def hold_run(store: Store, run: int, cls: str, reason: str, now: Micros) -> None:
    """Hold everything a run put in the queue, opt-outs aside, until somebody has looked at it."""
    def job(conn: Any) -> list[Todo]:
        q = load("guard")
        return [_hold(conn, Wanted(connection, None, cls, reason, "hold_run"), now, run=run)
                for connection, _, known in conn.execute(q["approved"]).fetchall()
                if known and conn.execute(q["queued_by_run"], {"run": run, "connection": connection}).fetchone()]
    _do(store, store.write(job))


def _free(store: Store, hold: int) -> None:
    """Queue what an approved hold held, part by part. That of a first plan was queued before: its lane is open now."""
    q = load("guard")
    _do(store, [(q["approve_hold"], {"hold": hold})])
    store.write(lambda conn: conn.execute(q["freed"], (hold,)).rowcount)


def current_plan(store: Store, rel: Relations, now: Micros) -> Plan:
    """The plan as it stands: everything held or queued. Saved, so that it can be approved by its id."""
    plan, covers = store.look(lambda conn: _plan(conn, rel))
    row = (plan.id, now, rel.fingerprint, *covers, orjson.dumps([tuple(c) for c in plan.counts]).decode())
    store.write(lambda conn: conn.execute(load("guard")["save_plan"], row).rowcount)
    return plan


def _plan(conn: Any, rel: Relations) -> tuple[Plan, tuple[int, int]]:
    """The plan, and what it has seen: the last ledger position and the last operation."""
    q = load("guard")
    id_, counts, queued = pending.covered(conn, rel.fingerprint)
    holds = tuple(Hold._make((*row, queued[row[1]] if count is None else count))
                  for *row, count in conn.execute(q["open_holds"], {"counted": 1}))
    plan = Plan(id_, counts, holds, meaning.notes(conn, rel))
    head = conn.execute("SELECT coalesce(max(position), 0) FROM entry").fetchone()[0]
    return plan, (head, conn.execute(q["last_operation"]).fetchone()[0])


class Stale(Exception):
    """The plan no longer describes what would happen; ``current`` does. ``changes``: what differs, in words."""

    def __init__(self, current: Plan, changes: Sequence[str]) -> None:
        super().__init__(f"the plan has changed since; look at it again and approve {current.id}")
        self.current = current
        self.changes = tuple(changes)


def approve_plan(store: Store, rel: Relations, plan_id: str, by: str, now: Micros) -> None:
    """Approve a plan by its id: everything it covers is queued, its connections and mapping count as approved.

    Suppressions added since and operations dropped since are no deviation.

    :raises KeyError: unknown plan
    :raises Doubled: of a first plan, while the hold about that is open
    :raises Stale: what waits now includes something the plan did not show
    """
    q = load("guard")

    def looked(conn: Any) -> int | None:
        """The last operation that the plan is known to cover, None where it does not cover what is there."""
        row = conn.execute(q["plan"], (plan_id,)).fetchone()
        if row is None:
            raise KeyError(plan_id)
        if row[2] != rel.fingerprint:
            return None
        if not conn.execute(q["newer"], (row[4],)).fetchone()[0]:
            return int(row[4])
        plan, (_, last) = _plan(conn, rel)
        return last if plan.id == plan_id else None

    def job(conn: Any) -> list[int] | None:
        if covered is None or conn.execute(q["newer"], (covered,)).fetchone()[0]:
            return None
        doubles.refuse(conn)
        holds = [row[0] for row in conn.execute(q["to_approve"]).fetchall()]
        for hold in holds:
            conn.execute(q["approve"], {"hold": hold, "now": now})
        conn.execute(q["approve_connections"], (now,))
        conn.execute(q["approve_plan"], (now, by, plan_id))
        conn.execute("INSERT OR REPLACE INTO meta VALUES ('approved_mapping', ?)", (rel.fingerprint,))
        return holds
    covered = store.look(looked)
    approved = store.write(job)
    if approved is None:
        current = current_plan(store, rel, now)
        raise Stale(current, store.look(lambda conn: _changes(conn, rel, plan_id, current)))
    for hold in approved:
        _free(store, hold)


def _changes(conn: Any, rel: Relations, plan_id: str, current: Plan) -> tuple[str, ...]:
    """In what a plan made before differs from the current one, in words."""
    row = conn.execute(load("guard")["plan"], (plan_id,)).fetchone()
    other = () if row[2] == rel.fingerprint else ("the mapping is another one",)
    found = pending.differences((Count(*c) for c in orjson.loads(row[5])), current.counts)
    return (*other, *found) or ("the same numbers, of other people or with other values",)


def decide_hold(store: Store, hold_id: int, verdict: str, now: Micros) -> int:
    """Approve or reject one open hold; returns how many operations that frees or drops.

    :raises KeyError: no such open hold
    :raises Doubled: of a first plan, while the hold about that is open
    """
    q = load("guard")

    def approve(conn: Any, connection: int, cls: str) -> None:
        if cls == "first_plan":
            doubles.refuse(conn, connection)
        conn.execute(q["approve"], {"hold": hold_id, "now": now})
        if cls == "first_plan":
            conn.execute("UPDATE connection SET approved_at = ? WHERE id = ?", (now, connection))
        if cls in ("first_plan", "mapping"):
            conn.execute(q["approve_mapping"])

    def close(conn: Any) -> None:
        conn.execute(q["close_hold"], {"hold": hold_id, "now": now, "verdict": verdict})

    def decide_vanished(conn: Any, obj: int) -> int:
        close(conn)
        return int(drift.decide(conn, obj, again=verdict == "approved"))

    rows = store.rows("SELECT connection, class, object FROM hold WHERE id = ? AND closed_at IS NULL", (hold_id,))
    if not rows:
        raise KeyError(hold_id)
    [(connection, cls, obj)] = rows
    if cls == "vanished":
        return store.write(lambda conn: decide_vanished(conn, obj))
    if verdict == "approved":
        count = int(store.rows(q["held_by"], (hold_id,))[0][0])
        store.write(lambda conn: approve(conn, connection, cls))
        _free(store, hold_id)
        return count
    store.write(lambda conn: conn.execute(q["remember_rejected"], (hold_id,)).rowcount)
    how = "reject_first_plan" if cls == "first_plan" else "reject_hold"
    count = _do(store, [(q[how], {"hold": hold_id, "connection": connection, "now": now})])
    store.write(close)
    return count
