"""Files beside the state that may hold what it held: copies of it, and others. They are only looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from state import db

MAGIC = b"SQLite format 3\0"
BLOCK = 1 << 20


def databases(directory: Path, live: Path) -> list[Path]:
    """SQLite files in a directory other than the state itself."""
    found = []
    for path in sorted(directory.iterdir()):
        if path.is_file() and path != live:
            with path.open("rb") as stream:
                if stream.read(len(MAGIC)) == MAGIC:
                    found.append(path)
    return found


def is_copy(path: Path, fingerprint: str) -> bool | None:
    """Whether a file is a copy of the state with this hash key; None where it cannot be read. It is only looked at."""
    try:
        with closing(db.connect(path, read_only=True)) as conn:
            tables = {row[0] for row in conn.execute("SELECT name FROM sqlite_master")}
            if not {"meta", "entry", "address"} <= tables:
                return False
            row = conn.execute("SELECT value FROM meta WHERE name = 'hash_key'").fetchone()
            return row is not None and row[0] == fingerprint
    except db.Error:
        return None


def holding(directory: Path, values: Sequence[bytes], apart: Callable[[Path], bool]) -> list[Path]:
    """Files of a directory that hold one of the values, in whatever case; ``apart`` says which are not looked into."""
    wanted = [v.lower() for v in values if len(v) > 3]
    return [path for path in sorted(directory.iterdir())
            if path.is_file() and not apart(path) and _holds(path, wanted)]


def _holds(path: Path, wanted: Sequence[bytes]) -> bool:
    if not wanted:
        return False
    tail, longest = b"", max(map(len, wanted), default=0)
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            text = (tail + block).lower()
            if any(value in text for value in wanted):
                return True
            tail = text[-longest:]
    return False
