"""Step 7, deliver: one lane per destination takes sealed batches from the outbox to the connector and stores the answers.

The intent is committed before the call, the result after it, and no transaction is open in between. What a lost reply left
open is read back, never guessed. A slow destination only grows its own outbox.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter
from typing import Any

import orjson

from connectors.base import Connector
from connectors.errors import (
    AnotherAccount,
    ConnectorError,
    LostReply,
    Misconfigured,
    Reauthenticate,
    RejectRecord,
    Throttled,
)
from state import outbox
from state.outbox import Sealed
from state.relations import Relations
from state.store import Store
from syncd.model import UNKNOWN, AudienceDefinition, Batch, Field, Micros, Op, Outcome, StreamSpec, Value
from syncd.normalise import decimal_text, email

MISCONFIGURED_WAIT = 300.0
"""Seconds before a service tries an object again that could not be written as it stands; who runs a cycle by hand may have
mended it."""
FIRST_ASK, LONGEST_ASK = 0.3, 60.0
"""Seconds before an accepted request is asked after, and the longest pause between two questions."""
_STATE = attrgetter("state")


@dataclass(slots=True)
class Delivered:
    """What a lane did: operations by outcome; ``error`` when it had to stop, ``left`` what is still waiting."""

    counts: dict[str, int] = field(default_factory=dict)
    error: ConnectorError | None = None
    left: int = 0
    grants_waited: bool = False

    def after(self, earlier: Delivered) -> Delivered:
        """This and an earlier round as one: the counts of both, the end of this."""
        counts = dict(earlier.counts)
        for state, count in self.counts.items():
            counts[state] = counts.get(state, 0) + count
        return Delivered(counts, self.error, self.left, self.grants_waited)


@dataclass(slots=True)
class Lane:
    """One destination's worker. ``grants`` tells whether everything consent-bearing was read (see the send gate)."""

    store: Store
    rel: Relations
    connection: int
    connector: Connector
    containers: Mapping[str, StreamSpec]
    clock: Callable[[], Micros]
    grants: Callable[[], bool]
    stop: threading.Event = field(default_factory=threading.Event)
    creates: Mapping[str, AudienceDefinition] = field(default_factory=dict)
    """Audiences the mapping asks to be created, by object name."""
    turn: threading.Lock = field(default_factory=threading.Lock)
    """Held by whoever sends to this destination: a cycle, or the express way of opt-outs beside it."""
    _pauses: dict[int, float] = field(default_factory=dict)
    _misconfigured: dict[str, ConnectorError] = field(default_factory=dict)
    _absent: set[int] = field(default_factory=set)
    failpoint: Callable[[str], None] = lambda name: None

    def drain(self, deadline: float | None, *, wait: bool = True) -> Delivered:
        """Send until nothing is left to send or to settle, ``deadline`` (monotonic seconds) passes, or the vendor is down.

        Without ``wait`` it returns as soon as there is nothing to do right now; what is in flight is for the next time.
        """
        with self.turn:
            return self._drain(deadline, wait)

    def _drain(self, deadline: float | None, wait: bool) -> Delivered:
        report = Delivered()
        failures = 0
        self._misconfigured.clear()
        if wait:
            self.store.write(lambda conn: outbox.try_again(conn, self.connection))
        self._create(report)
        while not self.stop.is_set() and (deadline is None or time.monotonic() < deadline):
            try:
                worked = self._turn(report)
            except ConnectorError as error:
                report.error = error
                failures += 1
                if failures > 3 or isinstance(error, Reauthenticate | Misconfigured | AnotherAccount):
                    break
            else:
                if worked:
                    failures, report.error = 0, None
                    continue
                if not wait:
                    break
            queued, flying = self._depth()
            if not flying and not self._waiting_soon(deadline):
                break
            self.stop.wait(0.1 if not failures else min(5.0, 0.2 * 2 ** failures))
        queued, flying = self._depth()
        report.error = report.error or next(iter(self._misconfigured.values()), None)
        report.left = queued + flying
        report.grants_waited = bool(queued) and not self.grants()
        return report

    def express(self, report: Delivered) -> None:
        """Send the opt-outs that are due, and nothing else, until none is. Where a cycle is sending they go with that.

        :raises ConnectorError: the destination does not take them now
        """
        while not self.stop.is_set() and self._opt_outs_due():
            if not self.turn.acquire(timeout=0.2):
                continue
            try:
                if not self._resolve(report, only_suppressions=True):
                    self._send(report, only_suppressions=True)
            finally:
                self.turn.release()

    def _opt_outs_due(self) -> bool:
        with self.store.reading() as conn:
            now = self.clock()
            asks = outbox.open_batches(conn, self.connection, only_suppressions=True)
            return outbox.suppressions_due(conn, self.connection, now) or any(at is None or at <= now for _, _, at in asks)

    def _opt_outs_queued(self) -> bool:
        with self.store.reading() as conn:
            return outbox.suppressions_due(conn, self.connection, self.clock())

    def opt_outs_open(self) -> bool:
        """Whether an opt-out waits here for its time or for an answer."""
        with self.store.reading() as conn:
            return bool(outbox.suppressions_due(conn, self.connection, 1 << 62)
                        or outbox.open_batches(conn, self.connection, only_suppressions=True))

    def _turn(self, report: Delivered) -> bool:
        """Opt-outs first, then resolve what is open, else send. A request that cannot be asked after keeps no suppression
        from leaving."""
        if self._opt_outs_queued() and self._send(report, urgent=True):
            return True
        try:
            if self._resolve(report):
                return True
        except ConnectorError:
            if not self._send(report):
                raise
            return True
        return self._send(report)

    def _depth(self) -> tuple[int, int]:
        with self.store.reading() as conn:
            return outbox.queued(conn, self.connection, self.clock() + int(LONGEST_ASK * 1e6))

    def _waiting_soon(self, deadline: float | None) -> bool:
        """Whether a queued operation becomes due before the deadline; what is put off for longer is for a later cycle."""
        rows = self.store.rows("SELECT min(not_before) FROM lane WHERE connection = ?"
                               " AND not_before IS NOT NULL", (self.connection,))
        if rows[0][0] is None:
            return False
        wait = (rows[0][0] - self.clock()) / 1e6
        return wait < LONGEST_ASK and (deadline is None or time.monotonic() + wait < deadline)

    # ------------------------------------------------------------------ creating

    def _create(self, report: Delivered) -> None:
        """Make the audiences that are asked for and not there, once something is approved to go into them. Where that fails
        what is to go there waits, and the next drain tries again."""
        self._absent.clear()
        for name, definition in self.creates.items():
            waiting = self.store.rows(
                "SELECT 1 FROM object b WHERE b.connection = ? AND b.name = ? AND b.kind = 'audience'"
                " AND b.created_at IS NULL"
                " AND EXISTS (SELECT 1 FROM connection c WHERE c.id = b.connection AND c.approved_at IS NOT NULL)"
                " AND (EXISTS (SELECT 1 FROM lane o WHERE o.connection = b.connection AND o.object = b.id)"
                " OR EXISTS (SELECT 1 FROM parcel l WHERE l.object = b.id AND l.batch IS NULL))",
                (self.connection, name))
            if not waiting:
                continue
            try:
                if name not in self.connector.describe([name]).objects:
                    text = orjson.dumps(definition).decode()
                    outcome = self.connector.apply(Batch("create_object", name, ("definition",),
                                                         [Op(0, name, None, (text,))]))[0]
                    report.counts[f"create_{outcome.state}"] = report.counts.get(f"create_{outcome.state}", 0) + 1
                    if outcome.state != "done":
                        raise Misconfigured(f"{name} could not be created.", code=outcome.reason or outcome.state,
                                            remedy="Create it at the provider, or correct its fields in the mapping.")
            except ConnectorError as error:
                self._misconfigured[name] = report.error = error
                self._absent.add(self.store.object(self.connection, name, "audience"))
                continue
            self.store.write(lambda conn, n=name: conn.execute(  # type: ignore[misc]
                "UPDATE object SET created_at = ? WHERE connection = ? AND name = ? AND kind = 'audience'",
                (self.clock(), self.connection, n)).rowcount)

    # ------------------------------------------------------------------ sending

    def _send(self, report: Delivered, *, only_suppressions: bool = False, urgent: bool = False) -> bool:
        """Seal a batch and send it; False when there is none. ``urgent``: it will be one of opt-outs."""
        limits: dict[str, int] = {str(k): n for k, n in self.connector.capabilities.batch.items()}
        grants = not only_suppressions and self.grants()
        sealed = self.store.write(lambda conn: outbox.seal(
            conn, self.rel, self.connection, limits, grants=grants, now=self.clock(),
            only_suppressions=only_suppressions, absent=self._absent), urgent=urgent or only_suppressions)
        if sealed is None:
            return False
        self.failpoint("sealed")
        outcomes = self._apply(sealed)
        self.failpoint("sent")
        self._record(sealed, outcomes, report, ask_after=FIRST_ASK)
        self.failpoint("recorded")
        return True

    def _apply(self, sealed: Sealed) -> Sequence[Outcome]:
        batch = self._wire(sealed)
        try:
            return self.connector.apply(batch)
        except LostReply:
            return [UNKNOWN] * len(batch.ops)
        except RejectRecord as error:
            if len(batch.ops) == 1:
                return [Outcome("rejected", error.code or str(error))]
            return [Outcome("retry", error.code, retry_after=0.0, max_batch=max(1, len(batch.ops) // 2))] * len(batch.ops)
        except Misconfigured as error:
            # This object cannot be written as it stands (it is gone, or its fields are): the others can.
            self._misconfigured[batch.object] = error
            reason = f"{outbox.MISCONFIGURED}: {error.code}" if error.code else outbox.MISCONFIGURED
            return [Outcome("retry", reason, retry_after=MISCONFIGURED_WAIT)] * len(batch.ops)
        except ConnectorError as error:
            wait = error.retry_after if isinstance(error, Throttled) else None
            self._record(sealed, [Outcome("retry", error.code, retry_after=wait or 1.0)] * len(batch.ops), Delivered())
            raise

    def _wire(self, sealed: Sealed) -> Batch:
        """The batch as the connector's contract wants it: decimals as text."""
        audience = next((a for a in self.rel.audiences if a.connection == self.connection
                         and sealed.batch.kind == "upsert" and self._object(a.object) == sealed.batch.object), None)
        if audience is None:
            return sealed.batch
        scaled = [i for i, (_, _, kind) in enumerate(audience.fields) if kind in ("decimal", "money")]
        if not scaled:
            return sealed.batch
        ops = []
        for op in sealed.batch.ops:
            values: list[Value] = list(op.values)
            for i in scaled:
                values[i] = decimal_text(values[i])  # type: ignore[arg-type]
            ops.append(Op(op.id, op.key, op.email, tuple(values)))
        return Batch(sealed.batch.kind, sealed.batch.object, sealed.batch.columns, ops)

    def _object(self, object_: int) -> str:
        return str(self.store.rows("SELECT name FROM object WHERE id = ?", (object_,))[0][0])

    def _record(self, sealed: Sealed, outcomes: Sequence[Outcome], report: Delivered, ask_after: float = 1.0,
                late: bool = False) -> None:
        for state, count in Counter(map(_STATE, outcomes)).items():
            report.counts[state] = report.counts.get(state, 0) + count
        self.store.write(lambda conn: outbox.record(
            conn, self.rel, sealed, outcomes, now=self.clock(), backoff=2.0, ask_after=ask_after, late=late),
            urgent=sealed.suppressing)

    # ------------------------------------------------------------------ resolving

    def _resolve(self, report: Delivered, *, only_suppressions: bool = False) -> bool:
        """Ask after requests that are due, read back what is unknown. True when something was resolved."""
        with self.store.reading() as conn:
            found = outbox.open_batches(conn, self.connection, only_suppressions=only_suppressions)
        worked, refused = False, None
        for batch, state, ask_at in found:
            if ask_at is not None and ask_at > self.clock():
                continue
            if worked and not only_suppressions and self._opt_outs_queued():
                break  # many requests may have ended, each with thousands of rows
            with self.store.reading() as conn:
                sealed = outbox.sealed_batch(conn, batch, partial(self._operations, batch))
            if sealed is None:
                self.store.write(lambda conn, b=batch: outbox.close(conn, b))  # type: ignore[misc]
                continue
            try:
                outcomes = self._settle(sealed) if state == "accepted" else self._read_back(sealed)
            except Misconfigured as error:
                refused, outcomes = error, None  # this object is gone; others are there
            if outcomes is None:
                pause = self._pauses[batch] = min(LONGEST_ASK, self._pauses.get(batch, FIRST_ASK) * 1.7)
                ask = self.clock() + int(pause * 1e6)
                self.store.write(lambda conn, b=batch, a=ask: outbox.settle_later(conn, b, a))  # type: ignore[misc]
                continue
            self.failpoint("settled")
            self._pauses.pop(batch, None)
            self._record(sealed, outcomes, report, late=True)
            worked = True
        if refused is not None and not worked:
            raise refused
        return worked

    def _operations(self, batch: int) -> Sequence[Op]:
        with self.store.reading() as conn:
            return outbox.operations(conn, batch)

    def _settle(self, sealed: Sealed) -> Sequence[Outcome] | None:
        assert sealed.request_id is not None
        outcomes = self.connector.settle(sealed.request_id, self._wire(sealed))
        if outcomes is not None and "unknown" in map(_STATE, outcomes):
            return self._read_back(sealed)
        return outcomes

    def _read_back(self, sealed: Sealed) -> Sequence[Outcome] | None:
        """Compare what the remote holds with what was sent; what is not there is sent again. None while it may still be
        on its way: sent again too early, the first copy could arrive after somebody's opt-out. Suppressions do not wait."""
        batch = self._wire(sealed)
        spec = self._spec(batch)
        page = self.connector.fetch(spec, [op.key for op in batch.ops])
        columns = spec.columns
        key = columns.index("key") if "key" in columns else columns.index("id")
        truth: dict[str, dict[str, Any]] = {str(r[key]): dict(zip(columns, r, strict=True)) for r in page.rows}
        again = Outcome("retry", "read_back", retry_after=0.0)
        outcomes = [Outcome("done") if _holds(batch, op, row) or _turned_back(sealed, stamp, row) else again
                    for op, stamp in zip(batch.ops, sealed.stamps, strict=True) for row in (truth.get(op.key),)]
        late = self.clock() < sealed.sealed_at + int(self.connector.capabilities.late * 1e6)
        return None if late and not sealed.suppressing and again in outcomes else outcomes

    def _spec(self, batch: Batch) -> StreamSpec:
        if batch.kind == "status":
            return self.containers[batch.object]
        if batch.kind == "update":
            types = {f.name: f.type for fields in self.rel.streams.values() for f in fields}
            return StreamSpec(batch.object, "record", tuple(Field(c, types.get(c, "text")) for c in batch.columns))
        return StreamSpec(batch.object, "row", tuple(Field(c) for c in batch.columns))


def send_opt_outs(lanes: Iterable[Lane]) -> None:
    """Send the opt-outs that are queued and due, wherever they are taken now; the others stay queued."""
    for lane in lanes:
        with suppress(ConnectorError):
            lane.express(Delivered())


def _holds(batch: Batch, op: Op, row: Mapping[str, Any] | None) -> bool:
    """Whether the remote row shows the operation's effect."""
    if batch.kind == "remove":
        return row is None
    if row is None:
        return False
    if batch.kind == "status":
        return bool(row["status"] == op.values[0])
    if op.email is not None and batch.kind == "upsert" and email(str(row["email"])) != op.email:
        return False  # the values are there, but they would still go to the address of before
    wanted = dict(zip(batch.columns, op.values, strict=True))
    return all(_same(row.get(name), value) for name, value in wanted.items())


def _turned_back(sealed: Sealed, stamp: int | None, row: Mapping[str, Any] | None) -> bool:
    """Whether somebody may have refused again after our reopening arrived: then it is not sent again, and what stands
    there is read as theirs. A CRM record that changed in no way since it was last read did not get our write either."""
    if row is None or sealed.suppressing:
        return False
    if sealed.batch.kind == "update":
        return row["modified"] is None or row["modified"] != stamp
    return (sealed.batch.kind == "status" and row["status"] == "unsubscribed" and row["at"] is not None
            and bool(row["at"] > sealed.sealed_at))


def _same(there: Any, sent: Any) -> bool:
    """Vendors answer with their own spelling of numbers, booleans and emptiness."""
    if there in (None, "") or sent in (None, ""):
        return there in (None, "") and sent in (None, "")
    if str(there).lower() in ("true", "false"):
        there = int(str(there).lower() == "true")
    try:
        return str(there) == str(sent) or float(there) == float(sent)
    except (TypeError, ValueError):
        return False
