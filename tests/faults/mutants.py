"""Versions of the product that lose something when they are killed at the wrong moment, and do nothing wrong otherwise."""

from __future__ import annotations

from tests.machine.mutants import Edit, Mutant

ADVANCE = ('load("records")["advance"], {"stream": feed.stream, "cursor": %s, "complete": None}).rowcount)')

MUTANTS = (
    Mutant("a cursor is stored before its page of records", (Edit(
        "syncd.pull:Puller._read",
        "        for rows, last in feed.pace.slices(page.rows):\n",
        "        if feed.spec.kind == 'record':\n"
        f"            self.store.write(lambda c: c.execute({ADVANCE % 'page.cursor'}\n"
        "        for rows, last in feed.pace.slices(page.rows):\n"),)),
    Mutant("a cursor is stored before its events", (Edit(
        "syncd.listen:Listener._events",
        "    heard = self.state.write(",
        f"    cursor and self.state.write(lambda c: c.execute({ADVANCE % 'cursor'}\n"
        "    heard = self.state.write("),)),
    Mutant("a cursor is stored before its statuses", (Edit(
        "syncd.listen:Listener._statuses",
        "    moved, entries = self.state.write(",
        f"    cursor and self.state.write(lambda c: c.execute({ADVANCE % 'cursor'}\n"
        "    moved, entries = self.state.write("),)),
    Mutant("what was interrupted is forgotten", (Edit(
        "sql:outbox.open_batches", "state <> 'closed'", "state = 'accepted'"),)),
)


def named(name: str) -> Mutant:
    return next(mutant for mutant in MUTANTS if mutant.name == name)
