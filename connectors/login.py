"""A login that the threads of one connection share: made when it is first needed, and again when it is good no more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from connectors.base import Account, Judge

T = TypeVar("T")
R = TypeVar("R")


class Login(Generic[T]):
    """``make`` logs in; whatever it raises, the next who needs the login tries again. ``ended`` tells of a login that it
    will not be good for the next call, ``account`` where it leads. Nobody is handed a login that the ``judge`` does not let
    pass; where there is one, each is looked at, and ``account`` is asked once for each."""

    def __init__(self, make: Callable[[], T], ended: Callable[[T], bool] = lambda held: False, *,
                 account: Callable[[T], Account]) -> None:
        self._make, self._ended, self._account = make, ended, account
        self._lock = threading.Lock()
        self._held: T | None = None
        self._led: tuple[T, Account] | None = None
        self.judge: Judge | None = None

    def get(self, refused: T | None = None) -> T:
        """The present login; a new one where there is none, it has ended, or it is the one that was just ``refused``."""
        with self._lock:
            if self._held is None or self._held is refused or self._ended(self._held):
                self._held = None
                self._held = self._make()
            return self._judged(self._held)

    def anew(self) -> T:
        """A new login, whether or not the present one is good."""
        with self._lock:
            self._held = None
            self._held = self._make()
            return self._judged(self._held)

    def account(self) -> Account:
        """Where the present login leads; a new one's where there is none."""
        held = self.get()
        with self._lock:
            return self._leads(held)

    def _judged(self, held: T) -> T:
        if self.judge is not None:
            self.judge(self._leads(held))
        return held

    def _leads(self, held: T) -> Account:
        if self._led is None or self._led[0] is not held:
            self._held = None  # a login of which that cannot be told is made anew
            self._led = held, self._account(held)
            self._held = held
        return self._led[1]

    def used(self, call: Callable[[T], R], refused: Callable[[R], bool]) -> R:
        """The answer to a call. It is made once more, with a new login, where the first answer says that the login was
        ``refused``: such a call was not carried out."""
        held = self.get()
        answer = call(held)
        return call(self.get(refused=held)) if refused(answer) else answer
