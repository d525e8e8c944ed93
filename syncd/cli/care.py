"""forget, audit, backup and restore."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from syncd.cli.common import ADDRESS, Context, call, command, confirm, say, show, table
from syncd.cli.sync import DEADLINE
from syncd.failures import AUTH, DAMAGED, LOCKED, PARTIAL, PENDING, REMOTE


@command(PARTIAL, AUTH, REMOTE, LOCKED, DAMAGED)
@click.argument("address", type=ADDRESS, metavar="-")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--crm-id", metavar="ID", help="Whose data, where several people have, or had, the address.")
@click.option("--everyone", is_flag=True, help="All of them.")
@click.option("--also-crm", "crms", metavar="NAMES", default="",
              help="CRMs, with commas between, whose records are erased as their own privacy tools do it.")
@click.option("--delete", is_flag=True, help="With --also-crm: delete the records there.")
@click.option("--preview", is_flag=True, help="Only say what would become of which record of a CRM.")
@DEADLINE
def forget(obj: Context, address: str, yes: bool, crm_id: str | None, everyone: bool, crms: str, delete: bool,
           preview: bool, deadline: float) -> int:
    """Erase the person who has the address on standard input: here, in the copies beside the state, at the providers.

    The address stays blocked, as a keyed hash. A CRM is left alone unless --also-crm names it: Salesforce then marks the
    Individual as to be forgotten, Odoo archives the record and empties address and phone numbers. What a provider does later
    is followed by later runs; the receipt says what that is, and what is left to do by hand.
    """
    if crm_id is not None and everyone:
        raise click.UsageError("choose one of --crm-id and --everyone")
    if delete and not crms:
        raise click.UsageError("--delete says what becomes of the records of --also-crm")
    asked: dict[str, Any] = {"address": address, "crm_id": crm_id, "everyone": everyone, "deadline": deadline,
                             "crms": [n for name in crms.split(",") if (n := name.strip())], "delete": delete}
    if preview or not yes:
        answer = call(obj, "forget", check=True, preview=True, **asked)
        if preview:
            show(obj, answer.data, _preview)
            return answer.exit_code
        for line in _preview(answer.data):
            say(line)
    if not yes:
        confirm("Erase everything about this person? Nothing brings it back.")
    answer = call(obj, "forget", check=True, **asked)
    show(obj, answer.data, _receipt)
    return answer.exit_code


def _preview(data: dict[str, Any]) -> Iterator[str]:
    for r in data["records"]:
        yield f"{r['connection']} {r['object']} {r['record']}: " + (f"syncd {r['does']}" if r["does"] else "left alone")
    if not data["records"]:
        yield "no CRM has a record of this person"


_DONE = {"mark": "erased as its privacy tools do it", "delete": "deleted"}


def _receipt(data: dict[str, Any]) -> Iterator[str]:
    yield f"erasure {data['erasure']}, asked {data['asked']}: " + (
        "done" if data["done"] else "done here, still going on at a provider")
    yield "erased here: " + (", ".join(f"{n} {name.replace('_', ' ')}" for name, n in data["erased"].items()) or "nothing")
    yield "the journal was written anew; the address stays blocked by its keyed hash"
    if data["shared_addresses"]:
        yield f"{data['shared_addresses']} addresses are somebody else's too and stay"
    if not data["scrubbed"]:
        yield "the state could not be written anew (no room, or in use): run `syncd forget` again"
    if data["waiting"]:
        yield f"{data['waiting']} writes are with a provider; they are erased when it has answered"
    for path in data["copies_rewritten"]:
        yield f"backup written anew: {path}"
    crms = data.get("crms", {})
    for name, done in crms.items():
        yield from (f"{name}: {count} records {_DONE[how]}" for how, count in done.items() if count)
    for p in (*data["providers"], *data.get("refused", ())):
        what = "records" if p["connection"] in crms else "subscriber keys"
        yield f"{p['connection']}: {p['keys']} {what}, " + (p["error"] or p["state"]) + (
            "; erase them by hand, or give syncd's user the right and run `syncd forget` again"
            if p["error"] and p["connection"] in crms else "")
    for name, error in data.get("errors", {}).items():
        yield f"{name}: could not be asked ({error}); the next run tries again"
    for p in data["providers_by_hand"]:
        yield f"by hand: delete at {p['connection']} the subscribers {', '.join(p['keys'])}"
    for path in data["files_by_hand"]:
        yield f"by hand: {path} holds the address, or cannot be read"
    for path in data["backups_elsewhere"]:
        yield f"by hand: the backup {path} was made before; replace it"
    for r in data["left_alone"]:
        yield f"left alone: {r['connection']} {r['object']} {r['record']}"


@command(PENDING, AUTH, REMOTE, LOCKED, DAMAGED)
@click.option("--sample", type=click.IntRange(1), default=None, metavar="N",
              help="So many people, chosen at random; 200 where nothing is said.")
@click.option("--all", "everything", is_flag=True, help="Everyone. Costs about one call for every 200 people and list.")
@DEADLINE
def audit(obj: Context, sample: int | None, everything: bool, deadline: float) -> int:
    """Compare what every side really holds with the ledger, and repair opt-outs. Reopens nothing.

    A side that would still mail who opted out is told again; a refusal the ledger does not know is recorded.
    """
    if everything and sample is not None:
        raise click.UsageError("choose one of --sample and --all")
    answer = call(obj, "audit", check=True, sample=sample, everything=everything, deadline=deadline)
    show(obj, answer.data, _audited)
    if answer.data["remaining"]:
        say(f"syncd: {answer.data['remaining']} disagreements remain.")
        say("  Look with `syncd holds list` and `syncd quarantine list`; `syncd explain --crm-id` shows one of the people.")
    return answer.exit_code


def _audited(data: dict[str, Any]) -> Iterator[str]:
    yield (f"{data['people']} people: {data['agreeing']} of {data['compared']} places agree, {data['disagreeing']} did not,"
           f" {data['repaired']} of these are repaired; {data['recorded']} statements were new")
    yield from table([(p["connection"], p["where"], p["topic"] or "all marketing", p["agreeing"], p["compared"],
                       p["under_way"]) for p in data["places"]],
                     ("connection", "where", "topic", "agreeing", "compared", "under way"))
    for f in data["disagreements"]:
        yield f"  {f['kind']}: {f['connection']} {f['where']}, person {f['person']}, {f['key']}"


@command(LOCKED, DAMAGED)
@click.argument("target", type=click.Path(dir_okay=False))
def backup(obj: Context, target: str) -> None:
    """Copy the state to TARGET while it is in use, and check the copy."""
    answer = call(obj, "backup", target=str(Path(target).absolute()))
    show(obj, answer.data, lambda data: iter(
        [f"{data['backup']}: {data['bytes'] // 1024} KiB, up to ledger entry {data['ledger']}"]))


@command(LOCKED, DAMAGED)
@click.argument("source", type=click.Path(dir_okay=False, exists=True), required=False)
@click.option("--yes", is_flag=True, help="Do not ask.")
def restore(obj: Context, source: str | None, yes: bool) -> None:
    """Put a backup in the state's place, and replay what the journal knows beyond it.

    Without SOURCE a new state is made of the journal alone: it knows what everybody said, and nothing else. The present
    state is kept beside it. Everything is read again and decided anew; changes other than opt-outs wait for approval.
    """
    from syncd.desk import restoring

    config = obj.config()
    if not yes:
        confirm(f"Replace {config.state} by {source or 'what the journal says'}?")
    data = restoring.restore(config, Path(source) if source else None)
    show(obj, data, lambda d: iter([f"restored up to ledger entry {d['ledger']},"
                                    f" {d['replayed']} of them from the journal"]))
    if data["kept"]:
        say(f"  The state before is kept as {data['kept']}.")
    if data["forgotten"]:
        say(f"  {data['forgotten']} addresses were forgotten since that backup, and are forgotten here. Where a provider or"
            "\n  CRM had not erased them by then, nobody asks it any more: after the next run, `syncd forget` them again.")
    say("  Now run `syncd plan`, look at it, and `syncd apply` it.")


COMMANDS = (forget, audit, backup, restore)
