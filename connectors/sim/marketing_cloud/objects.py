"""What SOAP can retrieve: each object type with its properties, and where its rows come from.

A property is a name as clients write it (dots reach into nested elements), a kind that decides how filters compare
it, and a function from a row. The table is also what Describe answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from connectors.sim.marketing_cloud.extensions import DataExtension
from connectors.sim.marketing_cloud.model import (
    Job,
    MailList,
    Member,
    SendDefinition,
    Tenant,
    Unit,
)
from connectors.sim.marketing_cloud.values import Column

Getter = Callable[[Any], Any]
Wanted = Mapping[str, list[str]]
"""Values that the filter demands of a property (equals or IN): a source may use them to look rows up."""


class Prop(NamedTuple):
    """``kind``: text, int, bool, instant (epoch seconds), nest (a dict or list, not filterable)."""

    kind: str
    get: Getter
    writable: bool = False


@dataclass(frozen=True, slots=True)
class ObjectType:
    """``pairs`` objects come as ObjectExtension name/value pairs instead of elements."""

    name: str
    props: Mapping[str, Prop]
    rows: Callable[[Tenant, list[int], Wanted], Iterable[Any]]
    scope: str
    pairs: bool = False


class SubscriberView(NamedTuple):
    """A subscriber as one business unit sees it."""

    tenant: Tenant
    row: Any
    mid: int


class MemberView(NamedTuple):
    list: MailList
    key: str
    member: Member
    number: int


class FieldView(NamedTuple):
    extension: DataExtension
    column: Column
    ordinal: int


class ListSendView(NamedTuple):
    job: Job
    list_id: int


# --------------------------------------------------------------------------- where rows come from

def _subscribers(tenant: Tenant, mids: list[int], wanted: Wanted) -> Iterable[SubscriberView]:
    mid = mids[0]
    if "SubscriberKey" in wanted:
        found = {s.id: s for k in wanted["SubscriberKey"] if (s := tenant.find(k)) is not None}
        return [SubscriberView(tenant, s, mid) for s in found.values()]
    if "EmailAddress" in wanted:
        return [SubscriberView(tenant, s, mid) for e in dict.fromkeys(wanted["EmailAddress"])
                for s in tenant.with_email(e)]
    return [SubscriberView(tenant, s, mid) for s in tenant.live()]


def _members(tenant: Tenant, mids: list[int], wanted: Wanted) -> Iterable[MemberView]:
    masters = {tenant.units[m].all_subscribers: m for m in mids}
    if "ListID" in wanted:
        numbers = {int(v) for v in wanted["ListID"] if v.strip().isdigit()}
    else:
        numbers = {n for n, each in tenant.lists.items() if each.mid in mids}
    keys = [k.lower() for k in wanted["SubscriberKey"]] if "SubscriberKey" in wanted else None
    for number in sorted(numbers):
        each = tenant.lists.get(number)
        if each is None or each.mid not in mids:
            continue
        if number in masters:
            yield from _everyone(tenant, each, masters[number], keys)
            continue
        for key in each.members if keys is None else [k for k in dict.fromkeys(keys) if k in each.members]:
            subscriber = tenant.find(key)
            if subscriber is not None:
                yield MemberView(each, subscriber.key, each.members[key], subscriber.id)


def _everyone(tenant: Tenant, each: MailList, mid: int, keys: list[str] | None) -> Iterable[MemberView]:
    found = tenant.live() if keys is None else (s for k in keys if (s := tenant.find(k)) is not None)
    for s in found:
        changed = (s.units or {}).get(mid) or s.unsubscribed or s.created
        yield MemberView(each, s.key, Member(tenant.status_in(s, mid), s.created, changed, "API"), s.id)


def _fields(tenant: Tenant, mids: list[int], wanted: Wanted) -> Iterable[FieldView]:
    keys = wanted.get("DataExtension.CustomerKey")
    for each in tenant.extensions.values():
        if each.mid in mids and (keys is None or each.key.lower() in {k.lower() for k in keys}):
            for ordinal, column in enumerate(each.columns):
                yield FieldView(each, column, ordinal)


def _of(table: str) -> Callable[[Tenant, list[int], Wanted], Iterable[Any]]:
    def rows(tenant: Tenant, mids: list[int], wanted: Wanted) -> Iterable[Any]:
        held = getattr(tenant, table)
        return [r for r in (held.values() if isinstance(held, dict) else held) if r.mid in mids]
    return rows


def _changes(tenant: Tenant, mids: list[int], wanted: Wanted) -> Iterable[Any]:
    """A business unit also sees what moved the enterprise's row, for that moves its own status."""
    return [e for e in tenant.changes if e.mid in mids or e.mid == tenant.eid]


def _list_sends(tenant: Tenant, mids: list[int], wanted: Wanted) -> Iterable[ListSendView]:
    for job in tenant.jobs.values():
        if job.mid in mids:
            yield ListSendView(job, job.list_id or tenant.units[job.mid].all_subscribers)


def _units(tenant: Tenant, mids: list[int], wanted: Wanted) -> Iterable[tuple[Tenant, Unit]]:
    visible = tenant.units.values() if tenant.eid in mids else [tenant.units[m] for m in mids]
    return [(tenant, u) for u in visible]


def _list_type(row: MailList) -> str:
    return row.type


def _definition_lists(row: SendDefinition) -> list[dict[str, Any]]:
    return [{"SendDefinitionListType": "SourceList", "CustomObjectID": row.extension_id,
             "DataSourceTypeID": "CustomObject", "List": {"PartnerKey": None, "ID": row.list_id, "ObjectID": None}}]


def _retention(row: DataExtension) -> dict[str, Any]:
    r = row.retention
    return {"length": r.length, "unit": r.unit if r.length else None, "until": r.retain_until or None}


# --------------------------------------------------------------------------- the table

def _event_props(kind: str) -> dict[str, Prop]:
    return {
        "SubscriberKey": Prop("text", lambda e: e.key), "EventDate": Prop("instant", lambda e: e.at),
        "SendID": Prop("int", lambda e: e.job), "BatchID": Prop("int", lambda e: e.batch),
        "EventType": Prop("text", lambda e: kind), "Client.ID": Prop("int", lambda e: e.mid),
        "CreatedDate": Prop("instant", lambda e: e.at),
        "TriggeredSendDefinitionObjectID": Prop("text", lambda e: getattr(e, "triggered", None)),
    }


_SUBSCRIBER: dict[str, Prop] = {
    "ID": Prop("int", lambda v: v.row.id), "PartnerKey": Prop("text", lambda v: None),
    "ObjectID": Prop("text", lambda v: None), "CreatedDate": Prop("instant", lambda v: v.row.created),
    "Client.ID": Prop("int", lambda v: v.mid),
    "EmailAddress": Prop("text", lambda v: v.row.email, True), "SubscriberKey": Prop("text", lambda v: v.row.key, True),
    "UnsubscribedDate": Prop("instant", lambda v: (v.row.units or {}).get(v.mid) or v.row.unsubscribed),
    "Status": Prop("text", lambda v: v.tenant.status_in(v.row, v.mid), True),
    "EmailTypePreference": Prop("text", lambda v: "HTML", True),
}
_MEMBER: dict[str, Prop] = {
    "ID": Prop("int", lambda v: v.number), "ObjectID": Prop("text", lambda v: None),
    "SubscriberKey": Prop("text", lambda v: v.key), "ListID": Prop("int", lambda v: v.list.id),
    "Status": Prop("text", lambda v: v.member.status), "CreatedDate": Prop("instant", lambda v: v.member.created),
    "ModifiedDate": Prop("instant", lambda v: v.member.modified), "Client.ID": Prop("int", lambda v: v.list.mid),
}
_LIST: dict[str, Prop] = {
    "ID": Prop("int", lambda r: r.id), "ObjectID": Prop("text", lambda r: None),
    "ListName": Prop("text", lambda r: r.name, True), "CustomerKey": Prop("text", lambda r: r.key, True),
    "Category": Prop("int", lambda r: 0), "Description": Prop("text", lambda r: None, True),
    "Type": Prop("text", _list_type, True), "ListClassification": Prop("text", lambda r: r.classification, True),
    "CreatedDate": Prop("instant", lambda r: r.created), "ModifiedDate": Prop("instant", lambda r: r.created),
    "Client.ID": Prop("int", lambda r: r.mid),
}
_EXTENSION: dict[str, Prop] = {
    "ObjectID": Prop("text", lambda r: r.object_id), "CustomerKey": Prop("text", lambda r: r.key, True),
    "Name": Prop("text", lambda r: r.name, True), "Description": Prop("text", lambda r: r.description, True),
    "IsSendable": Prop("bool", lambda r: r.sendable_field is not None, True),
    "IsTestable": Prop("bool", lambda r: False),
    "SendableDataExtensionField.Name": Prop("text", lambda r: r.sendable_field, True),
    "SendableSubscriberField.Name": Prop("text", lambda r: r.subscriber_field
                                         and "_" + r.subscriber_field.replace(" ", ""), True),
    "RowBasedRetention": Prop("bool", lambda r: r.retention.row_based, True),
    "DeleteAtEndOfRetentionPeriod": Prop(
        "bool", lambda r: r.retention.days is not None and not r.retention.row_based
        and not r.retention.delete_extension, True),
    "ResetRetentionPeriodOnImport": Prop("bool", lambda r: False, True),
    "DataRetentionPeriodLength": Prop("int", lambda r: _retention(r)["length"], True),
    "DataRetentionPeriod": Prop("text", lambda r: _retention(r)["unit"], True),
    "DataRetentionPeriodUnitOfMeasure": Prop("text", lambda r: _retention(r)["unit"], True),
    "RetainUntil": Prop("text", lambda r: _retention(r)["until"], True),
    "CategoryID": Prop("int", lambda r: 0, True), "Client.ID": Prop("int", lambda r: r.mid),
    "CreatedDate": Prop("instant", lambda r: r.created), "ModifiedDate": Prop("instant", lambda r: r.modified),
    "Status": Prop("text", lambda r: None),
}
_FIELD: dict[str, Prop] = {
    "ObjectID": Prop("text", lambda v: v.column.object_id),
    "CustomerKey": Prop("text", lambda v: f"[{v.extension.key}].[{v.column.name}]"),
    "Name": Prop("text", lambda v: v.column.name, True), "FieldType": Prop("text", lambda v: v.column.type, True),
    "MaxLength": Prop("int", lambda v: v.column.length, True), "Scale": Prop("int", lambda v: v.column.scale, True),
    "IsRequired": Prop("bool", lambda v: v.column.required or v.column.primary, True),
    "IsPrimaryKey": Prop("bool", lambda v: v.column.primary, True), "Ordinal": Prop("int", lambda v: v.ordinal, True),
    "DefaultValue": Prop("text", lambda v: v.column.default, True), "Client.ID": Prop("int", lambda v: v.extension.mid),
    "DataExtension.CustomerKey": Prop("text", lambda v: v.extension.key),
}
_UNSUB: dict[str, Prop] = {
    **_event_props("Unsubscribe"), "List.ID": Prop("int", lambda e: e.list_id),
    "IsMasterUnsubscribed": Prop("bool", lambda e: e.master),
}
_BOUNCE: dict[str, Prop] = {
    **_event_props("HardBounce"), "EventType": Prop("text", lambda e: "HardBounce" if e.hard else "SoftBounce"),
    "SMTPCode": Prop("text", lambda e: "550" if e.hard else "452"),
    "BounceCategory": Prop("text", lambda e: "Hard bounce" if e.hard else "Soft bounce"),
    "BounceType": Prop("text", lambda e: "immediate"),
    "SMTPReason": Prop("text", lambda e: "User Unknown" if e.hard else "Mailbox Full"),
}
_CHANGE: dict[str, Prop] = {
    "Client.ID": Prop("int", lambda e: e.mid), "SubscriberID": Prop("int", lambda e: e.subscriber),
    "SubscriberKey": Prop("text", lambda e: e.key), "ReasonUnsub": Prop("text", lambda e: e.reason),
    "CurrentStatus": Prop("text", lambda e: e.after), "PreviousStatus": Prop("text", lambda e: e.before),
    "CreatedDate": Prop("instant", lambda e: e.at),
}
_SEND: dict[str, Prop] = {
    "ID": Prop("int", lambda j: j.id), "Client.ID": Prop("int", lambda j: j.mid),
    "EmailSendDefinition.CustomerKey": Prop("text", lambda j: j.definition),
    "EmailName": Prop("text", lambda j: j.name), "Subject": Prop("text", lambda j: j.name),
    "SendDate": Prop("instant", lambda j: j.at), "SentDate": Prop("instant", lambda j: j.at),
    "CreatedDate": Prop("instant", lambda j: j.at), "Status": Prop("text", lambda j: "Complete"),
    "NumberSent": Prop("int", lambda j: j.sent), "HardBounces": Prop("int", lambda j: j.hard),
    "SoftBounces": Prop("int", lambda j: j.soft), "Unsubscribes": Prop("int", lambda j: j.unsubscribes),
    "NumberDelivered": Prop("int", lambda j: j.sent - j.hard - j.soft),
    "Duplicates": Prop("int", lambda j: j.skipped.get("duplicate", 0) + j.skipped.get("duplicate_email", 0)),
    "InvalidAddresses": Prop("int", lambda j: j.skipped.get("invalid_address", 0)),
    "MissingAddresses": Prop("int", lambda j: j.skipped.get("missing_address", 0)),
    "ExistingUnsubscribes": Prop("int", lambda j: j.skipped.get("unsubscribed", 0)
                                 + j.skipped.get("unsubscribed_list", 0)),
    "ExistingUndeliverables": Prop("int", lambda j: j.skipped.get("held", 0)),
}
_LIST_SEND: dict[str, Prop] = {
    "SendID": Prop("int", lambda v: v.job.id), "List.ID": Prop("int", lambda v: v.list_id),
    "CustomObjectID": Prop("text", lambda v: None), "NumberSent": Prop("int", lambda v: v.job.sent),
    "Unsubscribes": Prop("int", lambda v: v.job.unsubscribes), "Client.ID": Prop("int", lambda v: v.job.mid),
}
_DEFINITION: dict[str, Prop] = {
    "ObjectID": Prop("text", lambda r: r.object_id), "CustomerKey": Prop("text", lambda r: r.key),
    "Name": Prop("text", lambda r: r.name), "EmailSubject": Prop("text", lambda r: r.name),
    "SendClassification.CustomerKey": Prop("text", lambda r: r.classification),
    "SendDefinitionList": Prop("nest", _definition_lists), "DeduplicateByEmail": Prop("bool", lambda r: r.dedupe),
    "Client.ID": Prop("int", lambda r: r.mid),
}
_TRIGGERED: dict[str, Prop] = {
    "ObjectID": Prop("text", lambda r: r.object_id), "CustomerKey": Prop("text", lambda r: r.key),
    "Name": Prop("text", lambda r: r.name), "List.ID": Prop("int", lambda r: r.list_id),
    "SendClassification.CustomerKey": Prop("text", lambda r: r.classification),
    "TriggeredSendStatus": Prop("text", lambda r: r.status), "AutoAddSubscribers": Prop("bool", lambda r: True),
    "AutoUpdateSubscribers": Prop("bool", lambda r: True), "Client.ID": Prop("int", lambda r: r.mid),
}
_CLASSIFICATION: dict[str, Prop] = {
    "ObjectID": Prop("text", lambda r: r.object_id), "CustomerKey": Prop("text", lambda r: r.key),
    "Name": Prop("text", lambda r: r.name), "SendClassificationType": Prop("text", lambda r: r.type),
    "HonorPublicationListOptOutsForTransactionalSends": Prop("bool", lambda r: r.honor),
    "Client.ID": Prop("int", lambda r: r.mid),
}
_UNIT: dict[str, Prop] = {
    "ID": Prop("int", lambda v: v[1].mid), "Name": Prop("text", lambda v: v[1].name),
    "CustomerKey": Prop("text", lambda v: str(v[1].mid)), "ObjectID": Prop("text", lambda v: None),
    "ParentID": Prop("int", lambda v: 0 if v[1].mid == v[0].eid else v[0].eid),
    "MasterUnsubscribeBehavior": Prop("text", lambda v: v[1].behavior), "Client.ID": Prop("int", lambda v: v[1].mid),
    "IsActive": Prop("bool", lambda v: True),
}

_LISTS, _DATA, _TRACKING = "list_and_subscribers", "data_extensions", "tracking_events"
TYPES: dict[str, ObjectType] = {t.name: t for t in (
    ObjectType("Subscriber", _SUBSCRIBER, _subscribers, _LISTS),
    ObjectType("ListSubscriber", _MEMBER, _members, _LISTS),
    ObjectType("List", _LIST, _of("lists"), _LISTS),
    ObjectType("DataExtension", _EXTENSION, _of("extensions"), _DATA),
    ObjectType("DataExtensionField", _FIELD, _fields, _DATA),
    ObjectType("UnsubEvent", _UNSUB, _of("unsubs"), _TRACKING),
    ObjectType("BounceEvent", _BOUNCE, _of("bounces"), _TRACKING),
    ObjectType("SubscriberStatusEvent", _CHANGE, _changes, _TRACKING, pairs=True),
    ObjectType("Send", _SEND, _of("jobs"), "email"),
    ObjectType("ListSend", _LIST_SEND, _list_sends, "email"),
    ObjectType("EmailSendDefinition", _DEFINITION, _of("definitions"), "email"),
    ObjectType("TriggeredSendDefinition", _TRIGGERED, _of("triggered"), "email"),
    ObjectType("SendClassification", _CLASSIFICATION, _of("classifications"), "email"),
    ObjectType("BusinessUnit", _UNIT, _units, ""),
)}
