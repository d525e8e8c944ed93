"""``syncd forget``: one person out of the state, its copies, the journal and the providers, with a receipt of what went.

The order is what makes it safe to be killed anywhere: first the block (a keyed hash that keeps being recognised) and the
list of what is to go, in one transaction; then the state, files and copies; then the providers, which may take days. Every
cycle goes on with what is not done (``follow``). A CRM is left alone unless it is named (``syncd.desk.erasing``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from connectors.base import Connector, Eraser
from connectors.errors import ConnectorError, LostReply, Misconfigured
from mappings.model import Mapping as MappingFile
from state import copies
from state import forget as state
from state.forget import Begun, Erasure
from state.journal import Gone
from state.ledger import Utterance
from syncd import normalise
from syncd.catalogues import LIFE
from syncd.cycle import Cycle
from syncd.desk import erasing, sharing
from syncd.desk.answers import Answer
from syncd.desk.instance import Instance
from syncd.desk.subjects import Subject, at_address, of_record
from syncd.desk.views import Json, instant
from syncd.failures import OK, PARTIAL, REMOTE, USAGE, Failure
from syncd.model import Batch, Micros, Op, Outcome
from syncd.statements import refusal

BY_HAND = "by_hand"
"""The "error" of a key at a provider whose API deletes nobody."""

PATIENCE: Micros = 600_000_000
"""How long after a question a provider is asked again how a deletion goes on."""

BACKUPS = 100
"""Paths of backups that are remembered, to be named in receipts."""


def words(mapping: MappingFile) -> list[Utterance]:
    """What stays under each address: an opt-out of everything, for every channel and purpose there is."""
    kinds = {("email", "marketing")} | {(t.channel, t.purpose) for t in mapping.topics.values()}
    return [Utterance(None, state.SOURCE, state.SOURCE, 1, 0, refusal(None), channel, purpose)
            for channel, purpose in sorted(kinds)]


def run(instance: Instance, address: str, *, crm_id: str | None = None, everyone: bool = False, deadline: float = 300.0,
        crms: Sequence[str] = (), delete: bool = False, preview: bool = False) -> Answer:
    """Forget who holds an address.

    :param crm_id: whose record, where several people are known at the address; ``everyone``: all of them
    :param crms: CRMs whose records are erased, too, as far as they go; with ``delete`` the records are deleted there
    :param preview: only tell what would become of the records
    :raises Failure: nobody is known there, or several people and nothing says which; a CRM that erases nothing
    """
    subject = at_address(instance.store, instance.config, address)
    people = _people(instance, subject, crm_id, everyone)
    assert subject.hash is not None
    cycle, hash_ = instance.cycle_of_now(LIFE), subject.hash
    store, kinds, how = instance.store, words(instance.mapping), erasing.asked(instance, crms, delete=delete)
    if preview:
        return Answer(erasing.preview(instance, people, how, delete=delete))
    with store.reading() as conn:
        kept = sharing.kept(conn, cycle.decider.reconciler, people)
    begun = store.write(lambda conn: state.begin(conn, store.book, hash_, people, kinds, instance.now(), how, kept),
                        urgent=True)
    cycle.failpoint("forget_begun")
    # What is with a provider already would come back after it was deleted.
    if any(_in_flight(instance, begun.id, connection) for connection in _providers(instance, cycle).values()):
        cycle.deliver(time.monotonic() + deadline)
    step = Step(instance, cycle, begun)
    step.take()
    return Answer(step.answer(), step.exit_code())


def _people(instance: Instance, subject: Subject, crm_id: str | None, everyone: bool) -> tuple[int, ...]:
    if subject.address is None:
        raise Failure(USAGE, "nobody with this address is known here.", code="unknown",
                      next="Check its spelling. A person may be known by another address: `syncd explain --crm-id`.")
    # Whose records are one person's by the address, also where they were read and nobody has looked at them yet.
    one = () if instance.mapping.people.same_email == "separate" else subject.holders
    if crm_id is not None:
        found = of_record(instance.store, crm_id, subject.people)
        return one if found in one else (found,)
    if len({*subject.people} - {*one[1:]}) > 1 and not everyone:
        raise Failure(USAGE, f"{len(subject.people)} people have, or had, this address.",
                      next="Say whose data is to go with --crm-id, or --everyone.")
    return subject.people


def _providers(instance: Instance, cycle: Cycle) -> dict[str, int]:
    """Connections that send mail, with their ids."""
    return {name: lane.connection for name, lane in cycle.lanes.items() if instance.app.endpoints[name].role == "esp"}


def _in_flight(instance: Instance, id_: int, connection: int) -> int:
    return instance.store.write(lambda conn: state.in_flight(conn, state.erasure(conn, id_), connection))


def follow(instance: Instance, cycle: Cycle) -> int:
    """Go on with every erasure that is not done everywhere. Returns how many are left. Never raises for a connector."""
    with instance.store.reading() as conn:
        open_ = [(what, state.keys_left(conn, what.id)) for what in state.unfinished(conn)]
    left = 0
    for what, keys in open_:
        step = Step(instance, cycle, Begun(what.id, (), 0, ()))
        if _is_due(what, keys, instance.now()):
            try:
                step.take()
            except OSError as error:  # the journal's or a copy's disk: `status` goes on to show it, cycles go on
                step.give_up(error)
        left += not step.done
    return left


def _is_due(what: Erasure, keys: Sequence[Json], now: Micros) -> bool:
    """Whether anything but a provider's time is missing."""
    only_time = "journal" in what.receipt and not what.receipt.get("waiting") and all(
        k["accepted"] or k["error"] for k in keys)
    return not only_time or now - int(what.receipt.get("asked_at", 0)) >= PATIENCE


@dataclass(slots=True)
class Step:
    """One attempt to finish an erasure. ``receipt`` is what all attempts together did; it holds no personal data."""

    instance: Instance
    cycle: Cycle
    begun: Begun
    receipt: Json = field(default_factory=dict)
    done: bool = False
    unreached: bool = False
    by_hand: list[Json] = field(default_factory=list)

    def take(self) -> None:
        """State, journal, copies, files, providers; then once more the state, as they may have been read meanwhile."""
        what = self._erasure()
        self.receipt = dict(what.receipt)
        before = "journal" in self.receipt
        waiting = self._state(what)
        self.cycle.failpoint("forget_erased")
        if "journal" not in self.receipt:
            self._files(what)
            self.cycle.failpoint("forget_files")
        for name, connection in _providers(self.instance, self.cycle).items():
            self._provider(what, name, connection)
            self.cycle.failpoint("forget_asked")
        self._crms(what)
        self.receipt |= {"waiting": waiting, "asked_at": self.instance.now()}
        if not waiting and not self._left():
            self._state(what)
            self.done = True
        self._end(what)
        self.receipt["scrubbed"] = self.instance.store.scrub()
        if not before and not waiting:
            self.receipt["scrubbed"] &= self._pages()

    def _pages(self) -> bool:
        """SQLite overwrites what it deletes, but not each copy that it made while it moved rows about. Where one is left,
        or nobody knows any more what to look for, the file is written anew."""
        live = Path(self.instance.config.state)
        wanted = [e.encode() for e in {*self.begun.emails, *self._emails}]
        if not wanted or copies.holding(live.parent, wanted, lambda path: path != live):
            return self.instance.store.compact()
        return True

    def _end(self, what: Erasure) -> None:
        """Keep the receipt; where everything is done, only that."""
        def job(conn: Any) -> None:
            if self.done:
                self.receipt["refused"] = [k for k in state.keys_left(conn, what.id) if k["error"]]
            state.note(conn, what.id, self.receipt)
            if self.done:
                state.finish(conn, what.id, self.instance.now())
        self.instance.store.write(job)

    def give_up(self, error: OSError) -> None:
        """Keep why files could not be written; the next run tries again."""
        self.receipt.setdefault("errors", {})["files"] = error.strerror or type(error).__name__
        self.instance.store.write(lambda conn: state.note(conn, self.begun.id, self.receipt))

    def _erasure(self) -> Erasure:
        with self.instance.store.reading() as conn:
            return state.erasure(conn, self.begun.id)

    def _left(self) -> list[Json]:
        with self.instance.store.reading() as conn:
            return [k for k in state.keys_left(conn, self.begun.id) if k["error"] is None]

    def _note(self, what: Erasure) -> None:
        self.instance.store.write(lambda conn: state.note(conn, what.id, self.receipt))

    # ------------------------------------------------------------------ here

    def _state(self, what: Erasure) -> int:
        """Every table; how many operations are still with a provider."""
        instance, kept = self.instance, self.cycle.puller.rows.kept

        def job(conn: Any) -> tuple[state.Erased, frozenset[tuple[str, str]]]:
            erased = state.erase(conn, what, kept, instance.now())
            total = self.receipt.setdefault("erased", {})
            for name, count in erased.counts.items():
                total[name] = max(total.get(name, 0), count)
            if erased.digests and "journal" not in self.receipt:  # until they are out of the journal, too
                self.receipt["digests"] = sorted({*erased.digests, *self.receipt.get("digests", ())})
            state.note(conn, what.id, self.receipt)
            return erased, state.names(conn, what)
        erased, names = instance.store.write(job)
        self._emails |= {*erased.emails}
        if "journal" not in self.receipt:
            self._gone = Gone(frozenset(erased.positions), frozenset(h.hex() for h in what.hashes),
                              names.union(erased.keys), frozenset(self.receipt.get("digests", ())))
        return erased.waiting

    _emails: set[str] = field(default_factory=set)
    _gone: Gone = field(default_factory=lambda: Gone(frozenset(), frozenset(), frozenset()))

    def _files(self, what: Erasure) -> None:
        """The journal, the copies beside the state; other files that hold the address are named."""
        instance, kept = self.instance, self.cycle.puller.rows.kept
        live, journal = Path(instance.config.state), Path(instance.config.journal)
        instance.store.rewrite_journal(self._gone)
        rewritten: list[str] = []
        by_hand: list[str] = []
        own = {live, journal, *(live.with_name(live.name + tail) for tail in ("-wal", "-shm", ".lock", ".sock"))}
        for directory in sorted({live.parent, journal.parent}):
            found = copies.databases(directory, live)
            for copy in found:
                if ours := copies.is_copy(copy, str(instance.store.meta("hash_key"))):
                    (rewritten if state.rewrite(copy, what, kept, instance.now()) else by_hand).append(str(copy))
                elif ours is None:
                    by_hand.append(str(copy))
            apart = own | set(found)
            wanted = [e.encode() for e in {*self.begun.emails, *self._emails}]
            by_hand += map(str, copies.holding(directory, wanted, apart.__contains__))
        outside = [p for p in known_backups(instance) if Path(p).exists() and Path(p).parent != live.parent]
        self.receipt |= {"journal": "rewritten", "copies_rewritten": rewritten, "files_by_hand": by_hand,
                         "backups_elsewhere": outside}
        self.receipt.get("errors", {}).pop("files", None)
        self.receipt.pop("digests", None)
        self._note(what)

    # ------------------------------------------------------------------ at the providers

    def _provider(self, what: Erasure, name: str, connection: int) -> None:
        """Ask for the deletion of the keys, or how it goes on. What fails is tried with the next cycle."""
        with self.instance.store.reading() as conn:
            keys = state.keys_at(conn, what.id, connection)
        connector = self.instance.app.connectors[name]
        fresh = [k.key for k in keys if k.request_id is None and k.error in (None, BY_HAND)]
        try:
            self._remove_rows(connector, connection, fresh)
            if not fresh:
                pass
            elif not connector.capabilities.erases or not isinstance(connector, Eraser):
                self.by_hand.append({"connection": name, "keys": fresh})
                self._record(what, connection, fresh, [Outcome("rejected", BY_HAND)] * len(fresh))
            elif not _in_flight(self.instance, what.id, connection):
                self._record(what, connection, fresh, connector.erase(fresh))
            for request in sorted({k.request_id for k in keys if k.request_id is not None}):
                assert isinstance(connector, Eraser)
                if (outcome := connector.erased(request)) is not None:
                    asked = [k.key for k in keys if k.request_id == request]
                    self._record(what, connection, asked, [outcome] * len(asked))
        except LostReply:
            self.unreached = True  # asking again does no harm
        except ConnectorError as error:
            self.unreached = True
            self.receipt.setdefault("errors", {})[name] = error.code or type(error).__name__
        else:
            self.receipt.get("errors", {}).pop(name, None)

    def _crms(self, what: Erasure) -> None:
        """The records of CRMs that were asked for. What fails is tried with the next cycle."""
        for name, connection, wanted in erasing.wanted(self.instance, what.id):
            told = self.receipt.setdefault("crms", {}).setdefault(name, {})
            for (how, object_), keys in wanted.items():
                try:
                    outcomes = erasing.erase(self.instance.app.connectors[name], how, object_, keys)
                except ConnectorError as error:
                    self.unreached = True
                    self.receipt.setdefault("errors", {})[name] = error.code or type(error).__name__
                    continue
                self.receipt.get("errors", {}).pop(name, None)
                self._record(what, connection, [f"{how} {object_} {key}" for key in keys], outcomes)
                told[how] = told.get(how, 0) + sum(outcome.state == "done" for outcome in outcomes)
            self.cycle.failpoint("forget_in_crm")

    def _remove_rows(self, connector: Connector, connection: int, keys: Sequence[str]) -> None:
        """The rows of audiences at once: a deletion may take days."""
        size = connector.capabilities.batch.get("remove", 0)
        for a in self.cycle.rel.audiences if keys and size else ():
            if a.connection != connection:
                continue
            name = self.instance.compiled.audience_names[a.object]
            for part in _chunks([Op(n, key, None, ()) for n, key in enumerate(keys)], size):
                try:
                    connector.apply(Batch("remove", name, (), part))
                except Misconfigured:  # it was never created
                    break

    def _record(self, what: Erasure, connection: int, keys: Sequence[str], outcomes: Sequence[Outcome]) -> None:
        def job(conn: Any) -> None:
            for key, outcome in zip(keys, outcomes, strict=True):
                if outcome.state == "done":
                    state.key_done(conn, what.id, connection, key)
                elif outcome.state in ("accepted", "rejected"):
                    reason = (outcome.reason or "refused").partition(":")[0] if outcome.state == "rejected" else None
                    state.asked(conn, what.id, connection, key, outcome.request_id, reason, name=self._name(key))
        self.instance.store.write(job)

    def _name(self, key: str) -> str:
        """What a key is called once a provider has it: its address may not be kept, the job's id is enough."""
        email = normalise.email(key) if "@" in key else None
        return f"forgotten:{self.cycle.puller.rows.hashed(email).hex()}" if email else key

    # ------------------------------------------------------------------ the receipt

    def answer(self) -> Json:
        """What was erased where, what goes on, what is left to do by hand."""
        with self.instance.store.reading() as conn:
            what, left = state.erasure(conn, self.begun.id), state.keys_left(conn, self.begun.id)
        providers = [{"connection": k["connection"], "keys": k["keys"], "error": k["error"],
                      "state": "refused" if k["error"] else "running" if k["accepted"] else "waiting"} for k in left]
        told = {k: v for k, v in self.receipt.items() if k not in ("asked_at", "journal", "digests")}
        return {"erasure": what.id, "asked": instant(what.asked_at), "done": self.done, **told,
                "shared_addresses": self.begun.shared, "providers": providers, "providers_by_hand": self.by_hand,
                "left_alone": [{"connection": c, "object": o, "record": r} for c, o, r in self.begun.left_alone
                               if c not in self.receipt.get("crms", {})]}

    def exit_code(self) -> int:
        if self.unreached:
            return REMOTE
        with self.instance.store.reading() as conn:
            left = [*state.keys_left(conn, self.begun.id), *self.receipt.get("refused", ())]
        return PARTIAL if any(k["error"] not in (None, BY_HAND) for k in left) else OK


def _chunks(ops: Sequence[Op], size: int) -> Iterator[Sequence[Op]]:
    for start in range(0, len(ops), size):
        yield ops[start:start + size]


# --------------------------------------------------------------------------- backups elsewhere

def known_backups(instance: Instance) -> list[str]:
    """Where backups were written to, oldest first."""
    found: list[str] = orjson.loads(instance.store.meta("backups") or "[]")
    return found


def remember_backup(instance: Instance, path: Path) -> None:
    """Keep where a backup went: it will have to be named when somebody is forgotten."""
    known = [p for p in known_backups(instance) if p != str(path) and Path(p).exists()]
    instance.store.remember("backups", orjson.dumps([*known, str(path)][-BACKUPS:]).decode())
