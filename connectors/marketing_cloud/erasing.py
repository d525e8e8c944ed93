"""People deleted for good: the vendor's contact delete, which is asked of the enterprise and carried out in two phases.

At once the contact is suppressed: nobody mails it, and it is gone from All Subscribers. After the number of days that the
account is set to, it is removed from all lists and sendable data extensions, with its consent. Nothing brings it back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from connectors.errors import Misconfigured
from connectors.marketing_cloud.settings import MarketingCloudSettings
from connectors.marketing_cloud.wire import errors
from connectors.marketing_cloud.wire.calls import Wire
from syncd.model import DONE, Outcome

PATH = "/contacts/v1/contacts/actions/delete"
COMPLETED = "Completed"
FAILED = frozenset(("Failed", "Invalid", "Aborted", "Cancelled", "CompletedWithErrors"))
"""Ends of a deletion that left somebody there. Every other word means that it goes on."""


class ContactEraser:
    """Deletes contacts of the enterprise that a business unit belongs to.

    :param enterprise: its MID, None when unreadable
    :param at: makes the wire to a business unit
    """

    def __init__(self, settings: MarketingCloudSettings, enterprise: Callable[[], str | None],
                 at: Callable[[MarketingCloudSettings], Wire]) -> None:
        self._settings = settings
        self._enterprise = enterprise
        self._at = at
        self._wire: Wire | None = None

    def erase(self, keys: Sequence[str]) -> list[Outcome]:
        """One operation for all keys; a key nobody has is passed over by the vendor."""
        if not keys:
            return []
        reply = self._top().rest("POST", PATH, route="contacts.delete", params={"type": "keys"}, write=True, json={
            "values": list(keys), "DeleteOperationType": "ContactAndAttributes"})
        answer = errors.body_of(reply)
        number = answer.get("operationID")
        if answer.get("hasErrors") or not answer.get("operationInitiated") or number is None:
            return [errors.rejected("contact_delete", "Marketing Cloud did not begin the deletion.")] * len(keys)
        return [Outcome("accepted", request_id=str(number))] * len(keys)

    def erased(self, request_id: str) -> Outcome | None:
        """Completed only when the background operation is: until then rows may be there."""
        reply = self._top().rest("GET", f"{PATH}/status", route="contacts.delete_status", params={"operationID": request_id})
        answer = errors.body_of(reply)
        told = answer.get("operation")
        first = str(told.get("status")) if isinstance(told, dict) else ""
        second = [str(each.get("backgroundOperationStatusID")) for each in _list(answer.get("backgroundOperationsSummary"))]
        if bad := next((word for word in (first, *second) if word in FAILED), None):
            return errors.rejected(f"contact_delete_{bad.lower()}", "Marketing Cloud did not delete the contact.")
        return DONE if first == COMPLETED and second and all(word == COMPLETED for word in second) else None

    def _top(self) -> Wire:
        """The wire to the enterprise: a business unit may not delete contacts.

        :raises Misconfigured: nobody can tell which one that is
        """
        if self._wire is None:
            mid = self._enterprise()
            if mid is None or not mid.isdigit():
                raise Misconfigured("Marketing Cloud does not tell which enterprise this business unit belongs to.",
                                    remedy="Give the package the right to read account settings.")
            self._wire = self._at(replace(self._settings, mid=int(mid)))
        return self._wire

    def close(self) -> None:
        """Release sockets."""
        if self._wire is not None:
            self._wire.http.close()


def _list(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
