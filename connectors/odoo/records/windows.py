"""Cursors, and the searches that lose nothing between two of them.

Three facts decide everything here. A row bears the beginning of its transaction and is seen at its end, so every
search reaches back by an overlap that is longer than the longest transaction. The only order that is safe to page by
is the id. And rows that a many2many command or plain SQL made have no ``write_date`` at all: they are found by being
newer than an id that was known one overlap ago.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from connectors import opaque
from connectors.odoo.wire.calls import Domain
from connectors.odoo.wire.values import instant_text

VERSION = 1
_KINDS: dict[str, Any] = {"stream": str, "since": int | None, "sight": list}
"""JSON types of a cursor's values where they are not whole numbers."""
_SAVED: tuple[str, ...] = ("stream", "since", "begun", "last", "nulls", "known", "at", "top")
IDS_SAVED = ("stream", "last", "sight")
"""What the cursor of an id listing holds; a finished one has ``last`` 0 and tells what the account could see."""


@dataclass(frozen=True, slots=True)
class Window:
    """Where a reading stands.

    stream    what is read; a cursor of another stream is refused
    since     rows written from here on, micros of the server's clock; None = all rows
    begun     when this pass began: the next pass reads from there, less the overlap
    last      highest id that was handed out in this pass
    nulls     rows without write_date: those above this id may be new …
    known, at … those above ``known`` (highest id seen at ``at``) once an overlap has passed since then
    top       highest id ever handed out
    seen      rows handed out in this pass
    whole     this pass began without a cursor and was not resumed
    sight     for listings of ids: what the account could see when it began
    """

    stream: str
    since: int | None = None
    begun: int = 0
    last: int = 0
    nulls: int = 0
    known: int = 0
    at: int = 0
    top: int = 0
    seen: int = 0
    whole: bool = False
    sight: tuple[str, ...] = ()

    def encode(self, saved: tuple[str, ...] = _SAVED) -> str:
        return opaque.write(VERSION, {name: getattr(self, name) for name in saved})

    def advance(self, ids: list[int]) -> Window:
        """After a page with these ids in ascending order."""
        return replace(self, last=ids[-1], seen=self.seen + len(ids), top=max(self.top, ids[-1])) if ids else self

    def finish(self, overlap: int, now: int) -> Window:
        """After the last page, at ``now``: where the next pass starts. ``overlap`` in micros."""
        nulls, known, at = self.nulls, self.known, self.at
        if self.since is None:
            # What is in flight now may yet appear below the highest id seen.
            nulls, known, at = 0, self.top, now
        elif self.begun - self.at >= overlap:
            nulls, known, at = self.known, self.top, now
        return replace(self, since=self.begun, last=0, seen=0, whole=False, nulls=nulls, known=known, at=at)

    def domain(self, overlap: int, watched: list[str]) -> Domain:
        """Rows of this pass after ``last``; ``watched`` are dotted paths whose records' changes count as well."""
        after: Domain = [["id", ">", self.last]]
        if self.since is None:
            return after
        start = instant_text(max(0, self.since - overlap))
        leaves: list[Domain] = [[[f"{path}.write_date", ">=", start]] for path in watched]
        leaves.append(["&", ["write_date", "=", False], ["id", ">", self.nulls]])
        changed: Domain = [["write_date", ">=", start]]
        for leaf in leaves:
            changed = ["|", *changed, *leaf]
        return ["&", *after, *changed]


T = TypeVar("T")
Step = tuple[list[T], str, bool, bool]
"""Items of one page, the cursor after them, last, complete."""


def walk(window: Window, overlap: int, now: Callable[[], int], read: Callable[[Window], list[T]],
         id_of: Callable[[T], int], counted: Callable[[Window], bool]) -> Iterator[Step[T]]:
    """Pages from where ``window`` stands to the present.

    A listing goes up the ids and cannot see what changes behind it, so an increment from its beginning follows at once.
    Every page but an empty one is followed by another search, one ahead, so that a page that was cut short does not end
    the walk. ``counted`` tells at the end of a listing that began here whether it was whole.
    """
    complete = listed = False

    def page(at: Window) -> list[T]:
        # Rows without dates that the listing has just shown are not shown again at once; later passes look for more.
        return read(replace(at, nulls=at.known) if listed else at)

    while True:
        if window.last == 0:
            window = replace(window, begun=now())
        listing = window.since is None
        items = page(window)
        while items:
            window = window.advance([id_of(item) for item in items])
            ahead = page(window)
            if not ahead:
                break
            yield items, window.encode(), False, False
            items = ahead
        if listing:
            complete = window.whole and counted(window)
            listed = True
        window = window.finish(overlap, now())
        if not listing:
            yield items, window.encode(), True, complete
            return
        if items:
            yield items, window.encode(), False, False


def decode(stream: str, cursor: str, saved: tuple[str, ...] = _SAVED) -> Window:
    """The window a cursor of this stream stands for.

    :raises CursorLost: it is another stream's, another version's or no cursor
    """
    def build(content: Any) -> Window:
        if content["stream"] != stream or any(not isinstance(content[name], _KINDS.get(name, int)) for name in saved):
            raise ValueError("another stream's")
        held: dict[str, Any] = {name: content[name] for name in saved}
        if "sight" in held:
            held["sight"] = tuple(held["sight"])
        return replace(Window(stream), **held)
    return opaque.cursor(cursor, VERSION, build, "Odoo")
