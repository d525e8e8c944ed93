"""The control API's view: the truth about people, and what people do on the server's own screens and pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from connectors.sim.kernel import BadAct
from connectors.sim.odoo import computed, marketing, merging
from connectors.sim.odoo.access import ADMIN, PUBLIC
from connectors.sim.odoo.orm import Env
from connectors.sim.odoo.store import Row
from connectors.sim.odoo.values import normalize_email
from connectors.sim.odoo.write import insert, unlink, update

OBJECTS = ("crm.lead", "mailing.contact", "res.partner")
_EMAIL = {"res.partner": "email", "mailing.contact": "email", "crm.lead": "email_from"}

Work = Callable[[Env], dict[str, Any]]


# --------------------------------------------------------------------------- the truth

def world(env: Env, topics: Mapping[str, int], after: str | None, limit: int | None, mails: bool) -> dict[str, Any]:
    """{"people": [...], "mails": [...]}: the people sorted by (numeric id, object), deleted ones with their last
    values; no mails unless ``mails``. ``after`` is an id; ids of several objects may be equal, so a page never ends
    between two of them."""
    first = int(after) + 1 if after else 0
    keys = sorted((i, model) for model in OBJECTS for i in env.db.tables[model].ids if i >= first)
    keys += [(i, model) for model, i in env.db.tombstones if model in OBJECTS and i >= first]
    keys.sort()
    if limit is not None and len(keys) > limit:
        last = keys[limit - 1][0]
        keys = [key for key in keys if key[0] <= last]
    return {"people": [_person(env, topics, model, i) for i, model in keys],
            "mails": list(_mails(env, topics)) if mails else []}


def _person(env: Env, topics: Mapping[str, int], model: str, row_id: int) -> dict[str, Any]:
    row = env.db.tables[model].rows.get(row_id)
    deleted = row is None
    if row is None:
        row = env.db.tombstones[model, row_id]
    address = row.get("email_normalized")
    names = [n for n, info in env.db.models[model].fields.items() if info.store and not info.inverse]
    return {
        "id": str(row_id), "object": model, "email": row.get(_EMAIL[model]),
        "opted_out": computed.blacklisted(env, address),
        "topics": {topic: marketing.topic_state(env, address, list_id) for topic, list_id in topics.items()},
        "fields": {n: env.reader(model, n)(row_id, row) for n in names}, "deleted": deleted,
    }


def _mails(env: Env, topics: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    mailings = env.db.tables["mailing.mailing"].rows
    by_list = {list_id: topic for topic, list_id in topics.items()}
    for row in env.db.tables["mailing.trace"].rows.values():
        if row.get("trace_status") in ("sent", "open", "reply") and "mass_mailing_id" in row:
            lists = mailings[row["mass_mailing_id"]].get("contact_list_ids", ())
            topic = next((by_list[i] for i in lists if i in by_list), None)
            at: int = row["sent_datetime"]
            yield {"send": str(row["mass_mailing_id"]), "email": row.get("email"), "audience": None, "topic": topic,
                   "classification": "commercial", "at": at / 1e6}


# --------------------------------------------------------------------------- acts

def plan(topics: Mapping[str, int], body: Mapping[str, Any]) -> tuple[Work, int, tuple[str, ...]]:
    """(work, uid that signs it, models it will create a record of) for one act.

    :raises BadAct: for what makes no sense here
    """
    actor, do = body.get("actor"), body.get("do")
    if actor == "crm_user":
        work = _CRM.get(str(do))
        if work is None:
            raise BadAct(f"a user of Odoo cannot {do!r}")
        model = str(body.get("object", "res.partner"))
        if model not in OBJECTS:
            raise BadAct(f"no object {model!r}; there are {', '.join(OBJECTS)}")
        makes = (model,) if do in ("create", "form") else ()
        chosen = work
        return (lambda env: chosen(env, topics, model, body)), PUBLIC if do == "form" else ADMIN, makes
    if actor == "recipient":
        return _recipient(topics, body), PUBLIC, ()
    if actor == "esp_user" and do == "send":
        return (lambda env: _send(env, topics, body)), ADMIN, ()
    raise BadAct(f"nobody can {do!r} as {actor!r} in Odoo")


def _list_of(topics: Mapping[str, int], topic: Any) -> int:
    if topic not in topics:
        raise BadAct(f"no topic {topic!r}; there are {', '.join(topics)}")
    return topics[topic]


def _ids(env: Env, model: str, body: Mapping[str, Any]) -> list[int]:
    """Records meant by ``id`` or ``where``."""
    if "id" in body:
        row_id = int(body["id"])
        if row_id not in env.db.tables[model].rows:
            raise BadAct(f"no {model} {row_id}")
        return [row_id]
    where = [[name, "=", value] for name, value in (body.get("where") or {}).items()]
    return [i for i, _ in Env(env.db, env.access, 1, {"active_test": False}, env.start).find(model, where, order="id")]


def _set(env: Env, topics: Mapping[str, int], model: str, ids: list[int], values: Mapping[str, Any]) -> None:
    """Vendor fields on the records; ``opted_out`` and ``topics`` on their addresses, by the screens' buttons."""
    native = {k: v for k, v in values.items() if k not in ("opted_out", "topics")}
    rows = env.db.tables[model].rows
    for row_id in ids:
        if native:
            update(env, model, row_id, native)
        address = rows[row_id].get("email_normalized")
        if address is None:
            continue
        if values.get("opted_out") is True:
            marketing.blacklist_add(env, address)
        elif values.get("opted_out") is False:
            marketing.blacklist_remove(env, address)
        for topic, state in (values.get("topics") or {}).items():
            marketing.set_topic(env, address, _list_of(topics, topic), state)


def _create(env: Env, topics: Mapping[str, int], model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(body.get("set") or {})
    native = {k: v for k, v in values.items() if k not in ("opted_out", "topics")}
    row_id = insert(env, model, native)
    _set(env, topics, model, [row_id], {k: v for k, v in values.items() if k not in native})
    return {"changed": 1, "id": str(row_id)}


def _edit(env: Env, topics: Mapping[str, int], model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    ids = _ids(env, model, body)
    _set(env, topics, model, ids, body.get("set") or {})
    return {"changed": len(ids)}


def _delete(env: Env, _topics: Mapping[str, int], model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    ids = _ids(env, model, body)
    unlink(env, model, ids)
    return {"changed": len(ids)}


def _undelete(env: Env, _topics: Mapping[str, int], model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """There is no recycle bin; what a user can take back is an archived record."""
    ids = _ids(env, model, body)
    if "active" not in env.db.models[model].fields:
        raise BadAct(f"Odoo keeps no deleted {model}")
    for row_id in ids:
        update(env, model, row_id, {"active": True})
    return {"changed": len(ids)}


def _merge(env: Env, _topics: Mapping[str, int], model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    if "id" not in body or "into" not in body:
        raise BadAct("merge needs id and into")
    loser, winner = int(body["id"]), int(body["into"])
    if model == "res.partner":
        merging.merge_partners(env, winner, [loser])
    elif model == "crm.lead":
        merging.merge_leads(env, winner, [loser])
    else:
        raise BadAct(f"Odoo has no merge of {model}")
    return {"changed": 2, "id": str(winner)}


def _convert(env: Env, _topics: Mapping[str, int], model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    if model != "crm.lead":
        raise BadAct("only a crm.lead can be converted")
    lead = _ids(env, model, body)[0]
    partner = merging.partner_for(env, lead)
    merging.convert(env, [lead], partner)
    return {"changed": 1, "id": str(partner), "object": "res.partner"}


def _form(env: Env, topics: Mapping[str, int], model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """A web form the person filled in, written by the website's user: the record by id or address, and the lists."""
    values = dict(body.get("set") or {})
    native = {k: v for k, v in values.items() if k != "topics"}
    text = native.get(_EMAIL[model])
    if "id" in body:
        ids = _ids(env, model, body)
    else:
        address = normalize_email(text)
        ids = env.db.tables[model].matching("email_normalized", [address]) if address else []
    if not ids:
        ids = [insert(env, model, {"name": text, **native})]
    elif native:
        for row_id in ids:
            update(env, model, row_id, native)
    _set(env, topics, model, ids[:1], {"topics": values.get("topics")})
    return {"changed": len(ids), "id": str(ids[0])}


_CRM: dict[str, Callable[[Env, Mapping[str, int], str, Mapping[str, Any]], dict[str, Any]]] = {
    "create": _create, "edit": _edit, "mass_edit": _edit, "delete": _delete, "undelete": _undelete, "merge": _merge,
    "convert": _convert, "form": _form,
}


def _recipient(topics: Mapping[str, int], body: Mapping[str, Any]) -> Work:
    address = normalize_email(body.get("email"))
    if address is None:
        raise BadAct("no address")
    do, source = body.get("do"), body.get("from", "all")

    def work(env: Env) -> dict[str, Any]:
        if do == "bounce":
            return {"changed": marketing.bounce(env, address)}
        if do == "complain":
            # The server hears of no complaints; postmasters enter the address by hand.
            return {"changed": int(marketing.blacklist_add(env, address) > 0)}
        if do == "confirm":
            return {"changed": marketing.set_topic(env, address, _list_of(topics, source.get("topic")), True)}
        return {"changed": _unsubscribe(env, topics, address, source)}

    if do not in ("unsubscribe", "complain", "bounce", "confirm"):
        raise BadAct(f"a recipient cannot {do!r}")
    if do == "confirm" and not (isinstance(source, Mapping) and "topic" in source):
        raise BadAct("confirm needs from: {topic}")
    return work


def _unsubscribe(env: Env, topics: Mapping[str, int], address: str, source: Any) -> int:
    if source == "all":
        return int(marketing.blacklist_add(env, address) > 0)
    if "topic" in source:
        return marketing.set_topic(env, address, _list_of(topics, source["topic"]), False, create=False)
    mailing = int(source.get("mail", 0))
    if mailing not in env.db.tables["mailing.mailing"].rows:
        raise BadAct(f"no mailing {mailing}")
    return marketing.unsubscribe(env, mailing, address)


def _send(env: Env, topics: Mapping[str, int], body: Mapping[str, Any]) -> dict[str, Any]:
    """A mailing: ``to`` {"topic": T} or {"object": M, "where": {…}}; ``list`` names a topic as well."""
    to = body.get("to") or {}
    topic = to.get("topic", body.get("list"))
    if topic is not None:
        return {"changed": 1, **marketing.send(env, f"To {topic}", (_list_of(topics, topic),))}
    model = str(to.get("object", ""))
    if model not in OBJECTS:
        raise BadAct("a mailing goes to a topic or to an object's records")
    return {"changed": 1, **marketing.send(env, f"To {model}", (), model, _active(env, model, to))}


def _active(env: Env, model: str, to: Mapping[str, Any]) -> list[int]:
    rows: Mapping[int, Row] = env.db.tables[model].rows
    return [i for i in _ids(env, model, {"where": to.get("where")}) if rows[i].get("active", True)]
