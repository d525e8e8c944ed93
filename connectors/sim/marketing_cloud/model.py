"""What the simulated tenant holds: business units, subscribers, lists, extensions, jobs, events."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta, timezone, tzinfo
from typing import Any, NamedTuple

from connectors.sim.kernel import Clock
from connectors.sim.marketing_cloud.extensions import DataExtension
from connectors.sim.marketing_cloud.values import Column

ACTIVE, BOUNCED, HELD, UNSUBSCRIBED = "Active", "Bounced", "Held", "Unsubscribed"
STATUSES = (ACTIVE, BOUNCED, HELD, UNSUBSCRIBED)
ENTIRE_ENTERPRISE, BUSINESS_UNIT_ONLY = "ENTIRE_ENTERPRISE", "BUSINESS_UNIT_ONLY"
PUBLICATION, PLAIN, SUPPRESSION = "PublicationList", "ExactTargetList", "SuppressionList"


@dataclass(slots=True)
class Unit:
    """A business unit. ``all_subscribers`` is the id of its All Subscribers list."""

    mid: int
    name: str
    behavior: str
    all_subscribers: int


@dataclass(slots=True)
class Subscriber:
    """One row of All Subscribers at the enterprise; ``units``: the business units that unsubscribed it, MID -> when.

    ``bounces`` are the instants of bounces since the last engagement, ``hard`` how many of them were hard.
    """

    id: int
    key: str
    email: str
    status: str
    created: float
    unsubscribed: float | None = None
    units: dict[int, float] | None = None
    attributes: dict[str, str] | None = None
    bounces: tuple[float, ...] = ()
    hard: int = 0


@dataclass(slots=True)
class Member:
    """A list row. ``method`` is how it came there (API, Imported, WebApplication, DataExtensionSend)."""

    status: str
    created: float
    modified: float
    method: str


@dataclass(slots=True)
class MailList:
    """``members`` by lower-case subscriber key."""

    id: int
    mid: int
    name: str
    key: str
    classification: str
    type: str
    created: float
    members: dict[str, Member] = field(default_factory=dict)


class UnsubEvent(NamedTuple):
    mid: int
    key: str
    at: float
    job: int
    batch: int
    list_id: int
    master: bool
    reason: str
    triggered: str | None = None
    """ObjectID of the triggered send definition that the mail came from."""


class BounceEvent(NamedTuple):
    mid: int
    key: str
    at: float
    job: int
    batch: int
    hard: bool


class StatusEvent(NamedTuple):
    """A change in All Subscribers of ``mid``; words are Normal, Held, Unsub."""

    mid: int
    subscriber: int
    key: str
    before: str
    after: str
    reason: str
    at: float


class Mail(NamedTuple):
    """One delivered message. ``audience`` is the data extension's key or "list:<id>"."""

    job: int
    key: str
    email: str
    at: float


@dataclass(slots=True)
class Job:
    """A send. ``list_id`` is the publication list it is tied to, None = All Subscribers; ``definition`` the key of the
    user-initiated send it was started from, ``triggered`` the ObjectID of a triggered one."""

    id: int
    mid: int
    name: str
    audience: str
    list_id: int | None
    classification: str
    at: float
    sent: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    unsubscribes: int = 0
    hard: int = 0
    soft: int = 0
    definition: str | None = None
    triggered: str | None = None


@dataclass(slots=True)
class TriggeredDefinition:
    """A triggered send, as every journey mail makes one: it has one list, and no audience to name."""

    mid: int
    key: str
    name: str
    object_id: str
    list_id: int
    classification: str
    status: str = "Active"


@dataclass(slots=True)
class SendDefinition:
    """A user-initiated send: the pair (data extension, publication list) and a classification."""

    mid: int
    key: str
    name: str
    object_id: str
    extension: str
    extension_id: str
    list_id: int
    classification: str
    dedupe: bool = False


@dataclass(slots=True)
class Classification:
    mid: int
    key: str
    name: str
    object_id: str
    type: str
    honor: bool = False
    """Whether a transactional send skips those who opted out of its publication list."""


class Tenant:
    """All tables. Every access happens under the simulator's lock."""

    def __init__(self, clock: Clock, rng: random.Random, units: Mapping[int, Mapping[str, Any]], eid: int,
                 utc_offset: float) -> None:
        self.clock = clock
        self.rng = rng
        self.tz: tzinfo = timezone(timedelta(hours=utc_offset))
        self.eid = eid
        self.subscribers: dict[str, Subscriber] = {}
        self.by_email: dict[str, list[str]] = {}
        self.lists: dict[int, MailList] = {}
        self.extensions: dict[tuple[int, str], DataExtension] = {}
        self.unsubs: list[UnsubEvent] = []
        self.bounces: list[BounceEvent] = []
        self.changes: list[StatusEvent] = []
        self.jobs: dict[int, Job] = {}
        self.mails: list[Mail] = []
        self.latest: dict[str, list[int]] = {}
        """Positions in ``mails`` by lower-case key, oldest first."""
        self.definitions: dict[tuple[int, str], SendDefinition] = {}
        self.triggered: dict[tuple[int, str], TriggeredDefinition] = {}
        self.classifications: dict[tuple[int, str], Classification] = {}
        self.suppressed: dict[int, set[str]] = {}
        """Auto-suppression: addresses by business unit; those of the enterprise hold everywhere."""
        self.globally_unsubscribed: set[str] = set()
        self.deleting: dict[str, float] = {}
        """Contact deletes in their logical phase: lower-case key -> when the rows really go."""
        self.deletions: dict[int, float] = {}
        """When each contact delete operation is through."""
        self.echoes: list[tuple[str, str]] = []
        self.numbers = {"subscriber": 756_891_000, "list": 4_700, "job": 118_000, "extension": 100}
        self.units: dict[int, Unit] = {}
        for mid, options in units.items():
            self._add_unit(mid, options)

    def _add_unit(self, mid: int, options: Mapping[str, Any]) -> None:
        everyone = self.new_list(mid, "All Subscribers", classification=PLAIN, type_="Master").id
        self.units[mid] = Unit(mid, str(options.get("name", f"BU {mid}")),
                               str(options.get("behavior", ENTIRE_ENTERPRISE)), everyone)
        for kind, word in (("Marketing", "Commercial"), ("Operational", "Transactional")):
            row = Classification(mid, f"Default {word}", f"Default {word}", self.guid(), kind)
            self.classifications[mid, row.key] = row

    # ---- small helpers

    def now(self) -> float:
        return self.clock.now()

    def number(self, kind: str) -> int:
        self.numbers[kind] += 1
        return self.numbers[kind]

    def guid(self) -> str:
        digits = f"{self.rng.getrandbits(128):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    def new_list(self, mid: int, name: str, *, list_id: int | None = None, key: str = "",
                 classification: str = PUBLICATION, type_: str = "Private") -> MailList:
        number = self.number("list") if list_id is None else list_id
        while list_id is None and number in self.lists:
            number = self.number("list")
        made = MailList(number, mid, name, key or f"{name} - {number}", classification, type_, self.now())
        self.lists[number] = made
        return made

    def new_extension(self, mid: int, key: str, name: str, columns: list[Column], **options: Any) -> DataExtension:
        for column in columns:
            column.object_id = column.object_id or self.guid()
        made = DataExtension(mid, key, name, self.number("extension"), self.guid(), columns, self.now(), **options)
        self.extensions[mid, key.lower()] = made
        return made

    def add_subscriber(self, key: str, email: str, status: str = ACTIVE) -> Subscriber:
        now = self.now()
        made = Subscriber(self.number("subscriber"), key, email, status, now, now if status == UNSUBSCRIBED else None)
        low = key.lower()
        self.subscribers[low] = made
        self.by_email.setdefault(email.lower(), []).append(low)
        return made

    def set_email(self, subscriber: Subscriber, email: str) -> None:
        low = subscriber.key.lower()
        if email.lower() != subscriber.email.lower():
            self._forget_email(subscriber)
            self.by_email.setdefault(email.lower(), []).append(low)
        subscriber.email = email

    def remove_subscriber(self, subscriber: Subscriber) -> None:
        """All rows and tracking of the key go: nothing remembers an opt-out afterwards."""
        low = subscriber.key.lower()
        del self.subscribers[low]
        self._forget_email(subscriber)
        for each in self.lists.values():
            each.members.pop(low, None)
        self.unsubs = [e for e in self.unsubs if e.key.lower() != low]
        self.bounces = [e for e in self.bounces if e.key.lower() != low]
        self.changes = [e for e in self.changes if e.key.lower() != low]
        self.latest.pop(low, None)

    def _forget_email(self, subscriber: Subscriber) -> None:
        address = subscriber.email.lower()
        held = [k for k in self.by_email.get(address, ()) if k != subscriber.key.lower()]
        if held:
            self.by_email[address] = held
        else:
            self.by_email.pop(address, None)

    def find(self, key: str) -> Subscriber | None:
        """The subscriber under ``key``, unless its contact is being deleted."""
        low = key.lower()
        return None if low in self.deleting else self.subscribers.get(low)

    def with_email(self, email: str) -> list[Subscriber]:
        return [s for k in self.by_email.get(email.strip().lower(), ()) if (s := self.find(k)) is not None]

    def live(self) -> Iterator[Subscriber]:
        if not self.deleting:
            return iter(self.subscribers.values())
        return (s for k, s in self.subscribers.items() if k not in self.deleting)

    def extension(self, mid: int, key: str) -> DataExtension | None:
        return self.extensions.get((mid, key.lower()))

    def status_in(self, subscriber: Subscriber, mid: int) -> str:
        """The All Subscribers status as business unit ``mid`` sees it."""
        if subscriber.units and mid in subscriber.units:
            return UNSUBSCRIBED
        return subscriber.status

    def tick(self) -> None:
        """What time does by itself: retention and the physical phase of contact deletes."""
        now = self.now()
        for extension in [e for e in self.extensions.values() if e.retention.days is not None]:
            if extension.expire(now):
                del self.extensions[extension.mid, extension.key.lower()]
        for low in [k for k, due in self.deleting.items() if due <= now]:
            del self.deleting[low]
            subscriber = self.subscribers.get(low)
            if subscriber is not None:
                self.remove_subscriber(subscriber)
            for extension in self.extensions.values():
                self._drop_rows_of(extension, low, now)

    def _drop_rows_of(self, extension: DataExtension, low: str, now: float) -> None:
        column = extension.key_column()
        if column is None:
            return
        if extension.primary == (column,):
            extension.drop(low, now)
            return
        for pk in [k for k, row in extension.rows.items() if (row[column] or "").lower() == low]:
            extension.drop(pk, now)
