"""``syncd audit``: what each side really holds, against what the ledger says. It repairs opt-outs and never reopens.

A side that would still mail somebody who opted out is told again; a refusal that a side holds and the ledger does not know
is recorded. What is being written anyway is counted apart.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from state import audit as reading
from state import statuses
from state.audit import Decisions
from state.ledger import NewEntry
from state.queries import load
from state.relations import OPTED_OUT, ContainerDef, FlagDef, Relations, SourceDef
from state.statuses import StatusChange
from state.store import Store
from syncd.cycle import Cycle
from syncd.desk.answers import Answer, errors_of
from syncd.desk.instance import Instance
from syncd.desk.views import Json, Mask, instant
from syncd.failures import OK, PENDING
from syncd.feeds import Feed
from syncd.model import Micros, Value
from syncd.statements import from_parting, from_statuses

PART = 200
"""People looked at together."""
SAMPLE, TURNS = 200, 168
"""People of a sample, and in how many scheduled turns everyone is looked at: the hours of a week."""
SHOWN = 100
"""Disagreements that are listed; all are counted."""

OPEN, REFUSED, ROW = "still_open", "refused_there", "row_there"
"""A side would mail who opted out; a side holds a refusal that the ledger lacks; a row for somebody who must have none."""


NOTHING = object()
"""Not what any field holds."""


class Finding(NamedTuple):
    """One disagreement. ``key`` as the side names the person; ``container`` or the field's name in ``where``."""

    connection: str
    where: str
    topic: str | None
    kind: str
    person: int
    key: str


@dataclass(slots=True)
class Tally:
    """People compared at one place. The rest of ``compared`` agrees."""

    compared: int = 0
    under_way: int = 0
    disagreeing: int = 0


@dataclass(slots=True)
class Auditor:
    """Looks at people in parts. ``names``: connection id -> name."""

    store: Store
    rel: Relations
    cycle: Cycle
    names: Mapping[int, str]
    tallies: dict[tuple[str, str, str | None], Tally] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    entries: int = 0
    people: int = 0

    def look(self, people: Sequence[int], now: Micros) -> None:
        """Fetch what every side holds about these people, compare, record what the ledger lacks, and have those
        who disagree decided again.

        :raises ConnectorError: a side cannot be asked
        """
        for part in _parts(people):
            with self.store.reading() as conn:
                decided = reading.decisions(conn, self.rel, part)
                busy = _Busy(reading.ask(conn, "under_way", part), reading.ask(conn, "insisted", part))
            before = len(self.findings)
            for feed in self.cycle.feeds:
                self.findings += self._feed(feed, part, decided, busy, now)
            again = sorted({f.person for f in self.findings[before:]})
            self.store.write(lambda conn, again=again: conn.executemany(  # type: ignore[misc]
                load("audit")["dirty"], ((p,) for p in again)).rowcount)
            self.people += len(decided)

    def _feed(self, feed: Feed, part: Sequence[int], decided: Mapping[int, Decisions], busy: _Busy,
              now: Micros) -> list[Finding]:
        if feed.audience is not None:
            return self._rows(feed, part, decided, busy, now)
        if feed.spec.kind == "status":
            return [f for c in self.rel.containers
                    if (c.connection, c.container) == (feed.connection, feed.spec.container or "")
                    for f in self._container(feed, c, part, decided, busy, now)]
        source = self.rel.source(feed.stream)
        if feed.spec.kind == "record" and source is not None and source.flags:
            return self._flags(feed, source, part, decided, busy, now)
        return []

    def _ask(self, name: str, people: Sequence[int], **given: Any) -> list[tuple[Any, ...]]:
        with self.store.reading() as conn:
            return reading.ask(conn, name, people, **given)

    def _tally(self, connection: int, where: str, topic: str | None) -> Tally:
        return self.tallies.setdefault((self.names[connection], where, topic), Tally())

    # ------------------------------------------------------------------ statuses

    def _container(self, feed: Feed, c: ContainerDef, part: Sequence[int], decided: Mapping[int, Decisions], busy: _Busy,
                   now: Micros) -> Iterator[Finding]:
        if c.keyed_by == "address":
            keys = [(person, email, False) for person, email, _ in self._ask("addresses", part)]
        else:
            keys = self._ask("keys", part, connection=c.connection)
        columns = {name: place for place, name in enumerate(feed.spec.columns)}
        rows = feed.connector.fetch(feed.spec, sorted({key for _, key, _ in keys})).rows
        truth = {str(row[columns["key"]] or row[columns["email"]]): row for row in rows}
        tally, unknown = self._tally(c.connection, c.container or "all mail", c.topic), []
        for person, key, former in keys:
            row = truth.get(key)
            status = row[columns["status"]] if row is not None else None
            out = person in decided and decided[person].codes[c.about] >= OPTED_OUT
            tally.compared += 1
            if out and self._has_exceptions(c, decided[person]):
                continue  # the lists tell, whatever the switch for all mail says
            kind = OPEN if out and status in ("subscribed", "pending") else \
                REFUSED if status == "unsubscribed" and not out and not former else None
            if kind is None or (kind == REFUSED and person in decided and self._left_all(c, decided[person])):
                continue
            if kind == REFUSED and row is not None and self._is_ours(c, key, row[columns["at"]], row[columns["origin"]]):
                continue  # we blocked it for somebody else's sake, or it waits to be opened again
            if busy.at(person, c.object):
                tally.under_way += 1
                continue
            tally.disagreeing += 1
            yield Finding(self.names[c.connection], c.container or "all mail", c.topic, kind, person, key)
            if kind == REFUSED and row is not None:
                unknown.append(dict(zip(feed.spec.columns, row, strict=True)))
        self.entries += self.cycle.puller.take(feed, rows, now).entries
        self._record(c.connection, [self._status_entry(c, feed, row, now) for row in unknown], now)

    def _has_exceptions(self, c: ContainerDef, decisions: Decisions) -> bool:
        """Whether somebody who stopped all mail came back to a topic."""
        return c.object in self.rel.switches and any(decisions.mailable[t] for t in self.rel.exceptions(c.unit))

    def _left_all(self, c: ContainerDef, decisions: Decisions) -> bool:
        """Whether somebody stopped all mail where this list is, and gets no exception: that takes her off it, too."""
        masters = {None, *(m.about for m in self.rel.containers if m.connection == c.connection and m.topic is None)}
        return c.topic is not None and not decisions.mailable[c.topic] and any(
            decisions.codes[master] >= OPTED_OUT for master in masters)

    def _is_ours(self, c: ContainerDef, key: str, at: Value, origin: Value) -> bool:
        """Whether a stop that stands there was written by us, here or at a sister account."""
        [(ours,)] = self._ask("ours", (), connection=c.connection, container=c.container, key=key, at=at, origin=origin,
                              sisters=orjson.dumps(self.rel.sisters(c)).decode())
        return bool(ours)

    def _status_entry(self, c: ContainerDef, feed: Feed, row: Mapping[str, Value], now: Micros) -> NewEntry | None:
        known = self.cycle.puller.listener.containers[c.connection]
        with self.store.reading() as conn:
            found = conn.execute(load("audit")["subscriber"], {
                "connection": c.connection, "container": c.container, "key": row["key"] or row["email"]}).fetchone()
        if found is None:
            return None
        at = row["at"] if isinstance(row["at"], int) else None
        origin = str(row["origin"]) if row["origin"] != "self" else "unknown"
        change = StatusChange(c.container, str(row["key"] or row["email"]), found[0], None, "unsubscribed", at, origin,
                              str(row["evidence"]) if row["evidence"] else "audit", found[1])
        return next(iter(from_statuses(known, [change], since=0 if at is None else at, now=now)), None)

    # ------------------------------------------------------------------ flags and rows

    def _flags(self, feed: Feed, source: SourceDef, part: Sequence[int], decided: Mapping[int, Decisions], busy: _Busy,
               now: Micros) -> list[Finding]:
        records = self._ask("records", part, stream=feed.stream)
        columns = {name: place for place, name in enumerate(feed.spec.columns)}
        rows = feed.connector.fetch(feed.spec, [rid for _, _, rid, _ in records]).rows
        truth = {str(row[columns["id"]]): row for row in rows if not row[columns["deleted"]]}
        echoes = set(self._ask("echoes", part))
        ours = {(record, name): value for record, name, value in self._ask("written", part)}
        found, unknown = [], []
        for flag in source.flags:
            tally = self._tally(feed.connection, f"{feed.spec.object}.{flag.field}", flag.topic)
            for person, record, rid, address in records:
                if rid not in truth or person not in decided or (
                        flag.needs is not None and truth[rid][columns[flag.needs]] is None):
                    continue
                tally.compared += 1
                value = truth[rid][columns[flag.field]]
                kind = _flag_differs(flag, value, decided[person].codes[flag.topic])
                if kind is None or (kind == REFUSED and (record, flag.field) in echoes):
                    continue  # a copy of what the provider was told says nothing of its own
                if busy.on(person, record) or busy.insisted(record, flag.field):
                    tally.under_way += 1
                    continue
                tally.disagreeing += 1
                found.append(Finding(self.names[feed.connection], f"{feed.spec.object}.{flag.field}", flag.topic, kind,
                                     person, rid))
                if kind == REFUSED and ours.get((record, flag.field), NOTHING) != value:
                    unknown.append(from_parting(source, flag.topic, feed.connection, record, rid, address, now, "audit"))
        self.entries += self.cycle.puller.take(feed, rows, now).entries
        self._record(feed.connection, unknown, now)
        return found

    def _rows(self, feed: Feed, part: Sequence[int], decided: Mapping[int, Decisions], busy: _Busy,
              now: Micros) -> list[Finding]:
        a = feed.audience
        assert a is not None
        keys = [(person, key) for person, key, _ in self._ask("keys", part, connection=a.connection)
                if person in decided and not decided[person].mailable[a.topic]]
        tally = self._tally(a.connection, feed.spec.object, a.topic)
        tally.compared += len(keys)
        if not keys:
            return []
        rows = feed.connector.fetch(feed.spec, [key for _, key in keys]).rows
        there, found = {str(row[0]) for row in rows}, []
        for person, key in keys:
            if key not in there:
                continue
            if busy.at(person, a.object):
                tally.under_way += 1
                continue
            tally.disagreeing += 1
            found.append(Finding(self.names[a.connection], feed.spec.object, a.topic, ROW, person, key))
        if found:
            self.cycle.puller.take(feed, rows, now)
        return found

    # ------------------------------------------------------------------ recording

    def _record(self, connection: int, entries: Iterable[NewEntry | None], now: Micros) -> None:
        """Append what the ledger does not know from this connection in any form."""
        given = [e for e in entries if e is not None]

        def job(conn: Any) -> int:
            lacking = [e for e in given if not conn.execute(load("audit")["refused_at"], {
                "record": e.record, "address": e.address, "connection": connection}).fetchone()[0]]
            if lacking:
                self.store.book.append(conn, lacking, now)
                statuses.mark(conn, lacking)
            return len(lacking)
        if given:
            self.entries += self.store.write(job)

    def result(self, mask: Mask) -> Json:
        """What was found, without personal data; addresses as keyed hashes."""
        places = [{"connection": connection, "where": where, "topic": topic, "compared": t.compared,
                   "agreeing": t.compared - t.under_way - t.disagreeing, "under_way": t.under_way,
                   "disagreeing": t.disagreeing}
                  for (connection, where, topic), t in sorted(self.tallies.items(), key=lambda i: str(i[0]))]
        return {"people": self.people, "compared": sum(t.compared for t in self.tallies.values()),
                "agreeing": sum(int(str(p["agreeing"])) for p in places), "disagreeing": len(self.findings),
                "recorded": self.entries, "places": places,
                "disagreements": [{**f._asdict(), "key": mask(f.key)} for f in self.findings[:SHOWN]]}


def run(instance: Instance, *, sample: int | None = None, everything: bool = False, deadline: float = 300.0,
        scheduled: bool = False) -> Answer:
    """Audit some people, or everyone, and repair what can be repaired.

    :param sample: how many people, chosen at random
    :param scheduled: the daemon's turn, right after a cycle: the next part of everyone, so that a week covers all
    :raises ConnectorError: a side cannot be asked
    """
    until = time.monotonic() + deadline
    cycle = instance.cycle_of_now()
    if not scheduled:
        report = cycle.run("audit", deadline=until)
        if errors := errors_of(report):
            raise errors[0]
    names = dict(instance.store.rows("SELECT id, name FROM connection"))
    auditor = Auditor(instance.store, cycle.rel, cycle, names)
    for people in _people(instance, sample, everything, scheduled):
        auditor.look(people, instance.now())
    result = auditor.result(instance.mask)
    again = Auditor(instance.store, cycle.rel, cycle, names)
    if auditor.findings:
        cycle.run("audit", deadline=until)
        for part in _parts(sorted({f.person for f in auditor.findings})):
            again.look(part, instance.now())
    left = {(f.connection, f.where, f.topic, f.person) for f in again.findings}
    result |= {"at": instant(instance.now()), "remaining": len(left), "repaired": len(auditor.findings) - len(left)}
    instance.store.remember("audit", orjson.dumps({k: v for k, v in result.items() if k != "disagreements"}).decode())
    return Answer(result, PENDING if left else OK)


def _people(instance: Instance, sample: int | None, everything: bool, scheduled: bool) -> Iterator[list[int]]:
    """Whom to look at, in lists of bounded length."""
    def choose(after: int | None, count: int) -> list[int]:
        with instance.store.reading() as conn:
            return reading.choose(conn, after=after, count=count)
    if everything:
        after = 0
        while found := choose(after, PART):
            yield found
            after = found[-1]
    elif scheduled:
        share = instance.store.rows(load("audit")["people"])[0][0] // TURNS + 1
        count = max(SAMPLE, share)
        found = choose(int(instance.store.meta("audited_to") or 0), count)
        yield found
        instance.store.remember("audited_to", found[-1] if len(found) == count else 0)
    else:
        yield choose(None, sample or SAMPLE)


def _parts(people: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(people), PART):
        yield people[start:start + PART]


class _Busy:
    """What is being written, or waits for its turn: it may still differ."""

    def __init__(self, operations: Iterable[tuple[Any, ...]], insisted: Iterable[tuple[Any, ...]]) -> None:
        self._objects: set[tuple[int, int | None]] = set()
        self._records: set[tuple[int, int]] = set()
        for person, object_, record in operations:
            self._objects.add((person, object_))
            self._records.add((person, record))
        self._insisted = set(insisted)

    def at(self, person: int, object_: int) -> bool:
        return (person, object_) in self._objects or (person, None) in self._objects

    def on(self, person: int, record: int) -> bool:
        return (person, record) in self._records or (person, None) in self._objects

    def insisted(self, record: int, field: str) -> bool:
        return (record, field) in self._insisted


def _flag_differs(flag: FlagDef, value: Value, code: int) -> str | None:
    meaning = flag.meanings.get(value, "unknown")
    if meaning == "opt_out" and code < OPTED_OUT:
        return REFUSED
    if code == OPTED_OUT and "opt_out" in flag.writes and meaning != "opt_out" and value != flag.writes["opt_out"]:
        return OPEN
    return None
