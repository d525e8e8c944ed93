"""``syncd doctor``: what can be wrong around a good configuration. Reads only; works beside a running daemon."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from connectors.errors import ConnectorError
from mappings.checks import check_online
from mappings.model import Mapping as MappingFile
from mappings.model import StreamName
from mappings.problems import Problem
from state import db, drift, flags, forget
from syncd import accounts, compose, sends, sides
from syncd.app import objects_of, wall
from syncd.config import Config
from syncd.desk import control
from syncd.desk.views import Json
from syncd.destinations import unit_is_wider
from syncd.failures import DAMAGED, FAILED, USAGE, Failure, failure_of
from syncd.model import Catalogue, Health, Micros

SKEW = 60.0
"""Seconds two clocks may differ before it is worth a word."""

LOW_DISK = 1 << 30
"""Free bytes below which the disk of state or journal is warned about."""


def examine(config: Config, mapping: MappingFile) -> Json:
    """Findings about every connection, the mapping against what the connections describe, and this machine."""
    state = Path(config.state)
    findings = [*_files(config), *_state(state), *_abandoned(state, mapping), *_unheld(config, mapping),
                *_unerased(state, wall() - config.policy.max_erasure_age)]
    connections: dict[str, Json] = {}
    catalogues: dict[str, Catalogue] = {}
    for name, connector in compose.connectors(config, threading.Event()).items():
        connections[name] = {"account": None, "quota": {}}
        try:
            health = connector.check()
            connections[name] = {"account": health.account, "quota": {k: list(v) for k, v in health.quota.items()}}
            findings += _health(name, health)
            accounts.compare(state, name, connector.login(), config.connections)
            if abs(connector.server_skew or 0.0) > SKEW:
                findings.append(_finding("warning", name, f"Its clock differs by {round(connector.server_skew or 0)} s"
                                         " from this machine's.", "Set this machine's clock (NTP)."))
            catalogues[name] = connector.describe(_asked(mapping, name))
        except ConnectorError as error:
            failure = failure_of(error)
            findings.append(_finding("error", name, failure.message, failure.next, failure.exit_code))
        finally:
            connector.close()
    findings += [_finding(p.level, str(p.place), p.message, p.remedy, USAGE) for p in fitting(mapping, catalogues)]
    findings += [_finding("info", u.connection, u.message, u.remedy) for u in sides.unheld(mapping)]
    free = shutil.disk_usage(_existing(Path(config.state))).free
    return {"connections": connections, "sqlite": ".".join(map(str, db.VERSION)), "free_bytes": free,
            "findings": findings}


def online(config: Config, mapping: MappingFile) -> list[Problem]:
    """The mapping against what the connections describe: objects, fields, lists, and the definitions of sends.

    :raises ConnectorError: a connection cannot be described
    """
    catalogues: dict[str, Catalogue] = {}
    for name, connector in compose.connectors(config, threading.Event()).items():
        try:
            accounts.compare(Path(config.state), name, connector.login(), config.connections)
            catalogues[name] = connector.describe(_asked(mapping, name))
        except ConnectorError as error:
            error.connection = name
            raise
        finally:
            connector.close()
    return fitting(mapping, catalogues)


def fitting(mapping: MappingFile, catalogues: Mapping[str, Catalogue]) -> list[Problem]:
    """Where mapping and descriptions do not fit, and where a send is defined as the mapping does not need it."""
    found = list(check_online(mapping, catalogues))
    for destination in mapping.destinations.values():
        catalogue = catalogues.get(destination.connection)
        if catalogue is None:
            continue
        found += unit_is_wider(destination, catalogue)
        lists = {f"list:{t.publication_list}" for t in destination.topics.values() if t.publication_list is not None}
        if not lists <= catalogue.objects.keys():
            continue  # that is told already; no send can go through a list that is not there
        for info in (info for name, info in catalogue.objects.items() if name.startswith("send:")):
            what = f'The send "{info.label or info.name}" needs a look.'
            found += [Problem.at(destination.place, f"{what} {message}", remedy, level)
                      for level, message, remedy in sends.defined(mapping, destination, info)]
    return found


def _asked(mapping: MappingFile, connection: str) -> list[str]:
    """What of a connection is looked at."""
    asked = sorted(objects_of(mapping, connection))
    return [*asked, "sends"] if any(d.connection == connection for d in mapping.destinations.values()) else asked


def _finding(level: str, where: str, message: str, remedy: str = "", exit_code: int = FAILED) -> Json:
    return {"level": level, "where": where, "message": message, "remedy": remedy, "exit": exit_code}


def _health(name: str, health: Health) -> list[Json]:
    return [_finding(f.level, name, f.message, f.remedy, USAGE) for f in health.findings]


def _files(config: Config) -> list[Json]:
    """The machine: directories, permissions, disk, SQLite."""
    found = []
    state, journal = Path(config.state), Path(config.journal)
    for path in (state, journal):
        directory = path.parent
        if not directory.is_dir():
            found.append(_finding("warning", str(directory), "The directory is not there yet.",
                                  "Make it, for syncd's user only: mkdir -m 700."))
        elif not os.access(directory, os.W_OK):
            found.append(_finding("error", str(directory), "This user may not write there.",
                                  "Run the command as the user syncd runs as."))
        elif path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            found.append(_finding("error", str(path), "Other users can read it, and it holds personal data.",
                                  f"chmod 600 {path}"))
    if _existing(state).stat().st_dev == _existing(journal).stat().st_dev:
        found.append(_finding("info", str(journal), "The journal is on the same disk as the state.",
                              "On another disk it survives what the state does not."))
    found += [_finding("warning", str(path), "Less than 1 GiB is free on its disk.", "Make room.")
              for path in (state, journal) if shutil.disk_usage(_existing(path)).free < LOW_DISK]
    if not db.wal_is_safe():
        found.append(_finding("info", str(state), "This SQLite lacks the WAL fix, so every read holds back the writer.",
                              "Install pysqlite3, or SQLite 3.51.3 or later."))
    return found


def _state(path: Path) -> list[Json]:
    """Is the file whole? A running syncd looked when it started."""
    try:
        control.ask(control.socket_path(path), "status", {}, timeout=30.0)
        return []
    except (control.NotRunning, Failure):
        pass
    if not path.exists():
        return []
    try:
        with closing(db.connect(path, read_only=True)) as conn:
            db.quick_check(conn)
    except (db.StateDamaged, db.DatabaseError) as error:
        return [_finding("error", str(path), failure_of(error).message, "Restore a backup with `syncd restore`.",
                         DAMAGED)]
    return []


def _abandoned(path: Path, mapping: MappingFile) -> list[Json]:
    """Rows that nobody keeps in step any more: the mapping dropped their audience, and syncd deletes nothing unasked."""
    mapped = {(d.connection, a.object) for d in mapping.destinations.values() for _, a in d.audiences}
    try:
        with closing(db.connect(path, read_only=True)) as conn:
            left = drift.abandoned(conn, mapped)
    except db.Error:
        return []  # there is no state yet, or it is damaged, which another finding says
    return [_finding("warning", connection, f"{name} holds {rows} rows of syncd's and is not in the mapping any more: who"
                     " opts out keeps the row.", "Empty it at the provider before anybody sends to it, or map it again.")
            for connection, name, rows in left]


def _unheld(config: Config, mapping: MappingFile) -> list[Json]:
    """Records that cannot hold consent because they lack what it hangs on, and syncd may not make it."""
    found = []
    for stream, needs in sorted({(f.stream, f.needs) for f in mapping.consent_fields if f.needs is not None}):
        name = StreamName.parse(stream)
        if getattr(config.connections.get(name.connection), "create_individuals", None):
            continue
        try:
            with closing(db.connect(Path(config.state), read_only=True)) as conn:
                without, every = flags.lacking(conn, name.connection, name.object, needs)
        except db.Error:
            continue  # as above
        if without:
            found.append(_finding("info", name.connection, f"{without} of {every} records of {stream} have no {needs}: "
                                  "consent objects cannot hold what these people say. They are stopped everywhere else.",
                                  "Give them Individuals in Salesforce, or set create_individuals for those who refuse."))
    return found


def _unerased(path: Path, before: Micros) -> list[Json]:
    """Forgotten people whom a side should have erased by now."""
    try:
        with closing(db.connect(path, read_only=True)) as conn:
            late = [(what.id, forget.keys_left(conn, what.id)) for what in forget.unfinished(conn) if what.asked_at < before]
    except db.Error:
        return []  # as above
    return [_finding("warning", ", ".join(sorted({k["connection"] for k in keys})) or str(path),
                     f"Erasure {id_} is not done after more days than policy.max_erasure_age allows.",
                     "Look with `syncd status`; delete there by hand what the vendor refuses.") for id_, keys in late]


def _existing(path: Path) -> Path:
    """The path itself or the nearest directory above it that exists."""
    while not path.exists():
        path = path.parent
    return path
