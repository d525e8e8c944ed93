"""Hands at a vendor's side, and how the suites read and deliver.

A connector's test file makes a ``Lab``: its connector beside hands at the vendor (a simulator, a world in memory, a
real sandbox account). A hook the vendor cannot offer calls ``absent`` with the reason.

Nothing here knows a vendor. Where a vendor accepts requests and carries them out later, or refuses rows without naming
them, ``drive`` does what the core does: it asks ``settle`` until the end, and bisects.
"""

from __future__ import annotations

import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, Protocol

import pytest

from connectors.base import CallCounter, Connector
from connectors.errors import ConnectorError, Outage, Retry
from syncd.model import AudienceDefinition, Batch, Outcome, Page, StreamSpec, Value

ODD_ADDRESSES = (
    "Upper.Case@Example.COM", "plus+tag@mail.example", "o'hara@mail.example", "x_y-z@sub.mail.example",
    "dots.in.name@mail.example",
)
ODD_TEXTS = (
    "Łukasz Ǆ", "O'Neil \"Bo\"", "back\\slash", "a;b,c", "<b>&amp;", "🦊 Fox", "名前", "e\u0301 (e + accent)", "100%",
)
PRIVATE = "Very Private Name"
FINAL = frozenset({"done", "rejected", "unknown"})


def absent(reason: str) -> NoReturn:
    """Skip the test because the vendor has no such thing; the reason is for the reader of the test report."""
    assert len(reason) > 10, "a skip must say why"
    pytest.skip(reason)


class Measured(Connector, Protocol):
    """A connector itself, not a wrapper: it counts its calls and knows the vendor's clock."""

    @property
    def counter(self) -> CallCounter:
        """Calls since it was made."""

    @property
    def server_skew(self) -> float | None:
        """The vendor's clock minus ours, in seconds; None before the first answer."""


class Lab(ABC):
    """One connector, and hands at its vendor's side."""

    connector: Measured
    secrets: tuple[str, ...] = ()
    """Texts that must never be in an error: passwords, tokens."""
    tells_pause = True
    """The vendor says how long a pause it wants when it throttles ``describe``."""
    patience = 10.0
    """Seconds after which an accepted request must have ended."""

    def settle(self) -> None:  # noqa: B027 - many vendors need nothing
        """Let what was just done at the vendor become readable, and accepted requests be carried out."""

    def throttle(self, seconds: int) -> None:
        """Let the vendor refuse the next call and ask for a pause of so many seconds."""
        absent("this lab cannot make its vendor throttle")

    def break_read(self) -> None:
        """Let the next call that reads a page fail."""
        absent("this lab cannot break a read")

    def revoke(self) -> None:
        """Take the connector's credentials away for good."""
        absent("this lab cannot revoke its credentials")

    def lose_reply(self, kind: str) -> None:
        """Let the vendor carry out the next write of this operation kind without its answer arriving."""
        absent("this lab cannot lose replies")


class RecordLab(Lab):
    """Hands in a CRM. ``spec`` reads one object with its ``email`` and ``text`` fields (and ``flag``, if any)."""

    spec: StreamSpec
    email: str
    text: str
    flag: str | None = None
    writable: str
    """A text field the connector may update."""
    many = 7
    """Records that fill several pages."""
    unknown_id: str
    refused: tuple[str, Value] | None = None
    """A text field and a value the vendor refuses in it; None = too long a text in ``writable``."""

    @abstractmethod
    def create(self, email: str, text: str) -> str:
        """A user makes a record; its id."""

    @abstractmethod
    def edit(self, id: str, text: str) -> None:
        """A user changes the text field."""

    @abstractmethod
    def delete(self, id: str) -> None:
        """A user deletes the record."""

    def merge(self, loser: str, winner: str) -> None:
        """A user merges two records."""
        absent("this lab cannot merge records")

    def opt_out(self, id: str) -> None:
        """A user ticks the master flag."""
        absent("this lab has no master flag to tick")


class StatusLab(Lab):
    """Hands in an ESP. ``containers`` are the ids of its statuses to test: "" for all mail, lists."""

    containers: tuple[str, ...]
    opt_outs_only: frozenset[str] = frozenset()
    """Containers that know people only once they opted out, such as a blacklist."""
    unknown_key = "nobody-here"
    unknown_list = "999999"
    """The id of a list that is not there."""

    @abstractmethod
    def join(self, key: str, email: str) -> str:
        """Make a subscriber, subscribed to every container; the key the connector will show."""

    @abstractmethod
    def unsubscribe(self, key: str, email: str, container: str) -> None:
        """The recipient opts out of a container by the vendor's own means."""

    def end_deletions(self) -> None:
        """Let the vendor finish what it was asked to delete."""
        self.settle()


class AudienceLab(Lab):
    """Hands in an ESP's audience ``audience``, whose rows have ``columns``, of which ``columns[0]`` is a text."""

    audience: str
    columns: tuple[str, ...]
    definition: AudienceDefinition | None = None
    """An audience to be created, with the object name "de:" and its key."""
    too_long: str = "x" * 4000

    def values(self, text: str) -> tuple[Value, ...]:
        """Good values for ``columns`` with this text first."""
        return (text, *(None for _ in self.columns[1:]))


# --------------------------------------------------------------------------- what the suites share

def read(connector: Connector, spec: StreamSpec, cursor: str | None = None) -> list[Page]:
    """All pages of one call, checked for what holds of every page."""
    pages = list(connector.changes(spec, cursor))
    assert pages, "no page at all"
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    for page in pages:
        assert page.cursor
        assert len(page.cursor.encode()) <= 4096
        assert page.last or not page.complete
        for row in page.rows:
            assert len(row) == len(spec.columns), f"{len(row)} values for {spec.columns}"
            assert all(value is None or type(value) in (str, int) for value in row), "only text, whole numbers, None"
            empty = [name for name, value in zip(spec.columns, row, strict=True) if value == ""]
            assert empty in ([], ["container"]), "empty text is None, except that all mail is called so"
    return pages


def read_broken(lab: Lab, spec: StreamSpec, good: int) -> list[Page]:
    """A listing that breaks after so many good pages and is gone on with from the last cursor."""
    pages: list[Page] = []
    if good == 0:
        lab.break_read()
    try:
        for page in lab.connector.changes(spec, None):
            pages.append(page)
            if len(pages) == good and not page.last:
                lab.break_read()
    except (Retry, Outage):
        assert not any(page.complete for page in pages)
        pages += lab.connector.changes(spec, pages[-1].cursor if pages else None)
    return pages


def rows_of(pages: Iterable[Page]) -> list[tuple[Value, ...]]:
    return [row for page in pages for row in page.rows]


class Rows(dict[Value, dict[str, Value]]):
    """Rows by key; to look for one that is not there fails the test."""

    def __missing__(self, key: Value) -> NoReturn:
        raise AssertionError(f"no row of {key}")


def current(pages: Iterable[Page], spec: StreamSpec, key: str = "id") -> Rows:
    """The last row of each key, as a dictionary by column."""
    rows = [dict(zip(spec.columns, row, strict=True)) for row in rows_of(pages)]
    return Rows((row[key], row) for row in rows)


def fetched(connector: Connector, spec: StreamSpec, keys: Sequence[str], key: str) -> Rows:
    return current([connector.fetch(spec, keys)], spec, key)


def eventually(lab: Lab, look: Callable[[], Any], wanted: Any) -> None:
    """``look()`` is ``wanted`` before the lab's patience ends; for writes whose request id was lost with the reply."""
    deadline = time.monotonic() + lab.patience
    lab.settle()
    while (seen := look()) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
        lab.settle()
    assert seen == wanted


def drive(lab: Lab, batch: Batch) -> list[Outcome]:
    """Deliver a batch as the core does: obey the declared size, ask accepted requests to their end, bisect rows that
    must be sent again. One final outcome per operation."""
    size = lab.connector.capabilities.batch[batch.kind]
    finals: dict[int, Outcome] = {}
    waiting = [list(batch.ops[at:at + size]) for at in range(0, len(batch.ops), size)]
    rounds = 0
    while waiting:
        rounds += 1
        assert rounds <= 100 + 2 * len(batch.ops), "the same operations are to be sent again for ever"
        part = Batch(batch.kind, batch.object, batch.columns, waiting.pop(0))
        outcomes = end(lab, part, lab.connector.apply(part))
        finals.update((op.id, o) for op, o in zip(part.ops, outcomes, strict=True) if o.state in FINAL)
        again = [op for op, o in zip(part.ops, outcomes, strict=True) if o.state not in FINAL]
        if again:
            size = min(o.max_batch or len(part.ops) for o in outcomes if o.state not in FINAL)
            waiting += [again[at:at + size] for at in range(0, len(again), size)]
            lab.settle()
    return [finals[op.id] for op in batch.ops]


def end(lab: Lab, batch: Batch, outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
    """The outcomes once every accepted request has ended."""
    assert len(outcomes) == len(batch.ops), "one outcome per operation"
    requests = {o.request_id for o in outcomes if o.state == "accepted"}
    if not requests:
        return outcomes
    assert None not in requests, "an accepted operation has a request id"
    deadline = time.monotonic() + lab.patience
    ends: dict[str | None, Sequence[Outcome]] = {}
    for request in requests:
        ops = [op for op, o in zip(batch.ops, outcomes, strict=True) if o.request_id == request]
        part = Batch(batch.kind, batch.object, batch.columns, ops)
        while request not in ends:
            lab.settle()
            settled = lab.connector.settle(str(request), part)
            if settled is not None:
                assert len(settled) == len(ops), "one outcome per operation of the request"
                ends[request] = settled
            elif time.monotonic() > deadline:
                pytest.fail("an accepted request did not end")
            else:
                time.sleep(0.02)
    each = {request: iter(settled) for request, settled in ends.items()}
    return [next(each[o.request_id]) if o.state == "accepted" else o for o in outcomes]


def assert_clean(error: BaseException, lab: Lab, *private: str) -> None:
    """Neither an address, a name nor a secret is anywhere in the error, its causes or its attributes."""
    told = "".join(traceback.format_exception(error)) + repr(error)
    for link in (error, error.__cause__, error.__context__):
        if link is not None:
            told += repr(link.args) + repr(getattr(link, "__dict__", ""))
    for text in (*private, *lab.secrets):
        assert text not in told, "personal data or a secret in an error"


def failing(call: Callable[[], Any]) -> ConnectorError | None:
    """The ConnectorError of ``call``, or None; any other exception is the connector's fault."""
    try:
        call()
    except ConnectorError as error:
        return error
    return None
