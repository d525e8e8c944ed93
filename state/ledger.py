"""The consent ledger: append-only entries, a chain of salted commitments, and the journal on a second path.

``ledger`` holds (position, commitment, chain) and never changes. ``entry`` holds what was said, by whom, under which
address; erasing a row there leaves the chain whole, because the commitment's salt goes with it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from state import db
from state.queries import load

GENESIS = bytes(32)


class NewEntry(NamedTuple):
    """An entry to append. ``said`` is JSON: [[level, topic, state, [except…]], …]; see state/sql/schema.sql."""

    connection: int | None
    source: str
    record: int | None
    address: int | None
    key: str | None
    method: str
    person_made: int
    said_lo: int | None
    said_hi: int
    baseline: int
    said: str
    evidence: str | None = None
    knowledge: int | None = None
    retracts: int | None = None
    channel: str = "email"
    purpose: str = "marketing"
    basis: str | None = None
    unit: str | None = None


class Journal:
    """Every entry once more, as JSON lines on another path, fsynced before its transaction commits.

    A line is one transaction: ``[[position, commitment, address hash, stream, rid, …], …]``. It names people by record
    id and keyed hash only, so `forget` has nothing to erase here.
    """

    def __init__(self, path: Path | None) -> None:
        self._fd: int | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def append(self, lines: Sequence[Sequence[Any]]) -> None:
        """Write and fsync; raises OSError, upon which the caller's transaction is rolled back."""
        if self._fd is None:
            return
        data = orjson.dumps(lines) + b"\n"
        written = 0
        while written < len(data):
            written += os.write(self._fd, data[written:])
        os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def commit(salt: bytes, canonical: bytes) -> bytes:
    """The commitment of an entry."""
    return hashlib.blake2b(salt + canonical, digest_size=32).digest()


def link(previous: bytes, position: int, commitment: bytes) -> bytes:
    """The chain value at a position."""
    return hashlib.blake2b(previous + position.to_bytes(8, "big") + commitment, digest_size=32).digest()


class Book:
    """Appends entries. One per store; used only inside the writer's transactions."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def append(self, conn: db.Connection, entries: Sequence[NewEntry], now: int) -> int:
        """Append in order, journal included. Returns the last position."""
        q = load("ledger")
        row = conn.execute(q["head"]).fetchone()
        position, chain = (int(row[0]), bytes(row[1])) if row else (0, GENESIS)
        named = _names(conn, entries)
        salts = secrets.token_bytes(16 * len(entries))
        chained, kept, lines = [], [], []
        for index, (entry, name) in enumerate(zip(entries, named, strict=True)):
            position += 1
            salt = salts[16 * index:16 * index + 16]
            content = [entry.source, *name, *entry[4:], now]
            commitment = commit(salt, orjson.dumps(content))
            chain = link(chain, position, commitment)
            chained.append((position, commitment, chain))
            kept.append((position, salt, *entry, now))
            lines.append([position, commitment.hex(), *content])
        conn.executemany(q["chain"], chained)
        conn.executemany(q["keep"], kept)
        self._journal.append(lines)
        return position


def _names(conn: db.Connection, entries: Sequence[NewEntry]) -> list[tuple[str | None, str | None, str | None]]:
    """(stream, rid, address hash) of each entry: names that mean the same after a restore, unlike surrogate ids."""
    q = load("ledger")
    conn.execute("CREATE TEMP TABLE IF NOT EXISTS naming (n INTEGER PRIMARY KEY, record INTEGER, address INTEGER)")
    conn.execute("DELETE FROM naming")
    conn.executemany("INSERT INTO naming VALUES (?,?,?)",
                     ((n, e.record if e.key is None else None, e.address) for n, e in enumerate(entries)))
    return conn.execute(q["names"]).fetchall()


def verify(conn: db.Connection) -> tuple[int, list[int]]:
    """Recompute the chain and every commitment whose personal part still exists.

    :returns: (entries verified, positions that do not fit)
    """
    q = load("ledger")
    chain, bad, count = GENESIS, [], 0
    for row in conn.execute(q["verify"]):
        position, commitment, stored, salt, source, stream, rid, hash_, *rest = row
        chain = link(chain, position, bytes(commitment))
        fits = chain == bytes(stored)
        if salt is not None:
            content = [source, stream, rid, hash_, *rest]
            fits = fits and commit(bytes(salt), orjson.dumps(content)) == bytes(commitment)
        count += 1
        if not fits:
            bad.append(position)
            chain = bytes(stored)
    return count, bad
