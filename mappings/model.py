"""The mapping as the rest of the program reads it: frozen values, every short form spelled out, every element with
its place. Built by ``loader``; nothing here parses or checks.
"""

from __future__ import annotations

from collections.abc import Mapping as Map
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from mappings.problems import Place

SameEmail = Literal["one_person", "separate", "exclude"]
OptIn = Literal["none", "required", "confirmed"]
Holds = Literal["opt_in_only", "both", "opt_out_only"]
Meaning = Literal["opt_in", "opt_out", "pending", "unknown"]
AttributeType = Literal["text", "integer", "decimal", "money", "bool", "date", "instant", "choices"]
AttributeOrigin = Literal["explicit", "implicit"]

CRM_ID = "crm_id"
"""The attribute every person has without declaring it: the vendor id of the record that leads the person."""


class StreamName(NamedTuple):
    """``sf.Contact`` = the object ``Contact`` of the connection ``sf``."""

    connection: str
    object: str

    @classmethod
    def parse(cls, text: str) -> StreamName:
        connection, _, remote = text.partition(".")
        return cls(connection, remote)

    def __str__(self) -> str:
        return f"{self.connection}.{self.object}"


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression as written; ``place`` is its first character, without column where the file folds or escapes it."""

    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class SourceAttribute:
    """What one stream gives for one attribute: a vendor field, or an expression over the record's fields.

    ``currency`` is set for money: the field that holds the ISO code, or with ``currency_code`` one code for all rows.
    """

    name: str
    place: Place
    field: str | None = None
    expression: Expression | None = None
    currency: str | None = None
    currency_code: str | None = None


@dataclass(frozen=True, slots=True)
class ConsentField:
    """A CRM field that holds the consent to one topic, or to all mail.

    ``values`` maps the field's value ("true", "false" for checkboxes) to what it means; a value not named means
    nothing. ``person_made`` reads ``method`` and ``said_at`` beside the record's own fields. ``silent``: values (None: no
    value) that say nothing even where there was consent before; ``needs``: the field without which a record cannot hold it;
    ``dated``: ``said_at`` is the date of a refusal, too.
    """

    stream: str
    place: Place
    field: str
    values: Map[str, Meaning]
    holds: Holds
    said_at: str | None = None
    method: str | None = None
    person_made: Expression | None = None
    silent: tuple[str | None, ...] = ()
    dated: bool = False
    needs: str | None = None

    def value_for(self, meaning: Meaning) -> str | None:
        """The first value written that means ``meaning``."""
        return next((value for value, meant in self.values.items() if meant == meaning), None)


@dataclass(frozen=True, slots=True)
class PeopleSource:
    """One stream whose records are people. ``becomes`` names the stream its records turn into (lead to contact);
    ``master`` the flag that stops all marketing, None = the one the vendor declares; ``also_stops`` further flags that do,
    which are read and never written (those of a parent, such as Individual.HasOptedOutSolicit); ``consents`` further fields
    that hold it, with their values."""

    stream: str
    place: Place
    attributes: Map[str, SourceAttribute]
    where: Expression | None = None
    becomes: str | None = None
    master: str | None = None
    also_stops: tuple[str, ...] = ()
    consents: tuple[ConsentField, ...] = ()


@dataclass(frozen=True, slots=True)
class People:
    """Who counts as one person. ``currency`` is the ISO code sums of money are made in; None = sums are unknown
    where the rows are of more than one currency."""

    place: Place
    identity: tuple[str, ...]
    same_email: SameEmail
    sources: Map[str, PeopleSource]
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Via:
    """A joining stream: its ``row_field`` holds the id of the related row, its ``record_field`` that of the person."""

    stream: str
    row_field: str
    record_field: str
    place: Place


@dataclass(frozen=True, slots=True)
class RelatedStream:
    """Rows that belong to people: orders, roles, campaign members. ``of`` is the stream of the people's records.

    Without ``via`` a row belongs to the record whose id is in its field ``join[0]``; ``join[1]`` is "id".
    """

    name: str
    place: Place
    stream: str
    of: str
    attributes: Map[str, SourceAttribute]
    via: Via | None = None
    join: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Attribute:
    """A computed, typed attribute of a person."""

    name: str
    place: Place
    type: AttributeType
    origin: AttributeOrigin
    value: Expression


@dataclass(frozen=True, slots=True)
class ConsentList:
    """A list of a connection whose membership holds one topic's consent (an Odoo mailing list, a publication list)."""

    connection: str
    place: Place
    container: str


@dataclass(frozen=True, slots=True)
class Topic:
    """A subject people subscribe to. ``was`` lists its former ids; ``where`` limits who is offered it."""

    id: str
    place: Place
    name: str
    purpose: str
    channel: str
    opt_in: OptIn
    fields: Map[str, ConsentField]
    lists: Map[str, ConsentList]
    personas: tuple[str, ...] = ()
    where: Expression | None = None
    was: tuple[str, ...] = ()
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A filtered subset of one topic's subscribers. ``limit`` counts people, ``expected_churn`` is a share (0.3)."""

    id: str
    place: Place
    topic: str
    where: Expression | None = None
    order_by: Expression | None = None
    limit: int | None = None
    expected_churn: float | None = None


@dataclass(frozen=True, slots=True)
class Audience:
    """A data extension that receives rows. ``fields`` maps its field names to attributes."""

    place: Place
    key: str
    primary_key: str
    email_field: str
    create: bool
    rows: Literal["shared", "exclusive"]
    fields: Map[str, str]
    field_places: Map[str, Place] = field(default_factory=dict)

    @property
    def object(self) -> str:
        """Its name in operations and catalogues."""
        return f"de:{self.key}"


@dataclass(frozen=True, slots=True)
class TopicDelivery:
    topic: str
    place: Place
    publication_list: str | None = None
    audience: Audience | None = None


@dataclass(frozen=True, slots=True)
class SegmentDelivery:
    segment: str
    place: Place
    audience: Audience


@dataclass(frozen=True, slots=True)
class Destination:
    """One business unit (or account) that topics and segments are delivered to. ``unit`` names it where a stop of all mail
    there concerns no mail of others."""

    id: str
    place: Place
    connection: str
    key_value: str
    key_existing: Literal["match_email", "refuse"]
    unknown_subscriber: Literal["skip", "create_unsubscribed"]
    existing_members: Literal["keep", "adopt", "remove"]
    topics: Map[str, TopicDelivery]
    segments: Map[str, SegmentDelivery]
    unit: str | None = None

    @property
    def audiences(self) -> tuple[tuple[str, Audience], ...]:
        """Every audience with the id of its topic or segment, topics first."""
        topics = [(d.topic, d.audience) for d in self.topics.values() if d.audience is not None]
        return (*topics, *((d.segment, d.audience) for d in self.segments.values()))


@dataclass(frozen=True, slots=True)
class Campaign:
    """One use of segments or topics; ``sends`` are patterns of send names (``*`` = anything)."""

    id: str
    place: Place
    topics: tuple[str, ...]
    segments: tuple[str, ...]
    sends: tuple[str, ...]
    classification: Literal["commercial", "transactional"]


@dataclass(frozen=True, slots=True)
class Mapping:
    """Everything the mapping files say. ``fingerprint`` changes only when what they say does, not with their layout."""

    people: People
    related: Map[str, RelatedStream]
    attributes: Map[str, Attribute]
    topics: Map[str, Topic]
    segments: Map[str, Segment]
    destinations: Map[str, Destination]
    campaigns: Map[str, Campaign]
    fingerprint: str

    @property
    def consent_fields(self) -> tuple[ConsentField, ...]:
        """Every field that holds consent in values of its own, of topics and of all mail."""
        return (*(f for source in self.people.sources.values() for f in source.consents),
                *(f for topic in self.topics.values() for f in topic.fields.values()))

    @property
    def person_attributes(self) -> tuple[str, ...]:
        """Every attribute an expression about a person may name, sorted."""
        mapped = {name for source in self.people.sources.values() for name in source.attributes}
        return tuple(sorted({CRM_ID} | mapped | set(self.attributes)))
