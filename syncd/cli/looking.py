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
    yield f"last run {last['run']}: {last['outcome']}, {last['started']}" if last else \
        "no run yet: `syncd plan` reads everything, writes nothing and shows what would be written"
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
    for c in data["connections"]:
        if c["leads_elsewhere"]:
            yield (f"{c['name']} leads to another account, {c['leads_elsewhere']}, and is not used: look with"
                   " `syncd connections list`")
    for send in data.get("sends", ()):
        yield f"{send['level']}: send {send['send']} of {send['connection']}: {send['message']} {send['remedy']}"
    for e in data["erasures"]:
        yield f"{'late: ' if e['late'] else ''}erasure {e['erasure']}, asked {e['asked']}: " + (", ".join(
            f"{p['connection']} {p['error'] or ('running' if p['accepted'] else 'waiting')}" for p in e["providers"])
            or "to be finished by the next run")
    for hold in data["holds"]:
        yield f"hold {hold['id']} on {' '.join(filter(None, (hold['connection'], hold['object'])))}: {hold['reason']}"


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
    as_of = data["as_of"]
    yield f"{data['address'] or ''}" + (" (mail bounces)" if data["undeliverable_since"] else "")
    yield (f"as of {as_of['read_to_end'] or 'no complete reading'}, when {as_of['oldest_stream']} was read to its end;"
           f" connections described {as_of['described']}; now {as_of['now']}")
    for person in data["people"]:
        yield f"\nperson {person['person']}" + (f": {person['ambiguous']}" if person["ambiguous"] else "") + (
            " (decided again with the next cycle)" if person["waits_for_next_cycle"] else "")
        for record in person["records"]:
            gone = " deleted" if record["deleted"] else ""
            yield f"  {record['stream']} {record['id']}{gone} " + ", ".join(
                f"{k}={v}" for k, v in record["fields"].items() if v is not None)
        yield "  attributes: " + ", ".join(f"{k}={a['value']}" for k, a in person["attributes"].items())
        yield "  all marketing"
        yield from _decision_text(person["all_marketing"])
        for name, topic in person["topics"].items():
            yield f"  topic {name}: {'in' if topic['in'] else 'not in'} - {'; '.join(topic['why'])}"
            for connection in topic["held_back_by"]:
                yield (f"      but {connection} holds a stop of all mail, which has no exceptions there: mail of this topic"
                       " does not reach the person. If all mail is wanted again: `syncd consent grant -`")
            yield from _decision_text(topic)
            yield from _rule_text(topic["rule"])
        for name, segment in person["segments"].items():
            yield f"  segment {name}: {'in' if segment['in'] else 'not in'} - {'; '.join(segment['why'])}"
            yield from _rule_text(segment["rule"])
            if segment["rank"]:
                yield _rank_text(segment["rank"])
            if segment["last_write"]:
                yield _write_text(segment["last_write"])
        for object_ in person["destinations"]:
            moves = "".join(f", {how.replace('_', ' ')} {', '.join(keys)}" for how, keys in object_["other_keys"].items())
            yield f"  {object_['connection']} {object_['object']} as {object_['key']}{moves}: " + (
                "there" if object_["in"] else "not there") + (", should be" if object_["wanted"] else ", should not be") + (
                f"; waits: {object_['waits']}" if object_["waits"] else "")
    for s in data["statements"]:
        yield f"  {_statement_text(s)}"


def _decision_text(about: dict[str, Any]) -> Iterator[str]:
    """The rule that decided, the statement it rests on, what the CRM holds, and what was written of it."""
    decision = about["decision"]
    yield f"      rule {decision['rule']} (docs/consent.md): {decision['because']} {decision['state']}" + (
        "" if decision["mailable"] else ", not mailed")
    if about["deciding"]:
        yield f"      {_statement_text(about['deciding'])}"
    for v in about["values"]:
        told = [f"{name} {v[key]}" for key, name in (("said_at", "said"), ("method", "by")) if v[key] is not None]
        yield f"      {v['stream']} {v['id']}: {v['field']} = {v['value']} means {v['means']}" + (
            f" ({', '.join(told)})" if told else "") + (f"; cannot be held: no {v['lacks']}" if v["lacks"] else "")
    for write in about["last_writes"]:
        yield _write_text(write)


def _rule_text(rule: dict[str, Any] | None) -> Iterator[str]:
    for part in rule["parts"] if rule else ():
        yield f"      {part['part']} = {part['value']}"


def _rank_text(rank: dict[str, Any]) -> str:
    place = f"place {rank['place']}" if rank["place"] else "no place"
    return (f"      {place} of {rank['members']} (limit {rank['limit']}) by {rank['by']}: {rank['value']}, the last member's"
            f" {rank['cutoff']}")


def _write_text(write: dict[str, Any]) -> str:
    reason = f" ({write['reason']})" if write["reason"] else ""
    columns = f" {', '.join(write['columns'])}" if write["columns"] else ""
    return (f"      last write: {write['connection']} {write['object'] or 'all mail'} {write['sort']}{columns},"
            f" {write['state']} {write['at']}{reason}")


def _statement_text(s: dict[str, Any]) -> str:
    by = "the person" if s["person_made"] else "somebody or something else"
    said = s["said_until"] if s["said_from"] == s["said_until"] else f"{s['said_from'] or 'ever'} to {s['said_until']}"
    knew = "" if s["knew"] is None else f", knowing statements up to {s['knew']}"
    return (f"statement {s['position']}: {s['state']} {s['topic'] or s['level']}, {s['source']} {s['method']} by {by},"
            f" said {said}{knew}" + (f", evidence {s['evidence']}" if s["evidence"] else ""))


COMMANDS = (status, runs, explain)
