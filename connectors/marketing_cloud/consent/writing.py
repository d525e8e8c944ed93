"""Consent written: the status of subscribers on lists and in All Subscribers.

Marketing Cloud re-subscribes whoever is sent with Status Active, whatever happened before. So a status is sent only
where the operation is about it, and Active only where the operation says "subscribed". An unsubscribed person stays a
member of the list: removing the membership would forget the opt-out.
"""

from __future__ import annotations

from collections.abc import Sequence

from connectors.batches import in_chunks, later
from connectors.errors import ConnectorError, LostReply, Misconfigured
from connectors.marketing_cloud.consent.reading import StatusReader
from connectors.marketing_cloud.settings import MarketingCloudSettings
from connectors.marketing_cloud.wire import errors, soap, values
from connectors.marketing_cloud.wire.calls import Wire
from connectors.marketing_cloud.wire.describe import Describer
from syncd.model import DONE, UNKNOWN, Batch, Op, Outcome, Page, StreamSpec, Value

STATUSES = {"unsubscribed": "Unsubscribed", "subscribed": "Active"}
"""The only two statuses an operation may ask for."""

NOT_FOUND, ALREADY_ON_LIST = "12001", "12014"


class StatusWriter:
    """Writes statuses in one business unit."""

    def __init__(self, wire: Wire, settings: MarketingCloudSettings, describer: Describer,
                 reader: StatusReader) -> None:
        self._wire = wire
        self._describer = describer
        self._settings = settings
        self._reader = reader

    def apply(self, batch: Batch) -> list[Outcome]:
        """Update, and create whom the vendor does not know where the operation's column ``create`` is 1.

        :raises Misconfigured: there is no such list, or the batch has no column ``status``
        """
        if batch.object and not batch.object.isdigit():
            raise Misconfigured("A list of Marketing Cloud is named by its number.", remedy="Correct the mapping.")
        if "status" not in batch.columns:
            raise Misconfigured("A status operation needs the column status.")
        good = [op for op in batch.ops if _value(batch, op, "status") in STATUSES and values.sanitise(op.key) == op.key
                and op.key]
        sent = iter(in_chunks(good, self._settings.objects_per_call, lambda chunk: self._send(batch, chunk)))
        valid = {op.id for op in good}
        return [next(sent) if op.id in valid else errors.rejected("invalid_operation", "Key or status is not valid.")
                for op in batch.ops]

    def _send(self, batch: Batch, chunk: Sequence[Op]) -> list[Outcome]:
        objects = [self._subscriber(batch, op, create=False) for op in chunk]
        results = self._wire.save("Update", objects, route="status.update")
        outcomes = [_outcome(result, _value(batch, op, "status")) for op, result in zip(chunk, results, strict=True)]
        unknown = [i for i, result in enumerate(results) if result is not None and result.code == NOT_FOUND
                   and _value(batch, chunk[i], "create") == 1]
        doubtful = [i for i, result in enumerate(results) if result is not None and result.code == ALREADY_ON_LIST]
        self._create(batch, chunk, unknown, outcomes)
        self._look(batch, chunk, doubtful, outcomes)
        if batch.object and any(outcome.state == "retry" and outcome.reason for outcome in outcomes):
            self._require(batch.object)
        return outcomes

    def _create(self, batch: Batch, chunk: Sequence[Op], indexes: Sequence[int], outcomes: list[Outcome]) -> None:
        """Create the subscribers at ``indexes`` with the wanted status from their first moment on."""
        able = [index for index in indexes if chunk[index].email]
        for index in set(indexes) - set(able):
            outcomes[index] = errors.rejected("missing_email", "A subscriber cannot be created without an address.")
        if not able:
            return
        objects = [self._subscriber(batch, chunk[index], create=True) for index in able]
        try:
            results = self._wire.save("Create", objects, route="status.create")
        except LostReply:
            results = [None] * len(able)
        except ConnectorError as error:  # the Update before was applied: nothing may be raised any more
            outcomes[:] = [later(error) if index in able else outcome for index, outcome in enumerate(outcomes)]
            return
        for index, result in zip(able, results, strict=True):
            # Already there: somebody created the subscriber in between, and the next Update will find it.
            taken = result is not None and result.code == ALREADY_ON_LIST
            outcomes[index] = (Outcome("retry", retry_after=0.0) if taken
                               else _outcome(result, _value(batch, chunk[index], "status")))

    def _require(self, number: str) -> None:
        """What a list that is not there is answered with is nowhere documented: ask for the list itself.

        :raises Misconfigured: there is none
        """
        try:
            self._describer.require_list(number)
        except Misconfigured:
            raise
        except ConnectorError:
            return  # what was refused is tried again, and asked about again

    def _look(self, batch: Batch, chunk: Sequence[Op], indexes: Sequence[int], outcomes: list[Outcome]) -> None:
        """Decide the doubtful ones by the state."""
        if not indexes:
            return
        spec = StreamSpec(f"list:{batch.object}" if batch.object else "subscribers", "status", container=batch.object)
        try:
            page = self._reader.fetch(spec, [chunk[i].key for i in indexes])
        except ConnectorError:  # the core reads back what is unknown
            page = Page((), "")
        now = {str(row[1]).lower(): row[3] for row in page.rows}
        for index in indexes:
            wanted = _value(batch, chunk[index], "status")
            outcomes[index] = DONE if now.get(chunk[index].key.lower()) == wanted else UNKNOWN

    @staticmethod
    def _subscriber(batch: Batch, op: Op, create: bool) -> str:
        """One Subscriber, elements in the WSDL's order: the address only when it is created."""
        status = STATUSES[str(_value(batch, op, "status"))]
        parts = [soap.leaf("EmailAddress", op.email or "")] if create else []
        parts.append(soap.leaf("SubscriberKey", op.key))
        if batch.object:
            parts.append(soap.branch("Lists", (soap.leaf("ID", batch.object), soap.leaf("Status", status),
                                               soap.leaf("Action", "create" if create else "upsert"))))
        else:
            parts.append(soap.leaf("Status", status))
        return soap.branch("Objects", parts, "Subscriber")


def _value(batch: Batch, op: Op, column: str) -> Value:
    return op.values[batch.columns.index(column)] if column in batch.columns else None


def _outcome(result: soap.Result | None, wanted: Value) -> Outcome:
    """A refusal nobody understands does not end an opt-out: that is tried again."""
    if result is None:
        return UNKNOWN
    if result.ok:
        return DONE
    if result.code in errors.SUBSCRIBER:
        return errors.rejected(*errors.SUBSCRIBER[result.code])
    if wanted == "unsubscribed" or errors.is_passing(result.text):
        return Outcome("retry", f"error_{result.code}" if result.code.isdigit() else None)
    code = result.code if result.code.isdigit() else "unknown"
    return errors.rejected(f"error_{code}", "Marketing Cloud refused the status.")
