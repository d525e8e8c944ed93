"""One thread owns the writing connection; everyone else hands it functions.

Short work overtakes long work at every transaction border, so a webhook never waits behind a backfill: urgent jobs come
first, and no job may hold its transaction longer than a chunk takes.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from state import db

T = TypeVar("T")

URGENT, NORMAL = 0, 1


class Writer:
    """Runs jobs ``job(conn)`` one after another, each inside its own ``BEGIN IMMEDIATE`` transaction."""

    def __init__(self, conn: db.Connection) -> None:
        self._conn = conn
        self._jobs: queue.PriorityQueue[tuple[int, int, Callable[[db.Connection], Any] | None, Future[Any]]]
        self._jobs = queue.PriorityQueue()
        self._order = itertools.count()
        self.done = 0
        """Transactions so far; moves while there is progress."""
        self._thread = threading.Thread(target=self._work, name="state-writer", daemon=True)
        self._thread.start()

    def run(self, job: Callable[[db.Connection], T], *, urgent: bool = False, timeout: float | None = None) -> T:
        """The job's result, once its transaction is committed; its exception, once it is rolled back.

        :raises TimeoutError: it took longer than ``timeout`` seconds; it may be committed later
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("a state job must not wait for another state job")
        future: Future[T] = Future()
        self._jobs.put((URGENT if urgent else NORMAL, next(self._order), job, future))
        return future.result(timeout)

    def outside(self, job: Callable[[db.Connection], T]) -> T:
        """Run a job without a transaction around it (backup, checkpoint, vacuum)."""
        def bare(conn: db.Connection) -> T:
            conn.execute("COMMIT")
            try:
                return job(conn)
            finally:
                conn.execute("BEGIN IMMEDIATE")
        return self.run(bare)

    def _work(self) -> None:
        while True:
            _, _, job, future = self._jobs.get()
            if job is None:
                future.set_result(None)
                return
            try:
                self._conn.execute("BEGIN IMMEDIATE")
                result = job(self._conn)
                self._conn.execute("COMMIT")
                self.done += 1
            except BaseException as error:  # handed to the caller, never lost
                self._roll_back()
                future.set_exception(error)
            else:
                future.set_result(result)

    def _roll_back(self) -> None:
        """After a failure, of the job or of COMMIT itself (a full disk): the next job begins afresh."""
        if self._conn.in_transaction:
            with suppress(db.Error):  # SQLite rolls back by itself when it closes or next opens the file
                self._conn.execute("ROLLBACK")

    def close(self) -> None:
        """Finish what is queued, then stop."""
        future: Future[None] = Future()
        self._jobs.put((2, next(self._order), None, future))
        future.result()
        self._thread.join()
