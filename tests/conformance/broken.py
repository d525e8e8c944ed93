"""Connectors that are wrong, each in one way; ``test_suite`` says which test of the suites catches which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from connectors.base import Account, CallCounter
from connectors.errors import ConnectorError, Misconfigured, Outage, Retry, Throttled
from connectors.memory import MemoryConnector
from syncd.model import Batch, Catalogue, Finding, Health, Outcome, Page, StreamSpec


class Broken(MemoryConnector):
    """A connector to be broken; most ways of breaking it change ``rows`` or ``pages``."""

    def pages(self, spec: StreamSpec, cursor: str | None, pages: Iterator[Page]) -> Iterator[Page]:
        return (replace(page, rows=self.rows(spec, page.rows)) for page in pages)

    def rows(self, spec: StreamSpec, rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
        return rows

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        return self.pages(spec, cursor, super().changes(spec, cursor))

    def fetch(self, spec: StreamSpec, keys: Sequence[str]) -> Page:
        page = super().fetch(spec, keys)
        return replace(page, rows=self.rows(spec, page.rows))


class Sick(Broken):
    def check(self) -> Health:
        return Health("me", (Finding("error", "Everything is wrong."),))


class Boastful(Broken):
    """Declares what it cannot do."""

    @property
    def capabilities(self) -> Any:
        can = super()._hello
        return type("Can", (), {"batch": can["batch"] | {"mail": 1}, "keyed_by": "key", "concurrency": 1, "writes": 1,
                                "irreversible": frozenset()})


class Inventive(Broken):
    def describe(self, objects: Sequence[str] = (), fields: Any = None) -> Catalogue:
        found = super().describe()
        return Catalogue({**found.objects, **{name: next(iter(found.objects.values())) for name in objects}})


class Forgetful(Broken):
    """Asks again whatever it was told."""

    def recall(self, notes: str) -> None:
        super().recall(notes)
        self.__dict__.pop("_hello", None)


class WrongTypes(Broken):
    """Calls every field a date and knows no master flag."""

    def describe(self, objects: Sequence[str] = (), fields: Any = None) -> Catalogue:
        return Catalogue({
            name: replace(info, master_flag=None, fields=tuple(replace(f, type="date") for f in info.fields))
            for name, info in super().describe(objects).objects.items()})


class DeadFeed(Broken):
    def feeds(self, containers: Sequence[str]) -> list[StreamSpec]:
        return [StreamSpec("list:0", "status", container="0")]


class Impatient(Broken):
    """Does not hand on how long a pause is asked for, nor that a person must act."""

    def _ask(self, verb: str, /, **args: Any) -> Any:
        try:
            return super()._ask(verb, **args)
        except ConnectorError as error:
            if isinstance(error, Throttled):
                raise Throttled("Pause.") from None
            raise Outage("Something is wrong.") from None


class AnyCursor(Broken):
    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        return super().changes(spec, None if cursor and "999" in cursor else cursor)


class Silent(Broken):
    """Yields no page when nothing changed."""

    def pages(self, spec: StreamSpec, cursor: str | None, pages: Iterator[Page]) -> Iterator[Page]:
        return (page for page in pages if page.rows)


class Hollow(Broken):
    """Reads a list that is not there as an empty one."""

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        try:
            yield from super().changes(spec, cursor)
        except Misconfigured:
            yield Page([], "", last=True, complete=True)


class Loses(Broken):
    """Loses the first row of every page."""

    def rows(self, spec: StreamSpec, rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
        return rows[1:]


class RunsAhead(Broken):
    """Hands out the cursor of the next page with each page."""

    def pages(self, spec: StreamSpec, cursor: str | None, pages: Iterator[Page]) -> Iterator[Page]:
        held = next(pages)
        for page in pages:
            yield replace(held, cursor=page.cursor)
            held = page
        yield held


class Once(Broken):
    """Delivers each thing once, so a second state of it is never told."""

    seen: frozenset[Any] = frozenset()

    def pages(self, spec: StreamSpec, cursor: str | None, pages: Iterator[Page]) -> Iterator[Page]:
        at = 0 if spec.kind == "record" else 1
        for page in pages:
            fresh = [row for row in page.rows if (spec, row[at]) not in self.seen]
            self.seen |= {(spec, row[at]) for row in fresh}
            yield replace(page, rows=fresh)


class Remembers(Broken):
    """Keeps the place itself: a cursor works once."""

    used: frozenset[str] = frozenset()

    def pages(self, spec: StreamSpec, cursor: str | None, pages: Iterator[Page]) -> Iterator[Page]:
        again = cursor in self.used
        self.used |= {cursor} if cursor else frozenset()
        return (replace(page, rows=[]) if again else page for page in pages)


class Undead(Broken):
    """Shows no tombstones though it declares them."""

    def rows(self, spec: StreamSpec, rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
        return [row for row in rows if spec.ids_only or row[2] != 1]


class NeverComplete(Broken):
    def pages(self, spec: StreamSpec, cursor: str | None, pages: Iterator[Page]) -> Iterator[Page]:
        return (replace(page, complete=False) for page in pages)


class Ascii(Broken):
    def rows(self, spec: StreamSpec, rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
        return [tuple(v.encode("ascii", "replace").decode() if isinstance(v, str) else v for v in row) for row in rows]


class FetchesAll(Broken):
    def fetch(self, spec: StreamSpec, keys: Sequence[str]) -> Page:
        return Page([row for page in self.changes(spec, None) for row in page.rows], "", last=True)


class Shuffled(Broken):
    """Answers in another order than it was asked."""

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        outcomes = super().apply(batch)
        return [*outcomes[1:], *outcomes[:1]]


class SkipsNone(Broken):
    """Takes None for "leave alone"."""

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        kept = [op for op in batch.ops if None not in op.values]
        super().apply(replace(batch, ops=kept))
        return [Outcome("done")] * len(batch.ops)


class OnceOnly(Broken):
    """Refuses what it did before."""

    done: frozenset[str] = frozenset()

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        outcomes = [Outcome("rejected", "DUPLICATE") if f"{batch.kind}{batch.object}{op}" in self.done else outcome
                    for op, outcome in zip(batch.ops, super().apply(batch), strict=True)]
        self.done |= {f"{batch.kind}{batch.object}{op}" for op in batch.ops}
        return outcomes


class Small(Broken):
    """Can do less at once than it declares."""

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        part = replace(batch, ops=batch.ops[:10])
        return [*super().apply(part), *[Outcome("retry", max_batch=10)] * (len(batch.ops) - len(part.ops))]


class Optimist(Broken):
    """Takes a lost reply for success."""

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        return [Outcome("done") if o.state == "unknown" else o for o in super().apply(batch)]


class Pessimist(Broken):
    """Takes a lost reply for a fault of the call."""

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        outcomes = super().apply(batch)
        if any(o.state == "unknown" for o in outcomes):
            raise Retry("Lost.")
        return outcomes


class Liar(Broken):
    """Says done and does nothing."""

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        return [Outcome("done")] * len(batch.ops)


class Talkative(Broken):
    """Quotes values in its errors, as a chained cause."""

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        try:
            return super().apply(batch)
        except ConnectorError as error:
            raise type(error)("It failed.") from ValueError(str(batch))


class AllOrNothing(Broken):
    """One bad operation refuses all."""

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        outcomes = super().apply(batch)
        bad = [o for o in outcomes if o.state == "rejected"]
        return bad * len(outcomes) if bad else outcomes


class NewNames(Broken):
    """Names an event anew whenever it is read."""

    reads = 0

    def rows(self, spec: StreamSpec, rows: Sequence[tuple[Any, ...]]) -> Sequence[tuple[Any, ...]]:
        self.reads += 1
        return [(f"{row[0]}/{self.reads}", *row[1:]) for row in rows]


class Hopeful(Broken):
    """Takes a forgotten request for a finished one."""

    def settle(self, request_id: str, batch: Batch) -> Sequence[Outcome] | None:
        return [Outcome("done")] * len(batch.ops)


class KeepsRows(Broken):
    """Removes nothing."""

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        return [Outcome("done")] * len(batch.ops) if batch.kind == "remove" else super().apply(batch)


class FirstWins(Broken):
    """Never writes a row twice."""

    known: frozenset[str] = frozenset()

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        if batch.kind != "upsert":
            return super().apply(batch)
        fresh = [op for op in batch.ops if op.key not in self.known]
        self.known |= {op.key for op in fresh}
        super().apply(replace(batch, ops=fresh))
        return [Outcome("done")] * len(batch.ops)


class Doubles(Broken):
    """Makes a second row of what is written again."""

    writes = 0

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        self.writes += 1
        return super().apply(replace(batch, ops=[op._replace(key=f"{op.key}/{self.writes}") for op in batch.ops]))


class Unhelpful(Broken):
    """Cannot make an audience."""

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        if batch.kind == "create_object":
            raise Misconfigured("Create it yourself.")
        return super().apply(batch)


class Deaf(Broken):
    """Writes every status as an opt-out."""

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        ops = [op._replace(values=("unsubscribed", None)) for op in batch.ops]
        return super().apply(replace(batch, ops=ops))


class GivesUp(Broken):
    """Takes a broken read for the end."""

    def pages(self, spec: StreamSpec, cursor: str | None, pages: Iterator[Page]) -> Iterator[Page]:
        place = Page([], cursor or "{}", last=True)
        try:
            for place in pages:
                yield place
        except ConnectorError:
            yield Page([], place.cursor, last=True, complete=True)


class Hoards(Broken):
    """Says of people that they are deleted, and keeps them."""

    def erase(self, keys: Sequence[str]) -> Sequence[Outcome]:
        return [Outcome("done") for _ in keys]


class Uneasy(Broken):
    """Logs in each time."""

    def login(self) -> Account:
        self.check()
        return super().login()


class Wanderer(Broken):
    """Is somebody else each time."""

    def login(self) -> Account:
        return replace(super().login(), place=str(self.counter.calls))


class Heedless(Broken):
    """Asks first, and lets its account be looked at afterwards."""

    def _ask(self, verb: str, /, **args: Any) -> Any:
        found = self._say(verb, **args)
        self._login.get()
        return found


class Uncounted(Broken):
    """Does not count its calls."""

    def _ask(self, verb: str, /, **args: Any) -> Any:
        try:
            return super()._ask(verb, **args)
        finally:
            self.counter = CallCounter()
