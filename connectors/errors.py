"""Errors by what the caller must do next, not by cause.

Each error carries two messages: ``str(error)`` is the sentence for the person who runs the daemon (what, where, remedy)
and ``detail`` is for the developer. Neither may hold personal data or a secret: a vendor's answer body is never quoted
beyond its error code.
"""

from __future__ import annotations


class ConnectorError(Exception):
    """Base of everything a connector raises."""

    def __init__(self, message: str, *, remedy: str = "", code: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code
        """The vendor's error code (INVALID_SESSION_ID, 50100), for the log."""
        self.detail = detail
        self.connection = ""
        """Whose error it is, where that is not said otherwise."""

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class Retry(ConnectorError):
    """A passing fault; the call was surely not applied, or repeating it has no further effect. Call again."""


class Throttled(ConnectorError):
    """The vendor asked for a pause. Call again after ``retry_after`` seconds (None: the caller chooses a backoff)."""

    def __init__(self, message: str, *, retry_after: float | None = None, remedy: str = "", code: str = "",
                 detail: str = "") -> None:
        super().__init__(message, remedy=remedy, code=code, detail=detail)
        self.retry_after = retry_after


class LostReply(ConnectorError):
    """A write was sent and no complete answer came: it may or may not have been applied. Read back."""


class Reauthenticate(ConnectorError):
    """Credentials are wrong, revoked or expired beyond renewal. A person must act; retrying is useless."""


class RejectRecord(ConnectorError):
    """This row is refused for good; the others of its batch may be fine."""


class Misconfigured(ConnectorError):
    """The mapping or the account's set-up does not fit: unknown field, missing right, wrong tenant."""


class AnotherAccount(ConnectorError):
    """The login is good, and leads to another account than the one that everything known of this connection is about: its
    ids are other people's. Nothing was read or written. No ``Misconfigured``: that may mean that one thing is not there."""


class CursorLost(ConnectorError):
    """The vendor no longer knows the cursor: read the stream from its persisted keyset or from the start."""


class Outage(ConnectorError):
    """The vendor cannot be reached or answers nonsense. Everything of this connection waits."""
