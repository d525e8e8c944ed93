"""What can go wrong with the state file itself: no room, two daemons, another version, another key, another SQLite."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from state import db
from state.store import Store
from syncd.app import open_store
from tests.system.lab import NEWS, OFFERS, Lab

ROOT = Path(__file__).parents[2]


def test_a_full_disk_loses_nothing_and_the_next_cycle_goes_on(lab: Lab) -> None:
    lab.contacts(10)
    lab.link()
    store = lab.app.store
    lab.contacts(3000, 10, offers=0)
    lab.unsubscribe("p1")

    def limit(pages: int) -> None:
        store.writer.outside(lambda conn: conn.execute(f"PRAGMA max_page_count = {pages}").fetchone())

    [(pages,)] = store.rows("PRAGMA page_count")
    limit(pages + 20)
    with pytest.raises(db.OperationalError, match="full"):
        lab.cycle()
    assert store.rows("PRAGMA integrity_check") == [("ok",)]
    assert lab.entries() >= 10
    limit(1_000_000)
    lab.cycle()
    assert lab.status("p1") == "unsubscribed"
    assert "p1" not in lab.keys(OFFERS)
    assert lab.hold("creations").operations == 3000
    assert lab.keys(NEWS) == {f"p{n}" for n in range(10)} - {"p1"}


def test_a_commit_that_fails_is_rolled_back_and_the_next_job_runs(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")

    def breaks_at_commit(conn: db.Connection) -> None:
        conn.execute("PRAGMA defer_foreign_keys = ON")
        conn.execute("INSERT INTO stream (connection, object, kind) VALUES (99, 'x', 'record')")
    with pytest.raises(db.IntegrityError):
        store.write(breaks_at_commit)
    assert store.write(lambda conn: conn.execute("SELECT count(*) FROM stream").fetchone()[0]) == 0
    store.close()


def test_a_second_daemon_is_refused_and_told_who_holds_the_state(lab: Lab) -> None:
    with pytest.raises(db.StateLocked, match=rf"process {os.getpid()}\b"):
        open_store(lab.directory / "state.db", None, lab.policy.hash_key)
    lab.reopen()


def test_the_lock_of_a_killed_daemon_is_no_obstacle(tmp_path: Path) -> None:
    code = ("import os, signal; from pathlib import Path; from state.store import Store;"
            f"Store(Path({str(tmp_path / 's.db')!r})); os.kill(os.getpid(), signal.SIGKILL)")
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == -9
    Store(tmp_path / "s.db").close()


def test_a_state_of_a_newer_version_is_refused_and_not_touched(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    store.write(lambda conn: conn.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('syncd', 'm999_later', '2031-01-01')"
    ).rowcount)
    store.close()
    before = (tmp_path / "s.db").read_bytes()
    with pytest.raises(db.StateDamaged, match="newer"):
        Store(tmp_path / "s.db")
    assert (tmp_path / "s.db").read_bytes() == before


def test_another_hash_key_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "s.db", hash_key=b"one").close()
    with pytest.raises(db.StateDamaged, match="hash_key"):
        Store(tmp_path / "s.db", hash_key=b"two")
    Store(tmp_path / "s.db", hash_key=b"one").close()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "s.db").close()
    file = tmp_path / "s.db"
    data = bytearray(file.read_bytes())
    data[4096:12_288] = os.urandom(8192)
    file.write_bytes(data)
    with pytest.raises(db.StateDamaged):
        Store(file)


def test_the_state_works_on_the_standard_librarys_sqlite(tmp_path: Path) -> None:
    """Older, perhaps without the fix that write-ahead logging needs: the tests of the state run on it, too."""
    chosen = [str(path) for path in sorted((ROOT / "tests" / "unit").glob("test_*.py")) if path.stem in (
        "test_ledger", "test_outbox", "test_identify", "test_plan", "test_migrations", "test_writer")]
    assert len(chosen) == 6
    answer = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'other'}", *chosen],
        cwd=ROOT, env={**os.environ, "SYNCD_SQLITE": "stdlib"}, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stdout[-3000:]
