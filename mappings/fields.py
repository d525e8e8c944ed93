"""Which vendor fields a mapping needs, and which names an expression uses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Mapping as Map

from mappings.expressions import parse_at
from mappings.model import Expression, Mapping, SourceAttribute
from mappings.nodes import Name, walk


def names_in(expression: Expression) -> tuple[str, ...]:
    """The paths an expression names.

    :raises MappingProblems: it cannot be read
    """
    return tuple(node.path for node in walk(parse_at(expression.text, expression.place)) if isinstance(node, Name))


def attributes_used(mapping: Mapping) -> set[str]:
    """The attributes that something about people asks for: identity, keys, audiences, personas, and every word of an
    expression over them, read or not."""
    written = [*(a.value for a in mapping.attributes.values()), *(t.where for t in mapping.topics.values()),
               *(e for s in mapping.segments.values() for e in (s.where, s.order_by))]
    words = {word for expression in written if expression is not None for word in re.findall(r"\w+", expression.text)}
    destinations = mapping.destinations.values()
    return words | {*mapping.people.identity, "email", "personas", *(d.key_value for d in destinations),
                    *(name for d in destinations for _, audience in d.audiences for name in audience.fields.values())}


def record_fields(mapping: Mapping) -> dict[str, tuple[str, ...]]:
    """Every vendor field the mapping needs, sorted, by stream ("sf.Contact"): attributes, filters, consent, currencies,
    related rows and the references that join them. Ids and instants of change come with every stream.

    :raises MappingProblems: an expression cannot be read
    """
    needed: dict[str, set[str]] = {}
    for stream, field in _needed(mapping):
        needed.setdefault(stream, set()).update(() if field in (None, "id", "Id") else (field,))
    return {stream: tuple(sorted(fields)) for stream, fields in needed.items()}


def _needed(mapping: Mapping) -> Iterator[tuple[str, str | None]]:
    for source in mapping.people.sources.values():
        yield source.stream, source.master
        yield from ((source.stream, flag) for flag in source.also_stops)
        if source.where is not None:
            yield from ((source.stream, path) for path in names_in(source.where))
        yield from _attribute_fields(source.stream, source.attributes)
    for rows in mapping.related.values():
        yield rows.stream, None
        yield from _attribute_fields(rows.stream, rows.attributes)
        if rows.via is not None:
            yield from ((rows.via.stream, field) for field in (rows.via.row_field, rows.via.record_field))
        if rows.join is not None:
            yield rows.stream, rows.join[0]
            yield rows.of, rows.join[1]
    for consent in mapping.consent_fields:
        yield from ((consent.stream, field) for field in (consent.field, consent.said_at, consent.method, consent.needs))
        if consent.person_made is not None:
            own = {"method": consent.method, "said_at": consent.said_at}
            for path in names_in(consent.person_made):
                yield consent.stream, own.get(path, path)


def _attribute_fields(stream: str, attributes: Map[str, SourceAttribute]) -> Iterator[tuple[str, str | None]]:
    for attribute in attributes.values():
        yield stream, attribute.field
        yield stream, attribute.currency
        if attribute.expression is not None:
            yield from ((stream, path) for path in names_in(attribute.expression))
