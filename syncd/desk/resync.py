"""``syncd resync``: doubt what is known about a choice of streams, people or rows; read it again and decide it again.

A resync creates no permission: everything it leads to went through the ledger, the plan and the guard, and what it
would change beyond opt-outs is held until its plan is approved by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mappings.problems import did_you_mean
from state import people
from state.queries import load
from state.relations import AudienceDef, quote
from syncd import guard
from syncd.cycle import Cycle
from syncd.desk import subjects
from syncd.desk.instance import Instance
from syncd.desk.views import Json
from syncd.failures import REMOTE, USAGE, Failure
from syncd.guard import Plan
from syncd.model import Field, FieldType, StreamSpec
from syncd.normalise import converters
from syncd.pages import Read, whole


@dataclass(slots=True)
class Resync:
    """One resync as asked for. ``prepare`` marks, the cycle reads and plans, ``decide`` holds or approves."""

    instance: Instance
    everything: bool = False
    stream: str | None = None
    address: str | None = None
    crm_id: str | None = None
    destination: str | None = None
    since: str | None = None
    dry_run: bool = False
    approve: str | None = None
    deadline: float = 300.0

    @property
    def full(self) -> bool:
        """Whether whole listings are read, so that what has vanished is found."""
        return self.everything and self.since is None

    def prepare(self, cycle: Cycle) -> Json:
        """Mark what is to be read and decided again; returns what that is.

        :raises Failure: an unknown stream, destination or person
        :raises ConnectorError: what had to be read at once cannot be
        """
        found: Json = {}
        if self.everything or self.stream is not None:
            found |= self._streams(cycle)
        elif self.address is not None or self.crm_id is not None:
            found |= self._people(cycle)
        if self.destination is not None:
            found |= self._rows(cycle, self.destination)
        return found

    def decide(self, plan: Plan) -> Plan:
        """Hold what this run would change beyond opt-outs; then approve it, if it was named."""
        instance = self.instance
        run = instance.store.rows("SELECT max(id) FROM run")[0][0]
        guard.hold_run(instance.store, run, "resync", "a resync would change this", instance.now())
        if self.approve and not self.dry_run:
            return instance.approve(plan, self.approve)
        return guard.current_plan(instance.store, instance.compiled.relations, instance.now())

    # ------------------------------------------------------------------ streams

    def _streams(self, cycle: Cycle) -> Json:
        feeds = [f for f in cycle.feeds if self.everything or f.name == self.stream]
        if not feeds:
            names = [f.name for f in cycle.feeds]
            raise Failure(USAGE, f'there is no stream "{self.stream}".', next=did_you_mean(self.stream or "", names))
        q, since = load("views"), self._since()

        def forget(conn: Any) -> None:
            conn.executemany(q["forget_cursor"], ((feed.stream,) for feed in feeds))
        if since is None:
            self.instance.store.write(forget)
        return {"streams": ", ".join(f.name for f in feeds), "people": sum(self._mark(f.stream, since) for f in feeds)}

    def _mark(self, stream: int, since: int | None) -> int:
        """Have the people of a stream decided again; returns how many who were not going to be."""
        total = 0

        def job(conn: Any, after: str, most: int) -> tuple[int, str]:
            nonlocal total
            count, last, marked = people.of_stream(conn, stream, since, after, most)
            total += marked
            return count, last
        self.instance.store.walk(job, "")
        return total

    def _since(self) -> int | None:
        if self.since is None:
            return None
        return int(datetime.fromisoformat(self.since).replace(tzinfo=UTC).timestamp() * 1_000_000)

    # ------------------------------------------------------------------ people

    def _people(self, cycle: Cycle) -> Json:
        store = self.instance.store
        subject = (subjects.at_address(store, self.instance.config, self.address) if self.address is not None
                   else subjects.at_record(store, self.crm_id or ""))
        if not subject.people:
            raise Failure(USAGE, "nobody with this address was ever read.",
                          next="`syncd resync --stream` reads a whole stream again.")
        by_stream: dict[int, list[str]] = {}
        for person in subject.people:
            for _, stream, _, _, rid, *_ in store.rows(load("views")["records_of"], (person,)):
                by_stream.setdefault(stream, []).append(rid)
        read = 0
        for feed in cycle.feeds:
            if keys := by_stream.get(feed.stream):
                read += cycle.puller.refetch(feed, keys, self.instance.now()).rows[feed.name]
        store.write(lambda conn: conn.executemany(
            "INSERT OR IGNORE INTO dirty VALUES (?)", ((p,) for p in subject.people)).rowcount)
        return {"people": len(subject.people), "records read": read}

    # ------------------------------------------------------------------ rows of a destination

    def _rows(self, cycle: Cycle, name: str) -> Json:
        """Compare what a destination holds with what it acknowledged. Differences become the new *before*, so that the
        plan shows the way back; rows of others are only counted."""
        destinations = self.instance.mapping.destinations
        if name not in destinations:
            raise Failure(USAGE, f'there is no destination "{name}".', next=did_you_mean(name, destinations))
        connection = destinations[name].connection
        id_ = self.instance.store.connection(connection, "esp")
        names = self.instance.compiled.audience_names
        found: Json = {}
        for audience in cycle.rel.audiences:
            if audience.connection == id_:
                compared = self._compare(audience, names[audience.object], connection)
                found[names[audience.object]] = ", ".join(f"{count} {what}" for what, count in compared.items())
        return found

    def _compare(self, audience: AudienceDef, object_: str, connection: str) -> dict[str, int]:
        wire: dict[str, FieldType] = {"money": "decimal"}
        fields = tuple(Field(n, wire.get(kind, kind)) for n, _, kind in audience.fields)  # type: ignore[arg-type]
        spec = StreamSpec(object_, "row", fields)
        convert = [(index + 2, function) for index, function in converters(fields)]
        store, connector = self.instance.store, self.instance.app.connectors[connection]
        store.write(lambda conn: _begin(conn, audience))

        def shown() -> int:
            return store.write(lambda conn: int(conn.execute("SELECT count(*) FROM remote_row").fetchone()[0]))

        def read() -> Read:
            count, before, complete = 0, shown(), False
            for page in connector.changes(spec, None):
                rows = [list(row) for row in page.rows]
                for row in rows:
                    for index, function in convert:
                        row[index] = function(row[index])
                store.write(lambda conn, rows=rows: _fill(conn, rows))  # type: ignore[misc]  # bound now
                count += len(rows)
                complete = complete or (page.last and page.complete)
            return Read(count, shown() - before, complete)
        # A row that is there and taken for gone would stay when its person refuses.
        if not whole(connector, True, read, lambda: True, shown):
            raise Failure(REMOTE, f"{object_} could not be read to its end; nothing was concluded.",
                          next="Try again later.")
        return store.write(lambda conn: _conclude(conn, audience))


def _begin(conn: Any, audience: AudienceDef) -> None:
    columns = "".join(f", {quote(c)}" for c in audience.columns)
    conn.execute("DROP TABLE IF EXISTS temp.remote_row")
    conn.execute(f"CREATE TEMP TABLE remote_row (key TEXT PRIMARY KEY, email{columns})")


def _fill(conn: Any, rows: Sequence[Sequence[Any]]) -> None:
    if rows:
        marks = ",".join("?" * len(rows[0]))
        conn.executemany(f"INSERT OR REPLACE INTO remote_row VALUES ({marks})", rows)


def _conclude(conn: Any, audience: AudienceDef) -> dict[str, int]:
    """Make the target say what is there; people with a difference are decided again."""
    table, columns = audience.table, [quote(c) for c in audience.columns]
    missing = f"SELECT person FROM {table} t WHERE NOT EXISTS (SELECT 1 FROM remote_row x WHERE x.key = t.key)"
    differs = " OR ".join(f"t.{c} IS NOT x.{c}" for c in columns) or "0"
    changed = f"SELECT t.person FROM {table} t CROSS JOIN remote_row x ON x.key = t.key WHERE {differs}"
    counts = {"rows": conn.execute("SELECT count(*) FROM remote_row").fetchone()[0]}
    for what, query in (("vanished", missing), ("different", changed)):
        counts[what] = conn.execute(f"SELECT count(*) FROM ({query})").fetchone()[0]
        conn.execute(f"INSERT OR IGNORE INTO dirty {query}")
    foreign = f"SELECT 1 FROM remote_row x WHERE NOT EXISTS (SELECT 1 FROM {table} t WHERE t.key = x.key)"
    counts["of others"] = conn.execute(f"SELECT count(*) FROM ({foreign})").fetchone()[0]
    if columns:
        sets = ", ".join(f"{c} = x.{c}" for c in columns)
        conn.execute(f"UPDATE {table} AS t SET {sets} FROM remote_row x WHERE x.key = t.key AND ({differs})")
    conn.execute(f"DELETE FROM {table} WHERE person IN ({missing})")
    conn.execute("DROP TABLE remote_row")
    return counts
