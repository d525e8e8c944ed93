"""The outbox: queued → sealed → done | rejected | dropped, and batches: sealed → accepted | unknown → closed.

Sealing joins the decisions in the same transaction: an operation that can make someone mailable leaves only while its
person's decision, as folded from everything stored by now, still permits it. No transaction is open while the network is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, overload

import orjson

from state import db, drift, parcels, plan, statuses
from state.parcels import Members, Parcel
from state.plan import DROPPED, GRANT, QUEUED, REJECTED, SEALED
from state.queries import load
from state.relations import AudienceDef, Relations, mailable, quote, rec
from syncd.model import DONE, Batch, Op, Ops, Outcome

SECOND = 1_000_000

MISCONFIGURED = "misconfigured"
"""How the reason of an operation begins whose object could not be written as it stood."""
LONGEST_BACKOFF = 300 * SECOND
"""How long, in µs, an operation waits at most that the vendor refused again and again without a time of its own."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A batch that is to be sent, or asked after: its id, what the connector gets, and the people in order of its ops."""

    id: int
    batch: Batch
    state: str
    request_id: str | None
    suppressing: bool
    sealed_at: int
    stamps: Sequence[int | None] = ()
    """Per operation on a CRM record: when the record had last changed, as far as was known when this was sealed."""


def seal(conn: db.Connection, rel: Relations, connection: int, limits: Mapping[str, int], *, grants: bool,
         now: int, only_suppressions: bool = False, absent: Collection[int] = ()) -> Sealed | None:
    """Take the next batch of a destination: suppressions first, then in order of creation; of parcels, if these are next,
    the first rows of one. None when nothing may go.

    :param absent: audiences that are not there, so that no row may go to them
    """
    q = load("outbox")
    given: dict[str, Any] = {"connection": connection, "grants": int(grants), "now": now, "only": int(only_suppressions),
                             "switches": orjson.dumps(rel.switches).decode(),
                             "absent": orjson.dumps(list(absent)).decode()}
    while True:
        first = conn.execute(q["next"], given).fetchone()
        parcel = parcels.following(conn, given) if grants and not only_suppressions else None
        if parcel is not None and (first is None or (GRANT, parcel.first) < (first[3], first[5])):
            sealed = _seal_parcels(conn, rel, connection, parcel, limits.get("upsert", 1), now)
        elif first is not None:
            sealed = _seal(conn, rel, given, limits, *first[:5])
        else:
            return None
        if sealed is not None:
            return sealed


def _seal(conn: db.Connection, rel: Relations, given: Mapping[str, Any], limits: Mapping[str, int], object_: int, kind: str,
          columns: str, class_: int, cap: int | None) -> Sealed | None:
    """Seal the next operations like the one described; None where the decisions permit none of them."""
    q = load("outbox")
    alike = {**given, "object": object_, "kind": kind, "columns": columns, "class": class_,
             "size": min(limits.get(kind, 1), cap or 1_000_000_000)}
    alike["batch"] = batch = conn.execute(q["new_batch"], alike).fetchone()[0]
    conn.execute(q["seal"], alike)
    if kind == "update":
        conn.execute(q["stamp"], {"batch": batch})
    audience = next((a for a in rel.audiences if a.object == object_ and kind == "upsert"), None)
    return _gated(conn, batch, class_, [_look(conn, audience, parcels.loose(batch))])


def _seal_parcels(conn: db.Connection, rel: Relations, connection: int, parcel: Parcel, size: int, now: int,
                  ) -> Sealed | None:
    """Seal the rows of this parcel, and of those like it; None where the decisions permit none of them."""
    batch = conn.execute(load("outbox")["new_batch"], {"connection": connection, "object": parcel.object, "kind": "upsert",
                                                       "columns": parcel.columns, "now": now}).fetchone()[0]
    audience = next((a for a in rel.audiences if a.object == parcel.object), None)
    found, following = list[Looked](), parcels.like(conn, connection, parcel)
    while size > 0 and following is not None:
        looked = _look(conn, audience, parcels.of(following), size)
        parcels.cut(conn, following, looked.ops.ids[-1] if looked.ops else None, batch)
        found += [looked] if looked.ops else []
        size -= len(looked.ops)
        following = parcels.like(conn, connection, parcel)
    return _gated(conn, batch, GRANT, found)


class Looked(NamedTuple):
    """Operations at the gate, and for each the digit that says what stops it."""

    ops: Ops
    stops: str


def _look(conn: db.Connection, audience: AudienceDef | None, members: Members, size: int = -1) -> Looked:
    """The first so many of these operations, and which of them the decisions no longer permit."""
    q = load("outbox")
    forbidden = "0" if audience is None else q["forbidden"].replace(":mailable", f"d.{mailable(audience.topic)}")
    *columns, stops = conn.execute(members.of(q["gate"].replace(":forbidden", forbidden)),
                                   {**members.given, "size": size}).fetchone()
    return Looked(_by_columns(*columns), stops or "")


def _gated(conn: db.Connection, batch: int, class_: int, found: Sequence[Looked]) -> Sealed | None:
    """A batch without what may not go. People with unfolded news are planned again, not sent."""
    q = load("outbox")
    for stop, sql in (("1", q["drop_stale"]), ("2", parcels.INTO_LANE), ("3", q["drop_forbidden"])):
        conn.executemany(sql, ((op,) for ops, stops in found if stop in stops
                               for op, mark in zip(ops.ids, stops, strict=True) if mark == stop))
    whole = len(found) == 1 and not found[0].stops.strip("0")
    ops = found[0].ops if whole else operations(conn, batch)
    if ops:
        return _sealed(conn, batch, class_, ops)
    close(conn, batch)
    return None


def close(conn: db.Connection, batch: int) -> None:
    """Nothing of a batch is in flight any more."""
    conn.execute(load("outbox")["close_batch"], (batch,))
    parcels.close(conn, batch)


class Unread(Sequence[Op]):
    """The operations of a batch in flight, read when somebody looks: all that a reply mostly takes is their number."""

    def __init__(self, count: int, read: Callable[[], Sequence[Op]]) -> None:
        self._count, self._read = count, read

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Op: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Op]: ...
    def __getitem__(self, index: int | slice) -> Op | Sequence[Op]:
        return self._ops[index]

    def __iter__(self) -> Iterator[Op]:
        return iter(self._ops)

    @cached_property
    def _ops(self) -> Sequence[Op]:
        return self._read()


def sealed_batch(conn: db.Connection, batch: int, read: Callable[[], Sequence[Op]]) -> Sealed | None:
    """A batch with its sealed operations, None when none is left. ``read`` gives them later, if they are wanted."""
    found = [conn.execute(m.of(load("outbox")["batch_size"]), m.given).fetchone() for m in parcels.members(conn, batch)]
    count = sum(n for n, _ in found)
    return _sealed(conn, batch, max(c for n, c in found if n), Unread(count, read)) if count else None


def _sealed(conn: db.Connection, batch: int, class_: int, ops: Sequence[Op]) -> Sealed:
    """:param class_: of any of them: suppressions have batches of their own"""
    q = load("outbox")
    kind, columns, name, state, request_id, sealed_at = conn.execute(q["batch"], (batch,)).fetchone()
    stamps = [row[0] for row in conn.execute(q["stamps"], (batch,))] if kind == "update" else [None] * len(ops)
    return Sealed(batch, Batch(kind, name, tuple(orjson.loads(columns)), ops), state, request_id, class_ == 0, sealed_at,
                  stamps)


def operations(conn: db.Connection, batch: int) -> Sequence[Op]:
    """The sealed operations of a batch, in order."""
    parts = [_by_columns(*conn.execute(members.of(load("outbox")["batch_ops"]), members.given).fetchone())
             for members in parcels.members(conn, batch)]
    if len(parts) == 1:
        return parts[0]
    return sorted(itertools.chain.from_iterable(parts))  # what was taken out of a parcel lies between the others


def _by_columns(ids: str, keys: str, emails: str, values: str | None) -> Ops:
    """Operations as the queries give them: JSON lists; None for the values of no operations."""
    return Ops(*map(orjson.loads, (ids, keys, emails, values or "[]")))


def open_batches(conn: db.Connection, connection: int, *, only_suppressions: bool = False,
                 ) -> list[tuple[int, str, int | None]]:
    """(batch, state, ask_at) of everything sent and not resolved; a sealed one was interrupted before its reply."""
    name = "open_suppressions" if only_suppressions else "open_batches"
    return conn.execute(load("outbox")[name], (connection,)).fetchall()


def suppressions_due(conn: db.Connection, connection: int, now: int) -> bool:
    """Whether an opt-out could be sent now."""
    return bool(conn.execute(load("outbox")["suppressions_due"], {"connection": connection, "now": now}).fetchone()[0])


def try_again(conn: db.Connection, connection: int) -> int:
    """What was put off as ``MISCONFIGURED`` is due at once. Returns how many operations that are."""
    return int(conn.execute(load("outbox")["try_again"], (connection, f"{MISCONFIGURED}%")).rowcount)


def settle_later(conn: db.Connection, batch: int, ask_at: int) -> None:
    """The request is still pending remotely; ask again at ``ask_at``."""
    conn.execute(load("outbox")["ask_later"], (ask_at, batch))


def record(conn: db.Connection, rel: Relations, sealed: Sealed, outcomes: Sequence[Outcome], *, now: int,
           backoff: float, ask_after: float = 1.0, late: bool = False) -> None:
    """Store what became of a batch. Targets move only on ``done``. One outcome per operation, in order.

    ``backoff`` (seconds) delays operations to be retried without a time of the vendor's own, and doubles each time.
    ``late``: the answer did not come with the call, so that somebody may have turned a flag back since, and a poll may have
    passed over it.
    """
    q = load("outbox")
    if len(outcomes) != len(sealed.batch.ops):
        raise ValueError(f"a connector gave {len(outcomes)} outcomes for {len(sealed.batch.ops)} operations")
    ask_at = now + int(ask_after * SECOND)
    alike = outcomes[0] if outcomes.count(outcomes[0]) == len(outcomes) else None
    if alike == DONE:
        _done(conn, rel, sealed, sealed.id, now, late)
        close(conn, sealed.id)
    elif alike is not None and alike.state == "accepted":
        conn.execute(q["accepted"], {"batch": sealed.id, "request": alike.request_id or "", "ask": ask_at})
    else:
        parcels.unpack(conn, sealed.id)
        _sort_out(conn, rel, sealed, _by_state(operations(conn, sealed.id), outcomes), now, backoff, ask_at, late)
    conn.execute(q["wake_waiting"], {"batch": sealed.id})
    conn.execute(q["clear_waiting"], {"batch": sealed.id})


def _done(conn: db.Connection, rel: Relations, sealed: Sealed, batch: int, now: int, late: bool) -> None:
    """All operations that are sealed in ``batch`` are done."""
    q, parts = load("outbox"), parcels.members(conn, batch)
    for members in parts:
        _apply(conn, rel, batch, members, sealed.batch, now)
    if late and sealed.batch.kind == "update" and not sealed.suppressing:
        conn.execute(q["reread"], {"batch": batch})
    for members in parts:
        given = {**members.given, "object": sealed.batch.object, "now": now}
        conn.execute(members.of(q["accepted_after_all"]), given)
        conn.execute(members.of(q["close_done"]), given)


def _sort_out(conn: db.Connection, rel: Relations, sealed: Sealed, by_state: Mapping[str, list[tuple[Op, Outcome]]],
              now: int, backoff: float, ask_at: int, late: bool) -> None:
    """Store the outcomes of a batch whose operations did not all end in the same way."""
    q = load("outbox")
    done = [op.id for op, _ in by_state.get("done", [])]
    if done:
        whole = len(done) == len(sealed.batch.ops)
        _done(conn, rel, sealed, sealed.id if whole else _split(conn, q, sealed.id, done), now, late)
    gone = [op.id for op, _ in by_state.get("gone", [])]
    if gone:
        _close(conn, q, gone, DROPPED, now, "subscriber_not_found")
        held = conn.execute(q["held_back"], {"batch": sealed.id}).fetchall()
        conn.executemany(q["no_subscriber"], ((i,) for i in gone))
        statuses.bounces(conn, held, now)
    for op, outcome in by_state.get("rejected", []):
        _reject(conn, q, sealed, op, outcome, now)
    for op, outcome in by_state.get("retry", []):
        at = None if outcome.retry_after is None else now + int(outcome.retry_after * SECOND)
        conn.execute(q["retry"], {"op": op.id, "not_before": at, "now": now, "backoff": int(backoff * SECOND),
                                  "longest": LONGEST_BACKOFF, "max_batch": outcome.max_batch, "reason": outcome.reason})
        conn.execute(q["superseded"], (op.id,))
    accepted: dict[str, list[int]] = {}
    for op, outcome in by_state.get("accepted", []):
        accepted.setdefault(outcome.request_id or "", []).append(op.id)
    for request_id, ids in accepted.items():
        _split(conn, q, sealed.id, ids, request_id, ask_at)
    unresolved = "unknown" if by_state.get("unknown") else "closed"
    conn.execute(q["batch_state"], {"batch": sealed.id, "state": unresolved, "ask": now + int(backoff * SECOND)})


def _by_state(ops: Iterable[Op], outcomes: Sequence[Outcome]) -> dict[str, list[tuple[Op, Outcome]]]:
    """Operations with their outcomes, by what is to be done; "gone" = the remote does not know the subscriber."""
    found: dict[str, list[tuple[Op, Outcome]]] = {}
    for op, outcome in zip(ops, outcomes, strict=True):
        state: str = outcome.state
        if state == "rejected" and (outcome.reason or "").split(":")[0].lower() == "subscriber_not_found":
            state = "gone"
        found.setdefault(state, []).append((op, outcome))
    return found


def _close(conn: db.Connection, q: Mapping[str, str], ids: list[int], state: int, now: int,
           reason: str | None = None) -> None:
    conn.executemany(q["close_op"], ((state, now, reason, i) for i in ids))


def _reject(conn: db.Connection, q: Mapping[str, str], sealed: Sealed, op: Op, outcome: Outcome, now: int) -> None:
    """A refused row goes to quarantine; a refused suppression is also tried again, for ever."""
    conn.execute(q["quarantine"], {
        "op": op.id, "object": sealed.batch.object, "reason": outcome.reason or "rejected", "now": now,
        "consent": int(sealed.suppressing),
        "remedy": "correct the record at its source, then `syncd quarantine retry`"})
    if sealed.suppressing:
        conn.execute(q["retry"], {"op": op.id, "not_before": now + 3600 * SECOND, "now": now, "backoff": 0, "longest": 0,
                                  "max_batch": 1, "reason": outcome.reason})
        conn.execute(q["superseded"], (op.id,))
    else:
        _close(conn, q, [op.id], REJECTED, now, outcome.reason)


def _split(conn: db.Connection, q: Mapping[str, str], batch: int, ids: Sequence[int], request_id: str | None = None,
           ask_at: int | None = None) -> int:
    """Give some operations of a batch a batch of their own: an accepted request's, or that of those done."""
    new = conn.execute(q["split"], {"batch": batch, "request": request_id, "ask": ask_at,
                                    "state": "closed" if request_id is None else "accepted"}).fetchone()[0]
    conn.executemany(q["move_op"], ((new, i) for i in ids))
    return int(new)


def _apply(conn: db.Connection, rel: Relations, batch_id: int, members: Members, batch: Batch, now: int) -> None:
    """Move the targets to what was acknowledged: every operation of the batch that is still sealed."""
    q = load("outbox")
    kind = batch.kind
    if kind == "status":
        held = conn.execute(q["held_back"], {"batch": batch_id}).fetchall() if batch.object == "" else []
        conn.execute(q["apply_status"], {"batch": batch_id, "now": now})
        statuses.bounces(conn, held, now)
        return
    object_ = conn.execute(q["object_of"], (batch_id,)).fetchone()[0]
    audience = next((a for a in rel.audiences if a.object == object_), None)
    if kind == "upsert" and audience is not None:
        if not members.new:
            drift.left_behind(conn, audience, members)
        conn.execute(members.of(_upsert_target(audience)), members.given)
        conn.execute(members.of(q["no_longer_foreign"]), members.given)
    elif kind == "remove" and audience is not None:
        conn.execute(f"DELETE FROM {audience.table} WHERE person IN (SELECT person FROM operation"
                     f" WHERE batch = :batch AND state = {SEALED} AND record = 0)", {"batch": batch_id})
        conn.execute(q["foreign_removed"], {"batch": batch_id})
        conn.execute(q["dirty_merged"], {"batch": batch_id})
    elif kind == "update":
        conn.executemany(q["reasserted"], ({"batch": batch_id, "field": column} for column in batch.columns))
        for stream, fields in rel.streams.items():
            for i, column in enumerate(batch.columns):
                if any(f.name == column for f in fields):
                    conn.execute(
                        f"UPDATE {rec(stream)} SET {quote(column)} = (SELECT o.payload->>{i} FROM operation o"
                        f" WHERE o.batch = :batch AND o.record = {rec(stream)}.record AND o.state = {SEALED})"
                        f" WHERE record IN (SELECT record FROM operation WHERE batch = :batch AND state = {SEALED})",
                        {"batch": batch_id})
        plan.rest_of_flags(conn, rel, batch_id)


def _upsert_target(a: AudienceDef) -> str:
    names = "".join(f", {quote(n)}" for n in a.columns)
    values = "".join(f", o.payload->>{i}" for i in range(len(a.columns)))
    return (f"INSERT OR REPLACE INTO {a.table} (person, key, address, operation{names})"
            f" SELECT o.person, o.key, o.address, o.id{values} FROM operation o"
            " WHERE :members")


def queued(conn: db.Connection, connection: int, until: int) -> tuple[int, int]:
    """(operations to be sent until then, operations sent and unresolved)."""
    row = conn.execute(load("outbox")["depth"], {"connection": connection, "until": until}).fetchone()
    return int(row[0] or 0), int(row[1] or 0)


__all__ = ["QUEUED", "Sealed", "open_batches", "operations", "queued", "record", "seal", "sealed_batch", "settle_later"]
