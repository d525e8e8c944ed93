"""Salesforce's error codes, and what each one means for the caller. One table for calls, one for rows of a write.

Messages of Salesforce are never quoted: they are localised, and hold field values and addresses.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import orjson

from connectors.errors import ConnectorError, CursorLost, Misconfigured, Outage, Reauthenticate, Retry, Throttled
from connectors.http import Reply, retry_after
from syncd.model import DONE, UNKNOWN, Outcome

QUOTA_PAUSE = 900.0
"""Seconds to wait when the daily quota is used up. It is a rolling window: something is free again soon."""

_CODE = re.compile(r"[A-Za-z_]{1,80}\Z")

SLOW_QUERY = "QUERY_TIMEOUT"

_API_OFF = (Misconfigured, "The API is switched off for this Salesforce org or the integration user.",
            "Use an edition with API access, and give the user the permission \"API Enabled\".")
_CALLS: dict[str, tuple[type[ConnectorError], str, str]] = {
    "INVALID_QUERY_LOCATOR": (CursorLost, "Salesforce no longer knows a query's position.", ""),
    SLOW_QUERY: (Retry, "A Salesforce query ran too long.", ""),
    "UNABLE_TO_LOCK_ROW": (Retry, "Salesforce rows are locked.", ""),
    "INVALID_FIELD": (Misconfigured, "Salesforce does not let us use a field.",
                      "Check its name, and that the integration user may read and edit it."),
    "INVALID_TYPE": (Misconfigured, "Salesforce does not let us use an object.",
                     "Check its name, and that the integration user may read it."),
    "INVALID_FIELD_FOR_INSERT_UPDATE": (Misconfigured, "Salesforce does not let us write a field.",
                                        "Give the integration user edit access to it."),
    "MALFORMED_QUERY": (Misconfigured, "Salesforce refuses a query.", "Check the fields of the mapping."),
    "NOT_FOUND": (Misconfigured, "Salesforce does not know what was asked for.",
                  "Check the object's name and the API version."),
    "API_DISABLED_FOR_ORG": _API_OFF,
    "API_CURRENTLY_DISABLED": _API_OFF,
    "INSUFFICIENT_ACCESS": (Misconfigured, "The integration user lacks a right in Salesforce.",
                            "Compare its permission set with the manual."),
    "UNSUPPORTED_API_VERSION": (Misconfigured, "Salesforce has retired this API version.", "Set a newer api_version."),
}

_STATUSES: dict[int, tuple[type[ConnectorError], str, str]] = {
    401: (Reauthenticate, "Salesforce refuses our session.", "Check the app's policies and the integration user."),
    403: _CALLS["INSUFFICIENT_ACCESS"],
    404: _CALLS["NOT_FOUND"],
    408: (Retry, "Salesforce gave up on a call.", ""),
    409: (Retry, "Salesforce reports a conflict.", ""),
    410: _CALLS["UNSUPPORTED_API_VERSION"],
}


class Problem(NamedTuple):
    """The first error of an answer's body."""

    code: str
    message: str


def problem_of(reply: Reply) -> Problem:
    """Code and text of an error answer; both empty when the body is not Salesforce's."""
    try:
        body = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return Problem("", "")
    first = body[0] if isinstance(body, list) and body else body
    if not isinstance(first, Mapping):
        return Problem("", "")
    return Problem(_word(first.get("errorCode") or first.get("error")), str(first.get("message") or ""))


def _word(code: object) -> str:
    """A code as it may be shown and logged; "" for anything else that stands in its place."""
    return code if isinstance(code, str) and _CODE.match(code) else ""


def call_error(reply: Reply, names: Collection[str] = ()) -> ConnectorError:
    """The error for an answer of status 300 or above. Those of our own ``names`` (fields, objects) that Salesforce's
    text puts in quotes are told; nothing else of the text is."""
    code, message = problem_of(reply)
    if code == "REQUEST_LIMIT_EXCEEDED" or reply.status == 429:
        return Throttled("Salesforce's daily or concurrent call limit is reached.", code=code,
                         retry_after=retry_after(reply) or (QUOTA_PAUSE if code else None),
                         remedy="Lower the polling rate, or ask for more API calls.")
    culprits = sorted(name for name in names if f"'{name}'" in message)
    return error_for(code, reply.status, culprits)


def error_for(code: str, status: int, culprits: Collection[str] = ()) -> ConnectorError:
    """The error for one code, or for the status where the code is new to us."""
    kind, message, remedy = _CALLS.get(code) or _STATUSES.get(status) or (
        (Outage, "Salesforce is not available.", "") if status >= 500 or status < 400
        else (Misconfigured, "Salesforce refuses a call.", "Look the code up in Salesforce's documentation."))
    named = f" ({', '.join(culprits)})" if culprits else ""
    return kind(message[:-1] + named + ".", remedy=remedy, code=code, detail=f"status {status}, code {code or 'none'}")


def login_error(status: int, code: object) -> ConnectorError:
    """What a refused token request means. ``code`` is OAuth's ``error`` word, or anything a proxy made of it."""
    word = _word(code)
    detail = f"token endpoint, status {status}, error {word or 'none'}"
    if status == 429:
        return Throttled("Salesforce limits our logins.", code=word, detail=detail)
    if not word or status >= 500 or word in ("server_error", "temporarily_unavailable", "unknown_error"):
        return Outage("Salesforce's login does not work now.", code=word, detail=detail)
    return Reauthenticate(f"Salesforce refuses our login ({word}).", code=word, detail=detail,
                          remedy="Check client id, secret or key, the app's policies, and the integration user.")


# --------------------------------------------------------------------------- rows of a write

_LOCKED = Outcome("retry", "UNABLE_TO_LOCK_ROW: another process holds the record.", retry_after=10.0, max_batch=20)
_BUSY = Outcome("retry", "UNKNOWN_EXCEPTION: Salesforce failed on this record.", retry_after=60.0, max_batch=50)

_ROW_RETRIES = {
    "UNABLE_TO_LOCK_ROW": _LOCKED,
    "ENTITY_IS_LOCKED": Outcome("retry", "ENTITY_IS_LOCKED: an approval process holds the record.", retry_after=3600.0),
    "UNKNOWN_EXCEPTION": _BUSY, "SERVER_UNAVAILABLE": _BUSY, "REQUEST_RUNNING_TOO_LONG": _BUSY,
}

_ROW_REASONS = {
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": "A validation rule refuses the record.",
    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY": "A trigger or flow refuses the record.",
    "DUPLICATES_DETECTED": "A duplicate rule refuses the record.",
    "DUPLICATE_VALUE": "Another record holds this unique value.",
    "REQUIRED_FIELD_MISSING": "The record lacks a required field.",
    "STRING_TOO_LONG": "A value is too long for its field.",
    "INVALID_EMAIL_ADDRESS": "Salesforce does not accept the address.",
    "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST": "A value is not among the picklist's.",
    "INVALID_FIELD_FOR_INSERT_UPDATE": "The integration user may not edit a field.",
    "INSUFFICIENT_ACCESS_OR_READONLY": "The integration user may not edit the record.",
    "CANNOT_UPDATE_CONVERTED_LEAD": "The lead has been converted; write to its contact.",
    "ENTITY_IS_DELETED": "The record has been deleted or merged.",
    "NOT_FOUND": "The record does not exist.",
    "INVALID_CROSS_REFERENCE_KEY": "The record does not exist, or is of another object.",
    "MALFORMED_ID": "The id is not one of Salesforce's.",
}


def row_outcomes(reply: Reply, rows: int) -> list[tuple[Outcome, str | None]]:
    """Outcome and id per row of a Collections answer; all ``unknown`` when it is not one for so many rows."""
    try:
        results = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        results = None
    if not isinstance(results, list) or len(results) != rows:
        return [(UNKNOWN, None)] * rows
    return [(outcome := _row_outcome(r), str(r["id"]) if outcome.state == "done" and r.get("id") else None) for r in results]


def _row_outcome(result: Any) -> Outcome:
    if not isinstance(result, Mapping) or not isinstance(result.get("success"), bool):
        return Outcome("unknown", "The answer for this record makes no sense.")
    if result["success"]:
        return DONE
    errors = [e for e in result.get("errors") or () if isinstance(e, Mapping)]
    codes = [_word(e.get("statusCode")) for e in errors]
    for code, error in zip(codes, errors, strict=True):
        if code in _ROW_RETRIES:
            return _ROW_RETRIES[code]
        # A trigger's failure carries the inner code in its text; only a lock is worth another try.
        if code == "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY" and "UNABLE_TO_LOCK_ROW" in str(error.get("message")):
            return _LOCKED
    return _rejected(next(filter(None, codes), ""))


def call_outcome(code: str, rows: int) -> Outcome | None:
    """What one code for a whole Collections call means for each of its ``rows``; None when it speaks of the call."""
    if code in _ROW_RETRIES or code not in _ROW_REASONS:
        return _ROW_RETRIES.get(code)
    if rows == 1:
        return _rejected(code)
    return Outcome("retry", f"{code}: one record sank its batch.", max_batch=rows // 2)


def _rejected(code: str) -> Outcome:
    return Outcome("rejected", f"{code or 'UNKNOWN'}: {_ROW_REASONS.get(code, 'Salesforce refuses the record.')}")
