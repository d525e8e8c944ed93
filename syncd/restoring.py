"""``syncd restore``: a backup becomes the state. The present one is not touched before the backup has proved good."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from state import db
from state import restore as replaying
from syncd.app import open_store
from syncd.config import Config
from syncd.failures import FAILED, Failure
from syncd.views import Json

KEPT = ".before-restore"


def restore(config: Config, source: Path) -> Json:
    """Check the backup, replay the journal into it, put it in the state's place.

    :raises state.db.StateLocked: a syncd is running
    :raises state.db.StateDamaged: the backup is damaged, was made with another hash key, or the journal does not fit it
    """
    state, journal = Path(config.state), Path(config.journal)
    part = state.with_name(state.name + ".part")
    with db.Lock(state.with_suffix(state.suffix + ".lock")):
        before = os.umask(0o077)
        try:
            shutil.copyfile(source, part)
        except OSError as error:
            raise Failure(FAILED, f"{source} cannot be copied beside the state: {error.strerror}.") from None
        finally:
            os.umask(before)
        try:
            data = _prepare(config, part, journal)
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


def _prepare(config: Config, part: Path, journal: Path) -> Json:
    store = open_store(part, None, config.hash_key.reveal().encode())
    try:
        lines = replaying.read(journal, replaying.head(store)) if journal.exists() else []
        replayed = replaying.replay(store, lines)
        replaying.doubt_everything(store)
        return {"ledger": replaying.head(store), "replayed": replayed}
    finally:
        store.close()


def _discard(part: Path) -> None:
    for tail in ("", "-wal", "-shm", ".lock"):
        Path(f"{part}{tail}").unlink(missing_ok=True)
