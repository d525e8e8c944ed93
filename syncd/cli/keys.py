"""keys: under which subscriber keys people are known, and moving them to others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from syncd.cli.common import Context, call, command, confirm, emit, say, show, table
from syncd.failures import DAMAGED, LOCKED

CONNECTION = click.option("--connection", required=True, metavar="NAME", help="The destination's connection.")


@click.group()
def keys() -> None:
    """Subscriber keys: a person's at a destination is for good, unless you move people to others."""


@command(LOCKED, DAMAGED, name="list", group=keys)
def list_(obj: Context) -> None:
    """Count people by key: who has the one that the mapping gives, who another, who is moving, who has none."""
    show(obj, call(obj, "keys").data, _counts)


def _counts(data: dict[str, Any]) -> Iterator[str]:
    yield from table([(d["connection"], d["people"], d["other"], d["existing"], d["moving"], d["former"], d["without"])
                      for d in data["destinations"]],
                     ("connection", "people", "other key", "there before", "moving", "given up", "key taken"))


@command(LOCKED, DAMAGED, name="migrate", group=keys)
@CONNECTION
@click.option("--plan", is_flag=True, help="Say what it would do; do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--stop", is_flag=True, help="Let whoever has not moved yet keep the present key.")
def migrate(obj: Context, connection: str, plan: bool, yes: bool, stop: bool) -> None:
    """Move everyone at a destination to the key that the mapping's subscriber_key gives.

    Each person's refusals are written under the new key and read back; then rows go out under it, and the old ones are
    removed. A mail that is sent in between may reach somebody twice: choose an hour without sends. The old subscribers stay
    at the provider, without rows; `syncd keys former` lists their keys.
    """
    if plan + yes + stop > 1:
        raise click.UsageError("choose one of --plan, --yes and --stop")
    if stop:
        show(obj, call(obj, "stop_keys", connection=connection).data, _stopped)
        return
    planned = call(obj, "keys", connection=connection).data
    [about] = planned["destinations"]
    if plan or not about["other"]:
        show(obj, planned, _plan)
        return
    for line in _plan(planned):
        say(line)
    if not yes:
        confirm("Move them?")
    show(obj, call(obj, "migrate_keys", connection=connection).data, _moving)
    say("  The next cycles do it: `syncd once`, or the running service. `syncd keys list` shows how far they are.")


def _plan(data: dict[str, Any]) -> Iterator[str]:
    [d] = data["destinations"]
    if not d["other"]:
        yield f"everyone at {d['connection']} has the key that the mapping gives"
        return
    yield (f"{d['other']} of {d['people']} people at {d['connection']} have another key than the mapping gives;"
           f" {d['existing']} of them were subscribers before syncd")
    yield f"  {d['refusals']} refusals stand under these keys; they are written under the new ones first"
    if d["moving"]:
        yield f"  {d['moving']} of them are moving already"


def _moving(data: dict[str, Any]) -> Iterator[str]:
    [d] = data["destinations"]
    yield f"{d['moving']} people at {d['connection']} are moving"
    if d["other"] > d["moving"]:
        yield (f"  {d['other'] - d['moving']} keep their key for now: the new one is somebody else's, or just being given"
               " up by a record that was merged; run this again later")


def _stopped(data: dict[str, Any]) -> Iterator[str]:
    yield f"{data['stopped']} people at {data['destinations'][0]['connection']} keep their key"


@command(LOCKED, DAMAGED, name="former", group=keys)
@CONNECTION
def former(obj: Context, connection: str) -> None:
    """Print the keys that were given up, one a line: subscribers who may be deleted at the provider.

    Unsubscribes that come back under them still count, so wait until the last mails to them are old. Shows personal data
    where the keys are addresses.
    """
    found: list[str] = []
    while part := call(obj, "former_keys", connection=connection, after=found[-1] if found else "").data["former"]:
        found += [key for key, _ in part]
        if not obj.json:
            for key, _ in part:
                click.echo(key)
    if obj.json:
        emit({"former": found})


COMMANDS = (keys,)
