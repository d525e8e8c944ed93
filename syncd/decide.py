"""Steps 2 to 5 on the people that changed: identify, reconcile, evaluate, plan. Chunk by chunk, each one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mappings.functions import clock_parameters
from state import drift, identify, people, plan, statuses, suppressions
from state.pace import Pace
from state.queries import load
from state.relations import Relations
from state.store import Store
from syncd.model import Micros
from syncd.reconcile import Reconciler
from syncd.statements import from_parting


@dataclass(frozen=True, slots=True)
class Decider:
    """Everything the deciding steps need. ``objects``: record stream -> (connection, remote object)."""

    store: Store
    rel: Relations
    reconciler: Reconciler
    objects: Mapping[int, tuple[int, int]]
    zones: frozenset[str] = frozenset()
    pace: Pace = field(default_factory=lambda: Pace(people.CHUNK // 20), compare=False)

    def people(self, now: Micros) -> None:
        """Identify: bind late statements to their records, compare new addresses with imported digests, then recompute
        the components that moved."""
        self.store.write(self._bind)
        while self.store.write(lambda conn: suppressions.compare(conn, self.store.book, now)):
            pass
        while self.store.write(lambda conn: self._identify(conn, now)):
            pass
        self.store.write(self._bind_by_address)
        self.store.write(self._spread)

    def _identify(self, conn: Any, now: Micros) -> bool:
        """One chunk of components. A record that leaves its person takes refusals along."""
        more = identify.step(conn, self.rel, now)
        entries = [from_parting(source, topic, self.objects[source.stream][0], *row, now)
                   for source in self.rel.sources for topic, was in ((None, ()), *((t.id, t.was) for t in self.rel.topics))
                   for row in identify.parted(conn, source, topic, was)]
        if entries:
            self.store.book.append(conn, entries, now)
            statuses.mark(conn, entries)
        return more

    def _spread(self, conn: Any) -> None:
        """Whoever the news about the dirty people concerns too."""
        q = load("identify")
        if self.rel.join_by_address == "separate":
            conn.execute(q["dirty_sharers"])
        conn.execute(q["dirty_former"])

    def _bind(self, conn: Any) -> None:
        q = load("ledger")
        if conn.execute(q["unbound"]).fetchone() is None or conn.execute(q["calm"]).fetchone()[0]:
            return
        found = [row[0] for row in conn.execute(q["find_addresses"])]
        conn.executemany(load("statuses")["mark_address"], ((a,) for a in found))
        found = [row[0] for row in conn.execute(q["bind_by_key"])]
        for source in self.rel.sources:
            found += [row[0] for row in conn.execute(q["bind"], {"stream": source.stream})]
        conn.executemany(load("records")["dirty_person_of_record"], ((r,) for r in found))

    @staticmethod
    def _bind_by_address(conn: Any) -> None:
        """Each entry once, at the first cycle after it came: who holds the address later did not say it."""
        head = conn.execute("SELECT coalesce(max(position), 0) FROM chain").fetchone()[0]
        row = conn.execute("SELECT value FROM meta WHERE name = 'bound_to'").fetchone()
        if row is None or row[0] != head:
            conn.execute(load("ledger")["bind_by_address"], {"after": row[0] if row else 0})
            conn.execute("INSERT OR REPLACE INTO meta VALUES ('bound_to', ?)", (head,))

    def wishes(self, run: int, now: Micros) -> int:
        """Attributes, decisions, keys and wishes of every dirty person. Returns how many people that were."""
        bound = clock_parameters(now, self.zones)
        self.store.write(lambda conn: people.wake(conn, now))
        total = self._chunks(run, bound)
        while self.store.write(lambda conn: plan.rank(conn, self.rel, bound)):
            total += self._chunks(run, bound)
        self.store.write(lambda conn: self._own(conn, run))
        return total

    def _own(self, conn: Any, run: int) -> None:
        for audience in self.rel.audiences:
            if audience.exclusive:
                drift.own(conn, audience, run)

    def _chunks(self, run: int, bound: Mapping[str, Any]) -> int:
        """As many people to a transaction as fit into its time: what is urgent waits for one of them at most."""
        total, job = 0, self.pace.until_done(lambda conn, most: self._chunk(conn, run, bound, most))
        while count := self.store.write(job):
            total += count
        return total

    def _chunk(self, conn: Any, run: int, bound: Mapping[str, Any], most: int) -> int:
        count = people.take(conn, self.rel, most)
        if count:
            self._decide_chunk(conn, bound)
            people.due(conn, self.rel, bound)
            self._plan_chunk(conn, run, bound)
            conn.execute(load("people")["done"])
        return count

    def suppress(self, who: Sequence[int], now: Micros, leave: Callable[[Any], None]) -> int:
        """Decide these people out of turn and queue what keeps mail from them: nothing else, and they stay dirty, so that
        the cycle does the rest. Returns how many operations that are; if any, they belong to a run of their own.
        ``leave`` is given the transaction to take back what must not be released yet."""
        bound, q = clock_parameters(now, self.zones), load("registry")

        def job(conn: Any) -> int:
            found = people.take_these(conn, self.rel, who)
            if not found:
                return 0
            run = conn.execute(q["begin_express"], {"now": now, "mapping": self.rel.fingerprint}).fetchone()[0]
            self._decide_chunk(conn, bound)
            self._plan_chunk(conn, run, bound, only_suppressions=True)
            conn.execute(load("people")["stay_dirty"])
            leave(conn)
            count = plan.release_suppressions(conn)
            given = {"run": run, "people": found, "count": count}
            conn.execute(q["count_express"], given)
            conn.execute(q["end_express"], given)
            return count
        return self.store.write(job, urgent=True)

    def _decide_chunk(self, conn: Any, bound: Mapping[str, Any]) -> None:
        people.attributes(conn, self.rel, bound)
        people.assign_keys(conn, self.rel, int(bound["now"]))
        people.decide(conn, self.rel, self.reconciler.decided, self.reconciler.default)

    def _plan_chunk(self, conn: Any, run: int, bound: Mapping[str, Any], *, only_suppressions: bool = False) -> None:
        plan.forget_wishes(conn)
        plan.containers(conn, self.rel, run)
        plan.audiences(conn, self.rel, run, bound)
        plan.flags(conn, self.rel, run, self.objects, only_suppressions=only_suppressions)
