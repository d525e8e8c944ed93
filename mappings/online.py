"""Do the objects a mapping names exist at its connections, readable, writable and of the right shape?"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Map

from mappings.expressions import Type
from mappings.fields import record_fields
from mappings.model import Audience, ConsentField, Destination, Mapping, PeopleSource, SourceAttribute, StreamName, Topic
from mappings.problems import MappingProblems, Place, Problem, did_you_mean
from mappings.scopes import find_field, stream_fields
from syncd.model import Catalogue, FieldInfo, FieldType, ObjectInfo

_TEXT_LIKE: frozenset[FieldType] = frozenset(("text", "id"))
_ACCEPTS: dict[FieldType, frozenset[FieldType]] = {
    "text": frozenset(("text", "id", "integer", "decimal", "bool", "date", "instant", "choices")),
    "id": _TEXT_LIKE,
    "bool": frozenset(("bool",)),
    "integer": frozenset(("integer", "bool")),
    "decimal": frozenset(("decimal", "integer")),
    "date": frozenset(("date", "instant")),
    "instant": frozenset(("instant", "date")),
    "choices": frozenset(("choices", "text")),
}
"""Type of a remote field -> types of values it can hold."""


def objects(mapping: Mapping, catalogues: Map[str, Catalogue]) -> Iterator[Problem]:
    """Every object, field and list that is missing or does not fit."""
    yield from _streams(mapping, catalogues)
    for topic in mapping.topics.values():
        yield from _topic(topic, catalogues)
    for consent in mapping.consent_fields:
        yield from _consent_field(consent, _described(consent.stream, catalogues))
    lengths = _lengths(mapping, catalogues)
    types = _types(mapping, catalogues)
    for destination in mapping.destinations.values():
        catalogue = catalogues.get(destination.connection)
        if catalogue is None:
            continue
        for delivery in destination.topics.values():
            if delivery.publication_list is not None:
                yield from _list(delivery.place, destination.connection, delivery.publication_list, catalogue)
        for _, audience in destination.audiences:
            yield from _audience(destination, audience, catalogue, types, lengths)


# --------------------------------------------------------------------------- streams and fields

def _streams(mapping: Mapping, catalogues: Map[str, Catalogue]) -> Iterator[Problem]:
    places = _field_places(mapping)
    try:
        needed = record_fields(mapping)
    except MappingProblems:  # told by the check of expressions
        return
    for stream, fields in needed.items():
        name = StreamName.parse(stream)
        columns = stream_fields(stream, catalogues)
        place = places.get((stream, ""), mapping.people.place)
        if columns is None:
            yield Problem.at(place, f'"{name.connection}" has no object "{name.object}" that its account may read.',
                             did_you_mean(name.object, catalogues[name.connection].objects))
            continue
        for field in fields:
            if find_field(stream, field, catalogues) is None and (stream, field) in places:
                yield Problem.at(places[stream, field], f'{stream} has no field "{field}" that the account may read.',
                                 did_you_mean(field, columns))
    for source in mapping.people.sources.values():
        known = _described(source.stream, catalogues)
        for named in filter(None, (source.master, *source.also_stops)):
            yield from unseen(source.place, known.get(named))
            flag = find_field(source.stream, named, catalogues)
            if flag is not None:
                yield from no_box(source, named, flag.type)


def _described(stream: str, catalogues: Map[str, Catalogue]) -> dict[str, FieldInfo]:
    """The fields of a stream's object by name; none where it is not described."""
    name = StreamName.parse(stream)
    info = catalogues[name.connection].objects.get(name.object) if name.connection in catalogues else None
    return {} if info is None else {field.name: field for field in info.fields}


def _field_places(mapping: Mapping) -> dict[tuple[str, str], Place]:
    """Where each field is named; fields in expressions are left out, the expression's own check has the exact place."""
    places: dict[tuple[str, str], Place] = {}

    def attributes(stream: str, found: Map[str, SourceAttribute]) -> None:
        for attribute in found.values():
            for field in (attribute.field, attribute.currency):
                if field is not None:
                    places.setdefault((stream, field), attribute.place)

    for source in mapping.people.sources.values():
        places.setdefault((source.stream, ""), source.place)
        for flag in filter(None, (source.master, *source.also_stops)):
            places.setdefault((source.stream, flag), source.place)
        attributes(source.stream, source.attributes)
    for rows in mapping.related.values():
        places.setdefault((rows.stream, ""), rows.place)
        attributes(rows.stream, rows.attributes)
        if rows.via is not None:
            for field in ("", rows.via.row_field, rows.via.record_field):
                places.setdefault((rows.via.stream, field), rows.via.place)
        if rows.join is not None:
            places.setdefault((rows.stream, rows.join[0]), rows.place)
            places.setdefault((rows.of, rows.join[1]), rows.place)
    for consent in mapping.consent_fields:
        for own in (consent.field, consent.said_at, consent.method, consent.needs):
            if own is not None:
                places.setdefault((consent.stream, own), consent.place)
    return places


# --------------------------------------------------------------------------- consent

def _topic(topic: Topic, catalogues: Map[str, Catalogue]) -> Iterator[Problem]:
    for held in topic.lists.values():
        if held.connection in catalogues:
            yield from _list(held.place, held.connection, held.container, catalogues[held.connection])


def _consent_field(consent: ConsentField, fields: Map[str, FieldInfo]) -> Iterator[Problem]:
    yield from unreadable(consent, fields)
    info = fields.get(consent.field)
    if info is not None:
        if not info.writable:
            yield Problem.at(consent.place, f'The account may not write "{consent.field}", so an unsubscribe could not '
                             "be carried back.", "Give the account the right to edit the field.")
        if info.type == "text" and info.choices:
            for value in consent.values:
                if value not in info.choices:
                    yield Problem.at(consent.place, f'"{value}" is not a value of "{consent.field}".',
                                     did_you_mean(value, info.choices))
    method = fields.get(consent.method or "")
    if method is not None and method.type not in _TEXT_LIKE:
        yield Problem.at(consent.place, f'"{method.name}" is {method.type}: it cannot say how.', "Name a text field.")


def no_box(source: PeopleSource, flag: str, kind: Type) -> Iterator[Problem]:
    """A flag that stops all mail is true or false: what another field holds would be no refusal."""
    if kind not in (Type.BOOL, Type.ANY):
        yield Problem.at(source.place, f'The master flag "{flag}" is {kind}, not true or false.')


def unseen(place: Place, info: FieldInfo | None) -> Iterator[Problem]:
    """A refusal in a field that changes without its record would not be read."""
    if info is not None and info.computed:
        yield Problem.at(place, f'"{info.name}" is computed: its record does not change with it, and nobody would see'
                         " a refusal.",
                         "Name the field that it is computed of.")


def unreadable(consent: ConsentField, fields: Map[str, FieldInfo]) -> Iterator[Problem]:
    """What keeps the values of a consent field from meaning what the mapping says: a refusal would be none."""
    info, checkbox = fields.get(consent.field), set(consent.values) <= {"true", "false"}
    yield from unseen(consent.place, info)
    if info is not None and info.type != "bool" and info.type not in _TEXT_LIKE:
        several = " Several values at once mean nothing by themselves." if info.type == "choices" else ""
        yield Problem.at(consent.place, f'"{consent.field}" is {info.type}: it cannot hold consent.{several}',
                         "Name a checkbox, a picklist or a text field.")
    elif info is not None and checkbox != (info.type == "bool"):
        expected = '"true" and "false"' if info.type == "bool" else "its values under \"values\""
        yield Problem.at(consent.place, f'"{consent.field}" is {info.type}.', f"Say what {expected} mean.")
    said_at = fields.get(consent.said_at or "")
    if said_at is not None and said_at.type not in ("date", "instant"):
        yield Problem.at(consent.place, f'"{said_at.name}" is {said_at.type}: it cannot say when.',
                         "Name a date or date-time field.")


def _list(place: Place, connection: str, container: str, catalogue: Catalogue) -> Iterator[Problem]:
    lists = {name.removeprefix("list:") for name in catalogue.objects if name.startswith("list:")}
    if container not in lists:
        yield Problem.at(place, f'"{connection}" has no list {container}.',
                         did_you_mean(container, lists) or "Take its number from the list's own page there.")


# --------------------------------------------------------------------------- audiences

def _audience(destination: Destination, audience: Audience, catalogue: Catalogue, types: Map[str, Type],
              lengths: Map[str, int]) -> Iterator[Problem]:
    extensions = {name.casefold(): info for name, info in catalogue.objects.items() if name.startswith("de:")}
    info = extensions.get(audience.object.casefold())
    if info is None:
        if not audience.create:
            known = [name.removeprefix("de:") for name in catalogue.objects if name.startswith("de:")]
            guess = did_you_mean(audience.key, known)
            remedy = 'Take its external key from its page there, or write "create: true" to have it made.'
            yield Problem.at(audience.place, f'"{destination.connection}" has no data extension "{audience.key}".',
                             guess if guess.startswith("Did") else remedy)
        return
    if info.properties.get("sendable") in (False, 0):
        yield Problem.at(audience.place, f'The data extension "{audience.key}" is not sendable.',
                         "Make it sendable, related to the subscribers by the subscriber key.")
    if info.properties.get("retention"):
        yield Problem.at(audience.place, f'The data extension "{audience.key}" deletes its rows by a retention policy.',
                         "Switch retention off: rows would vanish behind syncd's back.")
    fields = {field.name.casefold(): field for field in info.fields}
    yield from _keys(audience, info, fields)
    for remote, attribute in audience.fields.items():
        place = audience.field_places.get(remote, audience.place)
        field = fields.get(remote.casefold())
        if field is None:
            yield Problem.at(place, f'The data extension has no field "{remote}".',
                             did_you_mean(remote, [f.name for f in info.fields]))
        else:
            yield from _fits(place, field, attribute, types.get(attribute), lengths.get(attribute))
    filled = {name.casefold() for name in (*audience.fields, audience.primary_key, audience.email_field)}
    for field in info.fields:
        if not field.nullable and field.name.casefold() not in filled:
            yield Problem.at(audience.place, f'The field "{field.name}" is required and nothing fills it.',
                             "Map an attribute to it, or make it nullable.")


def _keys(audience: Audience, info: ObjectInfo, fields: Map[str, FieldInfo]) -> Iterator[Problem]:
    keys = [field.name for field in info.fields if field.primary_key]
    if [key.casefold() for key in keys] != [audience.primary_key.casefold()]:
        found = f"has the primary key {' + '.join(keys)}" if keys else "has no primary key"
        yield Problem.at(audience.place, f'The data extension {found}, not "{audience.primary_key}".',
                         "Rows are written and removed by that one key.")
    email = fields.get(audience.email_field.casefold())
    if email is None:
        yield Problem.at(audience.place, f'The data extension has no field "{audience.email_field}" for the address.',
                         'Name it with "email_field".')
    elif email.type not in _TEXT_LIKE:
        yield Problem.at(audience.place, f'The field "{email.name}" is {email.type}: it cannot hold an address.')


def _fits(place: Place, field: FieldInfo, attribute: str, kind: Type | None, length: int | None) -> Iterator[Problem]:
    if not field.writable:
        yield Problem.at(place, f'The field "{field.name}" cannot be written.')
    wire: FieldType | None = None if kind in (None, Type.ANY, Type.NULL) else \
        "decimal" if kind == Type.MONEY else kind.value  # type: ignore[assignment]  # the others are field types
    if wire is not None and wire not in _ACCEPTS[field.type]:
        yield Problem.at(place, f'"{attribute}" is {kind}, and the field "{field.name}" holds {field.type}.',
                         "Map an attribute of that type.")
    if length is not None and field.length is not None and length > field.length:
        yield Problem.at(place, f'"{attribute}" may have {length} characters, the field "{field.name}" takes '
                         f"{field.length}.", "Longer values will be refused: lengthen the field.", "warning")


def _types(mapping: Mapping, catalogues: Map[str, Catalogue]) -> dict[str, Type]:
    types = {name: Type(attribute.type) for name, attribute in mapping.attributes.items()}
    for source in mapping.people.sources.values():
        for attribute in source.attributes.values():
            column = find_field(source.stream, attribute.field, catalogues) if attribute.field else None
            if column is not None:
                money = attribute.currency or attribute.currency_code
                types.setdefault(attribute.name, Type.MONEY if money else column.type)
    return types


def _lengths(mapping: Mapping, catalogues: Map[str, Catalogue]) -> dict[str, int]:
    """The longest text each attribute may get from a field mapped as it is."""
    lengths: dict[str, int] = {}
    for source in mapping.people.sources.values():
        fields = _described(source.stream, catalogues)
        for attribute in source.attributes.values():
            field = fields.get(attribute.field or "")
            if field is not None and field.type in _TEXT_LIKE and field.length is not None:
                lengths[attribute.name] = max(lengths.get(attribute.name, 0), field.length)
    return lengths
