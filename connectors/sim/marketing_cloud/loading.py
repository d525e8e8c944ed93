"""Filling a tenant with rows in the vendor's words.

Tables, each a list of dicts; ``Client.ID`` names the business unit and may be left out:

List                        ID, ListName, CustomerKey, ListClassification, Type
Subscriber                  SubscriberKey, EmailAddress, Status, Units ([mid, …] that unsubscribed her)
ListSubscriber              ListID, SubscriberKey, Status
DataExtension               CustomerKey, Name, Fields [{Name, FieldType, MaxLength, Scale, IsRequired, IsPrimaryKey,
                            DefaultValue}], SendableDataExtensionField, SendableSubscriberField, and the retention
                            properties
DataExtensionObject[KEY]    one value per column
AutoSuppression             EmailAddress
GlobalUnsubscribe           EmailAddress
SendClassification          CustomerKey, SendClassificationType, HonorPublicationListOptOutsForTransactionalSends
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.sim.marketing_cloud.acts import Names
from connectors.sim.marketing_cloud.extensions import Retention, check_columns
from connectors.sim.marketing_cloud.model import ACTIVE, PUBLICATION, Classification, Member, SendDefinition, Tenant
from connectors.sim.marketing_cloud.values import Column

_ROWS = "DataExtensionObject["
_ORDER = ("List", "Subscriber", "ListSubscriber", "DataExtension", "AutoSuppression", "GlobalUnsubscribe",
          "SendClassification")


def load(tables_of: Tenant, tables: Mapping[str, list[dict[str, Any]]], home: int) -> None:
    """Load every table, definitions before what refers to them.

    :raises ValueError: an unknown table
    :raises CellError, SchemaError: a row or definition the platform would refuse
    """
    loaders = {"List": _list, "Subscriber": _subscriber, "ListSubscriber": _member, "DataExtension": _extension,
               "AutoSuppression": _suppressed, "GlobalUnsubscribe": _global, "SendClassification": _classification}
    strange = [t for t in tables if t not in loaders and not t.startswith(_ROWS)]
    if strange:
        raise ValueError(f"Unknown tables: {', '.join(strange)}")
    for name in _ORDER:
        for row in tables.get(name, ()):
            loaders[name](tables_of, row, int(row.get("Client.ID", home)))
    for name, rows in tables.items():
        if name.startswith(_ROWS):
            _rows(tables_of, name[len(_ROWS):-1], rows, home)


def _list(tenant: Tenant, row: Mapping[str, Any], mid: int) -> None:
    number = int(row["ID"])
    if number in tenant.lists:
        tenant.lists[number].name = str(row.get("ListName", tenant.lists[number].name))
        return
    tenant.new_list(mid, str(row["ListName"]), list_id=number, key=str(row.get("CustomerKey", "")),
                    classification=str(row.get("ListClassification", PUBLICATION)),
                    type_=str(row.get("Type", "Private")))


def _subscriber(tenant: Tenant, row: Mapping[str, Any], mid: int) -> None:
    made = tenant.add_subscriber(str(row["SubscriberKey"]), str(row["EmailAddress"]), str(row.get("Status", ACTIVE)))
    if row.get("Units"):
        made.units = {int(m): made.created for m in row["Units"]}


def _member(tenant: Tenant, row: Mapping[str, Any], mid: int) -> None:
    now = tenant.now()
    tenant.lists[int(row["ListID"])].members[str(row["SubscriberKey"]).lower()] = Member(
        str(row.get("Status", ACTIVE)), now, now, str(row.get("AddMethod", "Imported")))


def _extension(tenant: Tenant, row: Mapping[str, Any], mid: int) -> None:
    columns = [Column(str(f["Name"]), str(f.get("FieldType", "Text")), f.get("MaxLength"), f.get("Scale"),
                      bool(f.get("IsRequired", False)), bool(f.get("IsPrimaryKey", False)), f.get("DefaultValue"))
               for f in row["Fields"]]
    check_columns(columns)
    sendable = row.get("SendableDataExtensionField")
    tenant.new_extension(
        mid, str(row["CustomerKey"]), str(row.get("Name", row["CustomerKey"])), columns, sendable_field=sendable,
        subscriber_field=str(row.get("SendableSubscriberField", "Subscriber Key")) if sendable else None,
        retention=Retention.of(row.get("DataRetentionPeriodLength"), str(row.get("DataRetentionPeriod", "Days")),
                               bool(row.get("RowBasedRetention", False)),
                               bool(row.get("DeleteAtEndOfRetentionPeriod", False))))


def _suppressed(tenant: Tenant, row: Mapping[str, Any], mid: int) -> None:
    tenant.suppressed.setdefault(mid, set()).add(str(row["EmailAddress"]).lower())


def _global(tenant: Tenant, row: Mapping[str, Any], mid: int) -> None:
    tenant.globally_unsubscribed.add(str(row["EmailAddress"]).lower())


def _classification(tenant: Tenant, row: Mapping[str, Any], mid: int) -> None:
    key = str(row["CustomerKey"])
    tenant.classifications[mid, key] = Classification(
        mid, key, str(row.get("Name", key)), tenant.guid(), str(row.get("SendClassificationType", "Marketing")),
        bool(row.get("HonorPublicationListOptOutsForTransactionalSends", False)))


def _rows(tenant: Tenant, key: str, rows: list[dict[str, Any]], home: int) -> None:
    """Rows of one data extension; a key that several business units have takes the home unit's."""
    extension = tenant.extension(home, key)
    if extension is None:
        extension = next((e for e in tenant.extensions.values() if e.key.lower() == key.lower()), None)
    if extension is None:
        raise ValueError(f"No data extension {key}")
    mode = "upsert" if extension.primary else "insert"
    now = tenant.now()
    for row in rows:
        extension.write(row, mode, now, tenant.tz)


def definitions(tenant: Tenant, names: Names) -> None:
    """A user-initiated send for every audience: the pair of data extension and list that mails to it are tied to."""
    for name in names.audiences:
        mid, key, topic = names.audience(name)
        extension = tenant.extension(mid, key)
        if extension is None or (mid, f"send-{name}") in tenant.definitions:
            continue
        number = names.list_of(topic, mid).id if topic else tenant.units[mid].all_subscribers
        tenant.definitions[mid, f"send-{name}"] = SendDefinition(
            mid, f"send-{name}", f"{name} mailing", tenant.guid(), extension.key, extension.object_id,
            number, "Default Commercial")
