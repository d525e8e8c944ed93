"""One thread for everything: what the product does side by side happens one after the other, the same way each time.

The machine runs thousands of short cycles. Threads would cost most of their time, and make a counterexample depend on which
of them was faster; what concurrency can break is the business of ``tests/faults`` and ``tests/system``. Nor does
anything take time here: how much a transaction takes on, too, must be the same each time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from state import db
from state.writer import Writer


class Passed:
    """The monotonic clock of one thread at work: only whoever waits lets time pass."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self) -> float:
        return self._seconds

    def advance(self, seconds: float) -> None:
        self._seconds += seconds


PASSED = Passed()


class InlinePool:
    """A pool of one worker: the caller."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self._open = True

    def submit(self, job: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(job(*args, **kwargs))
        except Exception as error:  # handed to whoever asks; a crash (BaseException) ends everything at once
            future.set_exception(error)
        return future

    def __enter__(self) -> InlinePool:
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False


class InlineWriter(Writer):
    """The writer without its thread; the transactions are the same."""

    def __init__(self, conn: db.Connection) -> None:
        self._conn = conn
        self.done = 0
        self._busy = False
        self._ended = False
        self._order = itertools.count()

    def run(self, job: Callable[[db.Connection], Any], **_: Any) -> Any:
        if self._busy:
            raise RuntimeError("a state job must not wait for another state job")
        self._busy = True
        try:
            self._conn.execute("BEGIN IMMEDIATE")
            result = job(self._conn)
            self._conn.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._busy = False
        self.done += 1
        return result

    @property
    def closed(self) -> bool:
        return self._ended

    def close(self) -> None:
        """Nothing is ever queued."""
        self._ended = True


@contextmanager
def inline() -> Iterator[None]:
    """Within it, the product runs in the calling thread alone."""
    with ExitStack() as stack:
        stack.enter_context(patch("syncd.pull.ThreadPoolExecutor", InlinePool))
        stack.enter_context(patch("syncd.cycle.ThreadPoolExecutor", InlinePool))
        stack.enter_context(patch("syncd.pull.ahead", iter))
        stack.enter_context(patch("state.store.Writer", InlineWriter))
        stack.enter_context(patch("state.pace.time", SimpleNamespace(thread_time=float)))
        for module in ("cycle", "deliver"):
            stack.enter_context(patch(f"syncd.{module}.time", SimpleNamespace(monotonic=PASSED)))
        yield
