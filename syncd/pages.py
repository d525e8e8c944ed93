"""Pages of a stream, the next one being fetched while one is stored; and when a listing is believed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from connectors.base import Connector
from connectors.errors import Outage

T = TypeVar("T")

CHANGES = 0.01
"""The share of a listing that people may leave between two readings of it."""

READINGS = 4
"""How often a listing is read at most that may have been cut without a word."""


class Read(NamedTuple):
    """One reading of a stream: its rows, how many of them were news, whether it came to the end."""

    rows: int
    news: int
    ended: bool


def whole(connector: Connector, first: bool, read: Callable[[], Read], lacks: Callable[[], bool],
          shown: Callable[[], int] | None = None) -> bool:
    """Whether a listing was read whole. Where it may have been cut without a word it is read again: a first one until a
    reading brings nothing new and lacks nothing, a later one that ``lacks`` something once more. What any reading showed is
    there.

    :param shown: how many rows all readings showed together; without it a reading is compared with the one before
    :raises Outage: each reading lacks what another one showed
    """
    last = read()
    for _ in range(READINGS - 1):
        if not (last.ended and connector.capabilities.silent_cuts and (first or lacks())):
            return last.ended
        before, last = last, read()
        known = before.rows if shown is None else shown()
        if not last.ended or (last.rows >= known and not (first and last.news)):
            return last.ended
        if not first:
            break
    if shown is not None and last.rows < known * (1 - CHANGES):
        raise Outage("Its readings lack each another's rows: listings are cut short there, and what they lack is not"
                     " believed to be gone.", code="listing_cut", remedy="It is read anew with every cycle.")
    return last.ended


def ahead(pages: Iterator[T]) -> Iterator[T]:
    """The same items, the next one being fetched while the caller works on the last."""
    items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=1)
    stop = threading.Event()

    def put(item: T | None, error: BaseException | None) -> bool:
        while not stop.is_set():
            try:
                items.put((item, error), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for page in pages:
                if not put(page, None):
                    return
        except BaseException as error:  # raised again on the caller's side
            put(None, error)
        else:
            put(None, None)

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = items.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stop.set()
        thread.join()
