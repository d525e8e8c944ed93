"""consent: what somebody said, what follows from it, and what an admin adds with name and evidence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from syncd.cli.common import ADDRESS, Context, call, command, say, show, table
from syncd.failures import DAMAGED, LOCKED

EVIDENCE = click.option("--evidence", required=True, metavar="TEXT",
                        help="How you know: a letter, a call, a ticket number. Kept in the ledger for ever.")
BY = click.option("--by", required=True, metavar="NAME", help="Who records it.")


@click.group()
def consent() -> None:
    """Statements and decisions about one person. Shows personal data."""


@command(LOCKED, DAMAGED, name="show", group=consent)
@click.argument("address", type=ADDRESS, metavar="-")
def show_(obj: Context, address: str) -> None:
    """Show what may be mailed to the address on standard input, and by which rule."""
    show(obj, call(obj, "consent_show", address=address).data, _decisions)


def _decisions(data: dict[str, Any]) -> Iterator[str]:
    if not data["people"]:
        yield "nothing is known about this address"
    for person in data["people"]:
        yield f"person {person['person'] or '-'}"
        for name, about in (("all marketing", person["all_marketing"]), *person["topics"].items()):
            may = "may be mailed" if about["mailable"] else "not mailed"
            yield f"  {name}: {about['state']}, {may}: {about['because']} ({about['rule']}" + (
                f", statement {about['statement']})" if about["statement"] else ")")


@command(LOCKED, DAMAGED, name="history", group=consent)
@click.argument("address", type=ADDRESS, metavar="-")
def history(obj: Context, address: str) -> None:
    """Show every statement about the address on standard input."""
    show(obj, call(obj, "consent_history", address=address).data, lambda data: table(
        [(s["position"], s["state"], s["topic"] or s["level"], s["source"], s["method"],
          "person" if s["person_made"] else "baseline" if s["baseline"] else "", s["said_from"], s["said_until"],
          s["knew"], s["evidence"]) for s in data["statements"]],
        ("statement", "state", "about", "source", "method", "made by", "said from", "until", "knew", "evidence")))


@command(LOCKED, DAMAGED, name="grant", group=consent)
@click.argument("address", type=ADDRESS, metavar="-")
@click.option("--topic", metavar="T", help="The topic the person wants.")
@click.option("--all-marketing", is_flag=True, help="Not one topic: the person takes back a stop of all marketing.")
@click.option("--crm-id", metavar="ID", help="Whose it is, where several people share the address.")
@EVIDENCE
@BY
def grant(obj: Context, address: str, topic: str | None, all_marketing: bool, crm_id: str | None, evidence: str,
          by: str) -> None:
    """Record that a person asked for a topic. The address is read from standard input."""
    if (topic is None) != all_marketing:
        raise click.UsageError("say what was asked for: --topic, or --all-marketing")
    answer = call(obj, "consent_grant", address=address, topic=topic, evidence=evidence, by=by, crm_id=crm_id)
    show(obj, answer.data, lambda data: iter([f"recorded as statement {data['statement']}"]))
    say("  The next cycle decides by it: `syncd once`, or the running service.")


@command(LOCKED, DAMAGED, name="retract", group=consent)
@click.argument("statement", type=int, required=False)
@click.option("--burst", type=int, metavar="ID", help="All of a burst, by the number of its hold, approved or not.")
@EVIDENCE
@BY
def retract(obj: Context, statement: int | None, burst: int | None, evidence: str, by: str) -> None:
    """Record that a statement, or every one of a burst, was never the person's: a mass update, an echo."""
    if (statement is None) == (burst is None):
        raise click.UsageError("say what was wrong: a STATEMENT, or --burst ID")
    answer = call(obj, "consent_retract", statement=statement, burst=burst, evidence=evidence, by=by)
    show(obj, answer.data, _retracted)
    say("  The next cycle decides by it: `syncd once`, or the running service.")


def _retracted(data: dict[str, Any]) -> Iterator[str]:
    if "burst" in data:
        yield f"{data['retracted']} statements of burst {data['burst']} are retracted"
        if data["own_word"]:
            yield f"  {data['own_word']} of these people also opted out themselves, and stay out"
    else:
        yield f"statement {data['retracts']} is retracted by statement {data['statement']}"


@command(LOCKED, DAMAGED, name="verify", group=consent)
def verify(obj: Context) -> int:
    """Recompute the ledger: was anything in it changed?"""
    answer = call(obj, "consent_verify")
    show(obj, answer.data, lambda data: iter(
        [f"{data['entries']} entries, " + ("intact" if data["intact"] else f"broken at {data['broken']}")]))
    return answer.exit_code

