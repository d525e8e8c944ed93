"""Listings that may end early without a word are read in two parts: up to the key that the last reading ended with, and
beyond.

Two readings that are cut at the same place would look alike if they asked the same question. Parted there, a listing that is
cut by a number of rows shows rows beyond, and one that is cut by a share lacks some that it showed: they do not agree.
"""

from __future__ import annotations

from collections.abc import Iterator

from connectors.errors import Misconfigured
from connectors.marketing_cloud.wire import soap
from connectors.marketing_cloud.wire.calls import Wire
from connectors.marketing_cloud.wire.cursor import Cursor

PARTED = 1
"""The part of a cursor from which on a listing is read in two. Where it is parted only this process knows: another one, to
which such a cursor is given, begins anew."""


class Parted:
    """The listings of one business unit, and the key that each one's last reading ended with."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._ends: dict[str, str] = {}
        self._refused: set[str] = set()

    def pages(self, name: str, kind: str, properties: tuple[str, ...], key: str, where: soap.Filter | None,
              state: Cursor) -> Iterator[tuple[list[soap.Row], Cursor]]:
        """All pages of the listing ``name`` from ``state`` on, each with the cursor that is safe after it.

        :param key: the property that tells rows apart
        """
        end = None if name in self._refused else self._ends.get(name)
        parts = [where]
        if state.part >= PARTED or (end is not None and state.more is None):
            state = state.begin(0 if end is None else PARTED)
            if end is not None:
                parts = [soap.joined(where, soap.compared(key, how, end)) for how in ("lessThanOrEqual", "greaterThan")]
        last: str | None = None
        for number, part in enumerate(parts):
            try:
                for rows, more in self._wire.pages(kind, properties, part, state.more):
                    last = (rows[-1].get(key) if rows else None) or last
                    state = state.at(more, number == len(parts) - 1)
                    if state.done and last is not None:
                        self._ends[name] = last  # now: whoever reads the last page asks for no other
                    yield rows, state
            except Misconfigured:
                if len(parts) == 1 or number or state.more is not None:
                    raise
                self._refused.add(name)  # keys cannot be compared there: it is read as a whole
                yield from self.pages(name, kind, properties, key, where, state.begin(0))
                return
