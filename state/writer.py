"""One thread owns the writing connection; everyone else hands it functions.

Short work overtakes long work at every transaction border, so a webhook never waits behind a backfill: urgent jobs come
first, and no job may hold its transaction longer than a chunk takes.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from state import db

T = TypeVar("T")

URGENT, NORMAL = 0, 1

BOUNDS = (0.01, 0.05, 0.2, 1.0, 5.0)
"""Seconds by which transactions are counted."""
SLOW = 0.2
"""Seconds that a transaction should not take longer than: a webhook waits behind it, and its sender for two seconds."""


@dataclass(slots=True)
class Timing:
    """How long the transactions of one name took, in seconds. ``counts``: those up to each bound, then the longer ones."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0
    longest: float = 0.0

    def add(self, seconds: float) -> None:
        """One more transaction."""
        self.counts[sum(seconds > bound for bound in BOUNDS)] += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)


def name_of(job: Callable[..., Any]) -> str:
    """What a job is called in figures: the function that it is, or that made it ("decide.Decider.people")."""
    while isinstance(job, partial):
        job = job.func
    module, name = getattr(job, "__module__", ""), getattr(job, "__qualname__", type(job).__name__)
    return f"{module.rpartition('.')[2]}.{name.partition('.<locals>')[0]}"


class Writer:
    """Runs jobs ``job(conn)`` one after another, each inside its own ``BEGIN IMMEDIATE`` transaction."""

    def __init__(self, conn: db.Connection) -> None:
        self._conn = conn
        self._jobs: queue.PriorityQueue[tuple[int, int, Callable[[db.Connection], Any] | None, Future[Any], str]]
        self._jobs = queue.PriorityQueue()
        self._order = itertools.count()
        self.done = 0
        """Transactions so far; moves while there is progress."""
        self.timings: dict[str, Timing] = {}
        """By name of the job, those that failed included."""
        self.slow: Callable[[str, float], None] = lambda name, seconds: None
        """Told of each transaction that took longer than SLOW, on the writer's thread."""
        self._thread = threading.Thread(target=self._work, name="state-writer", daemon=True)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether the writer has ended; nobody would do a job then."""
        return not self._thread.is_alive()

    def run(self, job: Callable[[db.Connection], T], *, urgent: bool = False, timeout: float | None = None,
            name: str | None = None) -> T:
        """The job's result, once its transaction is committed; its exception, once it is rolled back.

        :param name: what it is called in figures, where the job's own name says too little
        :raises TimeoutError: it took longer than ``timeout`` seconds; it may be committed later
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("a state job must not wait for another state job")
        if self.closed:
            raise RuntimeError("the state is closed")
        future: Future[T] = Future()
        self._jobs.put((URGENT if urgent else NORMAL, next(self._order), job, future, name or name_of(job)))
        return future.result(timeout)

    def outside(self, job: Callable[[db.Connection], T]) -> T:
        """Run a job without a transaction around it (backup, checkpoint, vacuum)."""
        def bare(conn: db.Connection) -> T:
            conn.execute("COMMIT")
            try:
                return job(conn)
            finally:
                conn.execute("BEGIN IMMEDIATE")
        return self.run(bare, name=name_of(job))

    def _work(self) -> None:
        while True:
            _, _, job, future, name = self._jobs.get()
            if job is None:
                future.set_result(None)
                return
            began = time.monotonic()
            try:
                self._conn.execute("BEGIN IMMEDIATE")
                result = job(self._conn)
                self._conn.execute("COMMIT")
                self.done += 1
            except BaseException as error:  # handed to the caller, never lost
                self._roll_back()
                self._count(name, time.monotonic() - began)
                future.set_exception(error)
            else:
                self._count(name, time.monotonic() - began)
                future.set_result(result)

    def _count(self, name: str, seconds: float) -> None:
        timing = self.timings.get(name)
        if timing is None:  # replaced whole: whoever reads the figures meanwhile goes through the old ones
            timing = Timing()
            self.timings = {**self.timings, name: timing}
        timing.add(seconds)
        if seconds > SLOW:
            self.slow(name, seconds)

    def _roll_back(self) -> None:
        """After a failure, of the job or of COMMIT itself (a full disk): the next job begins afresh."""
        if self._conn.in_transaction:
            with suppress(db.Error):  # SQLite rolls back by itself when it closes or next opens the file
                self._conn.execute("ROLLBACK")

    def close(self) -> None:
        """Finish what is queued, then stop."""
        future: Future[None] = Future()
        self._jobs.put((2, next(self._order), None, future, ""))
        future.result()
        self._thread.join()
