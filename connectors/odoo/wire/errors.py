"""What an Odoo server's refusals mean for the caller: one table by the exception's qualified name.

The text of an answer is never quoted: it can hold addresses, names and server paths, and it is translated. Two texts
are looked at, because the name alone does not decide; both come in English whatever the user's language.
"""

from __future__ import annotations

from connectors.errors import (
    ConnectorError,
    LostReply,
    Misconfigured,
    Outage,
    Reauthenticate,
    RejectRecord,
    Retry,
    Throttled,
)

ACCESS_ERROR = "odoo.exceptions.AccessError"
ACCESS_DENIED = "odoo.exceptions.AccessDenied"

_RETRY, _RECORD, _SETUP = "retry", "record", "setup"
_TABLE: dict[str, tuple[str, str]] = {
    ACCESS_ERROR: (_RECORD, "The account may not do this to the record."),
    "odoo.exceptions.MissingError": (_RECORD, "The record does not exist any more."),
    "odoo.exceptions.ValidationError": (_RECORD, "A constraint of the database or a module refused the values."),
    "odoo.exceptions.UserError": (_RECORD, "A business rule refused the values."),
    "odoo.exceptions.RedirectWarning": (_RECORD, "A business rule refused the values."),
    "builtins.ValueError": (_RECORD, "A value does not fit its field."),
    "psycopg2.errors.NumericValueOutOfRange": (_RECORD, "A number is too large for its field."),
    "psycopg2.errors.InvalidTextRepresentation": (_RECORD, "A value does not fit its field."),
    "psycopg2.errors.StringDataRightTruncation": (_RECORD, "A text is too long for its field."),
    "psycopg2.errors.SerializationFailure": (_RETRY, "Somebody else was writing the same record."),
    "psycopg2.errors.DeadlockDetected": (_RETRY, "Somebody else was writing the same records."),
    "psycopg2.errors.LockNotAvailable": (_RETRY, "The record is locked."),
    "psycopg2.errors.QueryCanceled": (_RETRY, "The database gave the query up."),
    "psycopg2.pool.PoolError": (_RETRY, "The server has no database connection free."),
    "builtins.TypeError": (_SETUP, "The server does not take these arguments."),
    "builtins.AttributeError": (_SETUP, "The server does not have this method."),
    "builtins.KeyError": (_SETUP, "The server does not know what was asked for."),
    "builtins.IndexError": (_SETUP, "The server does not understand the search."),
    "psycopg2.errors.InvalidDatetimeFormat": (_SETUP, "The server does not understand a date."),
}


def classify(name: str, message: str, *, what: str, write: bool) -> ConnectorError:
    """The error for an exception ``name`` of the server while ``what`` ("res.partner.write") was called.

    :returns: Reauthenticate, Outage, Retry, Misconfigured, or RejectRecord (the transaction was rolled back, and a row
        of it may be at fault); for a read, what would be RejectRecord is Misconfigured
    """
    if name in (ACCESS_DENIED, "odoo.http.SessionExpiredException", "werkzeug.exceptions.Unauthorized"):
        return Reauthenticate("Odoo refused the user or the API key.", code=name,
                              remedy="Check that the user is active and make a new API key for it.")
    if name == "psycopg2.OperationalError":
        return _database(message)
    kind, sentence = _TABLE.get(name, ("", "The server failed with an error of its own."))
    if name == "builtins.ValueError" and message.startswith("Invalid field"):
        kind, sentence = _SETUP, "A field does not exist or is hidden from the account."
    if kind == _RETRY:
        return Retry(f"Odoo could not finish {what}: {sentence}", code=name)
    if kind == _SETUP or (kind == _RECORD and not write):
        return Misconfigured(f"Odoo refused {what}: {sentence}", code=name,
                             remedy="Compare the mapping with the fields and rights of the account (syncd check).")
    if write:
        return RejectRecord(sentence, code=name)
    return Outage(f"Odoo failed in {what}.", code=name)


def _database(message: str) -> ConnectorError:
    """The same exception tells that PostgreSQL is down and that no such database exists."""
    if "FATAL:" in message and message.rstrip().endswith("does not exist"):
        return Misconfigured("The Odoo server has no database of this name.", code="psycopg2.OperationalError",
                             remedy="Check 'database' of the connection.")
    return Outage("The Odoo server cannot reach its database.", code="psycopg2.OperationalError")


def http_failure(status: int, pause: float | None, *, what: str, write: bool) -> ConnectorError:
    """The error for an answer that is not Odoo's own: a proxy's page, a maintenance page, a wrong address.

    :param pause: seconds of the Retry-After header
    """
    code = str(status)
    if status == 429:
        return Throttled("A proxy before Odoo asks for a pause.", retry_after=pause, code=code)
    if status == 503:
        return Throttled("Odoo is under maintenance or overloaded.", retry_after=pause, code=code)
    if status in (401, 403):
        return Reauthenticate("A proxy before Odoo refused the call.", code=code,
                              remedy="Check the proxy's access rules for this host.")
    if status in (400, 404, 405, 410, 413):
        return Misconfigured(f"The server does not offer what {what} needs (HTTP {status}).", code=code,
                             remedy="Check 'url' and 'api' of the connection.")
    if write:
        # A gateway's 500, 502 or 504 may come after the server behind it has committed.
        return LostReply(f"The answer to {what} was replaced by an error page.", code=code)
    return Outage(f"Odoo answered {what} with an error page (HTTP {status}).", code=code)
