"""SOAP Create, Update and Delete: one result per object, in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from connectors.sim.kernel import Faults
from connectors.sim.marketing_cloud import people
from connectors.sim.marketing_cloud.access import SIDE
from connectors.sim.marketing_cloud.definitions import create_extension, delete_extension, update_extension
from connectors.sim.marketing_cloud.extensions import SchemaError
from connectors.sim.marketing_cloud.model import ACTIVE, STATUSES, UNSUBSCRIBED, Subscriber, Tenant
from connectors.sim.marketing_cloud.people import SubscriberError
from connectors.sim.marketing_cloud.values import CellError
from connectors.sim.marketing_cloud.xml import Node, element

Result = dict[str, Any]
_SCOPES = {"Subscriber": "list_and_subscribers_write", "List": "list_and_subscribers_write",
           "DataExtension": "data_extensions_write", "DataExtensionObject": "data_extensions_write"}


@dataclass(frozen=True, slots=True)
class Job:
    """One message: ``add`` = SaveAction UpdateAdd or AddOnly was asked for."""

    tenant: Tenant
    mid: int
    action: str
    upsert: bool
    faults: Faults


class Refused(ValueError):
    """One object refused, with SOAP ErrorCode and extra elements of its result."""

    def __init__(self, code: int, message: str, extra: Result | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.extra = extra or {}


def answer(tenant: Tenant, message: Node, action: str, mid: int, scopes: frozenset[str] | None,
           faults: Faults) -> tuple[str, int]:
    """The content of a Create, Update or Delete response and how many objects were written."""
    saves = [s for o in message.all("Options") for p in o.all("SaveOptions") for s in p.all("SaveOption")]
    upsert = any(s.get("SaveAction") == "UpdateAdd" for s in saves)
    objects = message.all("Objects")
    partial = faults.active(SIDE, "partial", f"POST /Service.asmx {action}", objects[0].type if objects else None)
    results: list[Result] = []
    for ordinal, node in enumerate(objects):
        try:
            if partial is not None and ordinal >= len(objects) // 2:
                raise Refused(2, "An unexpected error occurred while processing this object.")
            if scopes is not None and _SCOPES.get(node.type, "") not in scopes:
                raise Refused(1, f"API Permission Failed. Object Type: {node.type}, Action: {action}")
            done = _one(Job(tenant, _client(tenant, node, mid), action, upsert, faults), node)
            results.append({"StatusCode": "OK", "StatusMessage": done.pop("StatusMessage"), "OrdinalID": ordinal,
                            **done})
        except (Refused, SubscriberError, SchemaError, CellError) as error:
            results.append(_failure(error, node, ordinal, action))
    failed = sum(r["StatusCode"] == "Error" for r in results)
    overall = "OK" if not failed else "Error" if failed == len(results) else "Has Errors"
    content = "".join(element("Results", r) for r in results)
    return content + element("RequestID", tenant.guid()) + element("OverallStatus", overall), len(results) - failed


def _failure(error: Exception, node: Node, ordinal: int, action: str) -> Result:
    code = error.code if isinstance(error, Refused | SubscriberError) else 2
    extra = error.extra if isinstance(error, Refused) else {}
    made: Result = {"StatusCode": "Error", "StatusMessage": str(error), "OrdinalID": ordinal, "ErrorCode": code}
    if action == "Create":
        made["NewID"] = 0
    if node.type == "DataExtension" or node.type == "DataExtensionObject":
        type_ = f"{node.type.replace('Object', '')}{action}Result"
        made = {"@type": type_, **made, "ErrorMessage": str(error), **extra}
    if node.type == "Subscriber" and action != "Delete":
        made["Object"] = _echo(node)
    return made


def _client(tenant: Tenant, node: Node, mid: int) -> int:
    """The business unit to act in: the token's, or the object's Client where the token is the enterprise's."""
    asked = node.get("Client", "ID")
    if not asked:
        return mid
    if not asked.strip().isdigit() or int(asked) not in tenant.units or (int(asked) != mid and mid != tenant.eid):
        raise Refused(1, "The client is not accessible.")
    return int(asked)


def _one(job: Job, node: Node) -> Result:
    handler = _HANDLERS.get((node.type, job.action))
    if handler is None:
        raise Refused(1, f"Unable to find a handler for object type: {node.type}. Object types are case-sensitive, "
                         "check spelling.")
    return handler(job, node)


# --------------------------------------------------------------------------- subscribers

def _echo(node: Node, number: int | None = None) -> Result:
    made: Result = {"@type": "Subscriber", "PartnerKey": None}
    if number is not None:
        made["ID"] = number
    made["ObjectID"] = None
    for name in ("EmailAddress", "SubscriberKey"):
        if node.get(name) is not None:
            made[name] = node.get(name)
    return made


def _create_subscriber(job: Job, node: Node) -> Result:
    key, email = node.get("SubscriberKey"), node.get("EmailAddress")
    if not email and not key:
        raise SubscriberError(12000, "InvalidEmailAddress")
    found = job.tenant.find(key or email or "")
    if found is not None:
        if not job.upsert:
            raise SubscriberError(12014, "The subscriber is already on the list")
        _change_subscriber(job, node, found)
        return {"StatusMessage": "Updated Subscriber.", "NewID": found.id, "Object": _echo(node, found.id)}
    people.check_email(job.tenant, email or "")
    status = node.get("Status") or ACTIVE
    _check_status(status)
    _check_lists(job, node)
    if (key or email or "").lower() in job.tenant.deleting:
        raise SubscriberError(12001, "The contact is being deleted")
    made = job.tenant.add_subscriber(key or email or "", email or "")
    if status != ACTIVE:
        people.set_master(job.tenant, made, status, job.mid, people.BY_API)
    _change_attributes(made, node)
    _apply_lists(job, node, made, fresh=True)
    return {"StatusMessage": "Created Subscriber.", "NewID": made.id, "Object": _echo(node, made.id)}


def _update_subscriber(job: Job, node: Node) -> Result:
    key = node.get("SubscriberKey") or node.get("EmailAddress") or ""
    found = job.tenant.find(key)
    if found is None:
        if job.upsert:
            return _create_subscriber(job, node)
        raise SubscriberError(12001, "SubscriberNotFound")
    _change_subscriber(job, node, found)
    return {"StatusMessage": "Updated Subscriber.", "Object": _echo(node, found.id)}


def _change_subscriber(job: Job, node: Node, found: Subscriber) -> None:
    """All checks come first: a refused object changes nothing."""
    email, status = node.get("EmailAddress"), node.get("Status")
    if email and email != found.email:
        people.check_email(job.tenant, email)
    if status:
        _check_status(status)
    _check_lists(job, node)
    _missing_rows(job, node, found)
    if email and email != found.email:
        job.tenant.set_email(found, email)
    if status:
        people.set_master(job.tenant, found, status, job.mid, people.BY_API if status == UNSUBSCRIBED else "")
    _change_attributes(found, node)
    _apply_lists(job, node, found, fresh=False)


def _check_status(status: str, allowed: tuple[str, ...] = STATUSES) -> None:
    if status not in allowed:
        raise SubscriberError(12, f"{status} is not a valid status.")


def _change_attributes(found: Subscriber, node: Node) -> None:
    pairs = {n: v for a in node.all("Attributes") for n, v in [(a.get("Name"), a.get("Value") or "")] if n}
    if pairs:
        found.attributes = {**(found.attributes or {}), **pairs}


def _check_lists(job: Job, node: Node) -> None:
    for each in node.all("Lists"):
        number = (each.get("ID") or "").strip()
        target = job.tenant.lists.get(int(number)) if number.isdigit() else None
        if target is None or target.mid != job.mid:
            raise SubscriberError(12012, "The list does not exist in this account")
        _check_status(each.get("Status") or ACTIVE, (ACTIVE, UNSUBSCRIBED, "Deleted"))
        if (each.get("Action") or "create") not in ("create", "update", "delete", "upsert"):
            raise SubscriberError(12, "The list action is not valid.")


def _missing_rows(job: Job, node: Node, found: Subscriber) -> None:
    """Action create wants a missing row, update and delete a present one."""
    for each in node.all("Lists"):
        number, action = int(each.get("ID") or "0"), each.get("Action") or "create"
        if number == job.tenant.units[job.mid].all_subscribers or job.upsert:
            continue
        present = found.key.lower() in job.tenant.lists[number].members
        if action == "create" and present:
            raise SubscriberError(12014, "The subscriber is already on the list")
        if action in ("update", "delete") and not present:
            raise SubscriberError(12001, "The subscriber is not on the list")


def _apply_lists(job: Job, node: Node, found: Subscriber, fresh: bool) -> None:
    for each in node.all("Lists"):
        target = job.tenant.lists[int(each.get("ID") or "0")]
        action, status = each.get("Action") or "create", each.get("Status")
        if target.id == job.tenant.units[job.mid].all_subscribers:
            if status and action != "delete":
                people.set_master(job.tenant, found, status, job.mid, people.BY_API)
            continue
        if action == "delete" or status == "Deleted":
            people.remove_member(target, found)
        elif status:
            people.set_list(job.tenant, found, target, status, "API")
        elif found.key.lower() not in target.members:
            people.set_list(job.tenant, found, target, ACTIVE, "API")


def _delete_subscriber(job: Job, node: Node) -> Result:
    found = job.tenant.find(node.get("SubscriberKey") or node.get("EmailAddress") or "")
    if found is None:
        raise SubscriberError(12001, "SubscriberNotFound")
    job.tenant.remove_subscriber(found)
    return {"StatusMessage": "Subscriber deleted"}


# --------------------------------------------------------------------------- lists

def _create_list(job: Job, node: Node) -> Result:
    name = node.get("ListName") or ""
    if not name:
        raise Refused(1, "A list needs a ListName.")
    made = job.tenant.new_list(job.mid, name, key=node.get("CustomerKey") or "",
                               classification=node.get("ListClassification") or "ExactTargetList",
                               type_=node.get("Type") or "Private")
    return {"StatusMessage": "Created List.", "NewID": made.id,
            "Object": {"@type": "List", "PartnerKey": None, "ID": made.id, "ObjectID": None, "CustomerKey": made.key,
                       "ListName": made.name}}


def _delete_list(job: Job, node: Node) -> Result:
    number = (node.get("ID") or "").strip()
    target = job.tenant.lists.get(int(number)) if number.isdigit() else None
    if target is None or target.mid != job.mid or target.type == "Master":
        raise Refused(1, "The list does not exist.")
    del job.tenant.lists[target.id]
    return {"StatusMessage": "List deleted"}


# --------------------------------------------------------------------------- data extensions and their rows

def _row(mode: str) -> Callable[[Job, Node], Result]:
    def write(job: Job, node: Node) -> Result:
        extension = job.tenant.extension(job.mid, node.get("CustomerKey") or "")
        if extension is None:
            raise Refused(2, "The data extension does not exist.")
        cells = {n: v for part in ("Keys", "Properties") for p in node.all(part) for n, v in p.pairs()}
        how = "upsert" if job.upsert else mode
        if how != "insert" and not extension.primary:
            raise Refused(2, "The data extension has no primary key.")
        extension.write(cells, how, job.tenant.now(), job.tenant.tz)
        return {"StatusMessage": f"{'Created' if mode == 'insert' else 'Updated'} DataExtensionObject"}
    return write


def _delete_row(job: Job, node: Node) -> Result:
    extension = job.tenant.extension(job.mid, node.get("CustomerKey") or "")
    if extension is None:
        raise Refused(2, "The data extension does not exist.")
    keys = {n: v for part in node.all("Keys") for n, v in part.pairs()}
    try:
        extension.delete(keys, job.tenant.now())
    except CellError as error:
        wrong = {"KeyError": [{"Name": n, "ErrorCode": 1, "ErrorMessage": str(error)} for n in keys]}
        raise Refused(2, str(error), {"KeyErrors": wrong}) from None
    return {"@type": "DataExtensionDeleteResult", "StatusMessage": "Deleted DataExtensionObject"}


def _extension(how: Callable[[Tenant, int, Node], Result]) -> Callable[[Job, Node], Result]:
    return lambda job, node: how(job.tenant, job.mid, node)


_HANDLERS: dict[tuple[str, str], Callable[[Job, Node], Result]] = {
    ("Subscriber", "Create"): _create_subscriber, ("Subscriber", "Update"): _update_subscriber,
    ("Subscriber", "Delete"): _delete_subscriber,
    ("List", "Create"): _create_list, ("List", "Delete"): _delete_list,
    ("DataExtensionObject", "Create"): _row("insert"), ("DataExtensionObject", "Update"): _row("update"),
    ("DataExtensionObject", "Delete"): _delete_row,
    ("DataExtension", "Create"): _extension(create_extension),
    ("DataExtension", "Update"): _extension(update_extension),
    ("DataExtension", "Delete"): _extension(delete_extension),
}
