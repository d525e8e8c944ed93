"""The store's one API: opens the file, keeps the registry of connections, streams and objects, and runs the steps' SQL in
the writer's transactions. Nobody outside this package sees a connection."""

from __future__ import annotations

import functools
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from state import (
    accounts,
    addresses,
    db,
    flags,
    forget,
    identify,
    inbox,
    ledger,
    migrations,
    people,
    relations,
    restore,
    suppressions,
)
from state.journal import Gone, Journal, Line
from state.ledger import Book
from state.pace import Pace
from state.queries import load
from state.relations import Relations
from state.writer import Writer

T = TypeVar("T")
P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A stream as the registry knows it. Instants in µs."""

    id: int
    connection: int
    object: str
    kind: str
    consent: bool
    cursor: str | None
    sweep: int
    full_at: int | None
    complete_at: int | None
    restored: bool
    fields: str


class Store:
    """One open state file. Thread-safe: writes go through the writer thread, reads through a connection per thread."""

    def __init__(self, path: Path, *, journal: Path | None = None, hash_key: bytes = b"",
                 functions: Mapping[str, tuple[Callable[..., Any], int]] | None = None, check: bool = True) -> None:
        """``check`` reads the whole file for damage first: for whoever is going to write it, not for a short look.

        :raises state.db.StateDamaged, state.db.StateLocked:
        """
        for name, (function, arguments) in (functions or {}).items():
            db.register(name, function, arguments)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self.lock = db.Lock(path.with_suffix(path.suffix + ".lock"))
        self.lock.acquire()
        self.journal = Journal(None)
        try:
            self._open(path, journal, hash_key, check)
        except BaseException:
            self.journal.close()
            self.lock.release()
            raise

    def _open(self, path: Path, journal: Path | None, hash_key: bytes, check: bool) -> None:
        self.journal = Journal(journal)
        if not path.exists():
            self.journal.beyond(0, new=True)
        before = os.umask(0o077)
        try:
            conn = db.connect(path)
        finally:
            os.umask(before)
        if check:
            db.quick_check(conn)
        migrations.migrate(conn, path)
        self._check_key(conn, hash_key)
        addresses.gather(conn)
        self.book = Book(self.journal)
        head = conn.execute("SELECT coalesce(max(position), 0) FROM chain").fetchone()[0]
        self.replayed = _catch_up(conn, self.journal.beyond(head), self.journal.notes())
        self.retold = self._retell(conn, head) if journal is not None else 0
        self.writer = Writer(conn)
        self._conn = conn
        self._local = threading.local()
        self._readers: list[tuple[threading.Thread, db.Connection]] = []

    def _retell(self, conn: db.Connection, head: int) -> int:
        """Write to the journal again what it lost; how many entries that are.

        :raises StateDamaged: it is another state's
        """
        end = self.journal.end()
        if end < head:
            if not ledger.told(conn, self.journal):
                raise db.StateDamaged("the journal is another state's; name the one that was written with this state")
            ledger.retell(conn, self.journal, end)
            inbox.retell(conn, self.book)
            suppressions.retell(conn, self.book)
            accounts.retell(conn, self.book)
        return max(0, head - end)

    @staticmethod
    def _check_key(conn: db.Connection, hash_key: bytes) -> None:
        """The state holds the fingerprint of the key its address hashes were made with."""
        print_ = hashlib.blake2b(hash_key, digest_size=8, person=b"syncd-hash-key").hexdigest()
        row = conn.execute("SELECT value FROM meta WHERE name = 'hash_key'").fetchone()
        if row is None:
            conn.execute("INSERT INTO meta VALUES ('hash_key', ?)", (print_,))
        elif row[0] != print_:
            raise db.StateDamaged("hash_key is not the key this state was made with: every address would look new and"
                                  " every opt-out lost; put the old key back")

    def write(self, job: Callable[[db.Connection], T], *, urgent: bool = False, timeout: float | None = None,
              name: str | None = None) -> T:
        """Run ``job`` in one transaction of the writer; ``urgent`` ones overtake, the rest is as in ``Writer``."""
        return self.writer.run(job, urgent=urgent, timeout=timeout, name=name)

    def bit_by_bit(self, job: Callable[[db.Connection, int], int], pace: Pace | None = None) -> int:
        """Run ``job(conn, most)``, which takes on ``most`` rows at most and returns how many, in one transaction after
        another until none is left. Returns how many rows those were."""
        total, step = 0, (pace or Pace()).until_done(job)
        while count := self.write(step):
            total += count
        return total

    def walk(self, job: Callable[[db.Connection, P, int], tuple[int, P]], start: P, pace: Pace | None = None) -> int:
        """As ``bit_by_bit``, for what is looked at in order: ``job(conn, after, most)`` takes on what comes after the last
        row of the part before, and returns how many rows and their last one."""
        after = start

        @functools.wraps(job)
        def step(conn: db.Connection, most: int) -> int:
            nonlocal after
            count, after = job(conn, after, most)
            return count
        return self.bit_by_bit(step, pace)

    @contextmanager
    def reading(self) -> Iterator[db.Connection]:
        """A read-only connection of this thread. Fetch at once: an open read can hold back the writer."""
        conn = getattr(self._local, "conn", None)
        if conn is None:
            conn = self._local.conn = db.connect(self.path, read_only=True)
            self._bury_readers()
            self._readers.append((threading.current_thread(), conn))
        yield conn

    def _bury_readers(self) -> None:
        """Threads come and go with every cycle; the connections of those that ended are closed."""
        for entry in [e for e in self._readers if not e[0].is_alive()]:
            with suppress(ValueError):  # another thread was faster
                self._readers.remove(entry)
                entry[1].close()

    def look(self, job: Callable[[db.Connection], T]) -> T:
        """``job(conn)``, which only reads, on one state of everything: beside the writer, however long it takes. Without
        write-ahead logging, where writing waits for who reads, it has its turn among the writes."""
        if not db.wal_is_safe():
            return self.write(job)
        with self.reading() as conn:
            conn.execute("BEGIN")
            try:
                return job(conn)
            finally:
                conn.execute("ROLLBACK")

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query of this package or a view."""
        with self.reading() as conn:
            return conn.execute(sql, parameters).fetchall()

    def head(self) -> int:
        """The ledger's last position."""
        return int(self.rows("SELECT coalesce(max(position), 0) FROM entry")[0][0])

    def close(self) -> None:
        """Finish the queued writes and release file and lock. Closing twice does no harm."""
        if self.writer.closed:
            return
        self.writer.close()
        for _, conn in self._readers:
            conn.close()
        with suppress(db.OperationalError):  # no room: the log stays beside the file, and is read when that is opened
            self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._conn.close()
        self.journal.close()
        self.lock.release()

    def rewrite_journal(self, gone: Gone) -> None:
        """Take somebody's entries out of the journal; what is appended meanwhile is taken along."""
        end = self.journal.copy_without(gone)
        self.writer.outside(lambda conn: self.journal.replace(gone, end))

    def scrub(self, patience: float = 5.0) -> bool:
        """Leave nothing of what was erased in the write-ahead log. False where a reader held it for all of ``patience``
        seconds: the next writing of much does it."""
        until = time.monotonic() + patience
        while not (done := bool(self.writer.outside(forget.scrub))) and time.monotonic() < until:
            time.sleep(0.05)
        return done

    def compact(self) -> bool:
        """Write the whole file anew, so that no page holds what was moved out of it. Nobody writes meanwhile. False where
        that is not possible now: there is no room for it, or somebody reads."""
        try:
            self.writer.outside(lambda conn: conn.execute("VACUUM"))
        except db.OperationalError:
            return False
        return self.scrub()

    def tidy(self) -> None:
        """After bulk work: truncate the log, give freed pages back."""
        def job(conn: db.Connection) -> None:
            conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            conn.execute("PRAGMA incremental_vacuum(2000)")
        self.writer.outside(job)

    def backup(self, target: Path) -> None:
        """Copy the live state page by page, check the copy, then move it into place."""
        part = target.with_suffix(target.suffix + ".part")
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))  # it holds what the state holds

        copy = db.plain(part)
        try:
            self.writer.outside(lambda conn: conn.backup(copy, pages=2000))
            if copy.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
                raise db.StateDamaged("the backup copy fails its integrity check; the live state may be damaged")
        finally:
            copy.close()
        os.replace(part, target)

    # ------------------------------------------------------------------ registry
    #
    # Every process and every cycle asks for all of these: what is there as it should be costs no transaction.

    def connection(self, name: str, role: str) -> int:
        """The id of a connection, made known on first use."""
        if known := self.rows("SELECT id FROM connection WHERE name = ? AND role = ?", (name, role)):
            return int(known[0][0])

        def job(conn: db.Connection) -> int:
            conn.execute("INSERT INTO connection (name, role) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET role ="
                         " excluded.role", (name, role))
            return int(conn.execute("SELECT id FROM connection WHERE name = ?", (name,)).fetchone()[0])
        return self.write(job)

    def stream(self, connection: int, object_: str, kind: str, fields: str, consent: bool) -> StreamRow:
        """A stream's row; when the fields asked for have changed it is read from the start again."""
        q, key = load("registry"), (connection, object_, kind)
        rows = self.rows(q["stream_row"], key)
        if not rows or (rows[0][9], bool(rows[0][4])) != (fields, consent):
            def job(conn: db.Connection) -> list[tuple[Any, ...]]:
                conn.execute(q["stream"], (*key, fields, int(consent)))
                return conn.execute(q["stream_row"], key).fetchall()
            rows = self.write(job)
        row = rows[0]
        return StreamRow(row[0], row[1], row[2], row[3], bool(row[4]), *row[5:])

    def object(self, connection: int, name: str, kind: str) -> int:
        """The id of a remote object we write."""
        key = (connection, name, kind)
        find = "SELECT id FROM object WHERE connection = ? AND name = ? AND kind = ?"
        if known := self.rows(find, key):
            return int(known[0][0])

        def job(conn: db.Connection) -> int:
            conn.execute("INSERT OR IGNORE INTO object (connection, name, kind) VALUES (?, ?, ?)", key)
            return int(conn.execute(find, key).fetchone()[0])
        return self.write(job)

    def meta(self, name: str) -> Any:
        """A remembered value, None when there is none."""
        rows = self.rows("SELECT value FROM meta WHERE name = ?", (name,))
        return rows[0][0] if rows else None

    def remember(self, name: str, value: Any) -> None:
        self.write(lambda conn: conn.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value)).rowcount)

    def conform(self, rel: Relations, *, provisional: bool = False) -> bool:
        """Make the tables that follow the mapping fit it: new ones are created, new columns added, columns of another type
        rebuilt. Everyone is dirty when the mapping's meaning changed, and every record where it says otherwise than before
        which records are one person. Returns whether it did. ``provisional``: parts of the
        mapping are missing, so that only what is new is added, and it does not count as the mapping yet."""
        changed = not provisional and bool(self.meta("relations") != rel.fingerprint)
        identity = identify.rules(rel)
        regrouped = not provisional and bool(self.meta("identity") != identity)

        def job(conn: db.Connection) -> None:
            for table, columns in relations.ddl(rel).items():
                have = {f'"{row[1]}"': row[2] for row in conn.execute(f"PRAGMA table_info({table})")}
                if not have:
                    body = ", ".join(f"{name} {kind}" for name, kind in columns.items())
                    conn.execute(f"CREATE TABLE {table} ({body}) STRICT")
                    continue
                for name, kind in columns.items():
                    wanted, key = kind.split()[0], name if name.startswith('"') else f'"{name}"'
                    if key in have and have[key] != wanted and not provisional:
                        conn.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
                        del have[key]
                    if key not in have:
                        conn.execute(f"ALTER TABLE {table} ADD COLUMN {name} {wanted}")
            for audience in rel.audiences:
                if audience.limit is not None:
                    conn.execute(f"CREATE TABLE IF NOT EXISTS rank_{audience.object}"
                                 " (person INTEGER PRIMARY KEY, place INTEGER NOT NULL) STRICT")
            for sql in relations.indexes(rel):
                conn.execute(sql)
            if not provisional:
                flags.conform(conn, rel)
            if changed:
                conn.execute("DELETE FROM rejection")  # said of what another mapping wished
                conn.execute("DELETE FROM subscriber_key WHERE connection IN"  # another mapping may give others
                             " (SELECT id FROM connection WHERE approved_at IS NULL)")
                conn.execute("INSERT OR REPLACE INTO meta VALUES ('relations', ?)", (rel.fingerprint,))
            if regrouped:
                conn.execute("INSERT OR REPLACE INTO meta VALUES ('identity', ?)", (identity,))
        if changed:
            self.walk(people.everyone, 0)  # before it counts as done: after a crash it is done again
        if regrouped:
            self.walk(identify.everything, 0)
        self.write(job)
        return changed


def _catch_up(conn: db.Connection, lines: Sequence[Line], notes: Sequence[Mapping[str, Any]]) -> int:
    """Take in what the journal has and the state has not: a transaction whose commit the machine did not live to see. Its
    page is read again, and the same words twice are the same words. Returns how many entries."""
    if not lines and not notes:
        return 0
    conn.execute("BEGIN IMMEDIATE")
    count = restore.replay(conn, lines)
    inbox.restore(conn, notes)
    suppressions.restore(conn, notes)
    conn.execute("COMMIT")
    return count
