"""What status, runs, holds and quarantine show: read queries (state/sql/views.sql), rows made into plain dictionaries.

Everything here is an indexed look-up or a count over what is open; nothing grows with the number of people. No personal
data: keys that are addresses appear as keyed hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from state import forget
from state.queries import load
from state.store import Store
from syncd.guard import Hold, Plan
from syncd.model import Micros
from syncd.pending import Count, sort_of
from syncd.sends import Wrong

Json = dict[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(micros: Micros | None) -> str | None:
    """An instant as people and programs read it: ISO 8601 in UTC, whole seconds."""
    return None if micros is None else (EPOCH + timedelta(microseconds=micros)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Mask:
    """Turns keys that are addresses into keyed hashes, so that lists can be shown and logged."""

    def __init__(self, key: bytes) -> None:
        self._key = key[:64]

    def __call__(self, key: str) -> str:
        if "@" not in key:
            return key
        return "address:" + hashlib.blake2b(key.encode(), digest_size=6, key=self._key).hexdigest()


def status(store: Store, now: Micros) -> Json:
    """Connections with their streams and outboxes, what waits for a person, the last run."""
    q = load("views")
    streams: dict[str, list[Json]] = {}
    for name, object_, kind, consent, begun, complete, full, error in store.rows(q["streams"]):
        streams.setdefault(name, []).append({
            "object": object_, "kind": kind, "consent": bool(consent), "begun": bool(begun),
            "read_to_end": instant(complete), "listed": instant(full), "error": error})
    connections = []
    for id_, name, role, approved, queued, flying, refused, elsewhere in store.rows(q["connections"]):
        waiting, since = store.rows(q["suppressions"], (id_,))[0]
        connections.append({
            "name": name, "role": role, "approved": instant(approved), "queued": queued,
            "leads_elsewhere": elsewhere, "open_requests": flying, "quarantine": refused, "opt_outs_waiting": waiting,
            "oldest_opt_out_seconds": round((now - since) / 1e6) if since is not None else None,
            "streams": streams.get(name, [])})
    last = [_run(row) for row in store.rows(q["last_run"])]
    return {"now": instant(now), "ledger": store.rows(q["head"])[0][0], "connections": connections,
            "holds": holds(store), "quarantine": sum(c["quarantine"] for c in connections),
            "audit": orjson.loads(audited) if (audited := store.meta("audit")) else None,
            "last_run": last[0] if last else None, "last_success": instant(store.rows(q["last_good_run"])[0][0])}


def erasures(store: Store, now: Micros, longest: Micros) -> list[Json]:
    """People who are being forgotten, and what is left to do at the providers. ``late``: for more than ``longest`` µs."""
    with store.reading() as conn:
        return [{"erasure": what.id, "asked": instant(what.asked_at), "seconds": round((now - what.asked_at) / 1e6),
                 "late": now - what.asked_at > longest, "providers": forget.keys_left(conn, what.id)}
                for what in forget.unfinished(conn)]


def runs(store: Store, limit: int) -> list[Json]:
    """The newest runs first."""
    return [_run(row) for row in store.rows(load("views")["runs"], (limit,))]


def _run(row: tuple[Any, ...]) -> Json:
    id_, trigger, started, ended, outcome, mapping, counts = row
    return {"run": id_, "trigger": trigger, "started": instant(started), "ended": instant(ended),
            "seconds": round((ended - started) / 1e6, 1) if ended is not None else None,
            "outcome": outcome or "interrupted or running", "mapping": mapping,
            **(orjson.loads(counts) if counts else {})}


# --------------------------------------------------------------------------- plans and holds

def plan_json(plan: Plan | None) -> Json | None:
    """A plan as every command prints it."""
    if plan is None:
        return None
    return {"id": plan.id, "counts": [count_json(c) for c in plan.counts], "holds": [hold_json(h) for h in plan.holds],
            "notes": list(plan.notes)}


def count_json(count: Count) -> Json:
    return {"connection": count.connection, "object": count.object, "kind": count.kind, "sort": count.sort,
            "state": count.state, "count": count.operations}


def hold_json(hold: Hold) -> Json:
    return {"id": hold.id, "connection": hold.connection, "object": hold.object, "class": hold.cls,
            "reason": hold.reason, "opened": instant(hold.opened_at), "operations": hold.operations}


def holds(store: Store) -> list[Json]:
    """The open holds."""
    return [hold_json(Hold(*row)) for row in store.rows(load("guard")["open_holds"], {"counted": 0})]


def hold(store: Store, id_: int, mask: Mask, sample: int = 10) -> Json | None:
    """One hold: what would be written where if it were approved, with a few of the keys. None when there is none."""
    q = load("views")
    rows = store.rows(q["hold"], (id_,))
    if not rows:
        return None
    number, connection, object_, cls, reason, opened, closed, verdict = rows[0]
    counts = [{"object": name, "kind": kind, "sort": sort_of(kind, class_, bool(fresh)), "count": n}
              for name, kind, class_, fresh, n in store.rows(q["hold_counts"], (id_,))]
    some = [{"object": name, "sort": sort_of(kind, class_, bool(fresh)), "person": person, "key": mask(key)}
            for name, kind, class_, fresh, person, key in store.rows(q["hold_sample"], {"hold": id_, "limit": sample})]
    return {"id": number, "connection": connection, "object": object_, "class": cls, "reason": reason,
            "opened": instant(opened), "closed": instant(closed), "verdict": verdict,
            "operations": sum(c["count"] for c in counts), "counts": counts, "sample": some}


def plan_operations(store: Store) -> list[Json]:
    """Every operation that waits, with the values before and after: for a file only its owner reads."""
    found = []
    for row in store.rows(load("views")["plan_operations"]):
        connection, object_, kind, class_, fresh, state, person, key, columns, before, payload, permit, stopped = row
        found.append({
            "connection": connection, "object": object_, "kind": kind, "sort": sort_of(kind, class_, bool(fresh)),
            "state": "held" if state == 1 else "queued", "person": person, "key": key,
            "columns": orjson.loads(columns), "before": _values(before), "after": _values(payload), "permit": permit,
            "stopped_marketing": bool(stopped)})
    return found


def _values(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


# --------------------------------------------------------------------------- sends

def send_json(wrong: Wrong) -> Json:
    """A send that was made wrongly."""
    return {"connection": wrong.connection, "send": wrong.send, "name": wrong.name, "at": instant(wrong.at),
            "level": wrong.level, "message": wrong.message, "remedy": wrong.remedy}


# --------------------------------------------------------------------------- quarantine

def quarantine(store: Store, mask: Callable[[str], str]) -> list[Json]:
    """The rows in quarantine; ``mask`` makes their keys fit to be shown."""
    return [_quarantined(row, mask) for row in store.rows(load("views")["quarantine"])]


def quarantined(store: Store, id_: int) -> Json | None:
    """One row with its key in the clear; None when there is none."""
    rows = store.rows(load("views")["quarantined"], (id_,))
    if not rows:
        return None
    return {**_quarantined(rows[0][:8], str), "closed": instant(rows[0][8])}


def _quarantined(row: tuple[Any, ...], mask: Callable[[str], str]) -> Json:
    id_, connection, object_, key, reason, remedy, consent, opened = row
    return {"id": id_, "connection": connection, "object": object_, "key": mask(key), "reason": reason,
            "remedy": remedy, "opt_out": bool(consent), "opened": instant(opened)}


def totals(answer: Mapping[str, Any]) -> dict[str, int]:
    """Operations of a plan's JSON by sort ("add", "change", "remove", "suppress", "reopen")."""
    sums: dict[str, int] = {}
    for count in answer["counts"]:
        sums[count["sort"]] = sums.get(count["sort"], 0) + count["count"]
    return sums
