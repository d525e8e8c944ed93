"""Where a syncd is killed, and the process that makes the processes that are."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from state import db
from state.ledger import verify
from state.store import Store
from syncd.app import open_store
from tests.soaking import covered

ROOT = Path(__file__).parents[2]
POINTS = ("page_stored", "pulled", "identified", "planned", "guarded", "sealed", "sent", "recorded", "settled")
"""In the order in which a cycle passes them."""
EARLY, LATE = POINTS[:5], POINTS[5:]
"""Those that every cycle passes, and those that only one with something to write does."""
TRANSACTION = "transaction"
"""No point, but behind any transaction."""
OFTEN = ("page_stored", "sealed", "sent", "recorded")
OPEN, SENT = 10, 3
"""Operations in a state below the one are not finished; those in the other were sent, and their end is not known."""

REMEMBERED = {
    "waiting": f"SELECT b.connection, b.name, o.kind, o.key FROM operation o JOIN object b ON b.id = o.object"
               f" WHERE o.state < {OPEN}",
    "marks": "SELECT (SELECT count(*) FROM dirty), (SELECT count(*) FROM dirty_record), (SELECT count(*) FROM waiting),"
             " (SELECT count(*) FROM reread)",
    "records": "SELECT r.stream, r.rid, r.deleted, a.email, a.undeliverable IS NULL FROM record r"
               " LEFT JOIN address a ON a.id = r.address",
    "decisions": "SELECT r.stream, r.rid, {decision} FROM record r JOIN decision d ON d.person = r.person",
    "statements": "SELECT u.said, u.baseline, a.email FROM entry e JOIN utterance u ON u.id = e.utterance"
                  " LEFT JOIN address a ON a.id = e.address",
    "statuses": "SELECT connection, container, key, status FROM remote_status WHERE status <> 'subscribed'",
    "keys": "SELECT k.connection, r.stream, r.rid, k.key, k.existing FROM subscriber_key k"
            " JOIN record r ON r.person = k.person",
    "foreign rows": "SELECT object, key FROM foreign_row UNION SELECT object, person FROM vanished",
    "quarantine": "SELECT connection, object, key, reason FROM quarantine WHERE closed_at IS NULL",
    "requests": "SELECT r.stream, r.rid, q.field, q.reasserted FROM request q JOIN record r ON r.id = q.record"}
"""What a state knows, by what names a thing at any company; without when and in which order it came."""

Memory = dict[str, set[tuple[Any, ...]]]


class Driver:
    """The process that makes the processes that are killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-m", "tests.faults.driver"], cwd=ROOT, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE)

    def run(self, *, fine: tuple[int, ...] = (0,), **request: Any) -> dict[str, Any]:
        """Carry out a request as ``driver`` describes them; ``fine`` are the exit codes that are no failure."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(orjson.dumps(request) + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = orjson.loads(self._process.stdout.readline())
        assert answer["killed"] or answer["code"] in fine, f"it failed by itself; see its messages: {answer}"
        return answer

    def close(self) -> None:
        self._process.communicate(timeout=60)


@contextmanager
def driving() -> Iterator[Driver]:
    """A driver, ended with the block."""
    driver = Driver()
    try:
        yield driver
    finally:
        driver.close()


@contextmanager
def counted(kills: Counter[str], points: tuple[str, ...]) -> Iterator[None]:
    """Say how often it was killed where when the block ends, well or badly."""
    try:
        yield
    finally:
        covered(f"{kills.total()} kills: " + ", ".join(f"{kills[point]} {point}" for point in points))


def enough(kills: Counter[str], points: tuple[str, ...], least: int, total: int) -> None:
    """Fail if it was killed too seldom, anywhere or altogether."""
    assert min(kills[point] for point in points) >= least, kills
    assert kills.total() >= total, kills


def intact(state: Path, journal: Path, hash_key: bytes, entries: int) -> Memory:
    """The state file is whole, every entry (of more than ``entries``) fits its commitment, nothing that was sent is left
    open; what it knows: ``REMEMBERED``, and by its name what it takes each audience to hold."""
    store = open_store(state, journal, hash_key)
    assert store.rows("PRAGMA integrity_check") == [("ok",)]
    assert store.rows("SELECT count(*) FROM operation WHERE state = ?", (SENT,)) == [(0,)]
    assert store.rows("SELECT count(*) FROM batch WHERE state <> 'closed'") == [(0,)]
    assert store.rows("SELECT count(*) FROM parcel WHERE batch IS NOT NULL") == [(0,)]
    with store.reading() as conn:
        count, bad = verify(conn)
    assert count > entries
    assert not bad
    decision = _columns(store, "decision", "d", {"person", "position"})
    found = {name: set(store.rows(sql.replace("{decision}", decision))) for name, sql in REMEMBERED.items()}
    for table, name in store.rows("SELECT 'target_' || id, name FROM object WHERE kind = 'audience'"):
        values = _columns(store, table, "t", {"person", "address", "operation"})
        found[name] = set(store.rows(f"SELECT a.email, {values} FROM {table} t LEFT JOIN address a ON a.id = t.address"))
    store.close()
    return found


def _columns(store: Store, table: str, alias: str, without: set[str]) -> str:
    """The columns of a table that follows the mapping, as SQL."""
    return ", ".join(f'{alias}."{row[1]}"' for row in store.rows(f"PRAGMA table_info({table})") if row[1] not in without)


def unlike(calm: Memory, other: Memory) -> list[str]:
    """What two states know differently, some lines for each table."""
    return [f"{name}: {len(calm[name] ^ other[name])} differ, such as {sorted(map(str, calm[name] - other[name]))[:3]}"
            f" != {sorted(map(str, other[name] - calm[name]))[:3]}"
            for name in calm if calm[name] != other[name]]


SPOKEN = """SELECT u.source, u.method, u.person_made, u.baseline, u.said, e.key, e.evidence,
  datetime(e.said_lo / 1000000, 'unixepoch'), datetime(e.said_hi / 1000000, 'unixepoch'),
  datetime(e.seen_at / 1000000, 'unixepoch')
FROM entry e JOIN utterance u ON u.id = e.utterance JOIN address a ON a.id = e.address WHERE a.email = ?
ORDER BY e.position"""


def spoken(calm: Memory, other: Memory, *states: Path) -> list[str]:
    """For the search after causes: what two states hold of the addresses about which one knows other statements."""
    emails = sorted({str(words[-1]) for words in calm["statements"] ^ other["statements"]})[:5]
    found = []
    for email in emails:
        for state in states:
            conn = db.connect(state, read_only=True)
            found += [f"{email} in {state}: {row}" for row in conn.execute(SPOKEN, (email,)).fetchall()]
            conn.close()
    return found
