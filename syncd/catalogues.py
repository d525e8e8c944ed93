"""What the connections describe, remembered between processes: asked afresh, a cold start would cost more calls than the
cycle itself.

A description is believed only for the mapping and the login it was made for. It tells the types of fields; what was taken
away since shows when it is read or written. Such a call casts doubt on the description: it is forgotten and asked for anew
before anything is decided.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import orjson

from connectors.base import Connector
from connectors.errors import AnotherAccount, ConnectorError, Misconfigured
from state import catalogues as state
from state.catalogues import Kept
from state.store import Store
from syncd.model import Catalogue, Micros

HOUR = 3_600_000_000
LIFE = HOUR
"""µs for which a command believes what another process was told. A service asks for itself when it starts."""

PATIENCE = HOUR // 4
"""µs after which a call that does not fit makes this process ask again what it was told itself: a field that stays hidden
must not cost a description with every cycle."""


@dataclass(slots=True)
class Used:
    """The description of one connection that is in use. ``remembered``: it was told to another process."""

    connection: int
    connector: Connector
    kept: Kept
    remembered: bool
    doubted: bool = False
    saved: bool = False


class Catalogues:
    """The descriptions of all connections.

    :param fields: connection -> object -> the fields the mapping names
    :param accounts: connection -> digest of its settings and credentials
    """

    def __init__(self, store: Store, fields: Mapping[str, Mapping[str, Collection[str]]], accounts: Mapping[str, str],
                 clock: Callable[[], Micros]) -> None:
        self._store = store
        self._fields = fields
        self._mapped = {name: _digest(wanted) for name, wanted in fields.items()}
        self._accounts = accounts
        self._clock = clock
        self._used: dict[str, Used] = {}

    def get(self, name: str, connection: int, connector: Connector, life: Micros | None) -> Catalogue:
        """The description of one connection: what this process was told already, else a remembered one if it is not
        older than ``life`` (None: whatever its age and login), else a new one. Where the connection does not answer now,
        the remembered one has to do: reading will say what is wrong.

        :raises ConnectorError: it cannot be described, and nothing is remembered
        """
        used = self._used.get(name)
        if used is not None and not (used.remembered or used.doubted):
            return used.kept.catalogue
        kept = self._kept(name, connection)
        own = kept is not None and kept.account == self._accounts[name]
        if kept is None or not (life is None or (own and self._is_fresh(kept, life))):
            try:
                kept = self._ask(name, connection, connector)
                self._used[name] = Used(connection, connector, kept, remembered=False)
                return kept.catalogue
            except (AnotherAccount, Misconfigured):
                self._used.pop(name, None)  # nothing of it is in use any more that could be doubted
                raise
            except ConnectorError:
                if kept is None or not own:
                    raise
        connector.recall(kept.notes)
        self._used[name] = Used(connection, connector, kept, remembered=True)
        return kept.catalogue

    def last(self, connection: int) -> Catalogue:
        """What a connection described last, by whatever login and for whatever mapping; nothing where it never did. Good for
        what needs no new reading of it."""
        with self._store.reading() as conn:
            kept = state.kept(conn, connection)
        return kept.catalogue if kept is not None else Catalogue({})

    def _is_fresh(self, kept: Kept, life: Micros) -> bool:
        return 0 <= self._clock() - kept.at < life

    def _kept(self, name: str, connection: int) -> Kept | None:
        with self._store.reading() as conn:
            kept = state.kept(conn, connection)
        return kept if kept is not None and kept.mapped == self._mapped[name] else None

    def _ask(self, name: str, connection: int, connector: Connector) -> Kept:
        """Let the connection describe what is mapped, and keep that."""
        wanted, objects = self._fields[name], {}
        connector.recall("")
        for object_, info in connector.describe(sorted(wanted), wanted).objects.items() if wanted else ():
            if object_ in wanted:
                mapped = {*wanted[object_], info.master_flag}
                objects[object_] = replace(info, fields=tuple(f for f in info.fields if f.name in mapped))
        kept = Kept(self._mapped[name], self._accounts[name], self._clock(), Catalogue(objects), connector.learnt())
        self._store.write(lambda conn: state.keep(conn, connection, kept))
        return kept

    # ------------------------------------------------------------------ how good they are

    @property
    def oldest(self) -> Micros | None:
        """When the oldest of the descriptions in use was made."""
        return min((used.kept.at for used in self._used.values()), default=None)

    @property
    def doubtful(self) -> bool:
        """Whether a call did not fit its description: it has to be asked for anew."""
        return any(used.doubted for used in self._used.values())

    @property
    def remembered(self) -> bool:
        """Whether some of those in use were told to another process."""
        return any(used.remembered for used in self._used.values())

    def good(self, life: Micros | None) -> bool:
        """Whether those in use will do for whoever accepts remembered ones of this age."""
        return not self.doubtful and (life is None or all(
            self._is_fresh(used.kept, life) for used in self._used.values() if used.remembered))

    def doubt(self, name: str) -> None:
        """A call of this connection did not fit: its description is forgotten."""
        used = self._used.get(name)
        if used is not None and (used.remembered or self._clock() - used.kept.at > PATIENCE):
            used.doubted = True
            self._store.write(lambda conn: state.forget(conn, used.connection))

    def review(self) -> None:
        """The mapping does not fit these: ask again, unless that was just done."""
        for name in [*self._used]:
            self.doubt(name)

    def settle(self) -> None:
        """Nobody can be asked now: go on with what is there."""
        for used in self._used.values():
            used.doubted = False

    def save(self) -> None:
        """After a run: keep what the connectors have learnt by it, once for each description."""
        for used in self._used.values():
            if not (used.saved or used.doubted):
                used.saved = True
                if (notes := used.connector.learnt()) != used.kept.notes:
                    self._store.write(lambda conn, u=used, n=notes: state.note(conn, u.connection, n))  # type: ignore[misc]


def _digest(fields: Mapping[str, Collection[str]]) -> str:
    wanted = {object_: sorted(names) for object_, names in fields.items()}
    return hashlib.blake2b(orjson.dumps(wanted, option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()
