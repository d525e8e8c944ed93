"""``syncd restore``: a backup becomes the state, or the journal alone does. The present one is not touched before the new
one has proved good."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from state import accounts, db, forget, inbox, journal, suppressions
from state import restore as replaying
from state.store import Store
from syncd.app import open_store
from syncd.config import Config
from syncd.desk.views import Json
from syncd.failures import FAILED, Failure
from syncd.model import Micros

KEPT = ".before-restore"


def restore(config: Config, source: Path | None) -> Json:
    """Check the backup (none = an empty state), replay the journal into it, put it in the state's place.

    :raises state.db.StateLocked: a syncd is running
    :raises state.db.StateDamaged: the backup is damaged, was made with another hash key, or the journal does not fit it
    """
    state = Path(config.state)
    part = state.with_name(state.name + ".part")
    with db.Lock(state.with_suffix(state.suffix + ".lock")):
        _discard(part)
        if source is not None:
            _copy(source, part)
        try:
            data = _prepare(config, part, Path(config.journal))
            _whole(part)
        except BaseException:
            _discard(part)
            raise
        had_state, kept = state.exists(), state.with_name(state.name + KEPT)
        for tail in ("", "-wal", "-shm"):  # a database without its own log would be another one
            with suppress(FileNotFoundError):
                os.replace(f"{state}{tail}", f"{kept}{tail}")
        os.replace(part, state)
        _discard(part)
    return {**data, "kept": str(kept) if had_state else None}


def _copy(source: Path, part: Path) -> None:
    before = os.umask(0o077)
    try:
        shutil.copyfile(source, part)
    except OSError as error:
        raise Failure(FAILED, f"{source} cannot be copied beside the state: {error.strerror}.") from None
    finally:
        os.umask(before)


def _whole(part: Path) -> None:
    """What was written to a state is in its file once it is closed, if there was room to put it there.

    :raises Failure: there was not
    """
    log = Path(f"{part}-wal")
    if log.exists() and log.stat().st_size:
        raise Failure(FAILED, f"there is no room left beside {part} to finish the new state; the present one is untouched.",
                      next="Make room, then run `syncd restore` again.")


def _prepare(config: Config, part: Path, told: Path) -> Json:
    store = open_store(part, None, config.hash_key.reveal().encode())
    try:
        for name in config.connections:
            # Whose subscriber keys the journal's entries came under. The role is put right when the mapping is compiled.
            if not store.rows("SELECT 1 FROM connection WHERE name = ?", (name,)):
                store.connection(name, "crm")
        lines = journal.read(told, store.head()) if told.exists() else []
        replayed = store.write(lambda conn: replaying.replay(conn, lines))
        waiting = digests = 0
        if told.exists():
            waiting = store.write(lambda conn: inbox.restore(conn, journal.notes(told)))
            digests = store.write(lambda conn: suppressions.restore(conn, journal.notes(told)))
            store.write(lambda conn: accounts.restore(conn, journal.notes(told)))
        forgotten = [line for line in lines if line.spoken[:2] == (forget.SOURCE, forget.SOURCE)]
        for seen_at, group in groupby(forgotten, key=lambda line: line.seen_at):
            _forget(store, list(group), seen_at)
        if forgotten:
            store.scrub()
        store.write(replaying.doubt_everything)
        return {"ledger": store.head(), "replayed": replayed, "webhooks": waiting, "digests": digests,
                "forgotten": len({line.hash for line in forgotten})}
    finally:
        store.close()


def _forget(store: Store, told: Sequence[journal.Line], at: Micros) -> None:
    """Somebody was forgotten since the backup was made. What a stub keeps is read again; what she said later stays."""
    hashes = [bytes.fromhex(line.hash) for line in told if line.hash]
    until = min(line.position for line in told)
    store.write(lambda conn: forget.erase_blocked(conn, hashes, until, forget.Shape({}, {}), at))


def _discard(part: Path) -> None:
    for tail in ("", "-wal", "-shm", ".lock"):
        Path(f"{part}{tail}").unlink(missing_ok=True)
