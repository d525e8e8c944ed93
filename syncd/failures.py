"""What went wrong, for the person at the terminal: a sentence, the next command, and the exit code scripts read.

Nothing here imports what can fail: errors are known by the names of their classes, so that a short command stays short.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OK, FAILED, USAGE, PARTIAL, PENDING, HELD, AUTH, REMOTE, LOCKED, DAMAGED = range(10)

SHOWN = 5
"""How many of a plan's changes are told in one message."""

EXITS: Mapping[int, str] = {
    OK: "done",
    FAILED: "failed",
    USAGE: "wrong usage or configuration",
    PARTIAL: "done, but rows were refused and are in quarantine",
    PENDING: "changes are pending",
    HELD: "changes wait for an approval",
    AUTH: "a connection refused our credentials",
    REMOTE: "a connection could not be reached, or the deadline passed",
    LOCKED: "another syncd holds the state",
    DAMAGED: "the state is damaged",
}
"""Every exit code with its meaning."""

_BY_CLASS: Mapping[str, tuple[int, str]] = {
    "Reauthenticate": (AUTH, "Renew the credentials, then run `syncd doctor`."),
    "Misconfigured": (USAGE, "Run `syncd doctor`."),
    "AnotherAccount": (USAGE, "Run `syncd connections list`."),
    "Outage": (REMOTE, "Run `syncd doctor`, or try again later."),
    "Retry": (REMOTE, "Try again later."),
    "Throttled": (REMOTE, "Try again later."),
    "LostReply": (REMOTE, "Run the command again: what was sent is read back first."),
    "CursorLost": (REMOTE, "Run `syncd resync --stream` for the stream."),
    "RejectRecord": (PARTIAL, "Run `syncd quarantine list`."),
    "Problems": (USAGE, "Correct the file, then run `syncd check`."),
    "Doubled": (HELD, "Run `syncd holds list`."),
    "Stale": (HELD, "Look at the plan again with `syncd plan`."),
    "StateLocked": (LOCKED, "Ask the other one with `syncd status`, or stop it."),
    "StateDamaged": (DAMAGED, "Restore a backup with `syncd restore`."),
    "OperationalError": (FAILED, "Run `syncd doctor`."),
    "IntegrityError": (FAILED, "Run `syncd doctor`."),
    "DatabaseError": (DAMAGED, "Restore a backup with `syncd restore`."),
}
"""Class name -> exit code and next command. The first class of an error's ancestry that is named here counts."""


_OF_SQLITE: Mapping[str, tuple[str, str]] = {
    "database or disk is full": ("there is no room left on the disk of the state; what was stored stays stored.",
                                 "Make room, then go on: nothing else is to be done."),
    "disk I/O error": ("the state's disk has no room left, or fails.",
                       "Look with `df` and at the system's log, then run `syncd doctor`."),
    "attempt to write a readonly database": ("the state may not be written.",
                                             "Let syncd's user write it, and the directory it is in."),
    "unable to open database file": ("the state cannot be opened.",
                                     "Let syncd's user read and write it, and the directory it is in."),
}
"""SQLite's own words for what is the machine's fault -> ours, and what to do."""


class Failure(Exception):
    """Ends a command. ``message`` says what and why, ``next`` what to do; neither holds personal data.

    ``data`` goes into the JSON form of the error (the id of the plan to approve, the problems of a file).
    """

    def __init__(self, exit_code: int, message: str, *, next: str = "", code: str = "",
                 data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.message = message
        self.next = next
        self.code = code or EXIT_NAMES[exit_code]
        self.data = dict(data or {})

    def __str__(self) -> str:
        return f"{self.message} {self.next}".rstrip()

    def as_json(self) -> dict[str, Any]:
        """The value of "error" in a command's JSON, and what travels over the control socket."""
        return {**self.data, "exit": self.exit_code, "code": self.code, "message": self.message, "next": self.next}

    @classmethod
    def from_json(cls, error: Mapping[str, Any]) -> Failure:
        """The failure another process reported."""
        extra = {k: v for k, v in error.items() if k not in ("exit", "code", "message", "next")}
        return cls(int(error["exit"]), str(error["message"]), next=str(error["next"]), code=str(error["code"]),
                   data=extra)


EXIT_NAMES: Mapping[int, str] = {
    OK: "ok", FAILED: "failed", USAGE: "usage", PARTIAL: "partial", PENDING: "pending", HELD: "held", AUTH: "auth",
    REMOTE: "remote", LOCKED: "locked", DAMAGED: "damaged",
}


def failure_of(error: BaseException) -> Failure:
    """Any exception as a failure. Errors we raise ourselves are quoted; of others only the type and place are told,
    because their text may hold somebody's data."""
    if isinstance(error, Failure):
        return error
    for cls in type(error).__mro__:
        known = _BY_CLASS.get(cls.__name__)
        if known is not None:
            return _known(error, *known)
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, str):
        return Failure(FAILED, f"{error.filename}: {error.strerror}.", code=type(error).__name__,
                       next=getattr(error, "remedy", "Correct that, then run the command again: nothing is lost."))
    if isinstance(error, OSError) and error.strerror:
        return Failure(FAILED, f"{error.strerror}, at {_place(error)}.", code=type(error).__name__,
                       next="Correct that, then run the command again.")
    return Failure(FAILED, f"unexpected {type(error).__name__} at {_place(error)}.", code=type(error).__name__,
                   next="Run the command again with --debug and report what it prints.")


def _known(error: BaseException, exit_code: int, next_: str) -> Failure:
    name = type(error).__name__
    if hasattr(error, "problems"):
        return Failure(exit_code, str(error), next=next_, code="problems")
    if name == "Stale":
        plan, changes = error.current.id, error.changes  # type: ignore[attr-defined]  # guard.Stale, known by name
        told = "; ".join(changes[:SHOWN]) + (f"; and {len(changes) - SHOWN} more" if len(changes) > SHOWN else "")
        return Failure(HELD, f"the plan has changed since it was made ({told}); nothing of it was approved.",
                       next=f"Look at it again with `syncd plan`, then approve {plan}.", code="stale",
                       data={"plan": plan, "changes": list(changes)})
    if hasattr(error, "remedy"):
        where = f"{name_of}: " if (name_of := getattr(error, "connection", "")) else ""
        return Failure(exit_code, where + str(getattr(error, "message", name)), next=str(error.remedy) or next_,
                       code=str(getattr(error, "code", "")) or name)
    if str(error) in _OF_SQLITE:
        message, next_ = _OF_SQLITE[str(error)]
        return Failure(exit_code, message, next=next_, code=name)
    if name.endswith(("OperationalError", "IntegrityError", "DatabaseError")):
        return Failure(exit_code, f"the state answered with {name} at {_place(error)}.", next=next_, code=name)
    return Failure(exit_code, str(error), next=next_, code=name)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
