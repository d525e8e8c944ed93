"""From mapping files to a ``Mapping``: read, validate, spell out the short forms. All problems are reported at once.

What needs more than the file itself (do the names fit together, do the vendor's fields exist) is in ``checks``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Map
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mappings.model import (
    Attribute,
    Audience,
    Campaign,
    ConsentField,
    ConsentList,
    Destination,
    Expression,
    Holds,
    Mapping,
    Meaning,
    People,
    PeopleSource,
    RelatedStream,
    Segment,
    SegmentDelivery,
    SourceAttribute,
    StreamName,
    Topic,
    TopicDelivery,
    Via,
)
from mappings.problems import MappingProblems, Place, Problem
from mappings.yamlfile import Source, Trail, Unreadable, read

if TYPE_CHECKING:
    from mappings import document as doc

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
INDIVIDUALS = {"Contact": "IndividualId", "Lead": "IndividualId", "Account": "PersonIndividualId"}
"""Salesforce's objects that point to an Individual, and by which field; accounts of people do."""
_SECTIONS = ("related", "attributes", "topics", "segments", "destinations", "campaigns")


def load_mapping(paths: Sequence[Path]) -> Mapping:
    """One mapping from one or more files.

    :raises MappingProblems: everything that is wrong with the files, taken by themselves
    """
    problems: list[Problem] = []
    sources: list[Source] = []
    for path in paths:
        try:
            sources.append(read(path))
        except Unreadable as error:
            problems.append(error.problem)
    mapping = build(sources, problems)
    if mapping is None:
        raise MappingProblems(problems)
    return mapping


def build(sources: Sequence[Source], problems: list[Problem]) -> Mapping | None:
    """The mapping of these files; None when anything was, or now is, in ``problems``."""
    from mappings.document import MappingFile
    from mappings.validation import validate

    files: list[tuple[Source, doc.MappingFile]] = []
    for source in sources:
        file, found = validate(MappingFile, source)
        problems.extend(found)
        if file is not None:
            files.append((source, file))
    if problems:
        return None
    problems.extend(_twice(files))
    if not any(file.people for _, file in files):
        place = Place(sources[0].file) if sources else Place("mapping")
        problems.append(Problem.at(place, "No mapping file says who the people are.", 'Add the key "people".'))
    if problems:
        return None
    mapping = _Builder(files, problems).mapping()
    return None if problems else mapping


def _twice(files: Sequence[tuple[Source, doc.MappingFile]]) -> Iterator[Problem]:
    first: dict[Trail, Place] = {}
    for source, file in files:
        trails: list[Trail] = [("people",)] if file.people else []
        trails += [(section, name) for section in _SECTIONS for name in getattr(file, section)]
        for trail in trails:
            if trail in first:
                yield Problem.at(source.key(trail), f'"{trail[-1]}" is already defined at {first[trail]}.',
                                 "Keep one of them.")
            else:
                first[trail] = source.key(trail)


class _Builder:
    """Turns validated documents into model values; ``self._source`` is the file at hand."""

    def __init__(self, files: Sequence[tuple[Source, doc.MappingFile]], problems: list[Problem]) -> None:
        self._files = files
        self._source = files[0][0]
        self._problems = problems

    def mapping(self) -> Mapping:
        def section(name: str, make: Any) -> dict[str, Any]:
            return {key: make((name, key), key, value) for key, value in self._each(name)}

        return Mapping(
            people=next(self._people(p) for p in self._peoples()),
            related=section("related", self._related),
            attributes=section("attributes", self._attribute),
            topics=section("topics", self._topic),
            segments=section("segments", self._segment),
            destinations=section("destinations", self._destination),
            campaigns=section("campaigns", self._campaign),
            fingerprint=_fingerprint([file for _, file in self._files]),
        )

    def _each(self, section: str) -> Iterator[tuple[str, Any]]:
        for source, file in self._files:
            self._source = source
            yield from getattr(file, section).items()

    def _peoples(self) -> Iterator[doc.PeopleDoc]:
        for source, file in self._files:
            self._source = source
            if file.people is not None:
                yield file.people

    # ------------------------------------------------------------------ places

    def _problem(self, trail: Trail, message: str, remedy: str) -> None:
        self._problems.append(Problem.at(self._source.place(trail), message, remedy))

    def _sql(self, trail: Trail, text: str) -> Expression:
        place = self._source.place(trail)
        return Expression(text, self._source.text_place(place, text) or place._replace(column=0))

    def _optional_sql(self, trail: Trail, key: str, text: str | None) -> Expression | None:
        return None if text is None else self._sql((*trail, key), text)

    # ------------------------------------------------------------------ sections

    def _people(self, people: doc.PeopleDoc) -> People:
        sources = {}
        for stream, source in people.sources.items():
            trail = ("people", "sources", stream)
            sources[stream] = PeopleSource(
                stream, self._source.key(trail), self._source_attributes(trail, source.attributes),
                self._optional_sql(trail, "where", source.where), source.becomes, source.master,
                tuple(source.also_stops), self._of_party(trail, stream, source.contact_point_consent))
        return People(self._source.key(("people",)), tuple(people.identity), people.same_email, sources,
                      people.currency)

    def _source_attributes(self, trail: Trail, attributes: Map[str, str | doc.SourceField]) \
            -> dict[str, SourceAttribute]:
        made = {}
        for name, value in attributes.items():
            at = (*trail, "attributes", name)
            place = self._source.place(at)
            if not isinstance(value, str):
                code = value.currency if value.currency and re.fullmatch("[A-Z]{3}", value.currency) else None
                made[name] = SourceAttribute(name, place, field=value.field, currency_code=code,
                                             currency=None if code else value.currency)
            elif _FIELD.fullmatch(value):
                made[name] = SourceAttribute(name, place, field=value)
            else:
                made[name] = SourceAttribute(name, place, expression=self._sql(at, value))
        return made

    def _related(self, trail: Trail, name: str, related: doc.RelatedDoc) -> RelatedStream:
        via = self._via(trail, related)
        join = next(iter(related.join.items())) if related.join else None
        if (via is None) == (join is None):
            self._problem(trail, f'The rows of "{name}" need one way to the person they belong to.',
                          'Name a joining stream with "via", or a field of the row with "join: {partner_id: id}".')
        return RelatedStream(name, self._source.key(trail), related.stream, self._record_stream(trail, related, via),
                             self._source_attributes(trail, related.attributes), via, join)

    def _record_stream(self, trail: Trail, related: doc.RelatedDoc, via: Via | None) -> str:
        """Whose rows they are: as written, as Salesforce's reference says, or the only stream there is."""
        if related.of is not None:
            return related.of
        connection = StreamName.parse(related.stream).connection
        streams = [stream for _, file in self._files if file.people is not None for stream in file.people.sources
                   if StreamName.parse(stream).connection == connection]
        named = f"{connection}.{via.record_field.removesuffix('Id')}" if via is not None else ""
        if named in streams:
            return named
        if len(streams) != 1:
            self._problem(trail, f'It is not clear whose rows "{trail[-1]}" are.',
                          'Name the stream of the people\'s records with "of".')
        return streams[0] if streams else ""

    def _via(self, trail: Trail, related: doc.RelatedDoc) -> Via | None:
        if related.via is None:
            return None
        place = self._source.place((*trail, "via"))
        if not isinstance(related.via, str):
            return Via(related.via.stream, related.via.row, related.via.record, place)
        # Salesforce names its references after the object: OpportunityId, ContactId.
        return Via(related.via, f"{StreamName.parse(related.stream).object}Id", "ContactId", place)

    def _attribute(self, trail: Trail, name: str, attribute: doc.AttributeDoc) -> Attribute:
        return Attribute(name, self._source.key(trail), attribute.type, attribute.origin,
                         self._sql((*trail, "value"), attribute.value))

    def _topic(self, trail: Trail, name: str, topic: doc.TopicDoc) -> Topic:
        fields: dict[str, ConsentField] = {}
        lists: dict[str, ConsentList] = {}
        for holder, consent in topic.consent.items():
            at = (*trail, "consent", holder)
            container = consent.mailing_list or consent.publication_list
            if "." in holder:
                fields[holder] = self._consent_field(at, holder, consent)
            elif consent.comm_subscription is not None:
                fields |= self._subscription(at, holder, consent)
            elif container is not None and consent.field is None:
                lists[holder] = ConsentList(holder, self._source.key(at), container)
            else:
                self._problem(at, f'"{holder}" is a connection, so its consent must be on a list.',
                              f'Write "mailing_list: <id>", "comm_subscription: <name>", or name a stream such as '
                              f'"{holder}.Contact".')
        return Topic(name, self._source.key(trail), topic.name, topic.purpose, topic.channel, topic.opt_in, fields,
                     lists, tuple(topic.personas), self._optional_sql(trail, "where", topic.where),
                     tuple(topic.was), topic.unit)

    def _consent_field(self, trail: Trail, stream: str, consent: doc.ConsentDoc) -> ConsentField:
        values: dict[str, Meaning] = dict(consent.values or {})
        checkbox = {"true": consent.true, "false": consent.false}
        flags: dict[str, Meaning] = {value: meaning for value, meaning in checkbox.items() if meaning is not None}
        if consent.field is None:
            self._problem(trail, "The field that holds the consent is missing.", 'Add "field: <field>".')
        if bool(values) == bool(flags):
            self._problem(trail, "What the field's values mean is said twice or not at all.",
                          'Write "true" and "false" for a checkbox, "values: {value: meaning}" for anything else.')
        if consent.mailing_list or consent.publication_list or consent.comm_subscription:
            self._problem(trail, "A stream's consent is in a field, not on a list.",
                          "Put the list under its connection's name.")
        holds = consent.holds or _holds(values)
        if flags.get("false") == "opt_out" and consent.holds is None:
            self._problem(trail, "An unticked checkbox cannot tell \"never asked\" from \"no\".",
                          'Write "false": unknown, or add "holds: both" if unticked always means that the person '
                          "refused.")
        return ConsentField(stream, self._source.key(trail), consent.field or "", values or flags, holds,
                            consent.said_at, consent.method,
                            self._optional_sql(trail, "person_made", consent.person_made))

    def _subscription(self, trail: Trail, connection: str, consent: doc.ConsentDoc) -> dict[str, ConsentField]:
        """Consent to a subscription, by the contacts and leads whose Individuals give it."""
        beside = consent.model_fields_set - {"comm_subscription", "person_made"}
        if beside:
            self._problem(trail, f"A subscription says itself when and how: {', '.join(sorted(beside))} is of no use.",
                          "Take it out.")
        streams = [stream for _, file in self._files if file.people is not None for stream in file.people.sources
                   if StreamName.parse(stream).connection == connection and StreamName.parse(stream).object in INDIVIDUALS]
        if not streams:
            self._problem(trail, f'No people come from contacts, leads or accounts of "{connection}".',
                          f'Add "{connection}.Contact" to the sources of people.')
        name = f"CommSubscriptionConsent.{consent.comm_subscription}"
        return {f"{stream} {name}": self._individual(trail, stream, name, consent.person_made) for stream in streams}

    def _of_party(self, trail: Trail, stream: str, consent: doc.PartyConsent | None) -> tuple[ConsentField, ...]:
        if consent is None:
            return ()
        at, kind = (*trail, "contact_point_consent"), StreamName.parse(stream).object
        if kind not in INDIVIDUALS:
            self._problem(at, f'Records of "{kind}" point to no Individual.', "Contacts, leads and person accounts do.")
        name = "ContactPointTypeConsent.Email" + (f"_{consent.purpose}" if consent.purpose else "")
        return (self._individual(at, stream, name, consent.person_made),)

    def _individual(self, trail: Trail, stream: str, name: str, person_made: str | None) -> ConsentField:
        """Consent of the Individual that a record points to, as Salesforce's connector shows it."""
        return ConsentField(
            stream, self._source.key(trail), name, {"OptIn": "opt_in", "OptOut": "opt_out"}, "both", f"{name}.CaptureDate",
            f"{name}.CaptureSource", self._optional_sql(trail, "person_made", person_made), (None, "Seen", "NotSeen"),
            True, INDIVIDUALS.get(StreamName.parse(stream).object, "IndividualId"))

    def _segment(self, trail: Trail, name: str, segment: doc.SegmentDoc) -> Segment:
        if segment.where is None and segment.limit is None:
            self._problem(trail, f'The segment "{name}" chooses nobody in particular.',
                          'Add "where", or "order_by" with "limit".')
        if (segment.order_by is None) != (segment.limit is None):
            self._problem(trail, '"order_by" and "limit" belong together.', "Write both or neither.")
        return Segment(name, self._source.key(trail), segment.topic, self._optional_sql(trail, "where", segment.where),
                       self._optional_sql(trail, "order_by", segment.order_by), segment.limit, segment.expected_churn)

    def _destination(self, trail: Trail, name: str, destination: doc.DestinationDoc) -> Destination:
        topics = {}
        for topic, target in destination.topics.items():
            at = (*trail, "topics", topic)
            if target.publication_list is None and target.audience is None:
                self._problem(at, f'Nothing says where the topic "{topic}" goes.',
                              'Add "publication_list", "audience" or both.')
            if target.fields and target.audience is None:
                self._problem((*at, "fields"), "There is no audience to hold these fields.", 'Add "audience".')
            audience = None
            if target.audience is not None:
                audience = self._audience(at, (*at, "audience"), target.audience.data_extension, target.fields)
            topics[topic] = TopicDelivery(topic, self._source.key(at), target.publication_list, audience)
        segments = {}
        for segment, wanted in destination.segments.items():
            at = (*trail, "segments", segment)
            segments[segment] = SegmentDelivery(segment, self._source.key(at), self._audience(
                at, at, wanted.data_extension, wanted.fields))
        return Destination(name, self._source.key(trail), destination.connection, destination.subscriber_key.value,
                           destination.subscriber_key.existing, destination.unknown_subscriber,
                           destination.existing_members, topics, segments, destination.unit)

    def _audience(self, trail: Trail, holder: Trail, extension: doc.DataExtension, fields: Map[str, str]) -> Audience:
        for name in fields:
            if name.casefold() in (extension.primary_key.casefold(), extension.email_field.casefold()):
                self._problem((*trail, "fields", name), f'"{name}" is filled by syncd itself.', "Remove it.")
        places = {name: self._source.place((*trail, "fields", name)) for name in fields}
        return Audience(self._source.key((*holder, "data_extension")), extension.key, extension.primary_key,
                        extension.email_field, extension.create, extension.rows, dict(fields), places)

    def _campaign(self, trail: Trail, name: str, campaign: doc.CampaignDoc) -> Campaign:
        return Campaign(name, self._source.key(trail), tuple(campaign.topics), tuple(campaign.segments),
                        tuple(campaign.sends), campaign.classification)


def _holds(values: Map[str, Meaning]) -> Holds:
    """What a field that is no checkbox holds, from the meanings of its values."""
    meant = set(values.values())
    if "opt_in" in meant and "opt_out" in meant:
        return "both"
    return "opt_out_only" if "opt_out" in meant else "opt_in_only"


def _fingerprint(files: Sequence[doc.MappingFile]) -> str:
    """16 hex digits over what the files say; layout, comments, key order and file names do not matter."""
    merged: dict[str, Any] = {}
    for file in files:
        for key, value in file.model_dump(mode="json", by_alias=True, exclude_defaults=True).items():
            merged.setdefault(key, {}).update(value)
    return hashlib.sha256(json.dumps(_canonical(merged), sort_keys=True).encode()).hexdigest()[:16]


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        # Of several values that mean the same the first is the one written back: their order is meaning.
        return {k: list(v.items()) if k == "values" and isinstance(v, dict) else _canonical(v)
                for k, v in value.items()}
    return [_canonical(v) for v in value] if isinstance(value, list) else value

