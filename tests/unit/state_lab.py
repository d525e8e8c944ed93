"""A state without connectors or mapping files: relations made by hand, records put in directly, a simple fold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mappings.functions import FUNCTIONS
from state import addresses, attributes, identify, outbox, people, plan, records
from state.ledger import Alike, NewEntry, Utterance
from state.outbox import Sealed
from state.people import Case, Decided
from state.plan import QUEUED
from state.relations import (
    NEVER_SAID,
    OPTED_IN,
    OPTED_OUT,
    AttributeDef,
    AudienceDef,
    ContainerDef,
    FieldDef,
    FlagDef,
    Relations,
    SourceDef,
    TopicDef,
)
from state.store import Store
from syncd import normalise
from syncd.model import Outcome

NOW = 1_750_000_000_000_000
SECOND = 1_000_000
HASHED = normalise.hasher(b"unit")
LIMITS = {"upsert": 100, "remove": 100, "status": 100, "update": 100}


def fold(case: Case) -> Decided:
    """The last word counts: opt_in, else out once anybody at the address said so, else mailable."""
    said = sorted(case.statements, key=lambda s: s.position)
    code = {"opt_in": OPTED_IN, "opt_out": OPTED_OUT}.get(said[-1].state if said else "", NEVER_SAID)
    return Decided(said[-1].position if said else 0, NEVER_SAID, {"offers": (int(code != OPTED_OUT), code)})


def each(entries: Iterable[NewEntry | Alike]) -> list[NewEntry]:
    """Entries one by one, also those that were given together."""
    return [one for e in entries for one in (
        [NewEntry(e.utterance, record, address, None, e.said_hi, rid=rid, hash=hash_)
         for record, address, rid, hash_ in zip(*e[2:], strict=True)]
        if isinstance(e, Alike) else [e])]


class StateLab:
    """A CRM stream ``Contact`` (connection 1) and an ESP (connection 2) with one topic, its list and its audience."""

    def __init__(self, directory: Path, **changed: Any) -> None:
        self.store = Store(directory / "s.db", journal=directory / "j.log", hash_key=b"unit", functions=FUNCTIONS)
        self.crm, self.esp = self.store.connection("sf", "crm"), self.store.connection("mc", "esp")
        self.stream = self.store.stream(self.crm, "Contact", "record", "", True).id
        self.audience = self.store.object(self.esp, "de:OFFERS", "audience")
        self.container = self.store.object(self.esp, "L1", "container")
        self.contact = self.store.object(self.crm, "Contact", "record")
        self.rel = replace(self._relations(), **changed)
        self.store.conform(self.rel)
        self.store.write(lambda conn: conn.execute("UPDATE connection SET approved_at = 1").rowcount)

    def _relations(self) -> Relations:
        flag = FlagDef("offers", "offers", {1: "opt_in", 0: "opt_out"}, {"opt_in": 1, "opt_out": 0})
        return Relations(
            "v1", {self.stream: tuple(FieldDef(n, t) for n, t in (  # type: ignore[arg-type]  # literals
                ("email", "text"), ("name", "text"), ("spent", "decimal"), ("offers", "bool")))},
            (SourceDef(self.stream, "sf.Contact", 0, {"name": 'x."name"', "spent": 'x."spent"'}, flags=(flag,),
                       names=("name",)),), (),
            (AttributeDef("name", "text"), AttributeDef("spent", "decimal")), (TopicDef("offers", None, "none"),),
            (AudienceDef(self.audience, self.esp, "offers", None,
                         (("Name", 'a."name"', "text"), ("Spent", 'a."spent"', "decimal")),
                         "key", "email"),),
            (ContainerDef(self.container, self.esp, "L1", "offers", False),), {self.esp: ("crm_id", True)})

    def close(self) -> None:
        self.store.close()

    # ------------------------------------------------------------------ in

    def put(self, *rows: Mapping[str, Any], speak: Any = lambda source, changed: [],
            cursor: str | None = None, **options: Any) -> records.Stored:
        """Store a page: rows with ``id`` and any of email, name, spent (ten-thousandths), offers, deleted, merged."""
        prepared = []
        for row in rows:
            email = normalise.email(row.get("email"))
            prepared.append((row["id"], row.get("modified", NOW), row.get("deleted", 0), row.get("merged"), email,
                             HASHED(email) if email else None,
                             row.get("email"), row.get("name"), row.get("spent"), row.get("offers", 0)))
        return self.store.write(lambda conn: records.store(
            conn, self.rel, self.stream, list(zip(*prepared, strict=True)), cursor=cursor, sweep=0, now=NOW,
            speak=speak, book=self.store.book, **options))

    def say(self, state: str, *, record: int | None = None, email: str | None = None, key: str | None = None,
            **entry: Any) -> int:
        """Append one statement about offers; its position."""
        utterance = Utterance(self.esp, "mc", "person", 1, 0, f'[["topic","offers","{state}"]]')

        def job(conn: Any) -> int:
            address = None
            if email is not None:
                address = addresses.known(conn, HASHED(email), email)
            conn.execute("INSERT OR IGNORE INTO dirty SELECT person FROM record WHERE id = ? OR address = ?",
                         (record, address))
            return self.store.book.append(conn, [NewEntry(utterance, record, address, NOW, NOW, key, **entry)], NOW)
        return self.store.write(job)

    def member(self, key: str, email: str, status: str = "subscribed", container: str = "L1") -> None:
        """The ESP has this status."""
        def job(conn: Any) -> None:
            addresses.known(conn, HASHED(email), email)
            for name in {"", container}:
                conn.execute("INSERT OR REPLACE INTO remote_status (connection, container, key, address, status, origin)"
                             " SELECT ?, ?, ?, address, ?, 'person' FROM address_of WHERE hash = ?",
                             (self.esp, name, key, status if name == container else "subscribed", HASHED(email)))
        self.store.write(job)

    # ------------------------------------------------------------------ steps

    def identify(self) -> None:
        while self.store.write(lambda conn: identify.step(conn, self.rel, NOW)):
            pass

    def evaluate(self) -> int:
        """Attributes, decisions, keys and wishes of one chunk of dirty people; how many they were."""
        def job(conn: Any) -> int:
            count = people.take(conn, self.rel)
            attributes.rebuild(conn, self.rel, {"now": NOW})
            people.assign_keys(conn, self.rel, NOW)
            people.decide(conn, self.rel, fold, fold(Case(0, None, (), {})))
            plan.forget_wishes(conn)
            plan.containers(conn, self.rel, 1)
            plan.audiences(conn, self.rel, 1, {"now": NOW})
            plan.flags(conn, self.rel, 1, {self.stream: (self.crm, self.contact)})
            conn.execute("DELETE FROM dirty WHERE person IN (SELECT person FROM chunk)")
            return count
        return self.store.write(job)

    def step(self) -> None:
        """Identify, evaluate, and let everything go."""
        self.identify()
        self.evaluate()
        self.store.write(lambda conn: conn.execute("UPDATE operation SET state = ? WHERE state = 0", (QUEUED,)).rowcount)

    # ------------------------------------------------------------------ out

    def seal(self, connection: int | None = None, *, grants: bool = True, now: int = NOW,
             limits: Mapping[str, int] = LIMITS) -> Sealed | None:
        return self.store.write(lambda conn: outbox.seal(
            conn, self.rel, connection or self.esp, limits, grants=grants, now=now))

    def seal_only(self, kind: str) -> Sealed:
        """The next batch of a kind at the ESP; others that come first are done."""
        while (sealed := self.seal()) is not None:
            if sealed.batch.kind == kind:
                return sealed
            self.record(sealed, "done")
        raise AssertionError(f"nothing of kind {kind} waits")

    def record(self, sealed: Sealed | None, *outcomes: Outcome | str, now: int = NOW) -> None:
        """Store what became of a batch; one outcome for all of it, or one each."""
        assert sealed is not None
        given = [Outcome(o) if isinstance(o, str) else o for o in outcomes]  # type: ignore[arg-type]  # literals
        if len(given) == 1:
            given *= len(sealed.batch.ops)
        self.store.write(lambda conn: outbox.record(conn, self.rel, sealed, given, now=now, backoff=2.0))

    def deliver(self) -> int:
        """Send everything at both connections, all of it done; how many operations."""
        count = 0
        for connection in (self.esp, self.crm):
            while (sealed := self.seal(connection)) is not None:
                self.record(sealed, "done")
                count += len(sealed.batch.ops)
        return count

    # ------------------------------------------------------------------ looking

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.store.rows(sql, parameters)

    def persons(self) -> dict[str, int]:
        """Person by record id."""
        return dict(self.rows("SELECT rid, person FROM record ORDER BY id"))

    def open(self) -> list[tuple[Any, ...]]:
        """(kind, class, key, payload, state) of operations not closed, oldest first."""
        return self.rows("SELECT kind, class, key, payload, state FROM operation WHERE state < 10 ORDER BY id")

    def target(self) -> dict[str, tuple[Any, ...]]:
        """What the audience acknowledged, by key."""
        return {key: tuple(rest) for key, *rest in self.rows(f'SELECT key, "Name", "Spent" FROM target_{self.audience}')}


def contact(n: int, **values: Any) -> dict[str, Any]:
    """A record ``c<n>`` with the address ``c<n>@mail.example``."""
    return {"id": f"c{n}", "email": f"c{n}@mail.example", "name": f"Name {n}", "spent": n * 10_000} | values


def contacts(count: int, **values: Any) -> Sequence[dict[str, Any]]:
    return [contact(n, **values) for n in range(1, count + 1)]
