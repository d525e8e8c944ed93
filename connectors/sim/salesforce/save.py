"""Creating and changing rows, as a screen or the API does it: field rights, types, rules, history, stamps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from connectors.sim.kernel import Clock

from . import ids, options, values
from .db import Database, Row
from .errors import Refused, not_writable
from .options import Options
from .rules import Rules, compact
from .schema import FieldDef, ObjectDef


@dataclass(frozen=True, slots=True)
class Actor:
    """Who writes. ``api`` = the integration user, to whom field-level security applies."""

    user: str
    api: bool = False
    allow_duplicates: bool = False


class Writer:
    """Saves of single rows. ``locked`` ids answer UNABLE_TO_LOCK_ROW; ``in_approval`` ids answer ENTITY_IS_LOCKED."""

    def __init__(self, db: Database, rules: Rules, opts: Options, clock: Clock, sequence: ids.Sequence,
                 hidden: Callable[[str], Collection[str]]) -> None:
        self.db = db
        self.rules = rules
        self.options = opts
        self.clock = clock
        self.sequence = sequence
        self.hidden = hidden
        """Object -> fields the integration user cannot see."""
        self.locked: set[str] = set()
        self.in_approval: set[str] = set()
        self._required = {name: tuple(f.name for f in spec.fields.values() if f.required and f.formula is None)
                          for name, spec in db.schema.items()}

    def now(self) -> int:
        return int(self.clock.now())

    def new_id(self, object: str) -> str:
        """An id no row has, loaded ones included."""
        rows = self.db.tables[object].rows
        record = self.sequence.next(self.db.schema[object].prefix)
        while record in rows:
            record = self.sequence.next(self.db.schema[object].prefix)
        return record

    # ------------------------------------------------------------------ create

    def create(self, object: str, given: Mapping[str, Any], actor: Actor) -> str:
        """Insert one row; the new id.

        :raises Refused:
        """
        spec = self._writable(object)
        new = self._accept(spec, given, actor, creating=True)
        if object == "Account" and self._is_new_person(new):
            return self._create_person(new, actor)
        if object == "CampaignMember":
            new = self._member(new)
        now = self.now()
        defaults = {f.name: f.default for f in spec.fields.values() if f.default is not None}
        if "OwnerId" in spec.fields:
            defaults["OwnerId"] = actor.user
        stamps = {"Id": self.new_id(object), "CreatedDate": now, "CreatedById": actor.user,
                  "LastModifiedDate": now, "LastModifiedById": actor.user, "SystemModstamp": now}
        row = self.rules.before_save(object, compact({**defaults, **stamps, **new}))
        self.rules.check(object, row, None, allow_duplicates=actor.allow_duplicates,
                         required=self.required(object, row))
        self.db.put(object, row)
        if object in self.options.tracked:
            self._history(object, row["Id"], "created", None, None, actor, now)
        if object == "Campaign":
            self.campaign_statuses(row["Id"], actor)
        return str(row["Id"])

    def campaign_statuses(self, campaign: str, actor: Actor) -> None:
        """The two member statuses every new campaign has."""
        for order, (label, responded) in enumerate((("Sent", False), ("Responded", True)), start=1):
            self.create("CampaignMemberStatus", {"CampaignId": campaign, "Label": label, "HasResponded": responded,
                                                 "IsDefault": not responded, "SortOrder": order}, actor)

    def required(self, object: str, row: Row) -> tuple[str, ...]:
        """Names of the fields a row of this kind may not leave empty."""
        if object == "Account" and row.get("IsPersonAccount"):
            return ()
        if object == "Lead" and self.options.person_accounts:
            return ("LastName",)
        return self._required[object]

    def _is_new_person(self, new: Row) -> bool:
        return self.options.person_accounts and (
            "LastName" in new or new.get("RecordTypeId") == options.PERSON_RECORD_TYPE)

    def _create_person(self, new: Row, actor: Actor) -> str:
        """An account and its one contact, born together."""
        if "Name" in new:
            raise not_writable(["Name"])
        own, contact = self._split_person(new)
        now = self.now()
        account_id, contact_id = self.new_id("Account"), self.new_id("Contact")
        stamps = {"CreatedDate": now, "CreatedById": actor.user, "LastModifiedDate": now,
                  "LastModifiedById": actor.user, "SystemModstamp": now, "OwnerId": actor.user}
        account = {**stamps, **own, "Id": account_id, "IsPersonAccount": True, "PersonContactId": contact_id,
                   "RecordTypeId": options.PERSON_RECORD_TYPE}
        person = compact({**stamps, **contact, "Id": contact_id, "AccountId": account_id})
        person = self.rules.before_save("Contact", person)
        self.rules.check("Contact", person, None, allow_duplicates=actor.allow_duplicates, required=("LastName",))
        self.db.put("Account", compact(account))
        self.db.put("Contact", person)
        return account_id

    def _split_person(self, new: Row) -> tuple[Row, Row]:
        fields = self.db.schema["Account"].fields
        own = {k: v for k, v in new.items() if fields[k].person is None}
        contact = {fields[k].person or k: v for k, v in new.items() if fields[k].person is not None}
        return own, contact

    def _member(self, new: Row) -> Row:
        """A member is a contact or a lead, never both (the contact wins silently), and only once per campaign."""
        if new.get("ContactId"):
            new = {k: v for k, v in new.items() if k != "LeadId"}
        who = "ContactId" if new.get("ContactId") else "LeadId"
        if not new.get(who):
            raise Refused("REQUIRED_FIELD_MISSING", "Required fields are missing: [LeadId, ContactId]",
                          ["LeadId", "ContactId"])
        for other in self.db.tables["CampaignMember"].lookup(who, [new[who]]):
            if other.get("CampaignId") == new.get("CampaignId"):
                raise Refused("DUPLICATE_VALUE", "Already a campaign member.", [who])
        return self._responded({**new, "Status": new.get("Status") or self._default_status(new.get("CampaignId"))})

    def _default_status(self, campaign: str | None) -> str:
        statuses = self.db.tables["CampaignMemberStatus"].lookup("CampaignId", [campaign])
        return next((str(s["Label"]) for s in statuses if s.get("IsDefault")), "Sent")

    def _responded(self, row: Row) -> Row:
        statuses = self.db.tables["CampaignMemberStatus"].lookup("CampaignId", [row.get("CampaignId")])
        responded = any(s.get("HasResponded") and s["Label"] == row.get("Status") for s in statuses)
        first = row.get("FirstRespondedDate") or (values.today(self.now()) if responded else None)
        return {**row, "HasResponded": responded, "FirstRespondedDate": first}

    # ------------------------------------------------------------------ update

    def update(self, object: str, record: str, given: Mapping[str, Any], actor: Actor) -> None:
        """Change one row. The stamps move even when no value does.

        :raises Refused:
        """
        spec = self._writable(object)
        old = self.existing(object, record)
        self._changeable(object, old)
        new = self._accept(spec, given, actor, creating=False)
        if object == "Account" and old.get("IsPersonAccount"):
            self._update_person(old, new, actor)
            return
        if object == "Account" and (wrong := sorted(k for k in new if spec.fields[k].person is not None)):
            raise _bad_names(wrong)
        account = self._person_account(object, old)
        if account is not None and "AccountId" in new:
            raise _bad_names(["AccountId"])
        self.store(object, old, new, actor)
        if account is not None:
            self.store("Account", account, {}, actor)

    def store(self, object: str, old: Row, new: Mapping[str, Any], actor: Actor) -> None:
        """Apply already accepted values to a row: flows, rules, stamps, history.

        :raises Refused:
        """
        now = self.now()
        changed = {**old, **new}
        if object == "CampaignMember" and "Status" in new:
            changed = self._responded(changed)
        if "Email" in new and new["Email"] != old.get("Email") and "EmailBouncedDate" not in new:
            changed = {**changed, "EmailBouncedDate": None, "EmailBouncedReason": None}
        changed |= {"LastModifiedDate": now, "LastModifiedById": actor.user, "SystemModstamp": now}
        row = self.rules.before_save(object, compact(changed))
        self.rules.check(object, row, old, allow_duplicates=actor.allow_duplicates, required=self.required(object, row))
        self.db.put(object, row)
        for name in self.options.tracked.get(object, ()):
            f = self.db.schema[object].fields[name]
            empty = False if f.type == "boolean" else None
            before, after = old.get(name, empty), row.get(name, empty)
            if before != after:
                self._history(object, row["Id"], name, before, after, actor, now)

    def touch(self, object: str, record: str) -> None:
        """Move SystemModstamp only, as automatic processes do; nothing else changes."""
        row = self.db.tables[object].rows[record]
        self.db.put(object, {**row, "SystemModstamp": self.now()})

    def _update_person(self, account: Row, new: Row, actor: Actor) -> None:
        if "Name" in new:
            raise _bad_names(["Name"])
        own, contact = self._split_person(new)
        self.store("Contact", self.existing("Contact", account["PersonContactId"]), contact, actor)
        self.store("Account", account, own, actor)

    def _person_account(self, object: str, row: Row) -> Row | None:
        """The person account a contact row belongs to, if it is one half of it."""
        if object != "Contact" or not row.get("AccountId"):
            return None
        account = self.db.tables["Account"].rows.get(row["AccountId"])
        return account if account is not None and account.get("PersonContactId") == row["Id"] else None

    # ------------------------------------------------------------------ shared

    def existing(self, object: str, record: str) -> Row:
        """The row of an id, deleted ones refused.

        :raises Refused: INVALID_CROSS_REFERENCE_KEY, ENTITY_IS_DELETED
        """
        row = self.db.tables[object].rows.get(record)
        if row is None:
            raise Refused("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", status=404)
        if row.get("IsDeleted"):
            raise Refused("ENTITY_IS_DELETED", "entity is deleted", status=404)
        return row

    def _changeable(self, object: str, row: Row) -> None:
        if row["Id"] in self.locked:
            raise lock_row(row["Id"])
        if row["Id"] in self.in_approval:
            raise Refused("ENTITY_IS_LOCKED", "the entity is locked for editing")
        if object == "Lead" and row.get("IsConverted"):
            raise Refused("CANNOT_UPDATE_CONVERTED_LEAD", "cannot reference converted lead")

    def _writable(self, object: str) -> ObjectDef:
        spec = self.db.schema[object]
        if not spec.writable:
            raise Refused("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", f"entity type cannot be written: {object}")
        return spec

    def _accept(self, spec: ObjectDef, given: Mapping[str, Any], actor: Actor, *, creating: bool) -> Row:
        """The stored form of what the caller sent.

        :raises Refused: an unknown, unwritable or ill-typed field
        """
        out: Row = {}
        denied: list[str] = []
        hidden = self.hidden(spec.name) if actor.api else ()
        read_only = self.options.read_only_fields.get(spec.name, ()) if actor.api else ()
        for name, value in given.items():
            if name == "attributes":
                continue
            f = spec.lower.get(name.lower())
            if f is None or f.name in hidden:
                raise Refused("INVALID_FIELD", f"No such column '{name}' on sobject of type {spec.name}")
            if not (f.createable if creating else f.updateable) or f.name in read_only:
                denied.append(f.name)
                continue
            out[f.name] = values.coerce(f, value)
            if f.type == "reference" and out[f.name] is not None:
                self._pointing(f, out[f.name])
        if denied:
            raise not_writable(denied)
        return out

    def _pointing(self, f: FieldDef, record: str) -> None:
        if not f.reference_to:
            return
        target = self.db.object_of(record)
        if target not in f.reference_to:
            raise Refused("FIELD_INTEGRITY_EXCEPTION", f"{f.name}: id value of incorrect type: {record}", [f.name])
        if record not in self.db.tables[target].rows:
            raise Refused("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", [f.name])

    def _history(self, object: str, record: str, name: str, before: Any, after: Any, actor: Actor, now: int) -> None:
        history = object + "History"
        f = self.db.schema[object].fields.get(name)
        row = {"Id": self.new_id(history), object + "Id": record, "Field": name,
               "DataType": _DATA_TYPES.get(f.type, "Text") if f else "Text", "CreatedById": actor.user,
               "CreatedDate": now}
        for key, value in (("OldValue", before), ("NewValue", after)):
            if value is not None:
                row[key] = values.rest_datetime(value) if f is not None and f.type == "datetime" else value
        self.db.put(history, row)


_DATA_TYPES = {"boolean": "Boolean", "email": "Email", "datetime": "DateTime", "date": "DateOnly",
               "picklist": "Picklist",
               "multipicklist": "MultiEnum", "reference": "EntityId", "double": "Double", "currency": "Currency"}


def lock_row(record: str) -> Refused:
    """Another transaction holds the row."""
    return Refused("UNABLE_TO_LOCK_ROW", f"unable to obtain exclusive access to this record or 1 records: {record}")


def _bad_names(names: list[str]) -> Refused:
    return Refused("INVALID_FIELD_FOR_INSERT_UPDATE",
                   f"Account: bad field names on insert/update call: {', '.join(names)}", names)
