"""The public methods of models, by name: what ``execute_kw`` and JSON-2 can call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from connectors.sim.odoo import errors, marketing, merging, write
from connectors.sim.odoo.access import OPERATIONS, XML_GROUPS
from connectors.sim.odoo.orm import Env

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Method:
    """One method. ``on_ids``: its first argument is the record ids. ``writes``: it changes records."""

    call: Callable[..., Any]
    on_ids: bool
    writes: bool
    since: int


METHODS: dict[tuple[str, str], Method] = {}
"""(model, name), model "" for methods all models have."""


def _method(name: str, *models: str, writes: bool = False, since: int = 0) -> Callable[[Function], Function]:
    def register(function: Function) -> Function:
        names = list(inspect.signature(function).parameters)
        for model in models or ("",):
            METHODS[model, name] = Method(function, names[2:3] == ["ids"], writes, since)
        return function

    return register


def lookup(env: Env, model: str, name: str, major: int) -> Method:
    """:raises OdooError: for an unknown model, a private or an unknown method"""
    env.table(model)
    if name.startswith("_"):
        raise errors.access_error(f"Private methods (such as {name}) cannot be called remotely.")
    found = METHODS.get((model, name)) or METHODS.get(("", name))
    if found is None or found.since > major:
        raise errors.OdooError("builtins.AttributeError",
                               f"The method '{name}' does not exist on the model '{model}'", status=404)
    return found


def call(env: Env, model: str, method: Method, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run a method, ``context`` in its keywords being the context's."""
    named = dict(kwargs)
    env.context.update(named.pop("context", None) or {})
    try:
        inspect.signature(method.call).bind(env, model, *args, **named)
    except TypeError as error:
        text = str(error)
        if "unexpected keyword" in text and "search_read" in method.call.__name__:
            text = f"BaseModel._read_format() got {text.removeprefix('got ')}"
        raise errors.OdooError("builtins.TypeError", text, status=422) from None
    return method.call(env, model, *args, **named)


def _as_ids(ids: Any) -> list[int]:
    """What may stand for record ids: a number or a list; text is no id."""
    if isinstance(ids, bool) or ids is None or isinstance(ids, str):
        return []
    if isinstance(ids, int):
        return [ids]
    for one in ids:
        if not isinstance(one, int):
            raise errors.postgres("InvalidTextRepresentation",
                                  f'invalid input syntax for type integer: "{one}"\nLINE 1: ...\n')
    return list(ids)


# --------------------------------------------------------------------------- reading

@_method("search")
def _search(env: Env, model: str, domain: Any, offset: int = 0, limit: int | None = None,
            order: str | None = None) -> list[int]:
    env.access.require(env, model, "r")
    return [i for i, _ in env.find(model, domain, offset=offset, limit=limit, order=order)]


@_method("search_count")
def _search_count(env: Env, model: str, domain: Any, limit: int | None = None) -> int:
    env.access.require(env, model, "r")
    return sum(1 for _ in env.find(model, domain, limit=limit, order="id"))


@_method("search_read")
def _search_read(env: Env, model: str, domain: Any = None, fields: list[str] | None = None, offset: int = 0,
                 limit: int | None = None, order: str | None = None, *,
                 load: str | None = "_classic_read") -> list[dict[str, Any]]:
    env.access.require(env, model, "r")
    found = env.find(model, domain, offset=offset, limit=limit, order=order)
    return env.rows_out(model, found, fields, load)


@_method("read")
def _read(env: Env, model: str, ids: Any, fields: list[str] | None = None,
          load: str | None = "_classic_read") -> list[dict[str, Any]]:
    env.access.require(env, model, "r")
    wanted = _as_ids(ids)
    rows = env.table(model).rows
    found = env.exists(model, wanted)
    env.access.require_rows(env, model, found, "read")
    return env.rows_out(model, ((i, rows[i]) for i in found), fields, load)


@_method("name_search")
def _name_search(env: Env, model: str, name: str = "", args: Any = None, operator: str = "ilike",
                 limit: int = 100) -> list[list[Any]]:
    env.access.require(env, model, "r")
    field = env.table(model).model.rec_name
    domain = [*(args or []), [field, operator, name]] if name else list(args or [])
    return [[i, env.display_name(model, i)] for i, _ in env.find(model, domain, limit=limit)]


@_method("name_get")
def _name_get(env: Env, model: str, ids: Any) -> list[list[Any]]:
    return [[i, env.display_name(model, i)] for i in env.exists(model, _as_ids(ids))]


@_method("exists")
def _exists(env: Env, model: str, ids: Any) -> list[int]:
    return env.exists(model, _as_ids(ids))


@_method("fields_get")
def _fields_get(env: Env, model: str, allfields: list[str] | None = None,
                attributes: list[str] | None = None) -> dict[str, dict[str, Any]]:
    fields = env.visible_fields(model)
    names = [n for n in allfields if n in fields] if allfields else list(fields)
    described = {n: fields[n].describe() for n in names}
    if attributes:
        described = {n: {k: v for k, v in d.items() if k in attributes} for n, d in described.items()}
    return described


@_method("read_group")
def _read_group(env: Env, model: str, domain: Any, fields: list[str], groupby: list[str] | str, offset: int = 0,
                limit: int | None = None, orderby: str | None = None, lazy: bool = True) -> list[dict[str, Any]]:
    """Groups by plain fields with ``field:aggregate`` of count, max, min and sum."""
    env.access.require(env, model, "r")
    keys = [groupby] if isinstance(groupby, str) else list(groupby)
    keys = keys[:1] if lazy else keys
    show = [env.reader(model, k, classic=True) for k in keys]
    groups: dict[str, tuple[list[Any], list[dict[str, Any]]]] = {}
    named = [(name, how) for name, _, how in (f.partition(":") for f in fields) if how]
    for row_id, row in env.find(model, domain, order="id"):
        values = [read(row_id, row) for read in show]
        group = groups.setdefault(repr(values), (values, []))
        group[1].append({n: env.reader(model, n)(row_id, row) for n, _ in named})
    out = []
    for values, members in sorted(groups.values(), key=lambda g: [_group_key(v) for v in g[0]]):
        count = f"{keys[0]}_count" if lazy and keys else "__count"
        record: dict[str, Any] = dict(zip(keys, values, strict=True))
        record[count] = len(members)
        for name, how in named:
            record[name] = _aggregate(how, [m[name] for m in members])
        leaves = [[k, "=", v[0] if isinstance(v, list) else v] for k, v in zip(keys, values, strict=True)]
        record["__domain"] = [*(domain or []), *leaves]
        out.append(record)
    return out[offset:offset + limit if limit else None]


def _group_key(value: Any) -> tuple[bool, str]:
    """Unset last among references, false before true among booleans."""
    if isinstance(value, list):
        return (False, str(value[1]).casefold())
    return (value is False, str(value).casefold())


def _aggregate(how: str, values: list[Any]) -> Any:
    held = [v for v in values if v is not False]
    if how == "count":
        return len(held)
    functions: dict[str, Callable[[list[Any]], Any]] = {"max": max, "min": min, "sum": sum}
    return functions[how](held) if held else False


# --------------------------------------------------------------------------- rights

@_method("has_access", since=18)
def _has_access(env: Env, model: str, ids: Any, operation: str) -> bool:
    return env.access.allowed(env, model, OPERATIONS[operation])


@_method("check_access_rights")
def _check_access_rights(env: Env, model: str, operation: str, raise_exception: bool = True) -> bool:
    if raise_exception:
        env.access.require(env, model, OPERATIONS[operation])
    return env.access.allowed(env, model, OPERATIONS[operation])


@_method("context_get", "res.users")
def _context_get(env: Env, _model: str) -> dict[str, Any]:
    user = env.access.users[env.uid]
    return {"lang": user.lang, "tz": user.tz, "uid": user.id}


@_method("has_group", "res.users")
def _has_group(env: Env, _model: str, ids: Any, group_ext_id: str = "") -> bool:
    # A record method since 18.0; before, a method of the model, whose first argument was the group.
    return XML_GROUPS.get(group_ext_id or str(ids), "") in env.access.users[env.uid].all_groups()


@_method("get_param", "ir.config_parameter")
def _get_param(env: Env, model: str, key: str, default: Any = False) -> Any:
    env.access.require(env, model, "r")
    return next((row["value"] for _, row in env.find(model, [["key", "=", key]])), default)


# --------------------------------------------------------------------------- writing

@_method("create", writes=True)
def _create(env: Env, model: str, vals_list: Any) -> Any:
    single = isinstance(vals_list, dict)
    ids = write.create(env, model, [vals_list] if single else vals_list)
    return ids[0] if single else ids


@_method("create", "mail.blacklist", writes=True)
def _create_blacklist(env: Env, _model: str, vals_list: Any) -> Any:
    single = isinstance(vals_list, dict)
    ids = marketing.create_blacklist(env, [vals_list] if single else vals_list)
    return ids[0] if single else ids


@_method("write", writes=True)
def _write(env: Env, model: str, ids: Any, vals: Mapping[str, Any]) -> bool:
    return write.write(env, model, _as_ids(ids), vals)


@_method("unlink", writes=True)
def _unlink(env: Env, model: str, ids: Any) -> bool:
    return write.unlink(env, model, _as_ids(ids))


def _set_active(env: Env, model: str, ids: Any, active: bool) -> None:
    write.write(env, model, _as_ids(ids), {"active": active})


@_method("action_archive", writes=True)
def _archive(env: Env, model: str, ids: Any) -> None:
    _set_active(env, model, ids, False)


@_method("action_unarchive", writes=True)
@_method("toggle_active", writes=True)
@_method("action_add", "mail.blacklist", writes=True)
def _unarchive(env: Env, model: str, ids: Any) -> None:
    _set_active(env, model, ids, True)


@_method("load", writes=True)
def _load(env: Env, model: str, fields: list[str], data: list[list[Any]]) -> dict[str, Any]:
    """Upsert by external id. An error is told in the result, and nothing is written."""
    ids = []
    for at, row in enumerate(data):
        vals = dict(zip(fields, row, strict=True))
        external = str(vals.pop("id", ""))
        for name in list(vals):
            if "/" in name:
                label = name.partition("/")[0]
                return {"ids": False, "messages": [{
                    "rows": {"from": at, "to": at}, "type": "error", "record": at, "field": label,
                    "message": f"No matching record found for external id {vals[name]!r} in field {label!r}"}]}
        key = (model, external)
        known = env.access.external_ids.get(key)
        if known is not None and known in env.table(model).rows:
            write.write(env, model, [known], vals)
        else:
            known = write.create(env, model, [vals])[0]
            if external:
                env.access.external_ids[key] = known
        ids.append(known)
    return {"ids": ids, "messages": [], "nextrow": 0}


# --------------------------------------------------------------------------- leads and partners

@_method("address_get", "res.partner")
def _address_get(env: Env, _model: str, ids: Any) -> dict[str, Any]:
    return {"contact": _as_ids(ids)[0]}


@_method("action_set_won", "crm.lead", writes=True)
def _set_won(env: Env, model: str, ids: Any) -> bool:
    won = next(i for i, row in env.db.tables["crm.stage"].rows.items() if row.get("is_won"))
    return write.write(env, model, _as_ids(ids), {"stage_id": won, "active": True})


@_method("action_set_lost", "crm.lead", writes=True)
def _set_lost(env: Env, model: str, ids: Any, **values: Any) -> None:
    write.write(env, model, _as_ids(ids), {"active": False, "probability": 0, **values})


@_method("convert_opportunity", "crm.lead", writes=True)
def _convert(env: Env, model: str, ids: Any, partner: Any) -> bool:
    env.access.require(env, model, "w")
    merging.convert(env, _as_ids(ids), partner or None)
    return True


@_method("merge_opportunity", "crm.lead", writes=True)
def _merge_leads(env: Env, model: str, ids: Any) -> str:
    env.access.require(env, model, "w")
    winner, *losers = _as_ids(ids)
    merging.merge_leads(env, winner, losers)
    # A recordset is no JSON: the server writes its text.
    return f"crm.lead({winner},)"


def signature(method: Method) -> Mapping[str, inspect.Parameter]:
    """Parameters after (env, model), for JSON-2's introspection page."""
    return dict(list(inspect.signature(method.call).parameters.items())[2:])
