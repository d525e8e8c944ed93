"""Consent that Salesforce keeps in rows of its own: a party's, by type of contact point or by subscription.

Such rows belong to the Individual that a contact, lead or person account points to. To the rest of syncd each place where
one can lie is three fields of the contact: ``CommSubscriptionConsent.Offers`` holds the status, and behind it
``.CaptureDate`` and ``.CaptureSource`` hold when and how it was given. All rows of one place become one value here:

- a row counts while its period lasts, a refusal also before it; of several the refusal wins, else the newest;
- ``ENDED`` where the newest is a consent whose period is over, None where there is none;
- what we wrote ourselves has no date: it is nobody's word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from connectors.errors import Misconfigured
from connectors.salesforce.records.reading import Reader
from connectors.salesforce.records.source import Source, record_source
from connectors.salesforce.wire.calls import Wire
from connectors.salesforce.wire.describe import Described
from connectors.salesforce.wire.values import micros, soql_instant
from syncd.model import RECORD_COLUMNS, Field, FieldInfo, Micros, StreamSpec, Value

INDIVIDUALS = {"Contact": "IndividualId", "Lead": "IndividualId", "Account": "PersonIndividualId"}
"""The field by which a record points to its Individual; of accounts those of people do."""


def pointer(object: str) -> str:
    """The field of an object by which its records point to their Individuals."""
    return INDIVIDUALS.get(object, "IndividualId")


STATUS, OPT_IN, OPT_OUT, ENDED = "PrivacyConsentStatus", "OptIn", "OptOut", "Ended"
OURS = "syncd"
"""The capture source of what we write."""

FIRST_MIDNIGHT: Micros = 14 * 3_600_000_000
"""How long before it does at UTC a day begins where it begins first."""

DATE, SOURCE = ".CaptureDate", ".CaptureSource"
_WORD = re.compile(r"[^A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the two objects, with the names of its fields: whose a row is, its period, when and how it came about."""

    object: str
    parties: tuple[str, ...]
    since: str
    until: str
    captured: str
    how: str
    keys: tuple[str, ...]
    """Fields that tell the places of this object apart."""


BY_TYPE = Kind("ContactPointTypeConsent", ("PartyId",), "EffectiveFrom", "EffectiveTo", "CaptureDate", "CaptureSource",
               ("ContactPointType", "DataUsePurposeId"))
BY_SUBSCRIPTION = Kind("CommSubscriptionConsent", ("ContactPointId", "ConsentGiverId"), "EffectiveFromDate",
                       "EffectiveToDate", "ConsentCapturedDateTime", "ConsentCapturedSource",
                       ("CommSubscriptionChannelTypeId",))
KINDS = {kind.object: kind for kind in (BY_TYPE, BY_SUBSCRIPTION)}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one consent can lie. ``rows``: what its rows may have in the kind's keys, the first of each for new ones."""

    kind: Kind
    name: str
    rows: Mapping[str, tuple[Value, ...]] = field(hash=False)

    def has(self, row: Consent) -> bool:
        return row.object == self.kind.object and all(row.values.get(f) in allowed for f, allowed in self.rows.items())


class Consent(NamedTuple):
    """One row. ``party``: the Individual it is about; ``since``, ``until``, ``captured`` in µs."""

    object: str
    id: str
    party: str
    status: str | None
    since: Micros | None
    until: Micros | None
    captured: Micros | None
    how: str | None
    values: Mapping[str, Value]

    def counts(self, now: Micros) -> bool:
        """Whether it is in force; a refusal is before its time, too."""
        return (self.until is None or self.until > now) and (
            self.status == OPT_OUT or self.since is None or self.since <= now)

    @property
    def said(self) -> Micros | None:
        """When, as far as the row tells. Where only a day is known, a consent is of that day's begin at UTC+14, the first
        one on Earth; a refusal may be of its end."""
        if self.how == OURS or self.captured is not None or self.since is None:
            return None if self.how == OURS else self.captured
        if not isinstance(self.values.get(KINDS[self.object].since), str):
            return self.since
        return self.since - FIRST_MIDNIGHT if self.status == OPT_IN else None


def is_consent(name: str) -> bool:
    """Whether a field of a contact or lead is one of ours."""
    return name.partition(".")[0] in KINDS


def value_of(rows: Sequence[Consent], now: Micros) -> tuple[Value, Value, Value]:
    """(status, said at, source) of one place."""
    rows = sorted(rows, key=lambda r: (r.captured or r.since or 0, r.id))
    standing = [r for r in rows if r.counts(now)]
    if not standing:
        return (ENDED if rows and rows[-1].status == OPT_IN and (rows[-1].until or now + 1) <= now else None), None, None
    one = next((r for r in reversed(standing) if r.status == OPT_OUT), standing[-1])
    return one.status, one.said, one.how


class Consents:
    """The consent rows of one org. ``describe`` gives what is known of an object, ``clock`` the server's time in seconds."""

    def __init__(self, wire: Wire, reader: Reader, describe: Callable[[str], Described | None],
                 clock: Callable[[], float]) -> None:
        self._wire, self._reader, self._describe, self._clock = wire, reader, describe, clock
        self._places: dict[str, Place] | None = None

    def now(self) -> Micros:
        """The server's time."""
        return int(self._clock() * 1e6)

    # ------------------------------------------------------------------ places

    def forget(self) -> None:
        """Ask anew which places there are."""
        self._places = None

    def places(self) -> Mapping[str, Place]:
        """Every place by its name."""
        if self._places is None:
            self._places = {p.name: p for p in (*self._by_type(), *self._by_subscription())}
        return self._places

    def place(self, name: str) -> Place:
        """The place whose status a field holds.

        :raises Misconfigured: there is none
        """
        if (found := self.places().get(name)) is None:
            self.forget()
            raise Misconfigured(f"Salesforce keeps no consent called {name}.", code="INVALID_FIELD",
                                remedy="Check the name of the subscription or purpose, and that we may read it.")
        return found

    def _by_type(self) -> Iterator[Place]:
        if (described := self._describe(BY_TYPE.object)) is None or STATUS not in described.fields:
            return
        plain = {"ContactPointType": ("Email",)}
        if "DataUsePurposeId" not in described.fields:
            yield Place(BY_TYPE, f"{BY_TYPE.object}.Email", plain)
            return
        yield Place(BY_TYPE, f"{BY_TYPE.object}.Email", {**plain, "DataUsePurposeId": (None,)})
        for word, purpose in self._named("DataUsePurpose"):
            yield Place(BY_TYPE, f"{BY_TYPE.object}.Email_{word}", {**plain, "DataUsePurposeId": (purpose,)})

    def _by_subscription(self) -> Iterator[Place]:
        if (described := self._describe(BY_SUBSCRIPTION.object)) is None or STATUS not in described.fields:
            return
        channels: dict[str, list[Value]] = {}
        kind = self._describe("CommSubscriptionChannelType")
        channel, way = "EngagementChannelType", "EngagementChannelType.ContactPointType"
        typed = kind is not None and channel in dict(kind.parents) and self._describe(channel) is not None
        for row in self._all(f"SELECT Id, CommSubscriptionId{', ' + way if typed else ''} FROM CommSubscriptionChannelType"):
            if (row.get(channel) or {}).get("ContactPointType") in (None, "Email"):
                channels.setdefault(row["CommSubscriptionId"], []).append(row["Id"])
        for word, subscription in self._named("CommSubscription"):
            if subscription in channels:
                yield Place(BY_SUBSCRIPTION, f"{BY_SUBSCRIPTION.object}.{word}",
                            {"CommSubscriptionChannelTypeId": tuple(sorted(map(str, channels[subscription])))})

    def _named(self, object: str) -> Iterator[tuple[str, str]]:
        """(name as a word, id) of every row of an object that we may read; a word that several share is nobody's."""
        if self._describe(object) is None:
            return
        found = [(_word(str(row["Name"] or "")), str(row["Id"])) for row in self._all(f"SELECT Id, Name FROM {object}")]
        often = Counter(word.lower() for word, _ in found)
        yield from ((word, id_) for word, id_ in found if often[word.lower()] == 1)

    def _all(self, soql: str) -> list[Any]:
        return [row for records, _ in self._wire.query(soql, deleted=False, urgent=True) for row in records]

    def fields(self) -> Iterator[FieldInfo]:
        """What contacts and leads have of them, as fields."""
        for place in self.places().values():
            described = self._describe(place.kind.object)
            assert described is not None
            status = described.fields[STATUS]
            yield replace(status, name=place.name, nullable=True,
                          writable=status.writable and described.updateable and described.createable)
            yield FieldInfo(place.name + DATE, "instant", writable=False)
            yield FieldInfo(place.name + SOURCE, "text", writable=False)

    # ------------------------------------------------------------------ reading

    def source(self, kind: Kind) -> tuple[Source, list[str]]:
        """What is read of a kind's rows, and the columns that follow those of every record."""
        described = self._describe(kind.object)
        known = {} if described is None else described.fields
        if STATUS not in known or described is None:
            raise Misconfigured(f"Salesforce does not let us read {kind.object}.", code="INVALID_TYPE",
                                remedy="Give the integration user read access to it and its status.")
        names = [STATUS, *(n for n in (*kind.parties, kind.since, kind.until, kind.captured, kind.how, *kind.keys)
                           if n in known)]
        fields = tuple(Field(n, known[n].type) for n in names)
        return record_source(StreamSpec(kind.object, fields=fields), known), names

    def of(self, individuals: Iterable[str], kinds: Iterable[Kind], *, urgent: bool = False) -> dict[str, list[Consent]]:
        """The rows about these Individuals, by Individual."""
        found: dict[str, list[Consent]] = {}
        listed = sorted({*individuals})
        for kind in kinds:
            source, names = self.source(kind)
            seen: set[str] = set()
            for column, ids, owners in self._ways(kind, listed, urgent):
                for row in self._reader.having(source, column, ids, urgent=urgent):
                    held = self._consent(kind, names, row, owners)
                    if held is not None and held.id not in seen:
                        seen.add(held.id)
                        found.setdefault(held.party, []).append(held)
        return found

    def _ways(self, kind: Kind, individuals: Sequence[str], urgent: bool) \
            -> Iterator[tuple[str, Sequence[str], Mapping[str, str]]]:
        """(field, ids to look for in it, whose these are) of each way in which a row can belong to somebody."""
        own = {i: i for i in individuals}
        points: dict[str, str] = {}
        if kind is BY_SUBSCRIPTION:
            points = {p: i for p, i, _ in self.points("ParentId", individuals, urgent=urgent)}
        for column in kind.parties:
            owners = {**points, **own} if column == "ContactPointId" else own
            yield column, sorted(owners), {**points, **own}

    def points(self, column: str, ids: Sequence[str], *, urgent: bool = False) -> list[tuple[str, str, str]]:
        """(id, Individual, address) of contact points of the type Email, found by one of their ids."""
        if (described := self._describe("ContactPointEmail")) is None or "ParentId" not in described.fields:
            return []
        wanted = (Field("ParentId", "id"), Field("EmailAddress"))
        source = record_source(StreamSpec("ContactPointEmail", fields=wanted), described.fields)
        found = self._reader.having(source, column, ids, urgent=urgent)
        return [(str(row[0]), str(row[4]), str(row[5] or "")) for row in found if not row[2]]

    @staticmethod
    def _consent(kind: Kind, names: Sequence[str], row: tuple[Value, ...], owners: Mapping[str, str]) -> Consent | None:
        """A row as it is; None where it is deleted, or another's."""
        values = dict(zip(names, row[len(RECORD_COLUMNS):], strict=True))
        # Who gave a consent may have given it for somebody else: it is about the contact point's party, where it names one.
        party = next((owners.get(str(values[p])) for p in kind.parties if values.get(p)), None)
        if row[2] or party is None:
            return None

        def text(name: str) -> str | None:
            return str(values[name]) if values.get(name) else None
        return Consent(kind.object, str(row[0]), party, text(STATUS), _instant(values.get(kind.since)),
                       _instant(values.get(kind.until)), _instant(values.get(kind.captured)), text(kind.how), values)

    def turned(self, kind: Kind, since: int, upto: int) -> list[tuple[Value, ...]]:
        """Rows whose period has begun or ended between two instants (seconds): that changes no row."""
        described = self._describe(kind.object)
        terms = []
        for name in (kind.since, kind.until):
            info = described.fields.get(name) if described is not None else None
            if info is None:
                continue
            first, last = (soql_instant(at)[:10 if info.type == "date" else None] for at in (since, upto))
            if first != last:
                terms.append(f"({name} > {first} AND {name} <= {last})")
        return self._reader.rows(self.source(kind)[0], f"({' OR '.join(terms)})") if terms else []

    def parties(self, kind: Kind, rows: Iterable[tuple[Value, ...]], names: Sequence[str]) -> set[str]:
        """The Individuals that rows just read may be about, deleted ones included."""
        at = [len(RECORD_COLUMNS) + names.index(p) for p in kind.parties if p in names]
        named = {str(row[i]) for row in rows for i in at if row[i]}
        parents = {i for _, i, _ in self.points("Id", sorted(named))} if kind is BY_SUBSCRIPTION else set()
        return named | parents


def _word(name: str) -> str:
    """A name as the mapping writes it: whatever is no letter or digit is an underscore, and none begins with a digit."""
    word = _WORD.sub("_", name).strip("_")
    return f"_{word}" if word[:1].isdigit() else word


def _instant(value: Value) -> Micros | None:
    """A date counts from its beginning, UTC."""
    return value if isinstance(value, int) or value is None else micros(value)
