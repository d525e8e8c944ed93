"""The consent ledger: append-only entries, a chain of salted commitments, and the journal on a second path.

An entry's commitment is H(salt, canonical entry); the chain takes in every commitment, once per append. Erasing an entry's
personal part takes its salt with it and leaves the chain whole.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from state import db
from state.journal import ERASED, Journal
from state.queries import load

RETOLD = 5_000
"""Entries to a line of the journal that is written again."""

GENESIS = bytes(32)
_COMMITMENT = hashlib.blake2b(digest_size=32)
SALT = 16


class Utterance(NamedTuple):
    """What is said, how and where: the same for many entries. ``said`` is JSON: [[level, topic, state, [except…]], …]."""

    connection: int | None
    source: str
    method: str
    person_made: int
    baseline: int
    said: str
    channel: str = "email"
    purpose: str = "marketing"
    basis: str | None = None
    unit: str | None = None


class Knew(NamedTuple):
    """Until when whoever said something can have known of refusals (µs): of those said at the same connection and dated by
    its own clock before ``here``; of those written to it, or dated by another clock than hers, before ``elsewhere``."""

    here: int
    elsewhere: int


class NewEntry(NamedTuple):
    """An entry to append: an utterance, whose it is, and when it was said (instants in µs).

    ``rid`` and ``hash`` name record and address in words that mean the same after a restore; where they are not given,
    they are looked up. ``knew`` is given with the words a person said at the utterance's connection: their ``knowledge`` is
    then what that connection surely held about the person when she spoke (see ``known``).
    """

    utterance: Utterance
    record: int | None
    address: int | None
    said_lo: int | None
    said_hi: int
    key: str | None = None
    evidence: str | None = None
    knowledge: int | None = None
    retracts: int | None = None
    rid: str | None = None
    hash: bytes | None = None
    knew: Knew | None = None


class Alike(NamedTuple):
    """Entries that say the same, at one instant and nobody knows since when: what a connection's first reading finds, in
    its thousands. Of each its record, address, record id and address hash."""

    utterance: Utterance
    said_hi: int
    records: Sequence[int]
    addresses: Sequence[int | None]
    rids: Sequence[str]
    hashes: Sequence[bytes | None]


def commit(salt: bytes, canonical: bytes) -> bytes:
    """The commitment of an entry."""
    hashed = _COMMITMENT.copy()  # a third faster than a new one
    hashed.update(salt + canonical)
    return hashed.digest()


def link(previous: bytes, position: int, commitments: bytes) -> bytes:
    """The chain value after an append whose last position is ``position``."""
    return hashlib.blake2b(previous + position.to_bytes(8, "big") + commitments, digest_size=32).digest()


class Book:
    """Appends entries. One per store; used only inside the writer's transactions."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def append(self, conn: db.Connection, entries: Sequence[NewEntry | Alike], now: int) -> int:
        """Append, journal included: those alike first, the others in their order. Returns the last position."""
        q = load("ledger")
        row = conn.execute(q["head"]).fetchone()
        position, chain = (int(row[0]), bytes(row[1])) if row else (0, GENESIS)
        page = _Page(conn, position, now)
        for e in entries:
            if isinstance(e, Alike):
                page.add_alike(e)
        page.add([e for e in entries if isinstance(e, NewEntry)])
        conn.execute(q["chain"], (page.position, link(chain, page.position, b"".join(page.commitments))))
        self._journal.append([position + 1, [[i, *u[1:]] for u, (i, _) in page.spoken.items()],
                              orjson.Fragment(b"[%b]" % b",".join(page.lines))])
        return page.position

    def note(self, line: dict[str, Any]) -> None:
        """Journal something that is no statement yet (see ``state.inbox``); raises OSError like ``append``."""
        self._journal.append(line)


class _Page:
    """An append under way. ``lines``: entries for the journal, one or several to a piece."""

    def __init__(self, conn: db.Connection, position: int, now: int) -> None:
        self._conn, self._now = conn, now
        self.position = position
        self.spoken: dict[Utterance, tuple[int, bytes]] = {}
        self.commitments: list[bytes] = []
        self.lines: list[bytes] = []

    def _speak(self, utterance: Utterance) -> tuple[int, bytes]:
        """Its id, and how it is written in what is committed to."""
        found = self.spoken.get(utterance)
        if found is None:
            found = self.spoken[utterance] = (utterance_id(self._conn, utterance), orjson.dumps(utterance[1:]))
        return found

    def add(self, entries: Sequence[NewEntry]) -> None:
        salts = _salts(len(entries))
        refusals: list[tuple[int, NewEntry]] = []
        rows = []
        for e, name, salt in zip(entries, _names(self._conn, entries), salts, strict=True):
            self.position += 1
            utterance, words = self._speak(e.utterance)
            if '"opt_out"' in e.utterance.said:
                refusals.append((self.position, e))
            knowledge = e.knowledge if e.knew is None else known(self._conn, e, e.knew, refusals)
            content = orjson.dumps([*name, e.said_lo, e.said_hi, e.evidence, knowledge, e.retracts, self._now])
            commitment = commit(salt, words + content)
            self.commitments.append(commitment)
            rows.append((self.position, commitment, salt, utterance, e.record, e.address, e.said_hi, e.key, e.said_lo,
                         knowledge, e.retracts, e.evidence, self._now))
            self.lines.append(b"[%d,%b" % (utterance, content[1:]))
        db.insert(self._conn, load("ledger")["keep"], rows)

    def add_alike(self, group: Alike) -> None:
        """As ``add``, but what is the same for all is written, and bound, once."""
        utterance, words = self._speak(group.utterance)
        names = _named(group.rids, group.hashes)
        rest = b",null,null,%d,null,null,null,%d]" % (group.said_hi, self._now)
        start, salts = words + b"[", _salts(len(names))
        commitments = [commit(salt, start + name + rest) for salt, name in zip(salts, names, strict=True)]
        given = {"first": self.position + 1, "commitments": b"".join(commitments), "salts": b"".join(salts),
                 "utterance": utterance, "said_hi": group.said_hi, "now": self._now}
        q = load("ledger")
        if group.addresses == group.records:
            self._conn.execute(q["keep_in_step"], {**given, "records": orjson.dumps(group.records).decode()})
        else:
            whose = list(zip(group.records, group.addresses, strict=True))
            self._conn.execute(q["keep_alike"], {**given, "whose": orjson.dumps(whose).decode()})
        self.position += len(names)
        self.commitments += commitments
        begin = b"[%d," % utterance
        self.lines.append(begin + (rest + b"," + begin).join(names) + rest)


def _named(rids: Sequence[str], hashes: Sequence[bytes | None]) -> list[bytes]:
    """Record id and address hash of each entry, as they are written in what is committed to."""
    pairs = list(zip(rids, [h and h.hex() for h in hashes], strict=True))
    # All at once, unless an id looks like the border between two.
    names = orjson.dumps(pairs)[2:-2].split(b"],[")
    return names if len(names) == len(pairs) else [orjson.dumps(pair)[1:-1] for pair in pairs]


def _salts(count: int) -> list[bytes]:
    drawn = secrets.token_bytes(SALT * count)
    return [drawn[start:start + SALT] for start in range(0, len(drawn), SALT)]


def utterance_id(conn: db.Connection, utterance: Utterance) -> int:
    """Asked of the table each time: an id remembered from a rolled back transaction could by now be another's."""
    q = load("ledger")
    row = conn.execute(q["find_utterance"], utterance).fetchone()
    return int((row or conn.execute(q["add_utterance"], utterance).fetchone())[0])


def bind_chunk(conn: db.Connection, connection: int) -> list[tuple[int]]:
    """Bind what was said under the keys of the chunk's people at a connection, before these were known to be theirs; the
    person of each entry. Mostly there is none, or few, and not everybody's key is looked up."""
    q = load("ledger")
    unbound, few = conn.execute(q["few_unbound"]).fetchone()
    if not unbound:
        return []
    found = q["people_of_unbound" if few else "unbound_of_people"]
    return conn.execute(q["bind_of_chunk"].replace(":found", found), {"connection": connection}).fetchall()


def unsaid(conn: db.Connection, entries: Sequence[NewEntry]) -> list[NewEntry]:
    """The entries without those that repeat another: the same words under the same key and address, said at the same known
    instant and shown by the same reference. After a restore a source tells again what the journal told already."""
    q = load("ledger")

    def is_new(e: NewEntry) -> bool:
        if e.address is None or e.said_lo is None or e.said_lo != e.said_hi:
            return True
        known = conn.execute(q["find_utterance"], e.utterance).fetchone()
        return known is None or conn.execute(q["said_before"], {
            "address": e.address, "key": e.key, "at": e.said_hi, "evidence": e.evidence,
            "utterance": known[0]}).fetchone() is None
    return [e for e in entries if is_new(e)]


def _names(conn: db.Connection, entries: Sequence[NewEntry]) -> list[tuple[str | None, str | None, str | None]]:
    """(rid, address hash, key) of each entry. One that came under a subscriber key is named by the key alone, as the record
    it belongs to may only be found later; and by the address alone where the key is an address."""
    found: list[tuple[str | None, str | None, str | None]] = []
    q = load("ledger")
    for e in entries:
        rid, hash_ = e.rid, e.hash
        if e.key is not None:
            rid = None
        elif rid is None and e.record is not None:
            rid = conn.execute(q["rid"], (e.record,)).fetchone()[0]
        if hash_ is None and e.address is not None:
            hash_ = conn.execute(q["hash"], (e.address,)).fetchone()[0]
        key = e.key if e.key is not None and "@" not in e.key else None
        found.append((rid, hash_.hex() if hash_ is not None else None, key))
    return found


def known(conn: db.Connection, entry: NewEntry, knew: Knew, before: Sequence[tuple[int, NewEntry]]) -> int:
    """The highest position the author of ``entry`` knew: every opt-out of the person up to it had surely been said at, or
    written to, the author's connection before she spoke. One that had not ends the search, so that nobody reopens what she
    could not see.

    :param before: opt-outs of the same append that come before this entry, with their positions
    """
    connection = entry.utterance.connection
    given = {"record": entry.record, "address": entry.address, "connection": connection, **knew._asdict()}
    q = load("ledger")
    acknowledged = conn.execute(q["acknowledged"], given).fetchone()[0] or 0
    found = 0
    for position, here in conn.execute(q["opt_outs"], given):
        if not here and position > acknowledged:
            return found
        found = int(position)
    for position, e in before:
        same = e.address == entry.address if entry.record is None else e.record == entry.record
        if same and e.utterance.connection == connection \
                and e.said_hi < (knew.here if e.said_lo == e.said_hi else knew.elsewhere):
            found = position
    return found


def refused_topics(conn: db.Connection) -> dict[str, set[int]]:
    """Topics that somebody once refused, each with the utterances that did."""
    found: dict[str, set[int]] = {}
    for id_, words in conn.execute(load("ledger")["refusals"]):
        for level, topic, state, *_ in orjson.loads(words):
            if (level, state) == ("topic", "opt_out") and topic is not None:
                found.setdefault(topic, set()).add(int(id_))
    return found


def count_of(conn: db.Connection, utterances: Iterable[int]) -> int:
    """How many entries say one of these. Reads all entries."""
    return int(conn.execute(load("ledger")["count_of"], (orjson.dumps(list(utterances)).decode(),)).fetchone()[0])


def verify(conn: db.Connection) -> tuple[int, list[int]]:
    """Recompute the chain, and every commitment whose personal part still exists.

    :returns: (entries verified, positions that do not fit)
    """
    q = load("ledger")
    bad, count, chain, since = [], 0, GENESIS, bytearray()
    links = dict(conn.execute(q["links"]).fetchall())
    for position, commitment, salt, rid, hash_, *rest in conn.execute(q["verify"], {"after": 0}):
        *told, source, method, made, baseline, said, channel, purpose, basis, unit = rest
        since += bytes(commitment)
        count += 1
        if salt is not None:
            utterance = orjson.dumps([source, method, made, baseline, said, channel, purpose, basis, unit])
            if commit(bytes(salt), utterance + orjson.dumps([rid, hash_, *told])) != bytes(commitment):
                bad.append(position)
        if position in links:
            chain = link(chain, position, bytes(since))
            if chain != bytes(links[position]):
                bad.append(position)
                chain = bytes(links[position])
            since.clear()
    if since:
        bad.append(position)
    return count, bad


def retell(conn: db.Connection, journal: Journal, after: int) -> None:
    """Write the entries beyond a position to the journal again, which lost them; what was erased as blanks."""
    rows = conn.execute(load("ledger")["verify"], {"after": after})
    while part := rows.fetchmany(RETOLD):
        spoken: dict[tuple[Any, ...], int] = {}
        entries = []
        for _, _, salt, *told in part:
            words = tuple(ERASED) if salt is None else tuple(told[9:])
            content = [*[None] * 4, 0, *[None] * 3, 0] if salt is None else told[:9]
            entries.append([spoken.setdefault(words, len(spoken)), *content])
        journal.append([part[0][0], [[id_, *words] for words, id_ in spoken.items()], entries])


def told(conn: db.Connection, journal: Journal) -> bool:
    """Whether the journal's last append is of this state. After a restore a record may be named as a key."""
    first, lines = journal.last()
    rows = conn.execute(load("ledger")["verify"], {"after": first - 1})
    return all(salt is None or (line.hash, *line[5:]) == (rest[1], *rest[3:9])
               for line, (_, _, salt, *rest) in zip(lines, rows, strict=False))
