"""Operations of the API as they reach a world: is the batch one this connection can take, and what does each do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.memory.account import Account
from connectors.memory.sides.table import BadCall


def validate(account: Account, batch: Mapping[str, Any]) -> None:
    """Refuse a batch that makes no sense before any of it is carried out.

    :raises BadCall: no such object, list or CRM field, or a kind this connection does not have
    """
    kind, name = batch["kind"], batch["object"]
    if kind == "update" and account.crm is not None:
        known = account.crm.object(name).fields
        for column in batch["columns"]:
            if column not in known:
                raise BadCall(f"Object {name} has no field {column}.")
    elif kind in ("upsert", "remove") and account.esp is not None:
        account.esp.audience(name)
    elif kind == "status" and account.esp is not None:
        account.esp.container(name)
    elif kind != "create_object" or account.esp is None:
        raise BadCall(f"This connection has no {kind}.")


def write(account: Account, kind: str, object: str, key: str, email: str | None, values: dict[str, Any]) -> bool:
    """Carry out one operation; True when it changed something."""
    if kind == "update" and account.crm is not None:
        before = account.crm.find(object, key).values
        account.crm.update(object, key, values)
        return any(before.get(name) != (value if value != "" else None) for name, value in values.items())
    assert account.esp is not None, "validate checked it"
    if kind == "upsert":
        return account.esp.upsert(object, key, email, values)
    if kind == "remove":
        return account.esp.remove(object, key)
    if kind == "status":
        return account.esp.write_status(object, key, email, values)
    return account.esp.create_object(object, values["definition"])
