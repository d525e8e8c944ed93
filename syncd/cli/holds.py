"""holds: what a guard stopped, and the decision about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from syncd.cli.common import Context, call, command, say, show, table
from syncd.failures import DAMAGED, LOCKED


@click.group()
def holds() -> None:
    """Changes that wait for a person."""


@command(LOCKED, DAMAGED, name="list", group=holds)
def list_(obj: Context) -> None:
    """List the open holds."""
    show(obj, call(obj, "holds").data, lambda data: table(
        [(h["id"], h["connection"], h["object"], h["class"], h["operations"], h["opened"], h["reason"])
         for h in data["holds"]],
        ("hold", "connection", "object", "class", "operations", "since", "reason")))


@command(LOCKED, DAMAGED, name="show", group=holds)
@click.argument("hold", type=int)
def show_(obj: Context, hold: int) -> None:
    """Show what approving a hold would write."""
    show(obj, call(obj, "hold", id=hold).data, _hold_text)


def _hold_text(data: dict[str, Any]) -> Iterator[str]:
    yield f"hold {data['id']} on {data['connection']}: {data['reason']} (since {data['opened']})"
    if data["verdict"]:
        yield f"  {data['verdict']} {data['closed'] or ''}".rstrip()
    for c in data["counts"]:
        yield f"  {c['object']}: {c['sort']} {c['count']}"
    for s in data["sample"]:
        yield f"    for example {s['sort']} {s['key']} (person {s['person']})"


@command(LOCKED, DAMAGED, name="approve", group=holds)
@click.argument("hold", type=int)
def approve(obj: Context, hold: int) -> None:
    """Let a hold's operations go; says first what they are."""
    _decide(obj, hold, "approved", "The next cycle writes them: `syncd once`, or the running service.")


@command(LOCKED, DAMAGED, name="reject", group=holds)
@click.argument("hold", type=int)
def reject(obj: Context, hold: int) -> None:
    """Drop a hold's operations. Rows that were not to come or go are asked about again only if the wish was another in
    between, or the mapping changes; other operations, when their people change."""
    _decide(obj, hold, "rejected", "Rows neither come nor go until the wish itself changes.")


def _decide(obj: Context, hold: int, verdict: str, after: str) -> None:
    for line in _hold_text(call(obj, "hold", id=hold).data):
        say(line)
    answer = call(obj, "decide_hold", id=hold, verdict=verdict)
    show(obj, answer.data, lambda data: iter([f"{verdict} hold {hold}: {data['operations']} operations"]))
    say(f"  {after}")


COMMANDS = (holds,)
