"""The control API's side: the truth about people, and what employees, web forms and Connect do at the screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from connectors.sim.kernel import BadAct

from . import ids, options, values
from .db import Row, fold
from .errors import Refused
from .options import TopicField
from .save import Actor

if TYPE_CHECKING:
    from .sim import SalesforceSim

PEOPLE = ("Contact", "Lead")
_NOT_FIELDS = frozenset({"Id", "IsDeleted", "HasOptedOutOfEmail", "MasterRecordId"})


class People:
    """``world`` and ``act`` of one organisation; the caller holds the lock."""

    def __init__(self, sim: SalesforceSim) -> None:
        self.sim = sim
        self._renderers = {o: self._renderer(o) for o in PEOPLE}

    # ------------------------------------------------------------------ world

    def world(self, after: str | None, limit: int | None) -> dict[str, Any]:
        """{"people": [...]} sorted by id; ``after`` is the last id of the page before."""
        rows = self._rows(after)
        return {"people": [self._renderers[object](row) for object, row in islice(rows, limit)]}

    def _rows(self, after: str | None) -> Iterator[tuple[str, Row]]:
        for object in PEOPLE:
            if after is None or after[:3] <= self.sim.schema[object].prefix:
                for row in self.sim.db.tables[object].by_id(after):
                    yield object, row

    def _renderer(self, object: str) -> Callable[[Row], dict[str, Any]]:
        fields = self.sim.schema[object].fields
        held = {t: objects[object] for t, objects in self.sim.topics.items() if object in objects}
        boxes = {n: False for n, f in fields.items() if f.type == "boolean" and f.custom and f.formula is None}
        stamps = frozenset(n for n, f in fields.items() if f.type == "datetime")

        def render(row: Row) -> dict[str, Any]:
            shown = boxes | {n: values.rest_datetime(v) if n in stamps else v for n, v in row.items()
                             if n not in _NOT_FIELDS}
            out = {"id": row["Id"], "object": object, "email": row.get("Email"),
                   "opted_out": bool(row.get("HasOptedOutOfEmail", False)),
                   "topics": {t: _state(topic, row) for t, topic in held.items()}, "fields": shown,
                   "deleted": bool(row.get("IsDeleted", False))}
            if "MasterRecordId" in row:
                out["merged_into"] = row["MasterRecordId"]
            return out
        return render

    # ------------------------------------------------------------------ act

    def act(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Do it, or raise BadAct and leave everything as it was."""
        sim = self.sim
        actor, do = body.get("actor"), str(body.get("do"))
        handlers: dict[tuple[Any, str], Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            ("connect", "echo"): self._echo, ("crm_user", "form"): self._form, ("crm_user", "create"): self._create,
            ("crm_user", "edit"): self._edit, ("crm_user", "mass_edit"): self._edit,
            ("crm_user", "delete"): self._delete, ("crm_user", "undelete"): self._undelete,
            ("crm_user", "merge"): self._merge, ("crm_user", "convert"): self._convert,
            ("crm_user", "touch"): self._touch,
        }
        handler = handlers.get((actor, do))
        if handler is None or body.get("crm", "salesforce") != "salesforce":
            raise BadAct(f"salesforce: actor {actor!r} cannot {do!r}")
        delay = sim.options.commit_delay
        sim.db.visible_at = sim.kernel.clock.now() + delay if delay else None
        try:
            with sim.db.transaction():
                return handler(body)
        except Refused as error:
            raise BadAct(f"salesforce: {error.code}: {error.message}") from None
        finally:
            sim.db.visible_at = None

    def _object(self, body: Mapping[str, Any]) -> str:
        name = body.get("object")
        if name is None and isinstance(body.get("id"), str):
            name = self.sim.db.object_of(body["id"])
        object = self.sim.db.objects.get(str(name or "Contact").lower())
        if object is None:
            raise BadAct(f"salesforce: no object {name!r}")
        return object

    def _id(self, body: Mapping[str, Any], key: str = "id") -> str:
        record = ids.normal(body.get(key))
        if record is None:
            raise BadAct(f"salesforce: {key!r} is no record id")
        return record

    def _found(self, body: Mapping[str, Any], *, deleted: bool = False) -> tuple[str, list[str]]:
        """The object and the ids the act is about: ``id``, or all rows that match ``where``."""
        object = self._object(body)
        if body.get("id") is not None:
            record = self._id(body)
            if record not in self.sim.db.tables[object].rows:
                raise BadAct(f"salesforce: no {object} {record}")
            return object, [record]
        where = body.get("where")
        if not isinstance(where, Mapping):
            raise BadAct("salesforce: name an 'id' or a 'where'")
        return object, [row["Id"] for row in self._matching(object, where) if bool(row.get("IsDeleted")) is deleted]

    def _matching(self, object: str, where: Mapping[str, Any]) -> Iterator[Row]:
        sim = self.sim
        tests = []
        rows: Any = None
        for name, wanted in where.items():
            if name in ("opted_out", "topics"):
                (field, wanted), *_ = self._native(object, {name: wanted}).items()
            else:
                field = name
            f = sim.schema[object].lower.get(field.lower())
            if f is None:
                raise BadAct(f"salesforce: {object} has no field {field!r}")
            value = wanted if f.type == "boolean" else values.coerce(f, wanted)
            tests.append((sim.db.reader(object, f), fold(value)))
            if rows is None and f.type == "email" and value is not None:
                rows = sim.db.tables[object].lookup(f.name, [value])
        for row in sim.db.tables[object].by_id() if rows is None else rows:
            if all(fold(read(row)) == value for read, value in tests):
                yield row

    def _native(self, object: str, given: Any) -> dict[str, Any]:
        """Vendor fields for ``set``; "opted_out" and "topics" translated."""
        if not isinstance(given, Mapping):
            raise BadAct("salesforce: 'set' must be an object")
        out = {k: v for k, v in given.items() if k not in ("opted_out", "topics")}
        if "opted_out" in given:
            name = "PersonHasOptedOutOfEmail" if object == "Account" else "HasOptedOutOfEmail"
            out[name] = bool(given["opted_out"])
        for topic, wanted in (given.get("topics") or {}).items():
            field = self._topic(object, topic)
            if wanted is None:
                out[field.field] = False if field.true is True else None
            else:
                out[field.field] = field.true if wanted else field.false
        return out

    def _topic(self, object: str, topic: str) -> TopicField:
        field = self.sim.topics.get(topic, {}).get(object)
        if field is None:
            raise BadAct(f"salesforce: {object} holds no topic {topic!r}")
        return field

    # ------------------------------------------------------------------ what can be done

    def _create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        object = self._object(body)
        record = self.sim.writer.create(object, self._native(object, body.get("set", {})), _EMPLOYEE)
        return {"changed": 1, "id": record, "ids": [record]}

    def _edit(self, body: Mapping[str, Any]) -> dict[str, Any]:
        object, found = self._found(body)
        new = self._native(object, body.get("set", {}))
        for record in found:
            self.sim.writer.update(object, record, new, _EMPLOYEE)
        return {"changed": len(found), "ids": found}

    def _touch(self, body: Mapping[str, Any]) -> dict[str, Any]:
        object, found = self._found(body)
        for record in found:
            self.sim.writer.touch(object, record)
        return {"changed": len(found), "ids": found}

    def _delete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """To the bin; ``"hard": true`` empties it for these rows too."""
        object, found = self._found(body)
        for record in found:
            self.sim.lifecycle.delete(object, record, _EMPLOYEE, hard=bool(body.get("hard")))
        return {"changed": len(found), "ids": found}

    def _undelete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        object, found = self._found(body, deleted=True)
        for record in found:
            self.sim.lifecycle.undelete(object, record, _EMPLOYEE)
        return {"changed": len(found), "ids": found}

    def _merge(self, body: Mapping[str, Any]) -> dict[str, Any]:
        object, winner = self._object(body), self._id(body, "into")
        chosen = self._native(object, body.get("set") or {})
        self.sim.lifecycle.merge(object, self._id(body), winner, chosen, _EMPLOYEE)
        return {"changed": 1, "id": winner}

    def _convert(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A lead becomes a contact, a new one or ``into``; ``"opportunity": name`` makes one of those as well."""
        into = self._id(body, "into") if body.get("into") is not None else None
        became = self.sim.lifecycle.convert(self._id(body), into, _EMPLOYEE, body.get("opportunity"))
        return {"changed": 1, "id": became["ConvertedContactId"], **became}

    def _form(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A web form filled in by the person: topics with method "web" and the time, on the record of ``id``, ``where``
        or the given e-mail address; a new one when there is none."""
        object = self._object(body)
        new = self._native(object, body.get("set", {}))
        now = values.rest_datetime(self.sim.writer.now())
        for topic in (body.get("set", {}).get("topics") or {}):
            field = self._topic(object, topic)
            for name, value in ((field.method, body.get("method", "web")), (field.said_at, now)):
                if name is not None:
                    new.setdefault(name, value)
        where = body.get("where") or ({"Email": new["Email"]} if new.get("Email") else None)
        named = body.get("id") is not None or where is not None
        found = self._found({**body, "where": where, "object": object})[1] if named else []
        if not found:
            new.setdefault("LastName", "Unknown")
            if object == "Lead":
                new.setdefault("Company", "[not provided]")
            record = self.sim.writer.create(object, {**(where or {}), **new}, _FORM)
            return {"changed": 1, "id": record, "ids": [record], "created": True}
        for record in found:
            self.sim.writer.update(object, record, new, _FORM)
        return {"changed": len(found), "id": found[0], "ids": found, "created": False}

    def _echo(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Connect's user sets HasOptedOutOfEmail on the records whose id is in ``keys`` or address in ``emails``; it
        never clears the flag."""
        sim = self.sim
        keys = {k for k in map(ids.normal, body.get("keys", ())) if k}
        changed = []
        for object in PEOPLE:
            table = sim.db.tables[object]
            rows = {r["Id"]: r for r in (*table.lookup("Email", body.get("emails", ())), *table.lookup("Id", keys))}
            for record, row in sorted(rows.items()):
                if not (row.get("IsDeleted") or row.get("HasOptedOutOfEmail") or row.get("IsConverted")):
                    sim.writer.update(object, record, {"HasOptedOutOfEmail": True}, _CONNECT)
                    changed.append(record)
        return {"changed": len(changed), "ids": changed}


def _state(topic: TopicField, row: Row) -> bool | None:
    """What the field says; a checkbox is never null, another field is null unless it holds one of the two values."""
    if topic.true is True:
        return bool(row.get(topic.field, False))
    return {topic.true: True, topic.false: False}.get(row.get(topic.field))


_EMPLOYEE = Actor(options.CRM_USER, allow_duplicates=True)
_FORM = Actor(options.GUEST_USER, allow_duplicates=True)
_CONNECT = Actor(options.CONNECT_USER, allow_duplicates=True)
