"""quarantine: rows a destination refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from syncd.cli.common import Context, call, command, show, table
from syncd.failures import DAMAGED, LOCKED


@click.group()
def quarantine() -> None:
    """Rows that were refused, with reason and remedy."""


@command(LOCKED, DAMAGED, name="list", group=quarantine)
def list_(obj: Context) -> None:
    """List the rows in quarantine; addresses appear as keyed hashes."""
    show(obj, call(obj, "quarantine").data, lambda data: table(
        [(q["id"], q["connection"], q["object"], q["key"], "yes" if q["opt_out"] else "", q["opened"], q["reason"])
         for q in data["quarantine"]],
        ("row", "connection", "object", "key", "opt-out", "since", "reason")))


@command(LOCKED, DAMAGED, name="show", group=quarantine)
@click.argument("row", type=int)
def show_(obj: Context, row: int) -> None:
    """Show one row with its key in the clear, and what to do."""
    show(obj, call(obj, "quarantined", id=row).data, _row_text)


OWN = {"invalid_address": "what stands in its field for the address is none",
       "invalid_value": "what stands in {} is not of that field's type",
       "key_taken": "its subscriber key is somebody else's there"}
"""Reasons that no vendor gave, in words."""


def _row_text(data: dict[str, Any]) -> Iterator[str]:
    yield f"row {data['id']} of {data['connection']} {data['object']}, key {data['key']}"
    code, _, what = data["reason"].partition(":")
    yield f"  refused since {data['opened']}: {data['reason']}" + (f" ({OWN[code].format(what)})" if code in OWN else "")
    yield f"  {data['remedy']}"


@command(LOCKED, DAMAGED, name="retry", group=quarantine)
@click.argument("rows", type=int, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All rows.")
def retry(obj: Context, rows: tuple[int, ...], everything: bool) -> None:
    """Try rows again with the next cycle."""
    if bool(rows) == everything:
        raise click.UsageError("name rows, or --all")
    answer = call(obj, "quarantine_retry", ids=None if everything else list(rows))
    show(obj, answer.data, lambda data: iter(
        [f"{data['retried']} rows, {data['people']} people are looked at again with the next cycle"]))


@command(LOCKED, DAMAGED, name="drop", group=quarantine)
@click.argument("row", type=int)
def drop(obj: Context, row: int) -> None:
    """Forget that a row was refused. Never one that carries an opt-out."""
    answer = call(obj, "quarantine_drop", id=row)
    show(obj, answer.data, lambda data: iter([f"dropped row {data['id']}"]))


COMMANDS = (quarantine,)
