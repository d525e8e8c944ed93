"""A login that the threads of one connection share: made when it is first needed, and again when it is good no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from connectors.base import Account, Judge
from connectors.errors import AnotherAccount

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = 900.0
"""Seconds after which a login that the judge did not let pass is made anew: somebody may have put the right account back."""


class Login(Generic[T]):
    """``make`` logs in; whatever it raises, the next who needs the login tries again. ``ended`` tells of a login that it
    will not be good for the next call, ``account`` where it leads. Nobody is handed a login that the ``judge`` does not let
    pass; where there is one, each is looked at, and ``account`` is asked once for each. ``clock``: seconds."""

    def __init__(self, make: Callable[[], T], ended: Callable[[T], bool] = lambda held: False, *,
                 account: Callable[[T], Account], clock: Callable[[], float] = time.monotonic) -> None:
        self._make, self._ended, self._account, self._clock = make, ended, account, clock
        self._lock = threading.Lock()
        self._held: T | None = None
        self._led: tuple[T, Account] | None = None
        self._away: float | None = None
        """When the present login was first seen to lead elsewhere."""
        self.judge: Judge | None = None

    def get(self, refused: T | None = None) -> T:
        """The present login; a new one where there is none, it has ended, or it is the one that was just ``refused``."""
        with self._lock:
            return self._present(refused)

    def anew(self) -> T:
        """A new login, whether or not the present one is good."""
        with self._lock:
            return self._judged(self._log_in())

    def account(self) -> Account:
        """Where the present login leads; a new one's where there is none."""
        with self._lock:
            return self._leads(self._present())

    def _present(self, refused: T | None = None) -> T:
        if self._held is None or self._held is refused or self._ended(self._held) or self._is_long_away():
            return self._judged(self._log_in())
        return self._judged(self._held)

    def _log_in(self) -> T:
        self._held = self._away = None
        self._held = self._make()
        return self._held

    def _is_long_away(self) -> bool:
        return self._away is not None and self._clock() - self._away > PATIENCE

    def _judged(self, held: T) -> T:
        if self.judge is not None:
            try:
                self.judge(self._leads(held))
            except AnotherAccount:
                self._away = self._clock() if self._away is None else self._away
                raise
            self._away = None
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
