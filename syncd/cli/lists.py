"""consent requests, import, export: opt-outs of many people at once, read and written part by part."""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO, Any, NamedTuple

import click

from syncd.cli.common import Context, asking, call, command, say, show, table
from syncd.cli.consent import consent
from syncd.failures import DAMAGED, LOCKED, PARTIAL, USAGE, Failure

PART, LETTERS = 2_500, 400_000
"""Rows that are recorded together, and characters of them: a question to the running syncd has a limit."""

LONGEST = 400
"""Characters of a value that are looked at; no address is as long."""

NAMES = ("email", "e-mail", "address", "email address", "email_address", "emailaddress", "subscriber", "subscriberkey",
         "hash", "sha256", "sha-256")
"""Headings of the column that is read where none is named."""


@command(LOCKED, DAMAGED, name="requests", group=consent)
def requests(obj: Context) -> None:
    """List people for whom somebody at a CRM asks for mail without showing that they want it.

    A flag turned towards mail without evidence is set back once and never counts. If the person did ask, record it.
    """
    show(obj, call(obj, "consent_requests").data, _requests)


def _requests(data: dict[str, Any]) -> Iterator[str]:
    if not data["requests"]:
        yield "nothing waits for a person's word"
    yield from table([(r["stream"], r["record"], r["field"], r["topic"] or "all marketing", r["asked"], r["set_back"])
                      for r in data["requests"]],
                     ("stream", "record", "field", "about", "asked", "set back"))
    for r in data["requests"]:
        yield f"  {r['next']}"


# --------------------------------------------------------------------------- import

class Row(NamedTuple):
    """A value to be imported; ``text`` is the whole row as it was."""

    line: int
    value: str
    text: str


@command(PARTIAL, LOCKED, DAMAGED, name="import", group=consent)
@click.argument("source", type=click.File("r", encoding="utf-8-sig", errors="surrogateescape"), metavar="FILE|-")
@click.option("--topic", metavar="T", help="They refused this topic only; otherwise all marketing.")
@click.option("--column", metavar="NAME|NUMBER", help="The column to read, by its heading or from 1.")
@click.option("--delimiter", metavar="CHAR", help="What separates columns, if not a comma, semicolon or tab.")
@click.option("--evidence", metavar="TEXT", help="Where the list is from. Kept in the ledger with each statement.")
@click.option("--by", metavar="NAME", help="Who imports it.")
@click.option("--dry-run", is_flag=True, help="Count; record nothing.")
@click.option("--rejects", metavar="FILE", help="Write the rows that cannot be used to FILE, with the reason."
                                                " It holds personal data.")
def import_(obj: Context, source: IO[str], topic: str | None, column: str | None, delimiter: str | None,
            evidence: str | None, by: str | None, dry_run: bool, rejects: str | None) -> int:
    """Record an opt-out for every row of an old suppression list (CSV, UTF-8).

    A row holds an address, the hash that `syncd consent export` writes, or a plain SHA-256 or MD5 of the address in lower
    case. Importing a list again changes nothing.
    """
    began = time.monotonic()
    totals = dict.fromkeys(("rows", "addresses", "repeated", "held", "by_digest", "unsure", "written"), 0)
    bad = 0
    options = {"topic": topic, "evidence": evidence, "by": by, "dry_run": dry_run}
    with ExitStack() as stack:
        ask, reject = stack.enter_context(asking(obj)), stack.enter_context(Rejects(rejects))
        for part, more in _parts(_rows(source, column, delimiter)):
            data = ask("consent_import", values=[row.value for row in part], more=more, **options).data
            for name in totals:
                totals[name] += data.get(name, 0)
            totals["rows"] += len(part)
            bad += len(data["bad"])
            for index in data["bad"]:
                reject(part[index])
    seconds = time.monotonic() - began
    result = {**totals, "bad": bad, "dry_run": dry_run, "seconds": round(seconds, 2),
              "rows_per_second": round(totals["rows"] / seconds) if seconds > 0 else 0}
    show(obj, result, _imported)
    if not dry_run and totals["written"]:
        say("  The next cycle decides by it: `syncd once`, or the running service.")
    return PARTIAL if bad else 0


def _imported(data: dict[str, Any]) -> Iterator[str]:
    would = "would be " if data["dry_run"] else ""
    yield (f"{data['rows']} rows, {data['addresses']} addresses: {data['written']} opt-outs {would}recorded,"
           f" {data['repeated']} were there already, {data['bad']} rows cannot be used")
    yield f"{data['held']} of the addresses belong to people we know" + (
        f"; {data['by_digest']} are known by their SHA-256 only" if data["by_digest"] else "") + (
        f"; {data['unsure']} are the MD5 or the keyed hash of an address not met yet" if data["unsure"] else "")
    yield f"{data['rows_per_second']} rows a second"


class Rejects:
    """Tells the line numbers of rows that cannot be used, and writes the rows themselves to a file of their owner's."""

    SHOWN = 20

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._count = 0
        self._file: IO[str] | None = None

    def __enter__(self) -> Rejects:
        if self._path is not None:
            try:
                fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            except OSError as error:
                raise Failure(USAGE, f"{self._path} cannot be written: {error.strerror}.") from None
            self._file = os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape", newline="")
            csv.writer(self._file).writerow(("line", "reason", "row"))
        return self

    def __call__(self, row: Row) -> None:
        self._count += 1
        if self._file is not None:
            csv.writer(self._file).writerow((row.line, "neither an address nor a hash", row.text))
        elif self._count <= self.SHOWN:
            say(f"line {row.line}: neither an address nor a hash")

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        elif self._count > self.SHOWN:
            say(f"and {self._count - self.SHOWN} more lines; see them with --rejects FILE")


def _parts(rows: Iterator[Row]) -> Iterator[tuple[list[Row], bool]]:
    """The rows in parts, each with whether another one follows; an empty list is one empty part."""
    part: list[Row] = []
    letters = 0
    for row in rows:
        if len(part) == PART or letters + len(row.value) > LETTERS:
            yield part, True
            part, letters = [], 0
        part.append(row)
        letters += len(row.value)
    yield part, False


def _rows(source: IO[str], column: str | None, delimiter: str | None) -> Iterator[Row]:
    """The values of the chosen column, with their line numbers. A first row that holds a heading is passed over.

    :raises Failure: there is no such column
    """
    first = source.readline()
    reader = csv.reader(_lines(first, source), delimiter=delimiter or _delimiter(first))
    place: int | None = None
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield Row(reader.line_num, "", "")
            continue
        if place is None:
            place, heading = _column(cells, column)
            if heading:
                continue
        if any(cells):
            yield Row(reader.line_num, (cells[place] if place < len(cells) else "")[:LONGEST], ",".join(cells))


def _lines(first: str, rest: IO[str]) -> Iterator[str]:
    yield first
    yield from rest


def _delimiter(heading: str) -> str:
    return max(",;\t|", key=heading.count) if heading else ","


def _column(cells: list[str], wanted: str | None) -> tuple[int, bool]:
    """Where the values are, and whether this row is a heading."""
    names = [cell.strip().casefold() for cell in cells]
    if wanted is not None and wanted.isdigit() and int(wanted) > 0:
        place = int(wanted) - 1
        return place, place < len(names) and names[place] in NAMES
    if wanted is not None:
        if wanted.casefold() not in names:
            raise Failure(USAGE, f'there is no column "{wanted}".', next="Columns are named by the first row.")
        return names.index(wanted.casefold()), True
    known = [names.index(name) for name in NAMES if name in names]
    if known:
        return known[0], True
    if len([name for name in names if name]) > 1:
        raise Failure(USAGE, "none of the headings tells which column holds addresses.", next="Say which: --column NAME.")
    return 0, False


# --------------------------------------------------------------------------- export

HEAD = {"suppressions": ("address", "hash", "scope", "since", "source", "method", "rule", "statement")}


@command(LOCKED, DAMAGED, name="export", group=consent)
@click.option("--statements", is_flag=True, help="Every statement of the ledger instead of the opt-outs that stand.")
@click.option("--format", "format_", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True,
              help="CSV, or one JSON object a line; --json means the latter.")
def export(obj: Context, statements: bool, format_: str) -> None:
    """Write the opt-outs that stand, or all statements, to standard output. Shows personal data."""
    what, writer = "statements" if statements else "suppressions", csv.writer(sys.stdout)
    head: tuple[str, ...] | None = HEAD.get(what)
    lines = obj.json or format_ == "jsonl"
    if head is not None and not lines:
        writer.writerow(head)
    with asking(obj) as ask:
        after: int | None = 0
        while after is not None:
            data = ask("consent_export", what=what, after=after).data
            after = data["after"]
            for row in data["rows"]:
                if lines:
                    _line(row)
                    continue
                if head is None:
                    head = tuple(row)
                    writer.writerow(head)
                writer.writerow([_cell(row[name]) for name in head])


def _line(row: dict[str, Any]) -> None:
    import orjson

    click.echo(orjson.dumps(row).decode())


def _cell(value: Any) -> Any:
    return ";".join(value) if isinstance(value, list) else value


COMMANDS = (consent,)
