"""Pages of a stream, the next one being fetched while one is stored; and when a listing is believed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from connectors.base import Connector

T = TypeVar("T")

READINGS = 4
"""How often a listing is read at most that may have been cut without a word."""


class Read(NamedTuple):
    """One reading of a stream: its rows, how many of them were news, whether it came to the end."""

    rows: int
    news: int
    ended: bool


def whole(connector: Connector, first: bool, read: Callable[[], Read], lacks: Callable[[], bool]) -> bool:
    """Whether a listing was read whole. Where it may have been cut without a word it is read again: a first one until a
    reading is no shorter than the one before and brings nothing new, a later one that ``lacks`` something once more. What
    any reading showed is there."""
    last = read()
    for _ in range(READINGS - 1):
        if not (last.ended and connector.capabilities.silent_cuts and (first or lacks())):
            break
        before, last = last, read()
        if not first or (last.rows >= before.rows and not last.news):
            break
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
