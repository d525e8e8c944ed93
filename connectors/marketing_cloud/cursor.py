"""Cursors of the streams: a window of the vendor's time, and how far into it the reading is."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from dataclasses import dataclass, replace

import orjson

from connectors.errors import CursorLost
from syncd.model import Micros

VERSION = 1
SEEN = 240
"""How many digests of events that were already turned into rows a cursor remembers (3.5 kB)."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a stream stands.

    since  the window begins here; None = everything (the first reading)
    until  the vendor's time when this reading began: the next window begins here, less the overlap
    part   which of the stream's queries is being read
    more   how that query goes on (ContinueRequest, page number); None = from its start
    done   the reading reached its end
    seen   digests of the latest events already handled: the overlap repeats them, and each repeat would cost a call
    """

    since: Micros | None
    until: Micros
    part: int = 0
    more: str | None = None
    done: bool = False
    seen: tuple[str, ...] = ()

    def text(self) -> str:
        """The opaque form."""
        return orjson.dumps([VERSION, self.since, self.until, self.part, self.more, self.done, self.seen]).decode()

    def end(self) -> Cursor:
        """The cursor that is safe once everything up to here is stored."""
        return replace(self, part=0, more=None, done=True, seen=self.seen[-SEEN:])


def start(text: str | None, now: Micros, overlap: Micros) -> Cursor:
    """Where to go on: within the reading that ``text`` left off, else a new window up to ``now``.

    :raises CursorLost: not a cursor of this connector's present version
    """
    if text is None:
        return Cursor(None, now)
    held = _parse(text)
    if not held.done:
        return held
    return Cursor(held.until - overlap, max(now, held.until), seen=held.seen)


def _parse(text: str) -> Cursor:
    try:
        version, since, until, part, more, done, seen = orjson.loads(text)
        if version == VERSION:
            return Cursor(since, int(until), int(part), more, bool(done), tuple(seen))
    except (orjson.JSONDecodeError, TypeError, ValueError):
        pass
    raise CursorLost("A cursor of Marketing Cloud is not readable by this version.",
                     remedy="The stream is read from its start.")


def digest(*parts: str | None) -> str:
    """An id that is equal for equal ``parts`` and tells nothing about them."""
    raw = "\x1f".join(part or "" for part in parts).encode("utf-8", "surrogatepass")
    return urlsafe_b64encode(hashlib.blake2b(raw, digest_size=15).digest()).decode()


def mark(*parts: str | None) -> str:
    """The first 66 bits of ``digest``: enough to tell the events of one overlap apart."""
    return digest(*parts)[:11]
