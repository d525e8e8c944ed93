"""The only module that imports SQLite: driver choice, pragmas, lock file, integrity.

``pysqlite3`` brings a SQLite with the WAL-reset fix; where it is missing the standard library's is used, and write-ahead
logging only if that version is fixed too (two connections that checkpoint at the same instant could corrupt the file).
"""

from __future__ import annotations

import errno
import fcntl
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

if os.environ.get("SYNCD_SQLITE") == "stdlib":
    import sqlite3
else:
    try:
        import pysqlite3 as sqlite3  # type: ignore[no-redef]
    except ImportError:  # no wheel for this platform
        import sqlite3

Connection = sqlite3.Connection
Error = sqlite3.Error
IntegrityError = sqlite3.IntegrityError
OperationalError = sqlite3.OperationalError
DatabaseError = sqlite3.DatabaseError
Row = sqlite3.Row

VERSION: tuple[int, ...] = sqlite3.sqlite_version_info

# The driver looks for an adapter before it binds None or bytes, and takes 2 µs to find that there is none: ten times what
# binding costs. These give back what they get.
sqlite3.register_adapter(bytes, bytes)
sqlite3.register_adapter(type(None), {None: None}.__getitem__)

STATEMENTS = 1_024
"""Compiled statements that the writing connection keeps: a step runs some hundreds, and compiling one of them anew takes
longer than running it for a few people."""

CACHE_KIB, READER_CACHE_KIB = 64 * 1024, 2 * 1024
"""KiB of pages that the writing connection keeps, and each reading one: readers look up little, and there are several."""


def wal_is_safe(version: tuple[int, ...] = VERSION) -> bool:
    """True where the linked SQLite has the WAL-reset fix: 3.51.3 and later, 3.50.7+, 3.44.6+ in their branches."""
    major_minor = version[:2]
    if major_minor == (3, 50):
        return version >= (3, 50, 7)
    if major_minor == (3, 44):
        return version >= (3, 44, 6)
    return version >= (3, 51, 3)


class StateDamaged(Exception):
    """The state file fails its checks, or was made by a newer syncd. Nothing is written to it."""


class StateLocked(Exception):
    """Another syncd holds the state."""


def connect(path: Path | str, *, read_only: bool = False) -> Connection:
    """A connection with every pragma set; transactions are begun by hand (``BEGIN IMMEDIATE``)."""
    if read_only:
        conn = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False,
                               timeout=5.0)
    else:
        conn = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False, timeout=5.0,
                               cached_statements=STATEMENTS)
    for name, function in FUNCTIONS.items():
        conn.create_function(name, function[1], function[0], deterministic=True)
    conn.execute("PRAGMA busy_timeout=5000")
    conn.execute("PRAGMA foreign_keys=ON")
    conn.execute("PRAGMA trusted_schema=OFF")
    conn.execute(f"PRAGMA cache_size=-{READER_CACHE_KIB if read_only else CACHE_KIB}")
    conn.execute("PRAGMA temp_store=MEMORY")
    if not read_only:
        if conn.execute("PRAGMA page_count").fetchone()[0] == 0:
            conn.execute("PRAGMA auto_vacuum=INCREMENTAL")
        conn.execute("PRAGMA secure_delete=ON")
        mode = "WAL" if wal_is_safe() else "DELETE"
        conn.execute(f"PRAGMA journal_mode={mode}")
        conn.execute("PRAGMA synchronous=FULL")
        conn.execute("PRAGMA journal_size_limit=8388608")
        # A page that is written in every transaction (the end of each index is) is copied once per checkpoint.
        conn.execute("PRAGMA wal_autocheckpoint=4000")
    return conn


def plain(path: Path) -> Connection:
    """A bare connection, for the copy a backup writes."""
    return sqlite3.connect(str(path))


AT_ONCE, PARAMETERS = (500, 50, 1), 10_000
"""Rows of one INSERT, as many as there are; and at most so many parameters."""


def insert(conn: Connection, sql: str, rows: Iterable[Sequence[Any]]) -> None:
    """``executemany`` of an ``INSERT … VALUES (?, …)``, many rows to a statement: a third cheaper. And before each statement
    the driver lets go of the interpreter, which a thread of ours that computes then keeps for milliseconds."""
    head, _, marks = sql.rstrip("; \n").rpartition("VALUES")
    values, width = list(itertools.chain.from_iterable(rows)), marks.count("?")
    for start, many in _parts(len(values) // width, width):
        conn.execute(f"{head}VALUES{','.join([marks] * many)}", values[start * width:(start + many) * width])


def insert_columns(conn: Connection, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """``insert`` of rows that come as columns; there is one at least. What is the same in all is put into the statement, and
    bytes of one length are bound end to end: to bind a value costs as much as to store it, to bind bytes twice as much."""
    size = len(next(iter(columns.values())))
    packed: dict[str, tuple[bytes, int]] = {}
    written: dict[str, str] = {}
    bound: dict[str, Sequence[Any]] = {}
    for name, column in columns.items():
        if column[0] in _LITERALS and column.count(column[0]) == size:
            written[name] = _LITERALS[column[0]]
        elif (joined := _end_to_end(column)) is not None:
            packed[name] = joined, len(column[0])
        else:
            bound[name] = column
    width, values = len(bound), list[Any]([None]) * (len(bound) * size)
    for place, column in enumerate(bound.values()):
        values[place::width] = column
    for start, many in _parts(size, width):
        blobs = [joined[start * length:(start + many) * length] for joined, length in packed.values()]
        sql = _rows_of(table, tuple((name, length) for name, (_, length) in packed.items()), tuple(bound),
                       tuple(written.items()), many)
        conn.execute(sql, [*blobs, *values[start * width:(start + many) * width]])


_LITERALS = {None: "NULL", 0: "0", 1: "1"}


def _end_to_end(column: Sequence[Any]) -> bytes | None:
    if type(column[0]) is not bytes or None in column or len(set(map(len, column))) > 1:
        return None
    return b"".join(column)


@functools.lru_cache(maxsize=64)
def _rows_of(table: str, packed: Sequence[tuple[str, int]], bound: Sequence[str], written: Sequence[tuple[str, str]],
             many: int) -> str:
    """An INSERT of so many rows: parameters 1 and following are the packed columns, then come the others' values by rows."""
    names = [*(name for name, _ in packed), *bound, *(name for name, _ in written)]
    rest = ["?"] * len(bound) + [literal for _, literal in written]
    places = list(enumerate((length for _, length in packed), 1))
    rows = (",".join([*(f"substr(?{place},{row * length + 1},{length})" for place, length in places), *rest])
            for row in range(many))
    return f"INSERT INTO {table} ({','.join(names)}) VALUES ({'),('.join(rows)})"


def _parts(size: int, width: int) -> Iterator[tuple[int, int]]:
    """Where each statement starts in so many rows of ``width`` parameters each, and how many rows it takes."""
    start = 0
    for many in AT_ONCE:
        while start + many <= size and (many == 1 or many * width <= PARAMETERS):
            yield start, many
            start += many


def scratch(conn: Connection, name: str, columns: Iterable[str], end: str = "") -> None:
    """An empty temporary table. One of that name and shape is only emptied: making it anew would have the connection compile
    every statement again.

    :param columns: each with its type and constraint, if it has one
    :param end: what follows the parenthesis
    """
    body = f"{name} ({', '.join(columns)}){end}"
    there = conn.execute("SELECT sql FROM temp.sqlite_schema WHERE name = ?", (name,)).fetchone()
    if there == (f"CREATE TABLE {body}",):
        conn.execute(f"DELETE FROM temp.{name}")
    else:
        conn.execute(f"DROP TABLE IF EXISTS temp.{name}")
        conn.execute(f"CREATE TEMP TABLE {body}")


FUNCTIONS: dict[str, tuple[Callable[..., Any], int]] = {}
"""SQL functions every connection gets: name -> (deterministic Python function, number of arguments)."""


def register(name: str, function: Callable[..., Any], arguments: int) -> None:
    """Make ``function`` callable from SQL on every connection opened from now on."""
    FUNCTIONS[name] = (function, arguments)


def quick_check(conn: Connection) -> None:
    """:raises StateDamaged: when SQLite finds the file malformed."""
    try:
        answer = conn.execute("PRAGMA quick_check(1)").fetchone()[0]
    except DatabaseError as error:
        raise StateDamaged(f"the state file cannot be read ({error}); restore a backup with `syncd restore`") from error
    if answer != "ok":
        raise StateDamaged("the state file is damaged; restore a backup with `syncd restore`")


class Lock:
    """One syncd per state file: an flock beside it, released by the kernel even after kill -9."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """:raises StateLocked: when another process holds it; the message names its process id."""
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(fd, 32).decode("ascii", "replace").strip()
            os.close(fd)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                who = f" (process {holder})" if holder else ""
                raise StateLocked(
                    f"another syncd{who} holds {self.path}.") from error
            raise
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd

    def release(self) -> None:
        if self._fd is not None:
            with suppress(OSError):
                os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.release()
