"""The shared nouns: what connectors, state, mappings and the cycle say to each other.

Standard library only; the bottom layer. Every other package may import this module and it imports none of them.

Values that cross a connector's border have one of these shapes, whatever the vendor's wire says:

=========  ==========================================================================
type       value in a row
=========  ==========================================================================
text, id   ``str``; empty text is ``None``; ids of Salesforce are the 18-character form
bool       ``1`` or ``0``
integer    ``int``
decimal    ``str`` in plain decimal notation ("1234.50"), never a float
date       ``str`` "YYYY-MM-DD"
instant    ``int`` microseconds since the epoch, UTC
choices    ``str`` ";a;b;" (members sorted, unique, wrapped in semicolons); none = ``None``
=========  ==========================================================================

``None`` means the vendor holds no value. A field that cannot be read is an error, never ``None``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, overload

Value = str | int | None
Micros = int
"""An instant: whole microseconds since 1970-01-01T00:00:00Z."""

FieldType = Literal["text", "id", "bool", "integer", "decimal", "date", "instant", "choices"]


class Field(NamedTuple):
    """One field of a remote object, by the vendor's name; dotted where it is reached through a parent."""

    name: str
    type: FieldType = "text"


# --------------------------------------------------------------------------- reading

StreamKind = Literal["record", "status", "event", "history", "row", "send"]

RECORD_COLUMNS = ("id", "modified", "deleted", "merged_into")
"""The first columns of a ``record`` page: vendor id, instant of last change or None, 1 when deleted (or archived away
for good), id of the record that absorbed it or None. The stream's own fields follow in the order asked for."""

STATUS_COLUMNS = ("container", "key", "email", "status", "at", "origin", "evidence")
"""All columns of a ``status`` page: the *current* state of one key (or address) in one container.

container  "" for everything the connection may mail (All Subscribers, a blacklist), else the list's id
key        the vendor's subscriber key, or None where the vendor keys by address only
email      the address as the vendor spells it, or None where the answer does not carry it
status     one of STATUSES
at         instant of the last change where the vendor tells, else None
origin     who caused it, one of ORIGINS
evidence   a short vendor reference (event, reason code); never free text of a person
"""

EVENT_COLUMNS = ("event", "kind", "container", "send", "key", "email", "at", "evidence")
"""All columns of an ``event`` page: something that happened to one mail or one person at the ESP.

event      an id that is equal for the same event however often it is read
kind       one of EVENT_KINDS
container  the list the event names, None when it names none
send       the send or job it came from, None when unknown
"""

HISTORY_COLUMNS = ("record", "field", "old", "new", "at", "by")
"""All columns of a ``history`` page: one tracked change of one CRM field; ``by`` is one of ORIGINS. The fields of the
spec say which fields' changes are wanted; none = all that are tracked."""

SEND_COLUMNS = ("send", "name", "definition", "containers", "audiences", "classification", "at")
"""All columns of a ``send`` page: what a send (a job, a triggered or journey mail) was.

send            the id that events name
name            what the vendor calls it (the mail's name), None when unknown
definition      the name of what it was started from, None when from nothing or unknown
containers      choices: the lists it went through; None = none but all mail
audiences       choices: the audiences it went to ("de:OFFERS_ALL"); None = unknown
classification  "commercial" or "transactional", None when unknown
"""

ROW_COLUMNS = ("key", "email")
"""The first columns of a ``row`` page: rows of an audience at the ESP; the audience's fields follow."""

Status = Literal["subscribed", "unsubscribed", "pending", "held", "bounced", "removed"]
STATUSES: tuple[Status, ...] = ("subscribed", "unsubscribed", "pending", "held", "bounced", "removed")
"""``held`` and ``bounced`` are about the address, not about the person's wish: the vendor mails a bounced one still, a held
one no more. ``removed`` = no longer in the container."""

Origin = Literal["person", "complaint", "bounce", "import", "api", "user", "connect", "send", "self", "unknown"]
ORIGINS: tuple[Origin, ...] = (
    "person", "complaint", "bounce", "import", "api", "user", "connect", "send", "self", "unknown",
)
"""``person``: the recipient did it; ``send``: the ESP added a member by sending; ``connect``: Marketing Cloud Connect's
user; ``self``: this daemon's own account; ``api``, ``import``, ``user``: some other program, file or employee."""

EventKind = Literal["unsubscribe", "master_unsubscribe", "complaint", "hard_bounce", "soft_bounce", "resubscribe"]
EVENT_KINDS: tuple[EventKind, ...] = (
    "unsubscribe", "master_unsubscribe", "complaint", "hard_bounce", "soft_bounce", "resubscribe",
)


class Notice(NamedTuple):
    """One event as a vendor's webhook told it: its signature is checked, whom it is about may not be known yet.

    kind       as the message says it; what it really reached is asked when it is resolved
    at         µs, by the vendor's clock
    container  the list it names, None when it names none
    send       the send or job it came from
    subject    the vendor's own number for the person, where the message names neither key nor address
    key        the subscriber key, where the message has it
    email      the address as the vendor spells it, where the message has it
    evidence   a short vendor reference
    """

    kind: EventKind
    at: Micros
    container: str | None = None
    send: str | None = None
    subject: str | None = None
    key: str | None = None
    email: str | None = None
    evidence: str | None = None

    def __repr__(self) -> str:
        return f"Notice({self.kind})"


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What is to be read: one object of one connection, with the fields the mapping needs.

    ``object`` is the vendor's name ("Contact", "res.partner", "list:4711", "de:OFFERS_ALL", "subscribers").
    ``ids_only`` asks for a numbered listing of all ids of records (pages with the single column ``id``), used to find
    deletions. ``becomes`` is the object that its records turn into, where the mapping names one: of that is the id in
    ``merged_into``.
    """

    object: str
    kind: StreamKind = "record"
    fields: tuple[Field, ...] = ()
    container: str | None = None
    ids_only: bool = False
    becomes: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The column names of every page of this stream."""
        if self.ids_only:
            return ("id",)
        fixed = {
            "record": RECORD_COLUMNS, "status": STATUS_COLUMNS, "event": EVENT_COLUMNS,
            "history": HISTORY_COLUMNS, "row": ROW_COLUMNS, "send": SEND_COLUMNS,
        }[self.kind]
        return fixed + tuple(f.name for f in self.fields if self.kind in ("record", "row"))


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a stream, in the order of ``StreamSpec.columns``, and the cursor that is safe once they are stored.

    ``cursor`` is opaque text of the connector (at most 4 kB). Passing it to ``changes`` again loses nothing; it may
    repeat rows. ``last`` is true on the final page of one call. ``complete`` is true on the last page of a listing that
    began without a cursor (or with ``ids_only``) and reached its end without an error or a change of rights: only then
    may the absence of a row mean anything.
    """

    rows: Sequence[tuple[Value, ...]]
    cursor: str
    last: bool = False
    complete: bool = False


# --------------------------------------------------------------------------- writing

OperationKind = Literal["upsert", "remove", "status", "update", "create_object"]


class Op(NamedTuple):
    """One remote write within a Batch.

    id      the outbox id: the same wish keeps it through every retry
    key     the remote key: subscriber key, CRM record id; for address-keyed containers the address
    email   the address, or None where the vendor does not need it
    values  in the order of Batch.columns
    """

    id: int
    key: str
    email: str | None
    values: tuple[Value, ...]


class Ops(Sequence[Op]):
    """Operations by columns, as there may be thousands: each is made when somebody looks at it."""

    __slots__ = ("emails", "ids", "keys", "values")

    def __init__(self, ids: Sequence[int], keys: Sequence[str], emails: Sequence[str | None],
                 values: Sequence[Sequence[Value]]) -> None:
        self.ids, self.keys, self.emails, self.values = ids, keys, emails, values

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Op]:
        return map(Op._make, zip(self.ids, self.keys, self.emails, map(tuple, self.values), strict=True))

    @overload
    def __getitem__(self, index: int) -> Op: ...
    @overload
    def __getitem__(self, index: slice) -> list[Op]: ...
    def __getitem__(self, index: int | slice) -> Op | list[Op]:
        if isinstance(index, slice):
            return list(self)[index]
        return Op(self.ids[index], self.keys[index], self.emails[index], tuple(self.values[index]))


@dataclass(frozen=True, slots=True)
class Batch:
    """Operations of one kind on one remote object.

    kind           object                      columns
    upsert         audience ("de:OFFERS_ALL")  audience field names
    remove         audience                    ()
    status         container id, "" = all mail ("status", "reason"); status "unsubscribed" or "subscribed"
    update         CRM object ("Contact")      CRM field names; None clears the field
    create_object  audience                    ("definition",): JSON of AudienceDefinition
    """

    kind: OperationKind
    object: str
    columns: tuple[str, ...]
    ops: Sequence[Op]


OutcomeState = Literal["done", "accepted", "rejected", "retry", "unknown"]


class Outcome(NamedTuple):
    """What became of one operation. ``apply`` and ``settle`` give one per operation, in order.

    done      the remote holds it
    accepted  queued remotely under ``request_id``; ask ``settle`` later
    rejected  permanently refused for ``reason`` (a code and a sentence without personal data)
    retry     not applied; may be sent again after ``retry_after`` seconds, in batches of at most ``max_batch``
    unknown   it may or may not have been applied (a lost reply): read back before deciding
    """

    state: OutcomeState
    reason: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    max_batch: int | None = None


DONE = Outcome("done")
UNKNOWN = Outcome("unknown")


# --------------------------------------------------------------------------- describing

@dataclass(frozen=True, slots=True)
class FieldInfo:
    """A field as the vendor describes it. ``length`` counts characters, None = unlimited or not applicable; ``computed``:
    made of other values whenever it is read, so that its record may not change with it."""

    name: str
    type: FieldType
    label: str = ""
    nullable: bool = True
    writable: bool = True
    length: int | None = None
    choices: tuple[str, ...] = ()
    primary_key: bool = False
    computed: bool = False


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """A remote object: CRM object, list or audience.

    ``master_flag`` names the boolean field that stops all marketing mail for a record (HasOptedOutOfEmail), if any; also
    where the account may not read it, so that whoever asks for it is refused.
    ``properties`` holds vendor facts worth checking ("sendable", "retention", "type").
    """

    name: str
    label: str = ""
    fields: tuple[FieldInfo, ...] = ()
    master_flag: str | None = None
    properties: Mapping[str, str | int | bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a connection offers: its objects by name."""

    objects: Mapping[str, ObjectInfo]


@dataclass(frozen=True, slots=True)
class AudienceDefinition:
    """An audience to be created at the ESP: a data extension, a static list."""

    name: str
    key: str
    primary_key: str
    email_field: str
    fields: tuple[FieldInfo, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing ``check`` found: ``error`` stops the connection, ``warning`` does not. Message and remedy are sentences."""

    level: Literal["error", "warning", "info"]
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Health:
    """The answer of ``check``: who we are at the vendor, what is left of the quota, what is wrong."""

    account: str
    findings: tuple[Finding, ...] = ()
    quota: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """name -> (used, allowed)."""

    @property
    def ok(self) -> bool:
        return not any(f.level == "error" for f in self.findings)


# --------------------------------------------------------------------------- consent

StatementState = Literal["opt_in", "opt_out", "pending"]
ScopeLevel = Literal["topic", "master", "company"]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a statement covers.

    topic    one topic (``topic`` is its id)
    master   all marketing on the channel; ``all_except`` lists topics it leaves open
    company  the person's whole company, made by an admin only
    ``unit`` limits it to one business unit or brand, None = all.
    """

    level: ScopeLevel
    topic: str | None = None
    all_except: tuple[str, ...] = ()
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """One consent fact, as the fold reads it.

    position     ledger position (1, 2, 3 …); order of arrival, never of meaning
    subject      "keyed" when a record or subscriber key says whose it is, "address" when only the address is known
    person       person id it is bound to, None for an address-only statement nobody (or more than one) held
    address      surrogate id of the normalised address, None when it has none
    channel      "email", "sms" …
    state        opt_in, opt_out, pending (asked, not confirmed)
    source       connection and object it came from ("sf.Contact", "mc_main")
    method       how it was said ("web", "double opt-in", "flag", "baseline", "unsubscribe", "complaint", "bounce", "grant")
    person_made  the person did it (or an admin recorded it with evidence and name)
    said_lo/hi   the interval in which it was said; said_lo None = since ever
    seen_at      when we read it
    knowledge    ledger position its author knew, None = unknown
    retracts     position of the statement it declares to be never the person's, else None
    """

    position: int
    subject: Literal["keyed", "address"]
    person: int | None
    address: int | None
    channel: str
    scope: Scope
    state: StatementState
    source: str
    method: str
    person_made: bool
    said_lo: Micros | None
    said_hi: Micros
    seen_at: Micros
    knowledge: int | None = None
    retracts: int | None = None
    purpose: str = "marketing"
    baseline: bool = False
    baseline_approved: bool = False
    evidence: str | None = None
