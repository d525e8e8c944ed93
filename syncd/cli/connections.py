"""connections: which account of its vendor each of them is about, and what to do when it leads to another one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from syncd.cli.common import Context, call, command, say, show, table
from syncd.failures import AUTH, DAMAGED, LOCKED, REMOTE


@click.group()
def connections() -> None:
    """Connections: each stays with the account it met first, for ids mean nothing in another one."""


@command(LOCKED, DAMAGED, name="list", group=connections)
def list_(obj: Context) -> None:
    """List the connections with their accounts, and which of them lead elsewhere."""
    show(obj, call(obj, "accounts").data, _listed)


def _listed(data: dict[str, Any]) -> Iterator[str]:
    yield from table([(c["name"], c["role"], c["account"], c["place"], c["elsewhere"]) for c in data["connections"]],
                     ("connection", "role", "account", "reached at", "leads to another account"))


@command(AUTH, REMOTE, LOCKED, DAMAGED, name="accept", group=connections)
@click.argument("name")
@click.option("--same-people", is_flag=True, required=True,
              help="Your word: its records and subscribers are the same people, under the same ids.")
def accept(obj: Context, name: str, same_people: bool) -> None:
    """Take the account that a connection leads to now for the one before, which was moved or copied.

    Everything there is read again. If the ids are other people's, opt-outs reach the wrong ones and people are mailed who
    refused: then give the new account a connection of its own instead (docs/operating.md, "Another account").
    """
    show(obj, call(obj, "accept_account", connection=name).data, _accepted)
    say("  Look at what changes with `syncd plan`.")


def _accepted(data: dict[str, Any]) -> Iterator[str]:
    yield f"{data['connection']} is {data['account']} now; it was {data['was']}"


COMMANDS = (connections,)
