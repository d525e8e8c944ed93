"""Operations as rows of a data extension, the way its routes for upserts want them: values by column name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timezone
from typing import Any

import orjson

from connectors.marketing_cloud.wire import errors, values
from connectors.marketing_cloud.wire.describe import Schema
from syncd.model import FieldInfo, Op, Ops, Outcome

_TEXTS = frozenset({"text", "id", "choices"})
_NO_ADDRESS = re.compile(r'[^!-~]|[\s"(),:;<>\[\\\]]')
_ADDRESS = bytes(code for code in range(128) if not _NO_ADDRESS.match(chr(code)))
"""What an address may be made of: the same, for many at once."""


def plain(schema: Schema, columns: Sequence[FieldInfo], ops: Sequence[Op], zone: timezone) -> list[str] | None:
    """The rows of all ``ops`` as JSON, column by column, as there may be millions; None where one has to be looked at by
    itself: a value is missing, or does not fit, or not as it is. The rows are those that ``single`` makes.
    """
    if not ops:
        return None
    _, keys, emails, rows = (ops.ids, ops.keys, ops.emails, ops.values) if isinstance(ops, Ops) else zip(*ops, strict=True)
    try:
        cells: dict[str, Sequence[Any]] = dict(zip([c.name for c in columns], zip(*rows, strict=True), strict=True))
        cells[schema.primary] = keys
        if schema.email:
            cells.setdefault(schema.email, emails)
        if not all(keys) or (schema.email and None in cells[schema.email]):
            return None
        members = []
        for name, raw in cells.items():
            column = schema.column(name)
            if column.type not in _TEXTS:
                slot, cells[name] = "%s", [_json(values.to_vendor(v, column.type, zone)) for v in raw]
            elif _is_plain(raw, column.length, address=name == schema.email):
                slot, cells[name] = _texts(raw)
            else:
                return None
            members.append(f"{_json(name).replace('%', '%%')}:{slot}")
    except (TypeError, ValueError):  # one of them; which one, is seen when each is looked at
        return None
    row = f"{{{','.join(members)}}}"
    return list(map(row.__mod__, zip(*cells.values(), strict=True)))  # no row passes through Python


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _texts(raw: Sequence[str | None]) -> tuple[str, Sequence[str | None]]:
    """How printable texts are written as JSON: a slot of a format, and what goes into it."""
    whole = "".join(filter(None, raw))
    if None in raw or '"' in whole or "\\" in whole:
        return "%s", list(map(_json, raw))
    return '"%s"', raw


def _is_plain(raw: Sequence[str | None], length: int | None, *, address: bool) -> bool:
    """Whether every text of a column can be sent as it is.

    :raises TypeError: a value is no text
    """
    whole = "".join(filter(None, raw))
    if not whole.isprintable() or (address and not (whole.isascii() and whole.encode().translate(None, _ADDRESS) == b"")):
        return False
    return length is None or max(map(len, filter(None, raw)), default=0) <= length


def single(schema: Schema, columns: Sequence[FieldInfo], op: Op, zone: timezone) -> dict[str, Any] | Outcome:
    """The row of ``op`` by column name, its key and address included; or the refusal of a row that is sure to be refused:
    sent, it would only spoil a request that cannot name it."""
    if op.key == "" or values.sanitise(op.key) != op.key:
        return errors.rejected("invalid_value", "The key is empty, or holds what cannot be sent.")
    try:
        item = {column.name: values.to_vendor(value, column.type, zone)
                for column, value in zip(columns, op.values, strict=True)}
        item[schema.primary] = values.to_vendor(op.key, schema.column(schema.primary).type, zone)
    except ValueError:
        return errors.rejected("invalid_value", "A value does not fit its column.")
    if schema.email and schema.email not in item and op.email is not None:
        item[schema.email] = values.sanitise(op.email)
    return _unfit(schema, item) or item


def _unfit(schema: Schema, item: dict[str, Any]) -> Outcome | None:
    if schema.email and schema.email in item and _NO_ADDRESS.search(str(item[schema.email])):
        return errors.rejected("InvalidEmailAddress", "Marketing Cloud takes plain ASCII addresses only.")
    for name, value in item.items():
        length = schema.column(name).length
        if length is not None and isinstance(value, str) and len(value) > length:
            return errors.rejected("InvalidLength", f"The value for {name} has more than {length} characters.")
    return None
