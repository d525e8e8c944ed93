"""People who would be subscribers twice: a provider has their address under another key than the mapping gives them.

A first plan that would do that to many is not approved before somebody has said what to do: their keys can be kept, or
second subscribers let through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from state.queries import load
from state.relations import Relations
from syncd.model import Micros

CLASS = "existing_keys"
SHARE = 0.01
"""Of the people to be linked: few are let through, as an address may be several people's."""


class Doubled(Exception):
    """A first plan would make second subscribers of many people, and nothing says that it may."""

    def __init__(self, connection: str, hold: int, reason: str) -> None:
        super().__init__(f"{reason} (hold {hold}).")
        self.connection, self.message = connection, f"{reason}."
        self.remedy = ("Set `subscriber_key: {existing: match_email}` for the destination, so that they keep the keys they"
                       f" have; or let it make second ones with `syncd holds approve {hold}`.")


def found(conn: Any, rel: Relations) -> dict[int, str]:
    """Where a first plan would make subscribers of people who are that already: connection -> why that waits."""
    q, result = load("guard"), dict[int, str]()
    keyed = {c.connection for c in rel.containers if c.keyed_by == "key"}
    for connection, _, known in conn.execute(q["approved"]).fetchall():
        matched = rel.key_values.get(connection, ("", True))[1]
        if known or matched or connection not in keyed or conn.execute(q["doubles_accepted"], (connection,)).fetchone():
            continue
        count, everyone = conn.execute(q["doubled"], {"connection": connection}).fetchone()
        if count > everyone * SHARE:
            result[connection] = (f"{count} of {everyone} people are subscribers there already, under other keys than the"
                                 " mapping gives them: they would be there twice")
    return result


def hold(conn: Any, doubled: Mapping[int, str], now: Micros) -> None:
    """Open the holds about it; close those whose reason has gone."""
    q = load("guard")
    for connection, reason in doubled.items():
        given = {"connection": connection, "object": None, "class": CLASS, "reason": reason, "now": now}
        if not conn.execute(q["find_hold"], given).fetchone():
            conn.execute(q["open_hold"], given)
    for connection, id_ in conn.execute(q["holds_of_doubled"]).fetchall():
        if connection not in doubled:
            conn.execute(q["close_hold"], {"hold": id_, "now": now, "verdict": "resolved"})


def refuse(conn: Any, connection: int | None = None) -> None:
    """:raises Doubled: a first plan that would be approved"""
    for name, hold_, reason in conn.execute(load("guard")["doubles"], (connection, connection)):
        raise Doubled(name, hold_, reason)
