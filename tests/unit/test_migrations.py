"""The schema: golden, migrated to in order, copied before, and never taken over from a newer version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from state import db, migrations
from state.store import Store

SCHEMA = Path(migrations.__file__).with_name("sql") / "schema.sql"
QUERY = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name NOT LIKE '\\_sqlite%' ESCAPE '\\'"


def shape(conn: db.Connection) -> set[tuple[str, str, str]]:
    """Every table and index, spelled without comments and spaces."""
    return {(kind, name, re.sub(r"\s+", " ", re.sub(r"--[^\n]*", "", sql or "")))
            for kind, name, sql in conn.execute(QUERY) if "_sqlite_migrations" not in (sql or "")}


def test_all_migrations_applied_give_the_golden_schema(tmp_path: Path) -> None:
    fresh = db.connect(tmp_path / "golden.db")
    for statement in migrations.split(SCHEMA.read_text("utf-8")):
        fresh.execute(statement)
    golden = shape(fresh)
    fresh.close()
    store = Store(tmp_path / "s.db")
    with store.reading() as conn:
        assert shape(conn) == golden
        names = [name for (name,) in conn.execute("SELECT name FROM _sqlite_migrations ORDER BY id")]
        assert names == list(migrations.NAMES)
    store.close()


def test_the_names_are_those_of_the_steps() -> None:
    steps = migrations.migrations()
    assert tuple(step.name for step in steps._migrations) == migrations.NAMES


def test_every_table_is_strict(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    loose = store.rows("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND strict = 0"
                       " AND name NOT LIKE '%sqlite%'")
    assert loose == []
    store.close()


def test_a_database_that_holds_something_is_copied_before_it_is_migrated(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    store.remember("x", "kept")
    store.write(lambda conn: conn.execute("UPDATE _sqlite_migrations SET name = 'm000_none'").rowcount)
    store.close()
    copy = tmp_path / "s.db.before-migration"
    assert not copy.exists()
    monkey = pytest.MonkeyPatch()
    monkey.setattr(migrations, "NAMES", ("m000_none", "m001_first"))
    try:
        with pytest.raises(db.Error, match="already exists"):
            Store(tmp_path / "s.db")
    finally:
        monkey.undo()
    conn = db.connect(copy, read_only=True)
    assert conn.execute("SELECT value FROM meta WHERE name = 'x'").fetchone() == ("kept",)
    conn.close()


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "s.db")
    store.write(lambda conn: conn.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('syncd', 'm999', '')").rowcount)
    store.close()
    with pytest.raises(db.StateDamaged, match="newer syncd"):
        Store(tmp_path / "s.db")
    assert not (tmp_path / "s.db.before-migration").exists()


def test_statements_are_split_without_comments() -> None:
    assert migrations.split("-- a; b\nCREATE TABLE a (x); -- c\n\nCREATE INDEX b ON a (x);\n") == [
        "CREATE TABLE a (x)", "CREATE INDEX b ON a (x)"]
