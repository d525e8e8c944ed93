"""A login that the threads of one connection share: made when it is first needed, and again when it is good no more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Login(Generic[T]):
    """``make`` logs in; whatever it raises, the next who needs the login tries again. ``ended`` tells of a login that it
    will not be good for the next call."""

    def __init__(self, make: Callable[[], T], ended: Callable[[T], bool] = lambda held: False) -> None:
        self._make, self._ended = make, ended
        self._lock = threading.Lock()
        self._held: T | None = None

    def get(self, refused: T | None = None) -> T:
        """The present login; a new one where there is none, it has ended, or it is the one that was just ``refused``."""
        with self._lock:
            if self._held is None or self._held is refused or self._ended(self._held):
                self._held = None
                self._held = self._make()
            return self._held

    def anew(self) -> T:
        """A new login, whether or not the present one is good."""
        with self._lock:
            self._held = None
            self._held = self._make()
            return self._held

    def used(self, call: Callable[[T], R], refused: Callable[[R], bool]) -> R:
        """The answer to a call. It is made once more, with a new login, where the first answer says that the login was
        ``refused``: such a call was not carried out."""
        held = self.get()
        answer = call(held)
        return call(self.get(refused=held)) if refused(answer) else answer
