"""Who moves to another subscriber key, and is ready, changes it; in every cycle.

A person moves alone, in this order: every refusal is written under the key to come, and read back; the key is changed; rows
go out under it; the rows under the old one are removed. All but the reading back and the change is planned like everything
else, from the tables: a move that was interrupted goes on with the next cycle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connectors.errors import ConnectorError
from state import keys
from state.keys import Ready
from state.store import Store
from syncd.feeds import Feed, Pulled
from syncd.model import Micros
from syncd.pull import Puller

KEYS_PER_FETCH = 200


@dataclass(frozen=True, slots=True)
class Mover:
    """The part of a cycle that lets people change keys."""

    store: Store
    feeds: Sequence[Feed]
    puller: Puller

    def step(self, now: Micros, pulled: Pulled) -> int:
        """Let everyone change keys who is ready; they are dirty then, as is who left rows behind. Returns how many
        changed. A provider that cannot be asked is asked with the next cycle."""
        with self.store.reading() as conn:
            moving, left = keys.moving(conn), keys.left_behind(conn)
        for object_ in left:
            self.store.walk(lambda conn, after, most, o=object_: keys.tidy(conn, o, after, most), 0)  # type: ignore[misc]
        return sum(self._connection(connection, now, pulled) for connection in moving)

    def _connection(self, connection: int, now: Micros, pulled: Pulled) -> int:
        total = after = 0
        while True:
            with self.store.reading() as conn:
                found = keys.ready(conn, connection, after)
            if not found:
                return total
            after = found[-1].person
            try:
                self._prove(connection, [one.key for one in found if not one.proven], now, pulled)
            except ConnectorError:
                found = [one for one in found if one.proven]
            total += self._change(connection, found, now)

    def _change(self, connection: int, found: Sequence[Ready], now: Micros) -> int:
        people = [one.person for one in found]
        return self.store.write(lambda conn: keys.change(conn, connection, people, now))

    def _prove(self, connection: int, wanted: Sequence[str], now: Micros, pulled: Pulled) -> None:
        """Read the refusals under these keys back. What is not there is written again, and who it is about does not move.

        :raises ConnectorError: the provider cannot be asked
        """
        feeds = {feed.spec.container or "": feed for feed in self.feeds
                 if feed.connection == connection and feed.spec.kind == "status"}
        for start in range(0, len(wanted), KEYS_PER_FETCH):
            with self.store.reading() as conn:
                refused = keys.refused(conn, connection, wanted[start:start + KEYS_PER_FETCH])
            for container, part in refused.items():
                feed = feeds.get(container)
                if feed is None:
                    continue  # a list that is not in the mapping any more
                try:
                    rows = feed.connector.fetch(feed.spec, part).rows
                except ConnectorError as error:
                    pulled.failed[feed.name] = error
                    raise
                self.puller.take(feed, rows, now)
                there = {str(row[1]) for row in rows if row[3] == "unsubscribed"}
                lost = [key for key in part if key not in there]
                if lost:
                    self.store.write(lambda conn, c=container, lost=lost: keys.not_there(  # type: ignore[misc]
                        conn, connection, c, lost))
