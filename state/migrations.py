"""Ordered, append-only migrations. A fresh database and a migrated one have the same schema (a test compares them)."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from state import db

if TYPE_CHECKING:
    from sqlite_utils import Database
    from sqlite_utils.migrations import Migrations

NAMES = ("m001_first",)
"""Every migration there is, in order; a name that is not here was made by a newer syncd."""


def migrations() -> Migrations:
    """The set; built lazily because sqlite-utils is slow to import."""
    from sqlite_utils.migrations import Migrations

    steps = Migrations("syncd")

    @steps()
    def m001_first(database: Database) -> None:
        script = (files("state") / "sql" / "schema.sql").read_text("utf-8")
        for statement in split(script):
            database.execute(statement)

    return steps


def split(script: str) -> list[str]:
    """Statements of a script without triggers: ``executescript`` would commit the migration's transaction."""
    bare = "\n".join(line.split("--")[0] for line in script.splitlines())
    return [part.strip() for part in bare.split(";") if part.strip()]


def migrate(conn: db.Connection, path: Path) -> None:
    """Bring the schema up to date, after copying a database that holds anything.

    :raises state.db.StateDamaged: when the database was made by a newer syncd
    """
    has_table = conn.execute("SELECT 1 FROM sqlite_master WHERE name = '_sqlite_migrations'").fetchone()
    applied = {row[0] for row in conn.execute("SELECT name FROM _sqlite_migrations")} if has_table else set()
    if applied - set(NAMES):
        raise db.StateDamaged("the state was written by a newer syncd; install that version or restore an older backup")
    if len(applied) == len(NAMES):
        return
    from sqlite_utils import Database

    if applied:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy2(path, path.with_suffix(path.suffix + ".before-migration"))
    migrations().apply(Database(conn))
