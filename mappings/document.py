"""The mapping file as written: pydantic models that refuse unknown keys, and from which the JSON Schema is made.

Kept apart from ``model`` because a file has short forms and the program should not. Imported by ``loader`` and
``schema`` only when they run (pydantic takes a tenth of a second to import).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from mappings.model import (
    AttributeOrigin,
    AttributeType,
    Holds,
    Meaning,
    OptIn,
    SameEmail,
)

KNOWN_KEYS = "known keys"
"""The slot of the validation context where each mapping met notes the keys it knows, by the identity of its dict."""


class Doc(BaseModel):
    """Base: unknown keys refused, nothing converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=False)

    @model_validator(mode="before")
    @classmethod
    def _note_keys(cls, data: Any, info: ValidationInfo) -> Any:
        if isinstance(data, dict) and isinstance(info.context, dict):
            info.context.setdefault(KNOWN_KEYS, {})[id(data)] = sorted(
                f.alias or name for name, f in cls.model_fields.items())
        return data


def _word(value: Any) -> Any:
    """Ids of lists are numbers at some vendors; to us they are words."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _share(value: Any) -> Any:
    if isinstance(value, str):
        match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)\s*%", value.strip())
        if match is None:
            raise PydanticCustomError("share", "A share is written as 30% or 0.3.")
        return float(match[1]) / 100
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
"""Ids of topics, segments, attributes: lower-case words. They become column names, metric labels, arguments."""
Stream = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.[A-Za-z][A-Za-z0-9_.]*$")]
Path = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*){0,5}$")]
"""A vendor field, dotted where it is reached through a parent."""
Word = Annotated[str, BeforeValidator(_word), Field(min_length=1, max_length=255),
                 WithJsonSchema({"type": ["string", "integer"]})]
Share = Annotated[float, BeforeValidator(_share), Field(gt=0, le=1), WithJsonSchema({"anyOf": [
    {"type": "string", "pattern": r"^\d{1,3}(\.\d+)?\s*%$"}, {"type": "number", "exclusiveMinimum": 0, "maximum": 1}]})]
Text = Annotated[str, Field(min_length=1, max_length=255)]
Sql = Annotated[str, Field(min_length=1, description="An expression: a typed subset of SQL (docs/expressions.md).")]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]


class SourceField(Doc):
    """The long form of a source attribute."""

    field: Annotated[Path, Field(description="The vendor's field.")]
    currency: Annotated[Path | None, Field(
        description="Makes it money: the field with the ISO code, or one code such as EUR for every row.")] = None


def _form(value: Any) -> str:
    return "long" if isinstance(value, dict | Doc) else "short"


SourceValue = Annotated[Annotated[Sql, Tag("short")] | Annotated[SourceField, Tag("long")], Discriminator(_form)]


class PartyConsent(Doc):
    """Salesforce's ContactPointTypeConsent for email as a place of the stop of all mail."""

    purpose: Annotated[Path | None, Field(
        description="Rows of this DataUsePurpose, written with underscores; left out: rows of no purpose.")] = None
    person_made: Annotated[Sql | None, Field(
        description="True when the row says the person did it; may name method and said_at.")] = None


class Source(Doc):
    attributes: Annotated[dict[Name, SourceValue], Field(
        description="Attribute: vendor field, expression over the record's fields, or {field, currency}.")]
    where: Annotated[Sql | None, Field(description="Which records are people; consent is read from all.")] = None
    becomes: Annotated[Stream | None, Field(description="The stream its records are converted into.")] = None
    master: Annotated[Path | None, Field(description="The flag that stops all marketing, if not the vendor's.")] = None
    also_stops: Annotated[list[Path], BeforeValidator(_one_or_more), Field(
        description="Further flags that stop all marketing (Individual.HasOptedOutSolicit): read, never written.")] = []
    contact_point_consent: Annotated[PartyConsent | None, Field(
        description="The Individual's consent by type of contact point holds the stop of all mail, too.")] = None


class PeopleDoc(Doc):
    sources: Annotated[dict[Stream, Source], Field(
        min_length=1, description="Where people are read, by stream; the first that has an attribute counts.")]
    identity: Annotated[list[Name], Field(
        min_length=1, description="The attributes by which records are one person's.")] = ["crm_id", "email"]
    same_email: Annotated[SameEmail, Field(
        description="What records with one address are: one person (unless names differ), several, or left out.")] = \
        "one_person"
    currency: Annotated[Currency | None, Field(description="Money is summed in this currency only.")] = None


class ViaDoc(Doc):
    stream: Annotated[Stream, Field(description="The stream that joins.")]
    row: Annotated[Path, Field(description="Its field with the id of the related row.")]
    record: Annotated[Path, Field(description="Its field with the id of the person's record.")]


ViaValue = Annotated[Annotated[Stream, Tag("short")] | Annotated[ViaDoc, Tag("long")], Discriminator(_form)]


class RelatedDoc(Doc):
    stream: Annotated[Stream, Field(description="The stream of the rows, such as sf.Opportunity.")]
    attributes: Annotated[dict[Name, SourceValue], Field(min_length=1, description="As of a source, of each row.")]
    via: Annotated[ViaValue | None, Field(description="The stream that joins rows to people.")] = None
    of: Annotated[Stream | None, Field(
        description="The stream of the people's records; needed where it does not follow from the rest.")] = None
    join: Annotated[dict[Path, Literal["id"]] | None, Field(
        min_length=1, max_length=1, description="The field of the row with the id of the person's record.")] = None


class AttributeDoc(Doc):
    type: Annotated[AttributeType, Field(description="What the expression gives.")]
    value: Sql
    origin: Annotated[AttributeOrigin, Field(
        description="Whether a human said so or behaviour shows it; `syncd explain` tells it.")] = "implicit"


class ConsentDoc(Doc):
    """Consent of one topic in one stream (``field``) or on one list of a connection."""

    field: Annotated[Path | None, Field(description="The vendor's field that holds the consent.")] = None
    true: Annotated[Meaning | None, Field(alias="true", description="What a ticked box means.")] = None
    false: Annotated[Meaning | None, Field(alias="false", description="What an unticked box means.")] = None
    values: Annotated[dict[str, Meaning] | None, Field(
        min_length=1, description="What each value of a picklist means; others mean nothing.")] = None
    holds: Annotated[Holds | None, Field(
        description="What the field can tell; both only where an unticked box always means a refusal.")] = None
    said_at: Annotated[Path | None, Field(
        description="The field that says when it was said; one with a time, if there is one.")] = None
    method: Annotated[Path | None, Field(description="The field that says how it was said (web, double opt-in).")] = None
    person_made: Annotated[Sql | None, Field(
        description="True when the record says the person did it; may name method and said_at.")] = None
    mailing_list: Annotated[Word | None, Field(description="Id of an Odoo mailing list.")] = None
    publication_list: Annotated[Word | None, Field(description="Number of a Marketing Cloud publication list.")] = None
    comm_subscription: Annotated[Path | None, Field(
        description="Name of Salesforce's CommSubscription, with underscores for whatever is no letter or digit.")] = None


class TopicDoc(Doc):
    name: Annotated[Text, Field(description="What people call it.")]
    purpose: Annotated[Name, Field(
        description="A stop of all marketing stops topics of this purpose only; transactional ones go on.")] = "marketing"
    channel: Annotated[Literal["email"], Field(description="How it reaches people.")] = "email"
    opt_in: Annotated[OptIn, Field(
        description="none: all who did not refuse; required: who asked; confirmed: who also confirmed (double opt-in).")]
    consent: Annotated[dict[str, ConsentDoc], Field(
        description="Where CRMs hold it: by source (sf.Contact) a field, by connection (odoo) a list.")] = {}
    personas: Annotated[list[Text], Field(description="Only people with one of these personas are offered it.")] = []
    where: Annotated[Sql | None, Field(description="Only people for whom this is true are offered it.")] = None
    was: Annotated[list[Name], Field(description="Former ids of this topic; their consent is carried over.")] = []
    unit: Annotated[Name | None, Field(description="Limits its consent to one business unit or brand.")] = None


class SegmentDoc(Doc):
    topic: Annotated[Name, Field(description="Whose subscribers it is a part of.")]
    where: Annotated[Sql | None, Field(description="Which of them.")] = None
    order_by: Annotated[Sql | None, Field(description='Expressions with "asc" or "desc", separated by commas.')] = None
    limit: Annotated[int | None, Field(gt=0, le=100_000_000, description="The first so many people by order_by.")] = None
    expected_churn: Annotated[Share | None, Field(description="Share that may leave in one cycle unheld.")] = None


class DataExtension(Doc):
    key: Annotated[Word, Field(description="Its external key.")]
    primary_key: Annotated[Text, Field(description="Its field for the subscriber key.")] = "SubscriberKey"
    email_field: Annotated[Text, Field(description="Its field for the address.")] = "EmailAddress"
    create: Annotated[bool, Field(description="Make it where it is missing.")] = False
    rows: Annotated[Literal["shared", "exclusive"], Field(
        description="exclusive: syncd owns every row; shared: only those it wrote.")] = "shared"


class AudienceDoc(Doc):
    data_extension: DataExtension


class TopicTarget(Doc):
    publication_list: Annotated[Word | None, Field(
        description="Number of the list that recipients leave; it holds consent only.")] = None
    audience: Annotated[AudienceDoc | None, Field(description="The sendable data extension with its subscribers.")] = None
    fields: Annotated[dict[Text, Name], Field(description="Field of the data extension: attribute.")] = {}


class SegmentTarget(Doc):
    data_extension: DataExtension
    fields: Annotated[dict[Text, Name], Field(description="Field of the data extension: attribute.")] = {}


class SubscriberKey(Doc):
    value: Annotated[Name, Field(description="The attribute that new subscribers get as key.")] = "crm_id"
    existing: Annotated[Literal["match_email", "refuse"], Field(
        description="Subscribers whose address is there under another key. match_email: they keep it; refuse: no first plan"
                    " is approved while they are more than 1 % of the people.")] = "refuse"


class DestinationDoc(Doc):
    connection: Annotated[Name, Field(description="The business unit.")]
    subscriber_key: Annotated[SubscriberKey, Field(description="How people are named there.")] = SubscriberKey()
    unknown_subscriber: Annotated[Literal["skip", "create_unsubscribed"], Field(
        description="Refusals of people who are no subscribers there: kept here, or written there before any row.")] = "skip"
    existing_members: Annotated[Literal["keep", "adopt", "remove"], Field(
        description="What is there before syncd. keep: means nothing, and stays. adopt: who is on a list wants its topic, "
                    "if the first plan is approved. remove: rows of an audience that the mapping does not want are "
                    "removed, once, if that is approved.")] = "keep"
    unit: Annotated[Name | None, Field(
        description="The business unit or brand: who stops all mail there stops only its mail, and its topics'.")] = None
    topics: Annotated[dict[Name, TopicTarget], Field(description="The topics it gets.")] = {}
    segments: Annotated[dict[Name, SegmentTarget], Field(description="The segments it gets; their topics, too.")] = {}


class CampaignDoc(Doc):
    topics: Annotated[list[Name], BeforeValidator(_one_or_more), Field(description="Who leaves a send leaves these.")] = []
    segments: Annotated[list[Name], BeforeValidator(_one_or_more), Field(description="Or the topics of these.")] = []
    sends: Annotated[list[Text], BeforeValidator(_one_or_more), Field(
        min_length=1, description="Patterns of send names, * = anything. Without topics and segments: sends that are no "
                                  "concern of the mapping's.")]
    classification: Annotated[Literal["commercial", "transactional"], Field(
        description="What its sends are; the provider's classification counts, and syncd warns where it differs. Marketing "
                    "that is sent as transactional reaches people who opted out.")] = "commercial"


class MappingFile(Doc):
    """One mapping file. Several files are one mapping: ``people`` is in exactly one of them, names are unique."""

    people: Annotated[PeopleDoc | None, Field(description="Who they are, and where they are read.")] = None
    related: Annotated[dict[Name, RelatedDoc], Field(description="Rows that belong to people: orders, answers.")] = {}
    attributes: Annotated[dict[Name, AttributeDoc], Field(description="Facts computed from others.")] = {}
    topics: Annotated[dict[Name, TopicDoc], Field(description="What people subscribe to; consent attaches to it.")] = {}
    segments: Annotated[dict[Name, SegmentDoc], Field(description="Parts of a topic's subscribers.")] = {}
    destinations: Annotated[dict[Name, DestinationDoc], Field(description="Where topics and segments go.")] = {}
    campaigns: Annotated[dict[Name, CampaignDoc], Field(
        description="Sends by name, so that who unsubscribes from one leaves its topics.")] = {}
