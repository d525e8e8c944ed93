"""Marketing Cloud's answers as what the caller must do next: one table for each kind of answer.

The vendor's sentences name people and values, so they are compared here and never passed on; an error keeps the code.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from connectors.errors import ConnectorError, CursorLost, LostReply, Misconfigured, Outage, Reauthenticate, Retry, Throttled
from connectors.http import Reply, retry_after
from connectors.marketing_cloud.wire.soap import Fault
from syncd.model import Origin, Outcome

Row = tuple[type[ConnectorError], str, str]

REST: dict[int, Row] = {
    400: (Misconfigured, "Marketing Cloud refused a request as malformed.", "Run `syncd check`."),
    401: (Reauthenticate, "Marketing Cloud does not accept the token.", "Check the installed package."),
    403: (Misconfigured, "The installed package lacks a permission.", "Compare its scopes with `syncd check`."),
    404: (Misconfigured, "Marketing Cloud does not know this object.", "Correct its key in the mapping."),
    413: (Misconfigured, "Marketing Cloud refused a request as too large.", "Lower max_async_rows."),
    415: (Misconfigured, "Marketing Cloud refused the content type.", "Please report this as a bug."),
    596: (Misconfigured, "Marketing Cloud does not know this object.", "Correct its key in the mapping."),
}
"""Status -> class, sentence, remedy."""

WRONG_HOST: Row = (Misconfigured, "This host does not serve the tenant.", "Correct the subdomain.")
"""Errorcode 40002, whatever the status."""

TOKEN: dict[str, Row] = {
    "invalid_client": (Reauthenticate, "Marketing Cloud refused the client id or secret.",
                       "Copy them again, and check that the package may be used in the business unit of mid."),
    "invalid_scope": (Misconfigured, "The installed package does not grant the scopes asked for.", "Extend them."),
    "invalid_request": (Misconfigured, "Marketing Cloud refused the login.", "Check mid, client id and subdomain."),
}

THROTTLED = re.compile(r"rate limit|too many|throttl|concurren|temporarily blocked", re.IGNORECASE)
PASSING = re.compile(r"deadlock|time-?out|timed out|try again|temporar|unavailable|unexpected error", re.IGNORECASE)
_PARSE_ERROR = re.compile(r"Parse error \[(\w{1,40})\]")
"""The name of a bad cell inside the text of a row's error: InvalidEmailAddress, InvalidDate, FieldNotFound …"""

SUBSCRIBER: dict[str, tuple[str, str]] = {
    "12000": ("invalid_email", "Marketing Cloud does not accept the address."),
    "12001": ("subscriber_not_found", "Marketing Cloud has no subscriber with this key."),
    "12002": ("spam_filter", "Marketing Cloud's filter for role and trap addresses refused the address."),
    "12003": ("on_global_unsub_list", "The address is on the platform's global unsubscribe list."),
    "12004": ("invalid_profile_value", "A profile attribute has an invalid value."),
    "12006": ("missing_profile_value", "A required profile attribute is missing."),
    "12007": ("email_exists", "Another subscriber has this address, and the account is keyed by address."),
}
"""SOAP ErrorCode of a subscriber write -> (reason, sentence): permanent refusals of one record."""

REASONS: tuple[tuple[str, Origin], ...] = (
    ("spam complaint", "complaint"),
    ("leave/reply email", "person"),
    ("subscription center", "person"),
    ("profile center", "person"),
    ("subscriber edit api call", "api"),
    ("log unsub event execute call", "api"),
    ("via import", "import"),
    ("subscriber properties dialog", "user"),
)
"""A part of SubscriberStatusEvent.ReasonUnsub -> who caused it. An API call may be ours or any other program's."""


def body_of(reply: Reply) -> dict[str, Any]:
    """The JSON object of an answer, {} when it is anything else (a proxy's page, an empty body)."""
    try:
        body = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def rest_error(reply: Reply, write: bool) -> ConnectorError:
    """The error of a REST answer that is not a success. After a 5xx a write may have been applied."""
    body = body_of(reply)
    code = body.get("errorcode")
    label = f"{reply.status}/{code}" if isinstance(code, int) else str(reply.status)
    if reply.status == 429:
        seconds, told = retry_after(reply), body.get("retryAfter")
        if seconds is None and isinstance(told, (int, float)):
            seconds = float(told)
        return Throttled("Marketing Cloud asks for a pause.", retry_after=seconds, code=label)
    if reply.status >= 500 and reply.status != 596:
        return _broken(write, label)
    known = WRONG_HOST if code == 40002 else REST.get(reply.status)
    if known is None:
        return Outage("Marketing Cloud gave an answer that is not part of its API.", code=label)
    kind, sentence, remedy = known
    return kind(sentence, remedy=remedy, code=label)


def token_error(reply: Reply) -> ConnectorError:
    """The error of a refused login."""
    name = body_of(reply).get("error")
    if reply.status == 429 or reply.status >= 500:
        return rest_error(reply, write=False)
    kind, sentence, remedy = TOKEN.get(name if isinstance(name, str) else "", TOKEN["invalid_request"])
    return kind(sentence, remedy=remedy, code=name if name in TOKEN else str(reply.status))


def soap_error(fault: Fault | None, reply: Reply, write: bool) -> ConnectorError:
    """The error of a SOAP fault, or of an answer that is not SOAP.

    Throttling is an HTTP 500 here; nothing was applied then, nor when the sender is at fault.
    """
    if fault is None:
        return rest_error(reply, write)
    if fault.code == "Security":
        return Reauthenticate("Marketing Cloud's SOAP service does not accept the token.", code="Security",
                              remedy="Check the installed package and its business units.")
    if THROTTLED.search(fault.text):
        return Throttled("Marketing Cloud asks for a pause.", code=fault.code)
    if fault.code == "Client":
        return Misconfigured("Marketing Cloud refused a SOAP request as malformed.", code="Client",
                             remedy="Please report this as a bug.")
    return _broken(write, f"{reply.status}/{fault.code}")


def retrieve_error(text: str, kind: str, continued: bool) -> ConnectorError:
    """The error in the OverallStatus of a Retrieve (HTTP 200) of ``kind`` objects."""
    if THROTTLED.search(text):
        return Throttled("Marketing Cloud asks for a pause.", code="OverallStatus")
    if PASSING.search(text):
        return Retry(f"Marketing Cloud could not read {kind} this time.", code="OverallStatus")
    if continued:
        return CursorLost(f"Marketing Cloud no longer knows the page after this one of {kind}.", code="OverallStatus")
    return Misconfigured(f"Marketing Cloud refused to read {kind}.", code="OverallStatus",
                         remedy="Check the key in the mapping and the package's scopes.")


def _broken(write: bool, label: str) -> ConnectorError:
    if write:
        return LostReply("Marketing Cloud failed during a write.", code=label)
    return Retry("Marketing Cloud failed for a moment.", code=label)


def row_reason(code: str, text: str) -> str:
    """The reason of a refused data extension row: the name of the bad cell's fault, else the vendor's code."""
    named = _PARSE_ERROR.search(text)
    if named is not None:
        code = named[1]
    elif "maximum length" in text:
        code = "ValueTooLong"
    elif "PRIMARY KEY" in text:
        code = "DuplicateKey"
    safe = code if re.fullmatch(r"\w{1,40}", code) else "RowError"
    return f"{safe}: Marketing Cloud refused the row."


def is_passing(text: str) -> bool:
    """True when a row or object failed for a reason that goes away by itself."""
    return THROTTLED.search(text) is not None or PASSING.search(text) is not None


def rejected(reason: str, sentence: str) -> Outcome:
    """A permanent refusal of one operation."""
    return Outcome("rejected", f"{reason}: {sentence}")


def origin_of(reason: str | None) -> Origin:
    """Who caused a status change, by the reason the vendor notes."""
    text = (reason or "").lower()
    return next((origin for part, origin in REASONS if part in text), "unknown")
