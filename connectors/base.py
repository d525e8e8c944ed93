"""The contract every connector fulfils.

A connector is a translator. It turns a vendor's answers into ``syncd.model`` rows and operations into the vendor's
calls, and says honestly what it does not know. It holds no state that matters: cursors and request ids are handed out
and handed back. It never decides who is in a list, never logs personal data, and raises only ``connectors.errors``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from syncd.model import Batch, Catalogue, Health, Micros, Notice, OperationKind, Outcome, Page, StreamSpec, Value


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a connection can do; the core asks here before it uses anything optional.

    batch            largest number of operations per call, by kind; a kind that is absent is not supported
    concurrency      calls the vendor lets us have in flight at once
    writes           calls of ``apply`` that may run at the same time on *different* objects
    deletes_visible  deletions appear in ``changes``; otherwise they are found by an ``ids_only`` listing
    merges_visible   ``merged_into`` is filled for merged records
    topic_consent    a status per container can be held and written
    flips_lists      a stop of all mail may set the statuses of lists as well, at the same instant
    keyed_by         what a subscriber is at this vendor: "key" or "address"
    irreversible     operation kinds that cannot be taken back
    late             seconds in which a write whose reply was lost may still take effect (a queue at the vendor): until
                     then its absence proves nothing
    erases           the connector is an ``Eraser``; otherwise people are deleted at this vendor by hand
    erases_records   the connector is a ``RecordEraser``
    silent_cuts      a listing has neither a count nor a proof of its end: one that was cut short looks like a whole one
    """

    batch: Mapping[OperationKind, int]
    concurrency: int = 4
    writes: int = 1
    deletes_visible: bool = False
    merges_visible: bool = False
    topic_consent: bool = False
    flips_lists: bool = False
    keyed_by: str = "key"
    irreversible: frozenset[OperationKind] = field(default_factory=frozenset)
    late: float = 0.0
    erases: bool = False
    erases_records: bool = False
    silent_cuts: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """Which of a vendor's accounts a login leads to: one organisation, database or business unit.

    id     what the vendor calls it for good, "" where we are not told
    place  where it was reached
    """

    id: str
    place: str

    def __str__(self) -> str:
        return f"{self.id} at {self.place}" if self.id else self.place

    def is_same(self, other: Account) -> bool:
        """Whether both are one account: by the vendor's word where we have it of both, else by the place."""
        return self.id == other.id if self.id and other.id else self.place == other.place


Judge = Callable[[Account], None]


class Connector(Protocol):
    """Six verbs. DESIGN names five; ``settle`` is the sixth, because a request accepted before a restart must be
    asked after by its id (docs/decisions/0001-settle.md). ``learnt`` and ``recall`` let the next process start without
    asking what this one knows (docs/decisions/0013-remembered-descriptions.md)."""

    @property
    def capabilities(self) -> Capabilities:
        """What this connection can do; constant while the connector lives."""

    def login(self) -> Account:
        """Log in, unless we are: the calls that the first other verb would make. Afterwards the vendor's clock is known.

        :raises Reauthenticate, Misconfigured, Outage, Retry, Throttled:
        """

    def watch(self, judge: Judge) -> None:
        """Tell ``judge`` which account a login leads to before anything is asked or written there, of this login and of
        every later one. What it raises the verb raises, and nothing was asked or written.
        (docs/decisions/0025-one-account.md)"""

    def check(self) -> Health:
        """Log in, look at rights and quota. Cheap, read-only. Afterwards ``server_skew`` tells how the clocks compare.

        :raises Reauthenticate, Misconfigured, Outage:
        """

    def describe(self, objects: Sequence[str] = (), fields: Mapping[str, Collection[str]] | None = None) -> Catalogue:
        """Fields, types and lists of the named objects (all that are cheap to list when none is named), as they are now.

        An object that does not exist or cannot be read is absent from the answer; a field the account may not read is
        absent from its object. ``fields`` names, by object, those that matter: of parents only what these dotted names go
        through needs to be asked after. None = whatever there is. The object "sends" stands for all definitions of sends
        that the vendor keeps: objects "send:<key>" with the properties containers, audiences and classification, as in
        ``syncd.model.SEND_COLUMNS``.
        """

    def learnt(self) -> str:
        """What this connector knows of the vendor's objects by now, for another process's ``recall``: opaque text without
        secrets or personal data, "" when it keeps nothing."""

    def recall(self, notes: str) -> None:
        """Believe what another connector of this connection has ``learnt``, as if it had just been told. Makes no call; what
        another version wrote is passed over. ``describe`` forgets it and asks. A field or object that was taken away
        since must still show when it is read or written: as an error, never as an empty value."""

    def feeds(self, containers: Sequence[str]) -> list[StreamSpec]:
        """The consent-bearing streams of this connection besides the mapped records, for these containers (list ids):
        status, event and history streams that ``changes`` can read; and the send stream, where there is one, by which
        events are understood. ``fetch`` of a send stream takes the ids that events name."""

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        """Pages of what changed since ``cursor``; everything when it is None.

        The iterator may be abandoned after any page. It fetches at most one page ahead. An empty change set still
        yields one page with ``last=True`` and a cursor.

        :raises CursorLost, Retry, Throttled, Reauthenticate, Misconfigured, Outage:
        """

    def fetch(self, spec: StreamSpec, keys: Sequence[str]) -> Page:
        """The truth now for these ids or keys (columns as in ``changes``). What does not exist is absent from the rows,
        except that a deleted record whose tombstone is readable comes with ``deleted=1``."""

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        """One outcome per operation, in order. Never raises for one record, nor after a write may have been applied
        (that is ``unknown``).

        :raises Throttled, Retry: only when surely nothing was applied
        :raises Reauthenticate, Misconfigured, Outage: likewise
        """

    def settle(self, request_id: str, batch: Batch) -> Sequence[Outcome] | None:
        """The end of an accepted request, one outcome per operation of its batch; None while it is still pending.

        Where the vendor's errors do not name their rows, a row that cannot be attributed is ``retry`` with a smaller
        ``max_batch``, so that the bad one is found by bisection; a request the vendor forgot is ``unknown``.
        """

    def close(self) -> None:
        """Release sockets."""


@runtime_checkable
class Eraser(Protocol):
    """What a connector can that declares ``erases``: delete people for good, with everything the vendor keeps of them. The
    vendor forgets their opt-outs too; who asks for it keeps them."""

    def erase(self, keys: Sequence[str]) -> Sequence[Outcome]:
        """Delete these subscribers. One outcome per key, in order: ``accepted(request_id)`` where the vendor does it
        later, ``done`` where it is done or nobody has the key, ``rejected``, or ``retry``. Asking twice does no harm.

        :raises Throttled, Retry, LostReply, Reauthenticate, Misconfigured, Outage:
        """

    def erased(self, request_id: str) -> Outcome | None:
        """The end of an accepted deletion, ``done`` or ``rejected``; None while the vendor is at it."""


@runtime_checkable
class RecordEraser(Protocol):
    """What a CRM's connector can that declares ``erases_records``: take people out of their records as far as the vendor's
    own tools for privacy go, or delete the records where that is asked for by name."""

    def erasing(self, *, delete: bool) -> str:
        """What ``erase_records`` does to a record, as a sentence without its subject. Makes no call."""

    def erase_records(self, object: str, keys: Sequence[str], *, delete: bool) -> Sequence[Outcome]:
        """One outcome per record, in order: ``done``, also where it is gone already, ``rejected`` where it cannot be, or we
        may not, ``retry`` or ``unknown``. Asking twice does no harm.

        :raises Throttled, Retry, Reauthenticate, Misconfigured, Outage: nothing was written
        """


@dataclass(slots=True)
class CallCounter:
    """Calls and bytes of one connection since the process began; read by status, budgets and benchmarks."""

    calls: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    by_route: dict[str, int] = field(default_factory=dict)

    def count(self, route: str, sent: int, received: int) -> None:
        """Add one call of ``route`` (a name such as "query" or "async.upsert", never a URL)."""
        self.calls += 1
        self.bytes_out += sent
        self.bytes_in += received
        self.by_route[route] = self.by_route.get(route, 0) + 1


# --------------------------------------------------------------------------- webhooks, where a vendor has them

RefusalReason = Literal["forged", "malformed", "stale", "unexpected"]
"""``forged``: the signature is missing or wrong; ``malformed``: not a message of this vendor; ``stale``: older than the
vendor ever repeats a message; ``unexpected``: well-formed, but not asked for."""


class Refused(Exception):
    """A delivery that is not taken. Nothing of it is in the text."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(reason)
        self.reason: RefusalReason = reason


@dataclass(frozen=True, slots=True)
class Received:
    """What a delivery holds: events, or the vendor's question whether the address is ours (to be given to ``confirm``)."""

    notices: tuple[Notice, ...] = ()
    handshake: Mapping[str, str] | None = field(default=None, repr=False)


class Translator(Protocol):
    """One callback's messages made into ours: ``connectors/<vendor>/consent/webhook.py``. Pure; no I/O, no state."""

    def receive(self, headers: Mapping[str, str], body: bytes, now: Micros) -> Received:
        """The events of a delivery, once its signature over the raw ``body`` is checked. Header names are lower-case.

        :raises Refused: it is not taken, and nothing of it counts
        """


class Notified(Connector, Protocol):
    """A connector whose vendor has webhooks."""

    def resolve(self, notices: Sequence[Notice]) -> Sequence[tuple[Value, ...] | None]:
        """Each notice as a row of the connection's event stream, in order and under the id it has when it is polled;
        None where the vendor does not know the person any more.

        :raises Retry, Throttled, Reauthenticate, Misconfigured, Outage:
        """

    def confirm(self, handshake: Mapping[str, str]) -> None:
        """Tell the vendor that a callback's address is ours.

        :raises Retry, Throttled, Reauthenticate, Misconfigured, Outage:
        """
