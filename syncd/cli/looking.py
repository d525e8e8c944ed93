"""status, runs, explain: the commands that only look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from syncd.cli.common import ADDRESS, Context, call, command, show, table
from syncd.failures import AUTH, DAMAGED, LOCKED, REMOTE, USAGE, Failure


@command(LOCKED, DAMAGED)
def status(obj: Context) -> None:
    """Show connections, streams, what waits and the last run."""
    show(obj, call(obj, "status").data, _status_text)


def _status_text(data: dict[str, Any]) -> Iterator[str]:
    last = data["last_run"]
    yield f"state {data['state']}: {data['bytes'] // 1024} KiB, {data['ledger']} ledger entries"
    if "service" in data:
        yield f"service: process {data['service']['pid']}"
    yield f"last run {last['run']}: {last['outcome']}, {last['started']}" if last else "no run yet"
    if data["audit"]:
        audit = data["audit"]
        yield (f"last audit {audit['at']}: {audit['agreeing']} of {audit['compared']} agree,"
               f" {audit['repaired']} repaired, {audit['remaining']} remain")
    yield ""
    yield from table(
        [(c["name"], c["role"], "yes" if c["approved"] else "first plan waits", c["queued"], c["open_requests"],
          c["opt_outs_waiting"], c["quarantine"]) for c in data["connections"]],
        ("connection", "role", "approved", "queued", "open", "opt-outs waiting", "quarantine"))
    yield ""
    yield from table(
        [(c["name"], s["object"], s["kind"], s["read_to_end"], s["error"])
         for c in data["connections"] for s in c["streams"]],
        ("connection", "stream", "kind", "read to its end", "error"))
    for send in data.get("sends", ()):
        yield f"{send['level']}: send {send['send']} of {send['connection']}: {send['message']} {send['remedy']}"
    for hold in data["holds"]:
        yield f"hold {hold['id']} on {hold['connection']} {hold['object'] or ''}: {hold['reason']}"


@command(LOCKED, DAMAGED)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="How many, newest first.")
def runs(obj: Context, limit: int) -> None:
    """List the latest runs."""
    show(obj, call(obj, "runs", limit=limit).data, lambda data: table(
        [(r["run"], r["trigger"], r["started"], r["seconds"], r["outcome"], sum(r.get("rows", {}).values()),
          r.get("people"), sum(sum(o.values()) for o in r.get("operations", {}).values())) for r in data["runs"]],
        ("run", "trigger", "started", "seconds", "outcome", "rows", "people", "operations")))


@command(AUTH, REMOTE, LOCKED, DAMAGED)
@click.argument("address", type=ADDRESS, metavar="-", required=False)
@click.option("--crm-id", metavar="ID", help="The person of one CRM record, instead of an address.")
def explain(obj: Context, address: str | None, crm_id: str | None) -> None:
    """Say why somebody is, or is not, in each list. The address is read from standard input.

    Shows personal data.
    """
    if (address is None) == (crm_id is None):
        raise click.UsageError("give an address on standard input (explain -) or --crm-id")
    answer = call(obj, "explain", address=address, crm_id=crm_id)
    if not answer.data["people"] and not answer.data["statements"]:
        raise Failure(USAGE, "nobody with this address was ever read.",
                      next="Check its spelling; `syncd resync --person -` reads a person again.", code="unknown")
    show(obj, answer.data, _explain_text)


def _explain_text(data: dict[str, Any]) -> Iterator[str]:
    yield f"{data['address'] or ''}" + (" (mail bounces)" if data["undeliverable_since"] else "")
    for person in data["people"]:
        yield f"\nperson {person['person']}" + (f": {person['ambiguous']}" if person["ambiguous"] else "")
        for record in person["records"]:
            gone = " deleted" if record["deleted"] else ""
            yield f"  {record['stream']} {record['id']}{gone} " + ", ".join(
                f"{k}={v}" for k, v in record["fields"].items() if v is not None)
        yield "  attributes: " + ", ".join(f"{k}={a['value']}" for k, a in person["attributes"].items())
        for group in ("topics", "segments"):
            for name, about in person[group].items():
                yield f"  {group[:-1]} {name}: {'in' if about['in'] else 'not in'} - {'; '.join(about['why'])}"
                for part in about["rule"]["parts"] if about["rule"] else ():
                    yield f"      {part['part']} = {part['value']}"
        for object_ in person["destinations"]:
            yield f"  {object_['connection']} {object_['object']} as {object_['key']}: " + (
                "there" if object_["in"] else "not there") + (", should be" if object_["wanted"] else ", should not be")
    for s in data["statements"]:
        about = s["topic"] or s["level"]
        yield f"  statement {s['position']}: {s['state']} {about}, {s['source']} {s['method']}, {s['said_until']}"


COMMANDS = (status, runs, explain)
