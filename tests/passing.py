"""Waiting without waiting: tests whose clock stands still let it move instead of sleeping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Passing(threading.Event):
    """Whoever waits on it lets the world's time pass at once.

    :param advance: moves the clock by so many seconds
    :param alone: there is no other thread
    """

    def __init__(self, advance: Callable[[float], None], *, alone: bool = False) -> None:
        super().__init__()
        self._advance = advance
        self._alone = alone

    def wait(self, timeout: float | None = None) -> bool:
        if timeout and not self.is_set():
            self._advance(float(timeout))
            if not self._alone:
                time.sleep(0)  # others may be at work, and a clock that moves is all that tells them apart
        return self.is_set()
