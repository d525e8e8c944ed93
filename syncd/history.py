"""Who set a consent field, and when: what a CRM's field history says about the fields that a poll found changed.

Histories are asked for where a field has moved and nowhere else: a poll without changes costs no call, and the history
read after a record is never older than the record. Where the CRM keeps none, the interval between two polls says when, and
everybody's change counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from connectors.base import Connector
from connectors.errors import Misconfigured
from state import history
from state.ledger import NewEntry, Utterance
from state.queries import load
from state.relations import FlagDef, Relations, SourceDef
from state.store import Store
from syncd.model import HISTORY_COLUMNS, Micros, StreamSpec, Value

OURS, CONNECT = "self", "connect"
TOLERANCE: Micros = 600_000_000
"""How much older than the last poll a change that it missed can be: clocks differ, transactions end late."""
GRACE: Micros = 900_000_000
"""How long a provider may take to tell what an echo echoes."""
WINDOW: Micros = 86_400_000_000
"""How much later than its original an echo may be written."""
MOST = 1_000
"""Records of one page whose histories are asked for. More than that were changed by a program, and at one time."""


class Told(NamedTuple):
    """One change of a field: when (µs) and by whom (one of ORIGINS)."""

    at: Micros
    by: str

    @property
    def echo(self) -> bool:
        """Nobody's word: we wrote it, or a connector that copies what the provider was told."""
        return self.by in (OURS, CONNECT)


Past = Mapping[tuple[str, str, str], Told]
"""By record id, field and the value it was set to, as text."""


def past(store: Store, source: SourceDef, rows: Mapping[str, Sequence[Value]], connector: Connector, spec: StreamSpec,
         since: Micros) -> Past:
    """What history tells about the consent fields that differ in these rows from what is stored.

    :param rows: living records as just read: id -> value per flag
    :param spec: the history stream of the source's consent fields
    :param since: when the stream was last read to its end
    :raises ConnectorError: the history cannot be read at present
    """
    known = store.rows(history.known_flags(source), {"rids": orjson.dumps(list(rows)).decode()})
    keys = moved(source, known, rows)
    if not keys or len(keys) > MOST:
        return {}
    try:
        return told(connector.fetch(spec, keys).rows, since)
    except Misconfigured:
        # A history that may no longer be read is none: whoever changed the field meant it, since the last poll.
        return {}


def told(rows: Iterable[Sequence[Value]], since: Micros) -> dict[tuple[str, str, str], Told]:
    """The change to each value that counts, of those after the last poll (``since``): the last that is no echo, as a
    person's word must not hide behind a copy of another; else the last."""
    found: dict[tuple[str, str, str], Told] = {}
    for row in rows:
        cell = dict(zip(HISTORY_COLUMNS, row, strict=True))
        at, by = cell["at"], str(cell["by"])
        if not isinstance(at, int) or at <= since - TOLERANCE:
            continue
        key, new = (str(cell["record"]), str(cell["field"]), str(cell["new"])), Told(at, by)
        old = found.get(key)
        if old is None or (not new.echo, new.at) > (not old.echo, old.at):
            found[key] = new
    return found


def moved(source: SourceDef, known: Iterable[Sequence[Value]], rows: Mapping[str, Sequence[Value]]) -> list[str]:
    """Ids of the records whose consent fields mean something else than before.

    :param known: (record id, value per flag) as stored
    :param rows: record id -> value per flag as just read
    """
    return [str(rid) for rid, *before in known
            if any(_turned(flag, old, new) for flag, old, new in zip(source.flags, before, rows[str(rid)], strict=True))]


def _turned(flag: FlagDef, old: Value, new: Value) -> bool:
    meant, means = (flag.meanings.get(value, "unknown") for value in (old, new))
    return meant != means and (old is not None or means == "opt_out")


def trace(store: Store, rel: Relations, feeds: set[int], now: Micros) -> int:
    """Let echoes whose original nobody told in all the time there was count for themselves. How many did.

    :param feeds: the consent-bearing streams; unless all have come to their end at ``now``, nothing is judged yet
    """
    until = now - GRACE
    if not store.rows(load("history")["waiting"], (until,)):
        return 0
    if not feeds <= {row[0] for row in store.rows(load("registry")["feeds"]) if row[4] == now}:
        return 0

    def job(conn: Any) -> int:
        rows = history.untraced(conn, until, WINDOW)
        entries = orphans(rel, rows)
        history.settle(conn, store.book, until, entries, [(row[0], row[1]) for row in rows], now)
        return len(entries)
    return store.write(job)


def orphans(rel: Relations, rows: Iterable[Sequence[Any]]) -> list[NewEntry]:
    """Entries for echoes of nothing: the opt-out was said where we do not look, so it counts as far as its field reaches.

    :param rows: (record, field, at, stream, record id, address, connection), see ``state.history.untraced``
    """
    entries = []
    for record, name, at, stream, rid, address, connection in rows:
        source = rel.source(stream)
        if source is None:
            continue
        words = [["topic" if f.topic else "master", f.topic, "opt_out"] for f in source.flags if f.field == name]
        if words:
            utterance = Utterance(connection, source.name, "flag", 0, 0, orjson.dumps(words).decode())
            entries.append(NewEntry(utterance, record, address, at, at, rid=rid, evidence=f"history:{CONNECT}"))
    return entries
