"""Data extensions as SOAP objects: creating, changing and deleting their definition."""

from __future__ import annotations

from typing import Any

from connectors.sim.marketing_cloud.extensions import Retention, SchemaError, change_columns, check_columns
from connectors.sim.marketing_cloud.model import Tenant
from connectors.sim.marketing_cloud.values import Column
from connectors.sim.marketing_cloud.xml import Node

MAX_KEY = 36
_SUBSCRIBER_FIELDS = ("Subscriber Key", "Email Address")


def _yes(node: Node, *path: str) -> bool:
    return (node.get(*path) or "").strip().lower() in ("true", "1")


def _number(node: Node, name: str) -> int | None:
    text = (node.get(name) or "").strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _columns(node: Node) -> list[Column]:
    fields = [f for part in node.all("Fields") for f in part.all("Field")]
    return [Column(f.get("Name") or "", f.get("FieldType") or "Text", _number(f, "MaxLength"), _number(f, "Scale"),
                   _yes(f, "IsRequired"), _yes(f, "IsPrimaryKey"), f.get("DefaultValue") or None) for f in fields]


def _sendable(node: Node, columns: list[Column]) -> tuple[str | None, str | None]:
    if not _yes(node, "IsSendable"):
        return None, None
    column = node.get("SendableDataExtensionField", "Name")
    field = node.get("SendableSubscriberField", "Name")
    if field not in _SUBSCRIBER_FIELDS:
        raise SchemaError(f"SendableSubscriberField {field} is not valid; use Subscriber Key or Email Address.")
    if column is None or all(c.name.lower() != column.lower() for c in columns):
        raise SchemaError("SendableDataExtensionField does not name a field of the data extension.")
    if sum(c.type == "EmailAddress" for c in columns) > 1:
        raise SchemaError("A sendable data extension has one EmailAddress field.")
    return column, field


def _retention(node: Node) -> Retention:
    unit = node.get("DataRetentionPeriod") or node.get("DataRetentionPeriodUnitOfMeasure") or "Days"
    return Retention.of(_number(node, "DataRetentionPeriodLength"), unit, _yes(node, "RowBasedRetention"),
                        _yes(node, "DeleteAtEndOfRetentionPeriod"))


def create_extension(tenant: Tenant, mid: int, node: Node) -> dict[str, Any]:
    """:raises SchemaError:"""
    name = (node.get("Name") or "").strip()
    key = (node.get("CustomerKey") or tenant.guid()).strip()
    if not name:
        raise SchemaError("A data extension needs a Name.")
    if len(key) > MAX_KEY:
        raise SchemaError(f"CustomerKey is longer than {MAX_KEY} characters.")
    held = [e for e in tenant.extensions.values() if e.mid == mid]
    if any(e.key.lower() == key.lower() for e in held) or any(e.name.lower() == name.lower() for e in held):
        raise SchemaError("Updating an existing Data Extension definition when doing an add-only operation is not "
                          "allowed: the name or the key is taken.")
    columns = _columns(node)
    if not columns:
        raise SchemaError("A data extension needs fields.")
    check_columns(columns)
    column, field = _sendable(node, columns)
    made = tenant.new_extension(mid, key, name, columns, sendable_field=column, subscriber_field=field,
                                retention=_retention(node), description=node.get("Description") or "")
    return {"StatusMessage": "Data Extension created.", "NewID": 0, "NewObjectID": made.object_id,
            "Object": {"@type": "DataExtension", "PartnerKey": None, "ObjectID": made.object_id,
                       "CustomerKey": made.key, "Name": made.name}}


def _named(tenant: Tenant, mid: int, node: Node) -> Any:
    wanted = node.get("ObjectID")
    found = tenant.extension(mid, node.get("CustomerKey") or "")
    if found is None and wanted:
        found = next((e for e in tenant.extensions.values() if e.mid == mid and e.object_id == wanted), None)
    if found is None:
        raise SchemaError("The data extension does not exist.")
    return found


def update_extension(tenant: Tenant, mid: int, node: Node) -> dict[str, Any]:
    """Name, new fields, longer fields, retention. :raises SchemaError:"""
    extension = _named(tenant, mid, node)
    change_columns(extension, _columns(node))
    for column in extension.columns:
        column.object_id = column.object_id or tenant.guid()
    extension.name = node.get("Name") or extension.name
    if node.get("IsSendable") is not None:
        extension.sendable_field, extension.subscriber_field = _sendable(node, extension.columns)
    if node.get("DataRetentionPeriodLength") is not None:
        extension.retention = _retention(node)
        if extension.retention.row_based and extension.written is None:
            extension.written = dict.fromkeys(extension.rows, tenant.now())
    return {"StatusMessage": "Data Extension updated.", "Object": {"@type": "DataExtension", "PartnerKey": None,
                                                                   "ObjectID": extension.object_id}}


def delete_extension(tenant: Tenant, mid: int, node: Node) -> dict[str, Any]:
    """:raises SchemaError:"""
    extension = _named(tenant, mid, node)
    del tenant.extensions[mid, extension.key.lower()]
    return {"StatusMessage": "Data Extension deleted."}
