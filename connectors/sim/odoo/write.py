"""Writing: create, write and unlink, with relation commands, field validation and what they do to ``write_date``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from connectors.sim.odoo import computed, errors, records
from connectors.sim.odoo.orm import Env
from connectors.sim.odoo.schema import Field
from connectors.sim.odoo.store import Row
from connectors.sim.odoo.values import parse_instant

_MAGIC = frozenset({"id", "create_uid", "create_date", "write_uid", "write_date", "display_name"})


def create(env: Env, model: str, vals_list: Iterable[Mapping[str, Any]]) -> list[int]:
    """New records in one transaction; one bad record refuses all."""
    env.access.require(env, model, "c")
    return [insert(env, model, vals) for vals in vals_list]


def insert(env: Env, model: str, vals: Mapping[str, Any], *, stamped: bool = True) -> int:
    """One new row; without ``stamped`` the log-access columns stay NULL, as in rows a many2many command makes."""
    table = env.table(model)
    check_names(env, model, vals)
    records.before_create(env, model, vals)
    reserved = env.reserved.get(model)
    row_id = reserved.pop(0) if reserved else table.take_id()
    row: Row = {}
    if stamped:
        row = {"create_uid": env.uid, "create_date": env.start, "write_uid": env.uid, "write_date": env.start}
    row.update(records.defaults(env, model) if stamped else {})
    later = _assign(env, model, row, vals)
    records.derive(env, model, row)
    records.check_row(env, model, row_id, row)
    env.db.put(model, row_id, row)
    for name, value in later:
        _virtual(env, model, row_id, name, value)
    records.after_write(env, model, row_id, {}, row)
    return row_id


def _assign(env: Env, model: str, row: Row, vals: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Set the values that the row itself holds; those that rows of other models hold are returned."""
    later: list[tuple[str, Any]] = []
    for name, value in vals.items():
        info = env.table(model).model.fields[name]
        if name in _MAGIC:
            continue
        if info.inverse:
            later.append((name, value))
        elif info.store:
            _set(row, name, convert(env, model, name, info, value, row.get(name, ())))
    return later


def write(env: Env, model: str, ids: Iterable[int], vals: Mapping[str, Any]) -> bool:
    """Set values on existing records; bumps them even where nothing changes.

    :raises OdooError: MissingError, AccessError, ValidationError …; then nothing is written
    """
    env.access.require(env, model, "w")
    ids = list(ids)
    check_names(env, model, vals)
    for row_id in ids:
        env.row(model, row_id)
    env.access.require_rows(env, model, ids, "write")
    for row_id in ids:
        update(env, model, row_id, vals)
    return True


def update(env: Env, model: str, row_id: int, vals: Mapping[str, Any]) -> None:
    """Write one row, without asking for rights."""
    old = env.row(model, row_id)
    row = dict(old)
    later = _assign(env, model, row, records.before_write(env, model, vals))
    row["write_date"], row["write_uid"] = env.start, env.uid
    records.derive(env, model, row)
    records.check_row(env, model, row_id, row)
    env.db.put(model, row_id, row)
    for name, value in later:
        _virtual(env, model, row_id, name, value)
    records.after_write(env, model, row_id, old, row)


def unlink(env: Env, model: str, ids: Iterable[int]) -> bool:
    """Delete for good. References are set to NULL (and their rows bumped), subscriptions cascade."""
    env.access.require(env, model, "d")
    ids = list(ids)
    for row_id in ids:
        env.row(model, row_id)
    env.access.require_rows(env, model, ids, "unlink")
    records.before_unlink(env, model, ids)
    sub = computed.subscription_model(env)
    for row_id in ids:
        for other, name in env.db.models[model].foreign:
            for hit in _referring(env, other, name, row_id):
                if other == sub and name in ("contact_id", "list_id"):
                    env.db.put(other, hit, None)
                elif name not in ("create_uid", "write_uid"):
                    update(env, other, hit, {name: False})
        env.db.put(model, row_id, None)
        if model == "res.partner.category":
            _forget_tag(env, row_id)
    return True


def _referring(env: Env, model: str, name: str, row_id: int) -> list[int]:
    table = env.db.tables[model]
    if name in table.indexes:
        return table.matching(name, [row_id])
    if name in ("create_uid", "write_uid"):
        return []
    return [i for i, row in table.rows.items() if row.get(name) == row_id]


def _forget_tag(env: Env, tag: int) -> None:
    """Deleting a tag empties the relation without touching the tagged records' write_date."""
    for model, name in (("res.partner", "category_id"), ("mailing.contact", "tag_ids")):
        for row_id, row in list(env.db.tables[model].rows.items()):
            if tag in row.get(name, ()):
                env.db.put(model, row_id, row | {name: tuple(t for t in row[name] if t != tag)})


def check_names(env: Env, model: str, vals: Mapping[str, Any]) -> None:
    """:raises OdooError: ValueError for the first unknown field"""
    fields = env.visible_fields(model)
    for name in vals:
        if name not in fields:
            raise errors.invalid_field(model, name)


def _set(row: Row, name: str, value: Any) -> None:
    if value is None or value == ():
        row.pop(name, None)
    else:
        row[name] = value


def convert(env: Env, model: str, name: str, info: Field, value: Any, held: tuple[int, ...]) -> Any:
    """The stored form of an API value; None = NULL."""
    if info.type == "many2many":
        return _commands(env, model, name, info, value, held)
    if info.type == "boolean":
        return bool(value)
    if value is False or value is None:
        return None
    if info.type == "many2one":
        target = env.db.tables[info.relation]
        if value not in target.rows:
            raise errors.foreign_key(env.db.models[model].label, model, f"{model.replace('.', '_')}_{name}_fkey")
        return value
    if info.type == "selection":
        if all(value != key for key, _ in info.selection):
            raise errors.builtin("ValueError", f"Wrong value for {model}.{name}: {value!r}")
        return value
    if info.type in ("integer", "float", "monetary"):
        return _number(int if info.type == "integer" else float, value)
    if info.type == "datetime":
        return value if isinstance(value, int) else parse_instant(str(value))
    if info.limit is not None and len(str(value)) > info.limit:
        raise errors.validation_error(f"{info.label} is too long.")
    return str(value)


def _number(kind: Callable[[Any], Any], value: Any) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError) as error:
        raise errors.builtin(type(error).__name__, str(error)) from None


def _commands(env: Env, model: str, name: str, info: Field, value: Any, held: tuple[int, ...]) -> tuple[int, ...]:
    """Apply many2many commands (or a plain id list) to the ids held."""
    ids = list(held)
    rows = env.db.tables[info.relation].rows
    for command in _normal(value):
        code, target, extra = command
        if code == 0:
            ids.append(insert(env, info.relation, extra))
        elif code == 1:
            update(env, info.relation, target, extra)
        elif code in (2, 3):
            ids = [i for i in ids if i != target]
        elif code == 4:
            ids += [target] if target not in ids else []
        elif code == 5:
            ids = []
        else:
            ids = list(dict.fromkeys(extra))
    if any(i not in rows for i in ids):
        relation = f"{model.replace('.', '_')}_{info.relation.replace('.', '_')}_rel_{name}_fkey"
        raise errors.foreign_key("Unknown", "unknown", relation)
    return tuple(sorted(ids))


def _normal(value: Any) -> list[tuple[int, int, Any]]:
    """Commands padded to (code, id, extra); a list of ids means replace."""
    items = list(value or [])
    if all(isinstance(i, int) for i in items):
        return [(6, 0, items)]
    return [(int(c[0]), c[1] if len(c) > 1 else 0, c[2] if len(c) > 2 else None) for c in items]


def _virtual(env: Env, model: str, row_id: int, name: str, value: Any) -> None:
    """Commands on a field another model stores: children, subscriptions, the far side of tags."""
    info = env.db.models[model].fields[name]
    if info.type == "one2many":
        _children(env, info, row_id, value)
        return
    if model == "res.partner.category":
        _tag_partners(env, info, row_id, value)
        return
    own = "contact_id" if model == "mailing.contact" else "list_id"
    sub = computed.subscription_model(env)
    table = env.db.tables[sub]
    held = {table.rows[s][info.inverse]: s for s in table.matching(own, [row_id])}
    wanted = set(_commands(env, model, name, info, value, tuple(held)))
    for other in sorted(wanted - set(held)):
        # A row made by a many2many command: no dates, no author, opt_out NULL.
        insert(env, sub, {own: row_id, info.inverse: other}, stamped=False)
    for other in set(held) - wanted:
        env.db.put(sub, held[other], None)


def _children(env: Env, info: Field, row_id: int, value: Any) -> None:
    for code, target, extra in _normal(value):
        if code == 0:
            insert(env, info.relation, {**extra, info.inverse: row_id})
        elif code == 1:
            update(env, info.relation, target, extra)
        elif code == 2:
            unlink(env.sudo(), info.relation, [target])
        elif code == 3:
            update(env, info.relation, target, {info.inverse: False})
        elif code == 4:
            update(env, info.relation, target, {info.inverse: row_id})


def _tag_partners(env: Env, info: Field, tag: int, value: Any) -> None:
    rows = env.db.tables[info.relation].rows
    held = tuple(i for i, row in rows.items() if tag in row.get(info.inverse, ()))
    wanted = set(_commands(env, "res.partner.category", "partner_ids", info, value, held))
    for partner in wanted.symmetric_difference(held):
        row = rows[partner]
        tags = set(row.get(info.inverse, ())) ^ {tag}
        env.db.put(info.relation, partner, row | {info.inverse: tuple(sorted(tags))})
