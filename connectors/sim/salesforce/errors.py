"""What the simulator answers when it refuses something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Refused(Exception):
    """One refused request or row.

    ``status`` is the HTTP status when the whole request fails; a row of a collection carries the other three only.
    """

    def __init__(self, code: str, message: str, fields: Sequence[str] = (), *, status: int = 400,
                 extra: dict[str, Any] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.fields = list(fields)
        self.status = status
        self.extra = extra or {}

    def body(self) -> list[dict[str, Any]]:
        """The list every failing REST request answers."""
        item: dict[str, Any] = {"message": self.message, "errorCode": self.code, **self.extra}
        if self.status == 400 and self.code not in _WITHOUT_FIELDS:
            item["fields"] = self.fields
        return [item]

    def row(self) -> dict[str, Any]:
        """One element of ``errors`` in a collection's result."""
        return {"statusCode": self.code, "message": self.message, "fields": self.fields, **self.extra}


_WITHOUT_FIELDS = frozenset({"INVALID_FIELD", "INVALID_TYPE", "MALFORMED_QUERY", "INVALID_QUERY_LOCATOR",
                             "JSON_PARSER_ERROR", "EXCEEDED_ID_LIMIT", "INVALID_REPLICATION_DATE"})


def not_found(message: str = "The requested resource does not exist") -> Refused:
    return Refused("NOT_FOUND", message, status=404)


def malformed_query(message: str) -> Refused:
    return Refused("MALFORMED_QUERY", message)


def invalid_field(message: str) -> Refused:
    return Refused("INVALID_FIELD", message)


def invalid_type(name: str) -> Refused:
    return Refused("INVALID_TYPE", f"sObject type '{name}' is not supported. If you are attempting to use a custom "
                                   "object, be sure to append the '__c' after the entity name.")


def not_writable(names: Sequence[str]) -> Refused:
    """Fields the user, or anybody, cannot set."""
    return Refused("INVALID_FIELD_FOR_INSERT_UPDATE",
                   f"Unable to create/update fields: {', '.join(names)}. Please check the security settings of this "
                   "field and verify that it is read/write for your profile or permission set.", names)
