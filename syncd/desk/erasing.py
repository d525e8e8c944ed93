"""Erasing records in a CRM, where ``syncd forget`` is told to: what that would be, and asking for it.

What a CRM's own tools for privacy do is the rule (``RecordEraser``); records are deleted only where that is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connectors.base import Connector, RecordEraser
from connectors.errors import Misconfigured
from mappings.problems import did_you_mean
from state import forget as state
from syncd.desk.instance import Instance
from syncd.desk.views import Json
from syncd.failures import USAGE, Failure
from syncd.model import Outcome


def asked(instance: Instance, crms: Sequence[str], *, delete: bool) -> dict[int, str]:
    """Connection -> what is to become of its records.

    :raises Failure: no such CRM, or one that erases no records
    """
    known = [name for name, endpoint in instance.app.endpoints.items() if endpoint.role == "crm"]
    found = {}
    for name in crms:
        if name not in known:
            raise Failure(USAGE, f'there is no CRM "{name}".', next=did_you_mean(name, known))
        if not instance.app.connectors[name].capabilities.erases_records:
            raise Failure(USAGE, f'syncd erases no records at "{name}".', next="Erase them there by hand.")
        found[instance.store.connection(name, "crm")] = state.DELETE if delete else state.MARK
    return found


def preview(instance: Instance, people: Sequence[int], how: Mapping[int, str], *, delete: bool) -> Json:
    """What would become of each record of these people; nothing is written."""
    with instance.store.reading() as conn:
        records = state.records(conn, people)
    does = {name: _eraser(instance.app.connectors[name]).erasing(delete=delete)
            for name, endpoint in instance.app.endpoints.items() if instance.store.connection(name, endpoint.role) in how}
    return {"preview": True, "people": len(people), "records": [
        {"connection": connection, "object": object_, "record": rid, "does": does.get(connection)}
        for connection, object_, rid in records]}


def _eraser(connector: Connector) -> RecordEraser:
    assert isinstance(connector, RecordEraser)  # asked() looked
    return connector


def wanted(instance: Instance, erasure: int) -> list[tuple[str, int, dict[tuple[str, str], list[str]]]]:
    """(CRM, connection, record ids by what is to become of them and object) of what an erasure has not done yet."""
    found = []
    for name, endpoint in instance.app.endpoints.items():
        if endpoint.role != "crm":
            continue
        connection = instance.store.connection(name, endpoint.role)
        with instance.store.reading() as conn:
            keys = [k.key.split(" ", 2) for k in state.keys_at(conn, erasure, connection) if k.error is None]
        records: dict[tuple[str, str], list[str]] = {}
        for how, object_, rid in keys:
            records.setdefault((how, object_), []).append(rid)
        if records:
            found.append((name, connection, records))
    return found


def erase(connector: Connector, how: str, object_: str, keys: Sequence[str]) -> Sequence[Outcome]:
    """One outcome per record; a call for which we have no right refuses them all.

    :raises ConnectorError: it is worth another try
    """
    try:
        return _eraser(connector).erase_records(object_, keys, delete=how == state.DELETE)
    except Misconfigured as error:
        return [Outcome("rejected", f"{error.code or 'Misconfigured'}: {error.message}")] * len(keys)
