"""Cursors of the streams: a window of the vendor's time, and how far into it the reading is."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from dataclasses import dataclass, replace
from typing import Any

from connectors import opaque
from syncd.model import Micros

VERSION = 1
SEEN = 240
"""How many digests of events already handled a cursor remembers: 14 bytes each, of the 4 kB it may have."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a stream stands.

    since  the window begins here; None = everything
    until  the vendor's time when this reading began: the next window begins here, less the overlap
    part   which of the stream's queries is being read
    more   how that query goes on (its ContinueRequest); None = from its start
    done   the reading reached its end
    seen   digests of the latest events handled: the overlap repeats them, and each repeat would cost a call
    """

    since: Micros | None
    until: Micros
    part: int = 0
    more: str | None = None
    done: bool = False
    seen: tuple[str, ...] = ()

    def text(self) -> str:
        """The opaque form."""
        return opaque.write(VERSION, [self.since, self.until, self.part, self.more, self.done, self.seen])

    def begin(self, part: int) -> Cursor:
        """The same window, from the start of a part."""
        return replace(self, part=part, more=None)

    def at(self, more: str | None, last_part: bool = True) -> Cursor:
        """The cursor that is safe after a page which ``more`` continues; None: the part is read."""
        if more is None and last_part:
            return replace(self, part=0, more=None, done=True)
        return replace(self, part=self.part + (more is None), more=more)


def start(text: str | None, now: Micros, overlap: Micros) -> Cursor:
    """Where to go on: within the reading that ``text`` left off, else a new window up to ``now``.

    :raises CursorLost: not a cursor of this version
    """
    if text is None:
        return Cursor(None, now)

    def build(content: Any) -> Cursor:
        since, until, part, more, done, seen = content
        return Cursor(since, int(until), int(part), more, bool(done), tuple(seen))
    held = opaque.cursor(text, VERSION, build, "Marketing Cloud")
    return Cursor(held.until - overlap, max(now, held.until), seen=held.seen) if held.done else held


def digest(*parts: str | None) -> str:
    """20 characters that are equal for equal ``parts`` and tell nothing about them."""
    raw = "\x1f".join(part or "" for part in parts).encode()
    return urlsafe_b64encode(hashlib.blake2b(raw, digest_size=15).digest()).decode()
