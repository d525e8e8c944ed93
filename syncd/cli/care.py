"""backup and restore."""

from __future__ import annotations

from pathlib import Path

import click

from syncd.cli.common import Context, call, command, say, show
from syncd.failures import DAMAGED, LOCKED


@command(LOCKED, DAMAGED)
@click.argument("target", type=click.Path(dir_okay=False))
def backup(obj: Context, target: str) -> None:
    """Copy the state to TARGET while it is in use, and check the copy."""
    answer = call(obj, "backup", target=str(Path(target).absolute()))
    show(obj, answer.data, lambda data: iter(
        [f"{data['backup']}: {data['bytes'] // 1024} KiB, up to ledger entry {data['ledger']}"]))


@command(LOCKED, DAMAGED)
@click.argument("source", type=click.Path(dir_okay=False, exists=True))
@click.option("--yes", is_flag=True, help="Do not ask.")
def restore(obj: Context, source: str, yes: bool) -> None:
    """Put a backup in the state's place, and replay what the journal knows beyond it.

    The present state is kept beside it. Everything is read again and decided anew; changes other than opt-outs wait for
    approval.
    """
    from syncd import restoring

    config = obj.config()
    if not yes:
        click.confirm(f"Replace {config.state} by {source}?", abort=True, err=True)
    data = restoring.restore(config, Path(source))
    show(obj, data, lambda d: iter([f"restored up to ledger entry {d['ledger']},"
                                    f" {d['replayed']} of them from the journal"]))
    if data["kept"]:
        say(f"  The state before is kept as {data['kept']}.")
    say("  Now run `syncd plan`, look at it, and `syncd apply` it.")


COMMANDS = (backup, restore)
