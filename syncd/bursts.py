"""Bursts of opt-outs that no person made: a mass update in the CRM, a file at the provider, the echoes of a connector.

Nobody can say whether thousands of people were meant, or one wrong filter. So they count at once, and nobody among them is
mailed; but what they would write to *other* systems waits until a person has looked, because it is hard to take back there.
``syncd consent retract`` takes all of it back. What people did themselves, be it ten thousand clicks in an hour, never
waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import orjson

from state import bursts, people
from state.bursts import Range, Waiting
from state.queries import load
from state.relations import OPTED_OUT, Relations
from state.store import Store
from syncd.consent import CLOCK_TOLERANCE
from syncd.guard import Limits
from syncd.model import Micros, Statement
from syncd.reconcile import Reconciler

UNDECIDED = "burst"
"""The class of a burst's hold."""


def step(store: Store, rel: Relations, reconciler: Reconciler, limits: Limits, now: Micros) -> None:
    """Find new bursts, and put aside what the open ones would write to other systems. Before anything is released."""
    after, upto, found = store.look(lambda conn: bursts.unjudged(conn, CLOCK_TOLERANCE))
    size = store.look(bursts.people) if found else 0
    if store.write(lambda conn: _open(conn, limits, now, after, upto, found, size)):
        _put_aside(store, rel, reconciler)


def _open(conn: Any, limits: Limits, now: Micros, after: int, upto: int, found: Sequence[tuple[int, str, int]],
          size: int) -> bool:
    """Open a hold for each new burst: ``found`` came between two positions, among ``size`` people. Whether any burst is
    undecided."""
    for connection, source, count in found:
        if not (count > limits.burst_most or (count > limits.burst_count and count > size * limits.burst_share)):
            continue
        q, given = load("guard"), {"connection": connection, "object": None, "class": UNDECIDED, "now": now,
                                   "reason": f"{count} opt-outs that no person made came from {source} at once; nobody of"
                                             " them is mailed; approve writes them to the other systems"}
        [hold] = conn.execute(q["find_hold"], given).fetchone() or conn.execute(q["open_hold"], given).fetchone()
        bursts.add(conn, hold, connection, source, after, upto)
    if after < upto:
        bursts.judged(conn, upto)
    return bool(bursts.open_ranges(conn))


def _put_aside(store: Store, rel: Relations, reconciler: Reconciler) -> None:
    with store.reading() as conn:
        undecided = bursts.open_ranges(conn)
        for part in bursts.candidates(conn, separate=rel.join_by_address == "separate"):
            chosen = [w for w in part if not w.doubtful
                      or not _is_demanded(rel, w, _without(store, reconciler, w.person, undecided))]
            store.write(lambda conn, chosen=chosen: bursts.wait(conn, chosen))  # type: ignore[misc]  # bound now


def leave(conn: Any, rel: Relations, reconciler: Reconciler) -> None:
    """For people of the chunk who are planned out of turn: take back what would be written to other systems only because
    of opt-outs that no person made and nobody has judged. The cycle plans it again, and judges."""
    judged, unsure = bursts.unsure(conn)
    undecided = bursts.open_ranges(conn)
    for person, part in groupby(unsure, key=lambda w: w.person):
        codes = _decided_without(conn, reconciler, person, lambda s: any(_is_part(s, r) for r in undecided) or (
            s.position > judged and _is_unmade(s)))
        bursts.leave(conn, [w for w in part if not _is_demanded(rel, w, codes)])


def _without(store: Store, reconciler: Reconciler, person: int, undecided: list[Range]) -> Mapping[str | None, int]:
    """What would be decided about somebody without any undecided burst: codes by topic, None = all mail."""
    with store.reading() as conn:
        return _decided_without(conn, reconciler, person, lambda s: any(_is_part(s, part) for part in undecided))


def _decided_without(conn: Any, reconciler: Reconciler, person: int,
                     leave_out: Callable[[Statement], bool]) -> Mapping[str | None, int]:
    address = conn.execute(load("views")["address_of"], {"person": person}).fetchone()[0]
    case = people.case(conn, person, address)
    left = [s for s in case.statements if not leave_out(s)]
    decided = reconciler.decided(case._replace(statements=left))
    return {None: decided.master, **{topic: code for topic, (_, code) in decided.topics.items()}}


def _is_demanded(rel: Relations, w: Waiting, codes: Mapping[str | None, int]) -> bool:
    """Whether an operation would be written at these codes, too."""
    containers = [c.topic for c in rel.containers if c.object == w.object]
    if containers:
        return any(codes[topic] >= OPTED_OUT for topic in containers)
    fields = orjson.loads(w.columns)
    return any(codes[flag.topic] == OPTED_OUT for source in rel.sources for flag in source.flags if flag.field in fields)


def _is_part(s: Statement, part: Range) -> bool:
    _, source, after, upto = part
    return after < s.position <= upto and s.source == source and _is_unmade(s)


def _is_unmade(s: Statement) -> bool:
    return s.state == "opt_out" and not s.person_made and not s.baseline
