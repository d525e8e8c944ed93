"""Which names an expression may use where, with the types known so far.

Before a connection has been described the types of its fields are unknown (``Type.ANY``): names and shapes are checked
then, types later. The SQL compiled over these scopes is never run; state brings scopes of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Map
from typing import Protocol

from mappings.expressions import Column, ExpressionScope, Related, Type
from mappings.model import CRM_ID, Mapping, SourceAttribute, StreamName
from syncd.model import Catalogue, FieldInfo, ObjectInfo

UNKNOWN = Column("NULL", Type.ANY)
"""A column whose type is not known yet."""
_TEMPLATE = "SELECT {function}({argument}) WHERE {filter}"


class Fields(Protocol):
    """The fields of one stream: a column for a name, None when the stream has no such field."""

    def get(self, name: str, default: Column | None = None, /) -> Column | None:
        """The column of a field."""


class AnyFields(dict[str, Column]):
    """A stream that has not been described: every name is a field of unknown type."""

    def get(self, name: str, default: object = None, /) -> Column:
        return super().get(name) or UNKNOWN


def described(info: ObjectInfo, catalogue: Catalogue) -> dict[str, Column]:
    """The columns of a described object, with the fields of its parents that are described too."""
    columns = {field.name: _column(field) for field in info.fields}
    for name in catalogue.objects:
        if _reference(info, name) is not None and name != info.name:
            columns |= {f"{name}.{field.name}": _column(field) for field in catalogue.objects[name].fields}
    return columns


def _column(field: FieldInfo) -> Column:
    return Column("NULL", Type.of_field(field.type), field.choices if field.type == "choices" else ())


def _reference(info: ObjectInfo, parent: str) -> FieldInfo | None:
    """The field of ``info`` that refers to ``parent``: Salesforce's AccountId for Account, Odoo's parent_id itself."""
    return next((field for field in info.fields if field.name in (f"{parent}Id", parent)
                 or (parent.endswith("__r") and field.name == f"{parent[:-1]}c")), None)


def stream_fields(stream: str, catalogues: Map[str, Catalogue]) -> Map[str, Column] | None:
    """The fields of a stream; all names where its connection is not described; None when it has no such object."""
    name = StreamName.parse(stream)
    catalogue = catalogues.get(name.connection)
    if catalogue is None:
        return AnyFields()
    info = catalogue.objects.get(name.object)
    return None if info is None else described(info, catalogue)


def find_field(stream: str, path: str, catalogues: Map[str, Catalogue]) -> Column | None:
    """The column of one field, dotted or not; unknown type where only the reference to the parent is described."""
    fields = stream_fields(stream, catalogues)
    if fields is None:
        return None
    found = fields.get(path)
    if found is not None or "." not in path:
        return found
    name = StreamName.parse(stream)
    info = catalogues[name.connection].objects[name.object]
    parent, _, rest = path.partition(".")
    if _reference(info, parent) is None:
        return None
    known = catalogues[name.connection].objects.get(parent)
    return UNKNOWN if known is None or "." in rest else None


# --------------------------------------------------------------------------- scopes

def record_scope(stream: str, names: Iterator[str] | tuple[str, ...], catalogues: Map[str, Catalogue],
                 extra: Map[str, Column] | None = None) -> ExpressionScope:
    """What an expression over one record may name; ``names`` are the paths it does name."""
    fields = stream_fields(stream, catalogues)
    if isinstance(fields, AnyFields):
        return ExpressionScope(AnyFields(extra or {}))
    columns = dict(fields or {})
    for path in names:
        found = find_field(stream, path, catalogues)
        if found is not None:
            columns[path] = found
    return ExpressionScope(columns | dict(extra or {}))


def attribute_column(stream: str, attribute: SourceAttribute, catalogues: Map[str, Catalogue]) -> Column | None:
    """The type a source attribute has: its field's, money where a currency is declared; None = its field is missing.

    The type of an expression is found by compiling it; here it is unknown.
    """
    if attribute.field is None:
        return UNKNOWN
    found = find_field(stream, attribute.field, catalogues)
    if found is None or not (attribute.currency or attribute.currency_code):
        return found
    return Column("NULL", Type.MONEY, currency_sql="NULL")


def person_scope(mapping: Mapping, attributes: Map[str, Column], catalogues: Map[str, Catalogue]) -> ExpressionScope:
    """What an expression over a person may name: ``attributes``, and the related rows."""
    related = {}
    for rows in mapping.related.values():
        columns = {name: attribute_column(rows.stream, attribute, catalogues) or UNKNOWN
                   for name, attribute in rows.attributes.items()}
        related[rows.name] = Related(columns, _TEMPLATE)
    return ExpressionScope(dict(attributes) | {CRM_ID: Column("NULL", Type.TEXT)}, related, mapping.people.currency)
