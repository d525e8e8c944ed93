"""What the sides say, as ledger entries: changed CRM flags, changed statuses, events. Pure; no clock, no I/O.

The words: a *baseline* is what was found when a connection was first linked; an *echo* is our own write seen again, or a
copy of what the provider was told, and says nothing; a *request* is a flag turned towards mail without evidence, which
never counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from state.flags import FLAG_COLUMNS
from state.ledger import Alike, Knew, NewEntry, Utterance
from state.records import Sight
from state.relations import FlagDef, SourceDef
from state.sends import Send
from state.statuses import Event, StatusChange
from syncd.consent import CLOCK_TOLERANCE
from syncd.history import CONNECT, Past, Told
from syncd.model import Micros
from syncd.sends import Containers

_Group = tuple[Utterance, Micros | None, str | None]
"""An utterance, when it was said where that is known, and the reference that shows it."""


def said(level: str, topic: str | None, state: str, all_except: Sequence[str] = ()) -> list[Any]:
    """One statement of an entry, as the ledger holds it."""
    return [level, topic, state, list(all_except)] if all_except else [level, topic, state]


def refusal(topic: str | None) -> str:
    """What an entry says that refuses one topic, or all mail (None): JSON."""
    return orjson.dumps([said("master" if topic is None else "topic", topic, "opt_out")]).decode()


@dataclass(slots=True)
class Requests:
    """Flags turned towards mail without evidence, found while reading: (record, field); those turned away from it,
    which ends an earlier request; those that echo what the provider was told, with the instant; and those that somebody
    else has set since."""

    found: list[tuple[int, str]] = field(default_factory=list)
    withdrawn: list[tuple[int, str]] = field(default_factory=list)
    echoes: list[tuple[int, str, Micros]] = field(default_factory=list)
    overwritten: list[tuple[int, str]] = field(default_factory=list)


BESIDE = "beside"
"""The mark of a refusal that lies beside the record, in a row or parent it points to: the record's own time of change says
nothing of it. Its own date, where it has one, is believed between two readings only: an older one is that of the consent
before it, or was written later than it says."""

WRITTEN, DAY = "written", "day"
"""The marks of an opt-in whose date stands in the record itself, and of one of which only the day is known: its instant is
the earliest at which that day is somewhere."""

AHEAD: Micros = 86_400_000_000
"""No clock is ahead by more, whichever zone it takes for the world's: a date beyond is a mistake."""

ON_EARTH: Micros = 50 * 3_600_000_000
"""How long a day is somewhere: from its begin at UTC+14 to its end at UTC-12."""

NOTHING_TOLD: Past = {}
NOTHING_STOPPED: Mapping[str, Micros] = {}


def from_flags(source: SourceDef, rows: Iterable[Sequence[Any]], *, connection: int, since: Micros | None, now: Micros,
               requests: Requests, past: Past = NOTHING_TOLD,
               unknown: frozenset[str] = frozenset(), tolerance: Micros = CLOCK_TOLERANCE) -> list[NewEntry]:
    """Entries for new or changed consent fields.

    :param since: when the stream was last read to its end; None = first link: what a record had when it was first seen is
        a baseline (``from_first_sight``)
    :param past: what field history tells about the changes; one it does not tell happened in the interval since
    :param unknown: fields mapped since the link, whose values in known records become a baseline (``from_first_sight``)
    :param tolerance: how far the clock of a form may be ahead of the CRM's (µs)
    """
    cache: dict[tuple[Any, ...], tuple[_Group, ...]] = {}
    entries: list[NewEntry] = []
    for row in rows:
        record, rid, fresh, address, hash_, modified, *cells = row
        shape = (fresh, *cells)
        groups = cache.get(shape)
        if groups is None or not fresh:
            told = {} if fresh or not past else _of_record(source, past, rid, cells)
            groups = cache[shape] = tuple(_groups(source, connection, since is None, fresh, cells, record, requests, told,
                                                  frozenset() if fresh else unknown))
        for utterance, at, evidence in groups:
            if evidence == BESIDE and at is not None and not (since is not None and since <= at <= now):
                at = None
            lo, hi = (at, at) if at is not None else (since, now)
            if evidence == BESIDE:
                evidence = None
            elif at is not None and utterance.person_made:
                lo, hi = _asked(at, None if evidence is None else modified, now, ON_EARTH if evidence == DAY else 0)
                at, evidence = None if lo is None else min(lo, hi), None
            elif at is None and lo is not None and modified is not None and lo < modified <= now:
                hi = modified
            elif evidence is not None and hi > now:
                lo = hi = now
            entries.append(NewEntry(utterance, record, address, lo, hi, rid=rid, hash=hash_, evidence=evidence,
                                    knew=_form(at, tolerance) if utterance.person_made and since is not None else None))
    return entries


def from_first_sight(source: SourceDef, sights: Iterable[Sight], connection: int, now: Micros,
                     requests: Requests) -> Iterable[NewEntry | Alike]:
    """Baselines of records that a first link finds, or of fields that were mapped after it: those with the same in their
    consent fields say the same."""
    for cells, records, addresses, rids, hashes in sights:
        for utterance, at, evidence in _groups(source, connection, True, 1, cells, records[0], requests, {}):
            if at is None or evidence == BESIDE:
                yield Alike(utterance, now, records, addresses, rids, hashes)
            else:
                yield from (NewEntry(utterance, record, address, at, at, rid=rid, hash=hash_)
                            for record, address, rid, hash_ in zip(records, addresses, rids, hashes, strict=True))


def _of_record(source: SourceDef, past: Past, rid: str, cells: Sequence[Any]) -> dict[str, Told]:
    """What history tells about the values that a record's flags were changed to."""
    values = ((flag.field, cells[i * FLAG_COLUMNS:i * FLAG_COLUMNS + 2]) for i, flag in enumerate(source.flags))
    return {name: told for name, (old, new) in values
            if old != new and (told := past.get((rid, name, str(new)))) is not None}


def _groups(source: SourceDef, connection: int, baseline: bool, fresh: int, cells: Sequence[Any], record: int,
            requests: Requests, told: Mapping[str, Told], unknown: frozenset[str] = frozenset()) -> Iterable[_Group]:
    """(utterance, said_at, evidence) per entry: flags of one instant and author belong together."""
    together: dict[tuple[str, int, Micros | None, str | None], list[list[Any]]] = {}
    for index, flag in enumerate(source.flags):
        if flag.field in unknown:
            continue
        old, new, said_at, method, made = cells[index * FLAG_COLUMNS:(index + 1) * FLAG_COLUMNS]
        meaning = flag.meanings.get(new, "unknown")
        before = None if fresh else flag.meanings.get(old, "unknown")
        topic, level = flag.topic, "master" if flag.topic is None else "topic"
        evidence = bool(made) and said_at is not None
        known = told.get(flag.field)
        if known is not None and known.echo and not (meaning == "opt_in" and evidence):
            _echo(record, flag, before, meaning, known, requests)
            continue
        if not fresh and old != new:
            requests.overwritten.append((record, flag.field))
        if meaning == "opt_out" or (meaning == "unknown" and before == "opt_in"):
            # Towards no mail: at once, whoever did it. A box unticked says no even where it cannot say "never asked".
            if before != "opt_out":
                exact: tuple[Micros | None, str | None] = (None, None)
                if known is not None:
                    exact = known.at, f"history:{known.by}"
                elif "." in flag.field:
                    exact = said_at if flag.dated else None, BESIDE
                together.setdefault(("flag", 0, *exact), []).append(said(level, topic, "opt_out"))
                requests.withdrawn.append((record, flag.field))
        elif meaning == "opt_in" and (before != "opt_in" or evidence):
            if evidence or (fresh and level == "topic"):
                mark = DAY if flag.daily else WRITTEN if "." not in flag.field else None
                key = (str(method or "flag"), int(evidence), *((said_at, mark) if evidence else (None, None)))
                together.setdefault(key, []).append(said(level, topic, "opt_in"))
            elif not fresh:
                requests.found.append((record, flag.field))
        elif meaning == "pending" and not fresh and before != "pending":
            # Asked again, and not confirmed yet. Found on a record seen for the first time it takes nothing back: another
            # record of the person may hold the answer.
            together.setdefault(("flag", 0, None, None), []).append(said(level, topic, "pending"))
        if level == "master" and before == "opt_out" and meaning != "opt_out" and not fresh:
            requests.found.append((record, flag.field))
    for (name, author, at, proof), statements in together.items():
        content = orjson.dumps(statements).decode()
        yield Utterance(connection, source.name, name, author, int(baseline), content), at, proof


def _echo(record: int, flag: FlagDef, before: str | None, meaning: str, told: Told, requests: Requests) -> None:
    """A flag that nobody set says nothing. Where the provider's connector turned it away from mail, it stays as it is:
    what the person meant, the provider tells, and to undo the one would only call for the next."""
    if told.by == CONNECT and (meaning == "opt_out" or (meaning == "unknown" and before == "opt_in")):
        requests.echoes.append((record, flag.field, told.at))
        requests.withdrawn.append((record, flag.field))


def from_parting(source: SourceDef, topic: str | None, connection: int, record: int, rid: str, address: int | None,
                 now: Micros, evidence: str = "parting") -> NewEntry:
    """A refusal (``topic`` None: of all mail) that a record takes along from the person it was part of, now that it is a
    person of its own; or one that an audit found written on it."""
    return NewEntry(Utterance(connection, source.name, "flag", 0, 0, refusal(topic)), record, address, now, now, rid=rid,
                    evidence=evidence)


def _asked(at: Micros, modified: Micros | None, now: Micros, length: Micros) -> tuple[Micros | None, Micros]:
    """When somebody asked whose word is dated ``at``, within ``length``: not after it was written down (``modified``, cut to
    the second by some CRMs). A date that no clock can have shown by then tells nothing."""
    written = now if modified is None else min(modified + 999_999, now)
    return (at, min(at + length, written)) if at <= written + AHEAD else (None, written)


def _form(at: Micros | None, tolerance: Micros) -> Knew | None:
    """What somebody knew who filled in a form: its clock is not the CRM's, in which everything else is dated."""
    return None if at is None else Knew(at - tolerance, at - tolerance)


AT_ONCE: Micros = 5_000_000
"""What a provider does to lists because of a stop of all mail happens within this time of it."""


def from_statuses(known: Containers, changes: Iterable[StatusChange], *, since: Micros | None, now: Micros,
                  stops: Mapping[str, Micros] = NOTHING_STOPPED,
                  tolerance: Micros = CLOCK_TOLERANCE) -> list[NewEntry]:
    """Entries for statuses that are new or changed. Statuses about the address (held, bounced) say nothing of the wish.

    :param stops: when somebody stopped all mail, by key. A list that was left at the same instant was left by the provider,
        and says nothing of its topic; who had left it herself has an event that says so
    """
    entries = []
    for c in changes:
        scope = known.scope(c.container)
        baseline = since is None
        # At a first link what this account wrote is not our echo: an installation whose state is gone wrote it.
        if scope is None or (c.origin == "self" and not (baseline and c.new == "unsubscribed")):
            continue
        stopped = stops.get(c.key) if c.container and c.new == "unsubscribed" else None
        if stopped is not None and c.at is not None and abs(stopped - c.at) <= AT_ONCE:
            continue
        lo, hi = (c.at, c.at) if c.at is not None else (since, now)
        if baseline:
            lo = None
        method, made, knew = c.origin, int(c.origin in ("person", "complaint")), None
        if c.new == "unsubscribed":
            if c.origin == "complaint":
                scope = [("master", None)]
            state = "opt_out"
        elif c.new == "pending":
            state = "pending"
        elif c.new == "subscribed" and baseline:
            if c.container not in known.adopt:
                continue
            state, method = "opt_in", "adopted"
        elif c.new == "subscribed" and c.origin == "person" and c.at is not None:
            state, knew = "opt_in", Knew(c.at, c.at - tolerance)
            method = "confirmed" if c.old == "pending" else method
        else:
            continue
        content = orjson.dumps([said(level, topic, state) for level, topic in scope]).decode()
        utterance = Utterance(known.connection, known.name, method, made, int(baseline), content,
                              unit=_unit(known, scope, c.origin))
        entries.append(NewEntry(utterance, c.record, c.address, lo, hi, c.key, c.evidence,
                                knew=None if baseline else knew))
    return entries


def from_events(known: Containers, events: Iterable[Event], *, sends: Mapping[str, Send], now: Micros,
                first: bool = False, tolerance: Micros = CLOCK_TOLERANCE) -> tuple[list[NewEntry], list[str]]:
    """Entries for events, and the sends (or lists) that nobody can resolve to a topic: whoever leaves by one of those
    leaves the widest it can mean, all mail.

    An event of coming back counts where it says when: the status alone does not show it if the person left and came back
    between two readings.

    :param sends: what is known of the sends that the events name, by id
    :param first: the stream is read for the first time. No mail of the mapping's went through a list that is not the
        mapping's by then, so who left such a list left nothing else
    """
    entries: list[NewEntry] = []
    unresolved: list[str] = []
    for e in events:
        if e.kind not in _SAID or (e.kind == "resubscribe" and e.at is None):
            continue
        method, state = _SAID[e.kind]
        scope = _scope(known, e, sends.get(e.send or ""), first, unresolved)
        if not scope:
            continue
        at = min(e.at, now) if e.at is not None else now
        content = orjson.dumps([said(level, topic, state) for level, topic in scope]).decode()
        utterance = Utterance(known.connection, known.name, method, 1, 0, content, unit=_unit(known, scope, e.kind))
        entries.append(NewEntry(utterance, e.record, e.address, at, at, e.key, e.evidence,
                                knew=Knew(at, at - tolerance) if state == "opt_in" else None))
    return entries, unresolved


def _unit(known: Containers, scope: Sequence[tuple[str, str | None]], how: str) -> str | None:
    """The business unit that words about all mail are limited to; a complaint never is."""
    return known.unit if how != "complaint" and ("master", None) in scope else None


def _scope(known: Containers, e: Event, send: Send | None, first: bool,
           unresolved: list[str]) -> list[tuple[str, str | None]]:
    """(level, topic) of each thing an event is about; nothing where it is no concern of the mapping's."""
    if e.kind in ("master_unsubscribe", "complaint"):
        return [("master", None)]
    if e.kind == "resubscribe":
        return known.scope(e.container) or []
    topics = known.meaning(e.container, send)
    if topics:
        return [("topic", topic) for topic in topics]
    if topics is not None or (first and e.container):
        return []
    if e.send or e.container:
        unresolved.append(e.send or f"list {e.container}")
    return [("master", None)]


_SAID = {"unsubscribe": ("unsubscribe", "opt_out"), "master_unsubscribe": ("unsubscribe", "opt_out"),
         "complaint": ("complaint", "opt_out"), "resubscribe": ("resubscribe", "opt_in")}
"""Kind of event -> (method, what it says)."""
