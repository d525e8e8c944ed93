"""Records written through Collections: each row succeeds or fails by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connectors.batches import refused
from connectors.errors import LostReply, Misconfigured, RejectRecord
from connectors.salesforce.settings import SalesforceSettings
from connectors.salesforce.wire.calls import Wire
from connectors.salesforce.wire.describe import MASTER_FLAGS, Objects
from connectors.salesforce.wire.errors import call_error, call_outcome, problem_of, row_outcomes
from connectors.salesforce.wire.values import is_id, to_json
from syncd.model import UNKNOWN, Batch, FieldInfo, Op, Outcome

COLLECTION = 200  # records of one call


class Writer:
    """Writes to one org's objects."""

    def __init__(self, wire: Wire, settings: SalesforceSettings, objects: Objects) -> None:
        self._wire, self._settings, self._objects = wire, settings, objects

    def update(self, batch: Batch) -> list[Outcome]:
        """Fields of records.

        :raises Misconfigured: a column cannot be written; nothing was sent
        """
        columns = self._writable(batch)
        outcomes: list[Outcome | None] = [None] * len(batch.ops)
        records: list[dict[str, Any]] = []
        sent: list[int] = []
        for index, op in enumerate(batch.ops):
            try:
                records.append(_record(batch.object, columns, op))
                sent.append(index)
            except RejectRecord as error:
                outcomes[index] = refused(error)
        if records:
            for index, (outcome, _) in zip(sent, self.save("PATCH", records, self._is_opt_out(batch)), strict=True):
                outcomes[index] = outcome
        return [UNKNOWN if o is None else o for o in outcomes]

    def save(self, method: str, records: Sequence[Mapping[str, Any]], urgent: bool) -> list[tuple[Outcome, str | None]]:
        """One outcome per record of a Collections call, and the id of the record where that is told."""
        content: dict[str, Any] = {"json": {"allOrNone": False, "records": records}}
        if method == "DELETE":
            content = {"params": {"ids": ",".join(str(r["id"]) for r in records), "allOrNone": "false"}}
        try:
            reply = self._wire.call(
                method, f"{self._wire.root}/composite/sobjects", write=True, urgent=urgent, **content,
                route={"PATCH": "update", "POST": "create", "DELETE": "delete"}[method],
                # A duplicate rule that also runs on edits would refuse an opt-out for a stranger's likeness.
                headers={"Sforce-Duplicate-Rule-Header": "allowSave=true"})
        except LostReply:
            return [(UNKNOWN, None)] * len(records)
        if reply.status >= 500:  # it may have failed after the records were saved
            return [(UNKNOWN, None)] * len(records)
        if reply.status not in (200, 201):
            outcome = call_outcome(problem_of(reply).code, len(records))
            if outcome is None:
                raise call_error(reply, records[0].keys())
            return [(outcome, None)] * len(records)
        return row_outcomes(reply, len(records))

    def _writable(self, batch: Batch) -> list[FieldInfo]:
        """The fields of a batch's columns.

        :raises Misconfigured: one of them cannot be written; nothing was sent
        """
        known = self._objects.fields(batch.object)
        bad = sorted(c for c in batch.columns if c not in known or not known[c].writable)
        if bad:
            self._objects.forget(batch.object)  # rights may be given any time: look again next time
            raise Misconfigured(f"Salesforce does not let us write {batch.object} ({', '.join(bad)}).",
                                remedy="Give the integration user edit access to the field.",
                                code="INVALID_FIELD_FOR_INSERT_UPDATE")
        return [known[c] for c in batch.columns]

    def _is_opt_out(self, batch: Batch) -> bool:
        """True when a row sets a master flag, or writes a field that the mapping named as consent."""
        if not set(batch.columns).isdisjoint(self._settings.opt_out_fields):
            return True
        flags = [i for i, c in enumerate(batch.columns) if c in MASTER_FLAGS]
        return any(op.values[i] == 1 for op in batch.ops for i in flags)


def _record(object: str, columns: Sequence[FieldInfo], op: Op) -> dict[str, Any]:
    """:raises RejectRecord: the key or a value cannot be sent"""
    if not is_id(op.key):
        raise RejectRecord("The id is not one of Salesforce's.", code="MALFORMED_ID")
    values = {f.name: to_json(f.type, v) for f, v in zip(columns, op.values, strict=True)}
    return {"attributes": {"type": object}, "id": op.key, **values}
