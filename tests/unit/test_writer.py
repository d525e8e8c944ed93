"""One writer: order, urgency, rollback, and what may not be done inside a job."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from state import db, writer
from state.pace import Pace
from state.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store(tmp_path / "s.db")
    yield found
    found.close()


def put(name: str) -> str:
    return f"INSERT INTO meta VALUES ('{name}', 1)"


def names(store: Store) -> list[str]:
    return [name for (name,) in store.rows("SELECT name FROM meta WHERE name LIKE 'x%' ORDER BY name")]


def test_a_job_is_one_transaction(store: Store) -> None:
    assert store.write(lambda conn: conn.execute(put("x1")).rowcount) == 1
    done = store.writer.done

    def fails(conn: db.Connection) -> None:
        conn.execute(put("x2"))
        raise KeyError("x")
    with pytest.raises(KeyError):
        store.write(fails)
    assert names(store) == ["x1"]
    assert store.writer.done == done
    store.write(lambda conn: conn.execute(put("x3")).rowcount)
    assert names(store) == ["x1", "x3"]


def test_a_statement_that_ends_the_transaction_itself_does_no_lasting_harm(store: Store) -> None:
    with pytest.raises(db.OperationalError):
        store.write(lambda conn: conn.execute("COMMIT"))
    store.write(lambda conn: conn.execute(put("x1")).rowcount)
    assert names(store) == ["x1"]


def test_urgent_jobs_overtake_waiting_ones(store: Store) -> None:
    gate, running, order = threading.Event(), threading.Event(), list[str]()

    def first(conn: db.Connection) -> None:
        running.set()
        gate.wait(10)

    def later(name: str, urgent: bool) -> threading.Thread:
        thread = threading.Thread(target=lambda: store.write(lambda conn: order.append(name), urgent=urgent))
        thread.start()
        return thread
    threads = [threading.Thread(target=lambda: store.write(first))]
    threads[0].start()
    running.wait(10)
    for name, urgent in (("slow 1", False), ("slow 2", False), ("unsubscribe", True)):
        threads.append(later(name, urgent))
        while store.writer._jobs.qsize() < len(threads) - 1:
            pass
    gate.set()
    for thread in threads:
        thread.join(10)
    assert order == ["unsubscribe", "slow 1", "slow 2"]


def test_what_each_transaction_took_is_counted_by_its_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "SLOW", 0.0)
    told: list[str] = []
    store.writer.slow = lambda name, seconds: told.append(name)

    def fails(conn: db.Connection) -> None:
        raise KeyError("x")
    store.write(lambda conn: None)
    with pytest.raises(KeyError):
        store.write(fails)
    store.write(lambda conn: None, name="another")
    store.write(partial(store._check_key, hash_key=b""))
    store.tidy()
    here = "test_writer.test_what_each_transaction_took_is_counted_by_its_name"
    assert {name: sum(t.counts) for name, t in store.writer.timings.items()} == {
        here: 2, "another": 1, "store.Store._check_key": 1, "store.Store.tidy": 1}
    assert told == [here, here, "another", "store.Store._check_key", "store.Store.tidy"]


def test_a_duration_is_counted_below_its_bound() -> None:
    timing = writer.Timing()
    for seconds in (0.001, 0.01, 0.011, 0.2, 0.9, 60.0):
        timing.add(seconds)
    assert timing.counts == [2, 1, 1, 1, 0, 1]
    assert timing.longest == 60.0
    assert timing.total == pytest.approx(61.122)


def test_a_job_that_waits_for_a_job_is_refused_instead_of_hanging(store: Store) -> None:
    with pytest.raises(RuntimeError, match="must not wait"):
        store.write(lambda conn: store.write(lambda other: None))


def test_work_outside_of_transactions(store: Store, tmp_path: Path) -> None:
    store.tidy()
    store.write(lambda conn: conn.execute(put("x1")).rowcount)
    store.backup(tmp_path / "copy.db")
    copy = Store(tmp_path / "copy.db")
    assert names(copy) == ["x1"]
    copy.close()
    assert not (tmp_path / "copy.db.part").exists()


def test_readers_see_what_was_committed_and_cannot_write(store: Store) -> None:
    with store.reading() as conn, pytest.raises(db.OperationalError, match="readonly"):
        conn.execute(put("x1"))


def test_readers_of_threads_that_ended_are_closed(store: Store) -> None:
    for _ in range(20):
        thread = threading.Thread(target=lambda: store.rows("SELECT 1"))
        thread.start()
        thread.join()
    store.rows("SELECT 1")
    assert len(store._readers) <= 3


def test_closing_finishes_what_is_queued(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    threads = [threading.Thread(target=lambda n=n: store.write(lambda conn: conn.execute(put(f"x{n}")).rowcount))
               for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    again = Store(tmp_path / "s.db")
    assert names(again) == ["x0", "x1", "x2", "x3", "x4"]
    again.close()


def test_a_closed_state_refuses_jobs_instead_of_hanging(tmp_path: Path) -> None:
    closed = Store(tmp_path / "state.db", hash_key=b"key")
    closed.close()
    closed.close()
    with pytest.raises(RuntimeError, match="closed"):
        closed.write(lambda conn: conn.execute("SELECT 1").fetchone())


def test_the_file_and_its_folder_belong_to_their_owner(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "s.db")
    assert (tmp_path / "new" / "s.db").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    store.close()


@pytest.mark.parametrize(("version", "safe"), [
    ((3, 51, 3), True), ((3, 51, 2), False), ((3, 50, 7), True), ((3, 50, 6), False), ((3, 44, 6), True),
    ((3, 44, 5), False),
    ((3, 45, 9), False), ((3, 53, 0), True), ((4, 0, 0), True)])
def test_write_ahead_logging_only_where_it_is_sound(version: tuple[int, ...], safe: bool) -> None:
    assert db.wal_is_safe(version) == safe


def test_the_file_is_kept_as_safely_as_its_sqlite_allows(store: Store) -> None:
    wanted = {"journal_mode": "wal" if db.wal_is_safe() else "delete", "synchronous": 2, "foreign_keys": 1,
              "secure_delete": 1, "auto_vacuum": 2}
    for name, value in wanted.items():
        assert store.write(lambda conn, n=name: conn.execute(f"PRAGMA {n}").fetchone()[0]) == value  # type: ignore[misc]


def test_a_temporary_table_is_made_anew_only_in_another_shape(store: Store) -> None:
    def job(conn: db.Connection) -> tuple[list[int], list[tuple[int]]]:
        schemas: list[int] = []
        for columns in (["a"], ["a"], ["a", "b TEXT"]):
            db.scratch(conn, "scraps", columns)
            schemas.append(conn.execute("PRAGMA temp.schema_version").fetchone()[0])
            conn.execute("INSERT INTO scraps (a) VALUES (1)")
        return schemas, conn.execute("SELECT a FROM scraps").fetchall()
    schemas, rows = store.write(job)
    assert schemas[0] == schemas[1] < schemas[2]  # another version of the schema: every statement is compiled again
    assert rows == [(1,)]


def test_a_long_look_sees_one_state_and_keeps_nobody_from_writing(store: Store) -> None:
    def job(conn: db.Connection) -> tuple[int, int]:
        count = "SELECT count(*) FROM meta WHERE name LIKE 'x%'"
        before = conn.execute(count).fetchone()[0]
        thread = threading.Thread(target=lambda: store.write(lambda conn: conn.execute(put("x1")).rowcount))
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
        return before, conn.execute(count).fetchone()[0]
    if not db.wal_is_safe():
        pytest.skip("without write-ahead logging a look has its turn among the writes")
    assert store.look(job) == (0, 0)
    assert names(store) == ["x1"]


def test_without_write_ahead_logging_a_look_has_its_turn_among_the_writes(
        store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "wal_is_safe", lambda: False)
    assert store.look(lambda conn: threading.current_thread().name) == "state-writer"


def test_work_in_parts_takes_every_row_once_and_goes_on_after_the_last(store: Store) -> None:
    seen: list[int] = []

    def job(conn: db.Connection, after: int, most: int) -> tuple[int, int]:
        part = range(after + 1, min(after + most, 25) + 1)
        seen.extend(part)
        return len(part), part[-1] if part else after
    done = store.writer.done
    assert store.walk(job, 0, Pace(10)) == 25
    assert seen == list(range(1, 26))
    assert store.writer.done - done >= 3  # a part, the rest, and one that finds none
