"""The journal: every ledger entry once more, as JSON lines on another path, fsynced before its transaction commits.

A line that is a list is one append, ``[first position, utterances, entries]``, and a transaction appends once; a line that
is an object is a note about the inbox (``state.inbox``), imported digests (``state.suppressions``) or the account that a
connection is about (``state.accounts``). All name people by ids
and keyed hashes only, and by digests as a list had them; but an admin's evidence may name anybody, record ids and subscriber
keys belong to somebody, and from a digest an address can be guessed. So `forget` writes the journal anew with a blank in the
place of each entry that went: positions stay what they are.

The last line may be of a transaction that never committed, because the machine went down between the two. Any other line
that a state lacks says that this state is not the one the journal was written with last. What the journal lacks, as it was
lost or an old copy was put back, is written to it again from the state when that is opened.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from state import db

BLOCK = 64 * 1024


class Line(NamedTuple):
    """One journalled entry: its position, its utterance without the connection, what ``Book.append`` wrote of it."""

    position: int
    spoken: tuple[Any, ...]
    rid: str | None
    hash: str | None
    key: str | None
    said_lo: int | None
    said_hi: int
    evidence: str | None
    knowledge: int | None
    retracts: int | None
    seen_at: int


ERASED = ["erased", "erased", 1, 0, "[]", "email", "marketing", None, None]
"""The utterance of a blank: it says nothing about nobody."""


SOURCELESS = ("admin", "import")
"""Sources of entries that are no connection's."""


class Gone(NamedTuple):
    """Whose entries go: their positions, and any that name these address hashes (hexadecimal), record ids or keys. An id or
    key means its owner at its source alone, (source, name): another organisation may count its people alike. And digests of
    addresses (hexadecimal)."""

    positions: frozenset[int]
    hashes: frozenset[str]
    names: frozenset[tuple[str, str]]
    digests: frozenset[str] = frozenset()


class JournalGone(OSError):
    """The journal is not where it was written; nothing is written elsewhere."""

    remedy = "Put it back; or, if it is lost, start syncd again: what is lacking is written anew from the state."


class Journal:
    """The open journal; ``cut`` says how many bytes of an unfinished last line were taken off when it was opened.

    It is locked as long as it is open: of two states that wrote one journal, neither could be restored from it.
    """

    def __init__(self, path: Path | None) -> None:
        """:raises state.db.StateLocked: another syncd writes it"""
        self._fd: int | None = None
        self._path = path
        self.cut = 0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _part(path).unlink(missing_ok=True)  # of a rewriting that was interrupted
            self._fd = _locked(path)
            self.cut = self._finish()

    def append(self, line: Any) -> None:
        """Write and fsync; raises OSError, upon which the caller's transaction is rolled back."""
        if self._fd is None:
            return
        self.come_home()
        data, before = orjson.dumps(line) + b"\n", os.fstat(self._fd).st_size
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, data[written:])
            os.fdatasync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, before)  # half a line would spoil the next one
            if error.errno is not None:
                error.filename = str(self._path)
            raise

    def come_home(self) -> None:
        """See that the open file is the one at its path: what is written to one that was taken away, or to a disk that was
        unmounted, nobody finds again. A copy that was put there is gone on with.

        :raises JournalGone: it is not there, or is another one
        """
        if self._fd is None or self._path is None:
            return
        ours = os.fstat(self._fd)
        try:
            there = os.stat(self._path)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
            fd = os.open(self._path, _FLAGS & ~os.O_CREAT)
        except FileNotFoundError:
            raise JournalGone(errno.ENOENT, "the consent journal was taken away", str(self._path)) from None
        tail = max(0, ours.st_size - BLOCK)
        if os.fstat(fd).st_size != ours.st_size or os.pread(fd, BLOCK, tail) != os.pread(self._fd, BLOCK, tail):
            os.close(fd)
            raise JournalGone(errno.ESTALE, "another file is in the place of the consent journal", str(self._path))
        _lock(fd, self._path)
        os.close(self._fd)
        self._fd = fd

    def end(self) -> int:
        """The position of the last entry, 0 where there is none.

        :raises state.db.StateDamaged: the last line cannot be read
        """
        first, lines = self.last()
        return first + len(lines) - 1

    def last(self) -> tuple[int, list[Line]]:
        """The last append: its first position, and its entries."""
        last = next((line for line in self._backwards() if not _is_note(line)), None)
        if last is None:
            return 1, []
        try:
            return _entries(last)
        except (orjson.JSONDecodeError, ValueError):
            raise db.StateDamaged("the last line of the journal cannot be read; put a good copy of it back") from None

    def beyond(self, head: int, *, new: bool = False) -> list[Line]:
        """The entries of the last transaction, if a state that ends at position ``head`` lacks just these.

        :param new: the state was only just made, so that it may lack nothing
        :raises state.db.StateDamaged: the state lacks more than that
        """
        first, lines = self.last()
        end = first + len(lines) - 1
        if end <= head:
            return []
        if first == head + 1 and not new:
            return lines
        raise db.StateDamaged(f"the journal goes on to entry {end} and the state ends at {head}: the state is an old copy,"
                              " or was lost, and opt-outs with it; `syncd restore` needs the newest backup, or the journal"
                              " alone")

    def notes(self) -> list[dict[str, Any]]:
        """What was noted after the last append, oldest first: a state may lack it as it may lack that append's entries.

        :raises state.db.StateDamaged: it cannot be read
        """
        found = list(itertools.takewhile(_is_note, self._backwards()))
        try:
            return [orjson.loads(line) for line in reversed(found)]
        except orjson.JSONDecodeError:
            raise db.StateDamaged("the end of the journal cannot be read; put a good copy of it back") from None

    def copy_without(self, gone: Gone, after: int = 0) -> int:
        """Copy the lines from byte ``after`` on to a file beside the journal, blanks in the place of what goes. Returns
        where the next line begins. May run while lines are appended: ``replace`` copies those."""
        if self._fd is None or self._path is None:
            return 0
        self.come_home()
        part = os.open(_part(self._path), os.O_WRONLY | os.O_CREAT | (os.O_APPEND if after else os.O_TRUNC), 0o600)
        with self._path.open("rb") as lines, os.fdopen(part, "wb") as copy:
            lines.seek(after)
            for text in lines:
                if not text.endswith(b"\n"):
                    break
                copy.write(_without(text, gone))
                after += len(text)
            copy.flush()
            os.fsync(copy.fileno())
        return after

    def replace(self, gone: Gone, after: int) -> None:
        """Copy what was appended since, and put the copy in the journal's place. Only in the writer's turn."""
        if self._fd is None or self._path is None:
            return
        self.copy_without(gone, after) if after else self.copy_without(gone)
        os.replace(_part(self._path), self._path)
        fd = _locked(self._path)
        os.close(self._fd)
        self._fd = fd
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _finish(self) -> int:
        """Take off an unfinished last line: a write that was interrupted, before its transaction could commit. A line
        appended to it could never be read."""
        assert self._fd is not None
        size = os.fstat(self._fd).st_size
        keep = self._before(b"\n", size)
        if keep < size:
            os.ftruncate(self._fd, keep)
            os.fsync(self._fd)
        return size - keep

    def _backwards(self) -> Iterator[bytes]:
        """The lines, from the last one on."""
        end = 0 if self._fd is None else os.fstat(self._fd).st_size
        while end > 0:
            assert self._fd is not None
            start = self._before(b"\n", end - 1)
            yield os.pread(self._fd, end - start, start)
            end = start

    def _before(self, mark: bytes, end: int) -> int:
        """Where what follows the last ``mark`` before ``end`` begins, 0 where there is no mark."""
        assert self._fd is not None
        while end > 0:
            start = max(0, end - BLOCK)
            found = os.pread(self._fd, end - start, start).rfind(mark)
            if found >= 0:
                return start + found + 1
            end = start
        return 0


_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


def _locked(path: Path) -> int:
    return _lock(os.open(path, _FLAGS, 0o600), path)


def _lock(fd: int, path: Path) -> int:
    """The file, locked; closed where it cannot be."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise db.StateLocked(f"another syncd, with another state, writes the journal {path}; each needs its own."
                                 ) from error
        raise
    return fd


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _without(text: bytes, gone: Gone) -> bytes:
    """A line with blanks for the entries that go; what `forget` itself wrote stays."""
    if _is_note(text):
        return _note_without(text, gone)
    first, lines = _entries(text)
    _, spoken, entries = orjson.loads(text)
    going = [line.spoken[0] != "forget" and (
        line.position in gone.positions or line.hash in gone.hashes or _names(line, gone)) for line in lines]
    if not any(going):
        return text
    blank = min((word for word, *_ in spoken), default=1) - 1
    kept = [[blank, None, None, None, None, line.seen_at, None, None, None, line.seen_at] if goes else entry
            for goes, line, entry in zip(going, lines, entries, strict=True)]
    words = {entry[0] for entry in kept}
    return orjson.dumps([first, [w for w in [[blank, *ERASED], *spoken] if w[0] in words], kept]) + b"\n"


def _names(line: Line, gone: Gone) -> bool:
    """Whether an entry names one of the records or keys. What an admin recorded is of no source, and goes by the address
    where it has one."""
    source, called = line.spoken[0], {line.rid, line.key}
    return any(name in called and (where == source or (line.hash is None and source in SOURCELESS))
               for where, name in gone.names)


def _note_without(text: bytes, gone: Gone) -> bytes:
    """A note without the events, or digests, that name somebody who goes."""
    note = orjson.loads(text)
    if "digests" in note:
        *words, digests = note["digests"]
        kept = [digest for digest in digests if digest not in gone.digests]
        return text if len(kept) == len(digests) else orjson.dumps({"digests": [*words, kept]}) + b"\n"
    if "inbox" not in note:
        return text
    *delivery, events = note["inbox"]
    names = gone.hashes | {name for where, name in gone.names if where == delivery[0]}
    kept = [event for event in events if names.isdisjoint(cell for cell in event if isinstance(cell, str))]
    return text if len(kept) == len(events) else orjson.dumps({**note, "inbox": [*delivery, kept]}) + b"\n"


def read(path: Path, after: int) -> list[Line]:
    """The journal's entries beyond position ``after``, in order.

    A line may begin at a position that was there before: everything from there on was written for a transaction that was
    rolled back. An unfinished last line is a write that was interrupted; its transaction never happened.

    :raises state.db.StateDamaged: a line in between cannot be read, or positions are missing
    """
    found: list[Line] = []
    with path.open("rb") as stream:
        for number, text in enumerate(stream, 1):
            if not text.endswith(b"\n"):
                break
            if _is_note(text):
                continue
            try:
                first, lines = _entries(text)
            except (orjson.JSONDecodeError, ValueError):
                raise db.StateDamaged(f"line {number} of the journal cannot be read") from None
            while found and found[-1].position >= first:
                found.pop()
            found += [line for line in lines if line.position > after]
    if [line.position for line in found] != list(range(after + 1, after + 1 + len(found))):
        raise db.StateDamaged("the journal lacks entries between the backup and its own end; use a newer backup")
    return found


def notes(path: Path) -> Iterator[dict[str, Any]]:
    """The journal's notes, oldest first.

    :raises state.db.StateDamaged: a line cannot be read
    """
    with path.open("rb") as stream:
        for number, text in enumerate(stream, 1):
            if _is_note(text) and text.endswith(b"\n"):
                try:
                    yield orjson.loads(text)
                except orjson.JSONDecodeError:
                    raise db.StateDamaged(f"line {number} of the journal cannot be read") from None


def _is_note(text: bytes) -> bool:
    return text.startswith(b"{")


def _entries(text: bytes) -> tuple[int, list[Line]]:
    """A line's first position, and its entries."""
    first, spoken, entries = orjson.loads(text)
    words = {id_: tuple(rest) for id_, *rest in spoken}
    return first, [Line(position, words[word], *content) for position, (word, *content) in enumerate(entries, first)]
