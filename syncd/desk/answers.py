"""A cycle's report as JSON and as an exit code: what ``once``, ``apply``, ``resync`` and ``plan`` print."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from syncd import failures
from syncd.desk.views import Json, plan_json
from syncd.failures import AUTH, FAILED, HELD, OK, PARTIAL, PENDING, REMOTE, USAGE, failure_of
from syncd.runs import Report


class Answer(NamedTuple):
    """What a verb says: data for stdout, and the exit code."""

    data: Json
    exit_code: int = OK


_URGENCY = (AUTH, USAGE, REMOTE, FAILED)
"""Of several connections that failed, the one a person must act on decides the exit code."""


def report_json(report: Report, calls: Mapping[str, int]) -> Json:
    """A run: rows read per stream, ledger entries, people decided, the plan, operations by outcome per connection, the
    streams that failed, calls per connection."""
    return {
        "run": report.run, "outcome": report.outcome, "seconds": round(report.seconds, 3),
        "rows": report.pulled.rows, "changed": report.pulled.changed, "entries": report.pulled.entries,
        "people": report.people, "plan": plan_json(report.plan),
        "delivered": {name: {**d.counts, "left": d.left, **_error("error", d.error)}
                      for name, d in report.delivered.items()},
        "failed": {name: problem(error) for name, error in report.pulled.failed.items()},
        "emptied": {name: {"missing": missing, "known": known}
                    for name, (missing, known) in report.pulled.emptied.items()},
        "requests": len(report.pulled.requests.found), "echoes": len(report.pulled.requests.echoes),
        "unresolved": report.pulled.unresolved,
        "calls": dict(calls),
    }


def problem(error: BaseException) -> Json:
    """An error inside a run: its code and its sentence."""
    failure = failure_of(error)
    return {"code": failure.code, "message": str(failure)}


def _error(name: str, error: BaseException | None) -> Json:
    return {} if error is None else {name: problem(error)}


def errors_of(report: Report) -> list[BaseException]:
    """Everything that failed in a run: streams, then lanes."""
    return [*report.pulled.failed.values(), *(d.error for d in report.delivered.values() if d.error is not None)]


def exit_of_run(report: Report, unfinished: bool) -> int:
    """The exit code of a run that was to deliver; ``unfinished`` = something due was left at its end."""
    if errors := errors_of(report):
        codes = {failure_of(e).exit_code for e in errors}
        return next(code for code in (*_URGENCY, *failures.EXITS) if code in codes)
    if report.held or report.pulled.emptied:
        return HELD
    if unfinished or report.plan is None:
        return REMOTE
    if any(d.counts.get("rejected") for d in report.delivered.values()):
        return PARTIAL
    return OK


def exit_of_plan(report: Report) -> int:
    """The exit code of a run that only planned."""
    if report.pulled.failed or report.plan is None:
        return exit_of_run(report, unfinished=True)
    return OK if report.plan.empty else PENDING


def summary(data: Mapping[str, Any]) -> str:
    """A run in one line, for people and for the log."""
    rows, people = sum(data["rows"].values()), data["people"]
    done = sum(d.get("done", 0) for d in data["delivered"].values())
    waits = sum(c["count"] for c in data["plan"]["counts"] if c["state"] == "held") if data["plan"] else 0
    parts = [f"run {data['run']}: {data['outcome']}", f"{rows} rows read", f"{people} people decided",
             f"{done} operations done"]
    if waits:
        parts.append(f"{waits} wait for approval")
    return ", ".join(parts)
