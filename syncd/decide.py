"""Steps 2 to 5 on the people that changed: identify, reconcile, evaluate, plan. Chunk by chunk, each one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from mappings.functions import clock_parameters
from state import attributes, drift, identify, keys, people, plan, ranks, statuses, suppressions
from state.pace import Pace
from state.queries import load
from state.relations import AudienceDef, Relations
from state.store import Store
from syncd.model import Micros
from syncd.reconcile import Reconciler
from syncd.statements import from_parting

DEPARTED: Micros = 30 * 86_400_000_000
"""How long it is remembered who had an address: no vendor tells later what was said under it."""

AFTER_ALL_TEXT = b""
"""SQLite sorts bytes after every text."""


@dataclass(frozen=True, slots=True)
class Paces:
    """How much the transactions of each step take on."""

    bind: Pace = field(default_factory=Pace)
    identify: Pace = field(default_factory=Pace)
    decide: Pace = field(default_factory=lambda: Pace(250))


@dataclass(frozen=True, slots=True)
class Decider:
    """Everything the deciding steps need. ``objects``: record stream -> (connection, remote object)."""

    store: Store
    rel: Relations
    reconciler: Reconciler
    objects: Mapping[int, tuple[int, int]]
    zones: frozenset[str] = frozenset()
    paces: Paces = field(default_factory=lambda: Paces(), compare=False)

    def people(self, now: Micros) -> None:
        """Identify: bind late statements to their records, compare new addresses with imported digests, then recompute
        the components that moved."""
        self._bind()
        while self.store.write(lambda conn: suppressions.compare(conn, self.store.book, now)):
            pass
        self.store.bit_by_bit(lambda conn, most: self._identify(conn, now, most), self.paces.identify)
        self.store.bit_by_bit(lambda conn, most: self._bind_by_address(conn, now, most), self.paces.bind)
        self._spread()

    def _identify(self, conn: Any, now: Micros, most: int) -> int:
        """One chunk of components; how many records that were. A record that leaves its person takes refusals along."""
        count = identify.step(conn, self.rel, now, most)
        keys.part(conn, self.rel, now)
        entries = [from_parting(source, topic, self.objects[source.stream][0], *row, now)
                   for source in self.rel.sources for topic, was in ((None, ()), *((t.id, t.was) for t in self.rel.topics))
                   for row in identify.parted(conn, source, topic, was)]
        if entries:
            self.store.book.append(conn, entries, now)
            statuses.mark(conn, entries)
        return count

    def _spread(self) -> None:
        """Whoever the news about the dirty people concerns too."""
        q = load("identify")
        names = ["dirty_sharers", "dirty_former"] if self.rel.join_by_address == "separate" else ["dirty_former"]

        def job(conn: Any, after: int, most: int) -> tuple[int, int]:
            count, upto = conn.execute(q["dirty_range"], {"after": after, "most": most}).fetchone()
            for sql in (*(q[name] for name in names), load("drift")["judge_left"]):
                conn.execute(sql, {"after": after, "upto": upto})
            return count, upto
        self.store.walk(job, 0, self.paces.bind)

    def _bind(self) -> None:
        """Find the records, and the addresses, of statements that arrived before them; key by key."""
        q = load("ledger")
        if self.store.rows(q["calm"])[0][0]:
            return

        def job(conn: Any, after: Any, most: int) -> tuple[int, Any]:
            if not conn.execute(q["unbound"], (after,)).fetchone()[0]:
                return 0, after
            [upto] = conn.execute(q["unbound_upto"], {"after": after, "most": most}).fetchone() or [AFTER_ALL_TEXT]
            self._bind_keys(conn, {"after": after, "upto": upto})
            return most, upto
        self.store.walk(job, "", self.paces.bind)

    def _bind_keys(self, conn: Any, keys: Mapping[str, str | bytes]) -> None:
        q = load("ledger")
        found = [row[0] for row in conn.execute(q["find_addresses"], keys)]
        conn.executemany(load("statuses")["mark_address"], ((a,) for a in found))
        conn.executemany(load("drift")["judge_at"], ((a,) for a in found))
        found = [row[0] for row in conn.execute(q["bind_by_key"], keys)]
        streams = orjson.dumps([source.stream for source in self.rel.sources]).decode()
        for source in self.rel.sources:
            given = {**keys, "stream": source.stream, "source": source.name, "streams": streams}
            found += [row[0] for row in conn.execute(q["bind"], given)]
        conn.executemany(load("records")["dirty_person_of_record"], ((r,) for r in found))

    def _bind_by_address(self, conn: Any, now: Micros, most: int) -> int:
        """Each entry once, at the first cycle after it came: who comes to hold the address later did not say it. Returns how
        many entries were looked at."""
        head = conn.execute("SELECT coalesce(max(position), 0) FROM chain").fetchone()[0]
        row = conn.execute("SELECT value FROM meta WHERE name = 'bound_to'").fetchone()
        after = row[0] if row else 0
        given = {"after": after, "upto": min(head, after + most), "tolerance": self.reconciler.policy.clock_tolerance}
        if after < given["upto"]:
            q = load("ledger")
            conn.execute(q["long_departed"], (now - DEPARTED,))
            conn.execute(q["wake_departed"], given)
            conn.execute(q["bind_by_address"], given)
            found = conn.execute(q["bind_by_departed"], given).fetchall()
            conn.executemany(load("records")["dirty_person_of_record"], found)
            conn.execute("INSERT OR REPLACE INTO meta VALUES ('bound_to', ?)", (given["upto"],))
        return int(given["upto"] - after)

    def wishes(self, run: int, now: Micros) -> int:
        """Attributes, decisions, keys and wishes of every dirty person. Returns how many people that were."""
        bound = clock_parameters(now, self.zones)
        self.store.walk(lambda conn, after, most: people.wake(conn, now, after, most), (-1 << 63, 0))
        total = self._chunks(run, bound)
        while self._rank(bound):
            total += self._chunks(run, bound)
        for audience in self.rel.audiences:
            if audience.exclusive or (audience.clears and self._is_cluttered(audience, now)):
                self.store.walk(lambda conn, after, most, a=audience: drift.own(conn, a, run, after, most), "")  # type: ignore[misc]
        self._judge_rows(run)
        return total

    def _is_cluttered(self, audience: AudienceDef, now: Micros) -> bool:
        """Whether rows from before us are still to go; once there are none, what comes later is somebody else's affair."""
        todo, done = self.store.look(lambda conn: drift.to_clear(conn, audience))
        if todo and done:
            self.store.write(lambda conn: conn.execute(load("drift")["cleared"], (now, audience.object)).rowcount)
        return todo and not done

    def _judge_rows(self, run: int) -> None:
        if self.store.rows("SELECT 1 FROM judging LIMIT 1"):
            self.store.bit_by_bit(lambda conn, most: self._judge(conn, run, most))

    def _judge(self, conn: Any, run: int, most: int) -> int:
        """Foreign rows at addresses that nobody has: they go where somebody refused their topic under the address."""
        topics, refused = {a.object: a.topic for a in self.rel.audiences}, []
        found = drift.to_judge(conn, most)
        for row, address, audience in found:
            if address is not None and audience in topics:
                answer = self.reconciler.decision(people.case(conn, 0, address)).topics[topics[audience]]
                if answer.state == "unsubscribed":
                    refused.append((row, answer.position))
        drift.judged(conn, [row for row, *_ in found], refused, run)
        return len(found)

    def _rank(self, bound: Mapping[str, Any]) -> bool:
        """Choose the members of ranked segments again, where anybody was decided since. Whether anybody is dirty by that."""
        found = self.store.look(lambda conn: ranks.choose(conn, self.rel, bound))
        if found is None:
            return False
        pace = Pace()
        for object_, changes in found.changes.items():
            for part, _ in pace.slices(changes):
                self.store.write(pace.over(len(part), lambda conn, o=object_, p=part: ranks.move(conn, o, p)))  # type: ignore[misc]
        self.store.write(lambda conn: ranks.ranked(conn, found.mark))
        return any(c.place is None or c.before is None for changes in found.changes.values() for c in changes)

    def _chunks(self, run: int, bound: Mapping[str, Any]) -> int:
        """As many people to a transaction as fit into its time: what is urgent waits for one of them at most."""
        return self.store.bit_by_bit(lambda conn, most: self._chunk(conn, run, bound, most), self.paces.decide)

    def _chunk(self, conn: Any, run: int, bound: Mapping[str, Any], most: int) -> int:
        count = people.take(conn, self.rel, most)
        if count:
            self._decide_chunk(conn, bound)
            people.due(conn, self.rel, bound)
            plan.still_queued(conn, self._plan_chunk(conn, run, bound))
            conn.execute(load("people")["done"])
        return count

    def concerned(self, who: Collection[int]) -> set[int]:
        """Whom the news about these people concerns, as ``_spread`` has it: them, those who became part of them, and where
        several may hold one address, who shares theirs."""
        given = {"people": orjson.dumps(sorted(who)).decode(), "separate": self.rel.join_by_address == "separate"}
        return {*who, *(row[0] for row in self.store.rows(load("identify")["concerned"], given))}

    def suppress(self, who: Sequence[int], now: Micros, leave: Callable[[Any], None], *, whole: bool = True) -> int:
        """Decide these people out of turn and queue what keeps mail from them: nothing else, and they stay dirty, so that
        the cycle does the rest. Returns how many operations that are; if any, they belong to a run of their own.
        ``leave`` is given the transaction to take back what must not be released yet. Unless the mapping is ``whole``, by
        the attributes and keys they had."""
        bound, q = clock_parameters(now, self.zones), load("registry")

        def job(conn: Any) -> int:
            found = people.take_these(conn, self.rel, who)
            if not found:
                return 0
            run = conn.execute(q["begin_express"], {"now": now, "mapping": self.rel.fingerprint}).fetchone()[0]
            self._decide_chunk(conn, bound, whole=whole)
            self._plan_chunk(conn, run, bound, only_suppressions=True)
            leave(conn)
            plan.drop_wishes(conn)
            count = plan.release_suppressions(conn)
            conn.execute(load("people")["stay_dirty"])
            given = {"run": run, "people": found, "count": count}
            conn.execute(q["count_express"], given)
            conn.execute(q["end_express"], given)
            return count
        return self.store.write(job, urgent=True)

    def carry(self, run: int, now: Micros) -> int:
        """Plan what keeps mail from the dirty people, by the attributes and keys they had; whatever else is new about them
        is put off until they are called back. Returns how many people that were."""
        bound = clock_parameters(now, self.zones)

        def job(conn: Any, most: int) -> int:
            count = people.take(conn, self.rel, most)
            if count:
                self._decide_chunk(conn, bound, whole=False)
                queued = self._plan_chunk(conn, run, bound, only_suppressions=True)
                plan.drop_wishes(conn)
                plan.still_queued(conn, queued)
                people.put_off(conn)
            return count
        count = self.store.bit_by_bit(job, self.paces.decide)
        self._judge_rows(run)
        return count

    def call_back(self) -> None:
        """Those who were put off are dirty again."""
        if self.store.rows("SELECT 1 FROM put_off LIMIT 1"):
            self.store.bit_by_bit(people.call_back)

    def _decide_chunk(self, conn: Any, bound: Mapping[str, Any], *, whole: bool = True) -> None:
        """Attributes, keys, decisions; neither of the first two is made of half a mapping."""
        if whole:
            attributes.rebuild(conn, self.rel, bound)
            people.assign_keys(conn, self.rel, int(bound["now"]))
        else:
            attributes.hand_over(conn)
        people.decide(conn, self.rel, self.reconciler.decided, self.reconciler.default)

    def _plan_chunk(self, conn: Any, run: int, bound: Mapping[str, Any], *,
                    only_suppressions: bool = False) -> list[tuple[Any, ...]]:
        """Plan anew for the chunk's people; returns their opt-outs that were queued already (``plan.still_queued``)."""
        queued = plan.forget_wishes(conn)
        if not only_suppressions:
            keys.survive(conn, self.rel)
        plan.containers(conn, self.rel, run)
        plan.audiences(conn, self.rel, run, bound)
        if not only_suppressions:
            plan.newcomers(conn, self.rel, run)
        plan.flags(conn, self.rel, run, self.objects, only_suppressions=only_suppressions)
        return queued
