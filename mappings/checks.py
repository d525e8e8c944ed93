"""Does the mapping make sense? ``check_offline`` asks the files alone, ``check_online`` what the connections describe.

Both give every problem they find, in the order of the files; a problem's ``level`` says whether it stops the mapping.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Map
from graphlib import CycleError, TopologicalSorter

from mappings.expressions import Column, Compiled, ExpressionScope, Type, compile_expression, compile_order
from mappings.fields import attributes_used, names_in
from mappings.model import CRM_ID, Attribute, Audience, Destination, Expression, Mapping, StreamName, Topic, TopicDelivery
from mappings.nodes import RESERVED
from mappings.online import objects
from mappings.problems import MappingProblems, Place, Problem, closest, did_you_mean
from mappings.scopes import UNKNOWN, attribute_column, find_field, person_scope, record_scope
from syncd.model import Catalogue

CRM_TYPES = frozenset(("salesforce", "odoo", "memory"))
ESP_TYPES = frozenset(("marketing_cloud", "memory"))
LIST_TYPES = frozenset(("odoo", "marketing_cloud", "memory"))
MISTYPED = 0.8
"""How alike two names are (difflib) of which one is taken for the other, mistyped."""


def check_offline(mapping: Mapping, connections: Map[str, str]) -> list[Problem]:
    """Everything wrong with the mapping by itself; ``connections`` gives each connection's type by name."""
    found = [*_people(mapping, connections), *_mistyped(mapping), *_names(mapping), *_related(mapping, connections),
             *_topics(mapping, connections), *_segments(mapping), *_destinations(mapping, connections),
             *_campaigns(mapping), *_expressions(mapping, {})]
    return sorted(set(found))


def check_online(mapping: Mapping, catalogues: Map[str, Catalogue]) -> list[Problem]:
    """What does not fit the described connections; a connection without a catalogue is not looked at."""
    return sorted({*objects(mapping, catalogues), *_expressions(mapping, catalogues)})


def attribute_order(mapping: Mapping) -> tuple[str, ...]:
    """The computed attributes, each after those it reads.

    :raises MappingProblems: some read each other in a circle, or cannot be read
    """
    reads = {name: {path for path in names_in(attribute.value) if path in mapping.attributes}
             for name, attribute in mapping.attributes.items()}
    try:
        return tuple(TopologicalSorter(reads).static_order())
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        place = mapping.attributes[circle[0]].place
        raise MappingProblems([Problem.at(place, f"These attributes read each other: {' -> '.join(circle)}.",
                                          "Take one of them out of the circle.")]) from None


# --------------------------------------------------------------------------- names

def _connection(place: Place, name: str, connections: Map[str, str], kinds: frozenset[str], role: str) \
        -> Iterator[Problem]:
    kind = connections.get(name)
    if kind is None:
        yield Problem.at(place, f'There is no connection "{name}".', did_you_mean(name, connections))
    elif kind not in kinds:
        yield Problem.at(place, f'"{name}" is {kind}: it cannot be {role}.',
                         f"Use a connection of type {' or '.join(sorted(kinds))}.")


def _known(place: Place, what: str, name: str, known: Iterable[str]) -> Iterator[Problem]:
    names = list(known)
    if name not in names:
        yield Problem.at(place, f'There is no {what} "{name}".', did_you_mean(name, names))


def _people(mapping: Mapping, connections: Map[str, str]) -> Iterator[Problem]:
    people = mapping.people
    mapped = {name for source in people.sources.values() for name in source.attributes}
    for key in people.identity:
        if key != CRM_ID and key not in mapped:
            yield Problem.at(people.place, f'No source maps the identity "{key}".',
                             did_you_mean(key, mapped | {CRM_ID}))
    if "email" not in mapped:
        yield Problem.at(people.place, "No source says where the address is.", 'Map the attribute "email".')
    for source in people.sources.values():
        yield from _connection(source.place, StreamName.parse(source.stream).connection, connections, CRM_TYPES,
                               "a source of people")
        if source.becomes is not None:
            yield from _known(source.place, "source", source.becomes, people.sources)


def _mistyped(mapping: Mapping) -> Iterator[Problem]:
    """One source names an attribute that nothing uses, and lacks one of nearly that name which another source gives."""
    sources = mapping.people.sources.values()
    given = Counter(name for source in sources for name in source.attributes)
    used = attributes_used(mapping)
    for source in sources:
        lacking = given.keys() - source.attributes.keys()
        for name, attribute in source.attributes.items():
            if given[name] == 1 and name not in used and (meant := closest(name, lacking, MISTYPED)):
                yield Problem.at(attribute.place, f'Nothing uses "{name}", and {source.stream} gives no "{meant}".',
                                 f'Did you mean "{meant}"?', "warning")


def _names(mapping: Mapping) -> Iterator[Problem]:
    sourced = {attribute.name: attribute.place for source in mapping.people.sources.values()
               for attribute in source.attributes.values()}
    for attribute in mapping.attributes.values():
        if attribute.name in sourced or attribute.name == CRM_ID:
            yield Problem.at(attribute.place, f'"{attribute.name}" is already an attribute of the sources.',
                             "Give the computed one another name.")
    places = sourced | {a.name: a.place for a in mapping.attributes.values()}
    for rows in mapping.related.values():
        if rows.name in places:
            yield Problem.at(rows.place, f'"{rows.name}" is also an attribute.', "Give the related rows another name.")
        places[rows.name] = rows.place
        places |= {name: attribute.place for name, attribute in rows.attributes.items() if name in RESERVED}
    for name, place in places.items():
        if name in RESERVED:
            yield Problem.at(place, f'"{name}" is a word of the expression language.', "Choose another name.")


def _related(mapping: Mapping, connections: Map[str, str]) -> Iterator[Problem]:
    for rows in mapping.related.values():
        for stream in (rows.stream, *((rows.via.stream,) if rows.via else ())):
            yield from _connection(rows.place, StreamName.parse(stream).connection, connections, CRM_TYPES,
                                   "a source of related rows")
            if StreamName.parse(stream).connection != StreamName.parse(rows.of).connection:
                yield Problem.at(rows.place, f"{stream} and {rows.of} are not of one connection.",
                                 "Rows are joined to records of their own connection only.")
        yield from _known(rows.place, "source", rows.of, mapping.people.sources)


def _topics(mapping: Mapping, connections: Map[str, str]) -> Iterator[Problem]:
    mapped = set(mapping.person_attributes)
    former: dict[str, Topic] = {}
    for topic in mapping.topics.values():
        for consent in topic.fields.values():
            yield from _known(consent.place, "source", consent.stream, mapping.people.sources)
        for held in topic.lists.values():
            yield from _connection(held.place, held.connection, connections, LIST_TYPES, "asked for lists")
        if topic.personas and "personas" not in mapped:
            yield Problem.at(topic.place, 'The topic names personas, but no source maps the attribute "personas".',
                             "Map it to the field that holds them.")
        if topic.opt_in != "none" and not topic.fields and not topic.lists:
            yield Problem.at(topic.place, f'Nothing in a CRM says who asked for "{topic.id}".',
                             'Add "consent", unless people subscribe elsewhere only.', "warning")
        for name in topic.was:
            if name in mapping.topics or name in former:
                yield Problem.at(topic.place, f'The former id "{name}" belongs to another topic.',
                                 "A former id is carried on by exactly one topic.")
            former[name] = topic


def _segments(mapping: Mapping) -> Iterator[Problem]:
    for segment in mapping.segments.values():
        yield from _known(segment.place, "topic", segment.topic, mapping.topics)


def _campaigns(mapping: Mapping) -> Iterator[Problem]:
    for campaign in mapping.campaigns.values():
        for topic in campaign.topics:
            yield from _known(campaign.place, "topic", topic, mapping.topics)
        for segment in campaign.segments:
            yield from _known(campaign.place, "segment", segment, mapping.segments)
        if campaign.classification == "transactional":
            topics = {*campaign.topics, *(mapping.segments[s].topic for s in campaign.segments if s in mapping.segments)}
            for topic in sorted(topics & mapping.topics.keys()):
                if mapping.topics[topic].purpose == "marketing":
                    yield Problem.at(campaign.place, f'The campaign sends the marketing topic "{topic}" as transactional: '
                                     "that reaches people who opted out.", 'Write "classification: commercial", and choose '
                                     "that in its sends.", "warning")


# --------------------------------------------------------------------------- destinations

def _destinations(mapping: Mapping, connections: Map[str, str]) -> Iterator[Problem]:
    attributes = mapping.person_attributes
    owners: dict[tuple[str, str], str] = {}
    yield from _lists(mapping)
    first: dict[str, Destination] = {}
    for destination in mapping.destinations.values():
        yield from _alike(destination, first.setdefault(destination.connection, destination))
        yield from _connection(destination.place, destination.connection, connections, ESP_TYPES, "a destination")
        yield from _known(destination.place, "attribute", destination.key_value, attributes)
        yield from _delivered(mapping, destination)
        for owner, audience in destination.audiences:
            yield from _audience(destination, owner, audience, attributes, owners)
        for topic in destination.topics.values():
            yield from _leaving(topic, connections.get(destination.connection))
            if topic.publication_list is not None:
                place = (destination.connection, f"list {topic.publication_list}")
                yield from _taken(topic.place, place, f'the topic "{topic.topic}"', owners)


def _lists(mapping: Mapping) -> Iterator[Problem]:
    """What a list says must be about one topic: who leaves one of two would leave both, and be put back for the other."""
    delivered = {(d.connection, delivery.publication_list): delivery.topic
                 for d in mapping.destinations.values() for delivery in d.topics.values()}
    owners: dict[tuple[str, str], str] = {}
    for topic in mapping.topics.values():
        for held in topic.lists.values():
            place = (held.connection, held.container)
            owner = owners.setdefault(place, delivered.get(place, topic.id))
            if owner != topic.id:
                yield Problem.at(held.place, f'The list {held.container} of "{held.connection}" is already that of the '
                                 f'topic "{owner}".', "Give each topic a list of its own.")


def _alike(destination: Destination, first: Destination) -> Iterator[Problem]:
    """Two destinations at one connection: its people have one key each, and its stops of all mail one meaning."""
    for what, own, other in (
            ("unit", destination.unit, first.unit),
            ("unknown_subscriber", destination.unknown_subscriber, first.unknown_subscriber),
            ("subscriber_key", (destination.key_value, destination.key_existing), (first.key_value, first.key_existing))):
        if own != other:
            yield Problem.at(destination.place, f'"{first.id}" delivers to "{destination.connection}" with another {what}.',
                             f"Make both alike, or one destination of them: {what} is the connection's.")


def _leaving(delivery: TopicDelivery, type_: str | None) -> Iterator[Problem]:
    """How recipients leave the topic at this destination."""
    if delivery.publication_list is None and delivery.audience is not None:
        yield Problem.at(delivery.place, f'"{delivery.topic}" has an audience here and no publication list: who '
                         "unsubscribes from its mails stops all mail.",
                         'Add "publication_list", and send through that list.', "warning")
    elif type_ == "marketing_cloud" and not (delivery.publication_list or "0").isdigit():
        yield Problem.at(delivery.place, f'"{delivery.publication_list}" is not the number of a publication list.',
                         "Take its ID from Email Studio, Subscribers, Publication Lists.")


def _delivered(mapping: Mapping, destination: Destination) -> Iterator[Problem]:
    for delivery in destination.topics.values():
        yield from _known(delivery.place, "topic", delivery.topic, mapping.topics)
        topic = mapping.topics.get(delivery.topic)
        if topic is not None and topic.unit is not None and topic.unit != destination.unit:
            yield Problem.at(delivery.place, f'The topic "{topic.id}" is limited to the unit "{topic.unit}", and this '
                             "destination is not of it.",
                             f'Write "unit: {topic.unit}" at the destination, or take it from the topic.')
    for target in destination.segments.values():
        segment = mapping.segments.get(target.segment)
        if segment is None:
            yield from _known(target.place, "segment", target.segment, mapping.segments)
        elif segment.topic not in destination.topics:
            yield Problem.at(target.place, f'Its topic "{segment.topic}" is not at this destination, so nobody could '
                             "unsubscribe from it there.", f'Add "{segment.topic}" under topics.')


def _audience(destination: Destination, owner: str, audience: Audience, attributes: tuple[str, ...],
              owners: dict[tuple[str, str], str]) -> Iterator[Problem]:
    extension = (destination.connection, f"data extension {audience.key.casefold()}")
    yield from _taken(audience.place, extension, f'"{owner}" of "{destination.id}"', owners)
    for remote, attribute in audience.fields.items():
        yield from _known(audience.field_places.get(remote, audience.place), "attribute", attribute, attributes)


def _taken(place: Place, thing: tuple[str, str], owner: str, owners: dict[tuple[str, str], str]) -> Iterator[Problem]:
    if thing in owners:
        yield Problem.at(place, f'The {thing[1]} of "{thing[0]}" is already used by {owners[thing]}.',
                         "Two users would undo each other's work: give each its own.")
    else:
        owners[thing] = owner


# --------------------------------------------------------------------------- expressions

def _expressions(mapping: Mapping, catalogues: Map[str, Catalogue]) -> Iterator[Problem]:
    problems: list[Problem] = []
    attributes = _source_types(mapping, catalogues, problems)
    for source in mapping.people.sources.values():
        if source.where is not None:
            _record(source.where, source.stream, Type.BOOL, catalogues, problems)
    _consent(mapping, catalogues, problems)
    _computed(mapping, attributes, catalogues, problems)
    problems += _personas(mapping, attributes.get("personas"))
    scope = person_scope(mapping, attributes, catalogues)
    for where in (*(topic.where for topic in mapping.topics.values()), *(s.where for s in mapping.segments.values())):
        if where is not None:
            _compile(where, scope, Type.BOOL, problems)
    for segment in mapping.segments.values():
        if segment.order_by is not None:
            try:
                compile_order(segment.order_by.text, scope, place=segment.order_by.place)
            except MappingProblems as error:
                problems.extend(error.problems)
    yield from problems


def _personas(mapping: Mapping, held: Column | None) -> Iterator[Problem]:
    for topic in mapping.topics.values():
        if held is None or not topic.personas:
            continue
        if held.type not in (Type.CHOICES, Type.ANY):
            yield Problem.at(topic.place, f'Personas are a multiple choice, and "personas" is {held.type}.',
                             "Map it to a field that holds several values.")
        for persona in topic.personas:
            if held.choices and persona not in held.choices:
                yield Problem.at(topic.place, f'"{persona}" is not a persona.', did_you_mean(persona, held.choices))


def _compile(expression: Expression, scope: ExpressionScope, expect: Type | None, problems: list[Problem]) \
        -> Compiled | None:
    try:
        return compile_expression(expression.text, scope, expect=expect, place=expression.place)
    except MappingProblems as error:
        problems.extend(error.problems)
        return None


def _record(expression: Expression, stream: str, expect: Type | None, catalogues: Map[str, Catalogue],
            problems: list[Problem], extra: Map[str, Column] | None = None) -> Compiled | None:
    try:
        names = names_in(expression)
    except MappingProblems as error:
        problems.extend(error.problems)
        return None
    return _compile(expression, record_scope(stream, names, catalogues, extra), expect, problems)


def _source_types(mapping: Mapping, catalogues: Map[str, Catalogue], problems: list[Problem]) -> dict[str, Column]:
    """The type of each attribute that comes from a source; a problem where two sources disagree."""
    types: dict[str, Column] = {}
    for source in mapping.people.sources.values():
        for attribute in source.attributes.values():
            column = attribute_column(source.stream, attribute, catalogues)
            if attribute.expression is not None:
                compiled = _record(attribute.expression, source.stream, None, catalogues, problems)
                column = None if compiled is None else Column("NULL", compiled.type, currency_sql=compiled.currency_sql)
            if column is None:  # told where the field is looked up
                types.setdefault(attribute.name, Column("NULL", Type.ANY))
                continue
            known = types.setdefault(attribute.name, column)
            if known.type == Type.ANY:
                types[attribute.name] = column
            elif column.type not in (known.type, Type.ANY):
                problems.append(Problem.at(
                    attribute.place, f'"{attribute.name}" is {column.type} here and {known.type} in another source.',
                    "Map fields of one type."))
    return types


def _consent(mapping: Mapping, catalogues: Map[str, Catalogue], problems: list[Problem]) -> None:
    for consent in mapping.consent_fields:
        if consent.person_made is None:
            continue
        own = {name: find_field(consent.stream, field, catalogues) or UNKNOWN
               for name, field in (("method", consent.method), ("said_at", consent.said_at)) if field}
        compiled = _record(consent.person_made, consent.stream, Type.BOOL, catalogues, problems, own)
        used = set() if compiled is None else compiled.columns & {"method", "said_at"} - own.keys()
        problems.extend(Problem.at(consent.person_made.place, f'"{name}" has no field.',
                                   f'Add "{name}: <field>" beside it.') for name in used)


def _computed(mapping: Mapping, attributes: dict[str, Column], catalogues: Map[str, Catalogue],
              problems: list[Problem]) -> None:
    """Adds the computed attributes to ``attributes`` with their declared types."""
    def declared(attribute: Attribute) -> Column:
        kind = Type(attribute.type)
        return Column("NULL", kind, currency_sql="NULL" if kind == Type.MONEY else None)

    try:
        attribute_order(mapping)
    except MappingProblems as error:
        problems.extend(error.problems)
    attributes |= {name: declared(attribute) for name, attribute in mapping.attributes.items()
                   if name not in attributes}
    scope = person_scope(mapping, attributes, catalogues)
    for attribute in mapping.attributes.values():
        _compile(attribute.value, scope, Type(attribute.type), problems)
