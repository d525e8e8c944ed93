"""Wrappers with a connector's own interface: retrying (tenacity), one spelling of an address. Composed in ``syncd.app``."""

from __future__ import annotations

import functools
import threading
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import tenacity

from connectors.base import Account, Capabilities, Connector, Eraser, Judge, Notified, RecordEraser
from connectors.errors import AnotherAccount, CursorLost, Misconfigured, Retry, Throttled
from syncd.model import Batch, Catalogue, Health, Notice, Outcome, Page, StreamSpec, Value

T = TypeVar("T")

ATTEMPTS = 6
LONGEST_WAIT = 300.0
"""Seconds a throttled call is waited for inside one cycle; a longer pause ends the stream's turn instead."""


class Wrapper:
    """Forwards every verb; subclasses change one concern."""

    def __init__(self, inner: Connector) -> None:
        self.inner = inner

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    @capabilities.setter
    def capabilities(self, value: Capabilities) -> None:
        raise AttributeError("capabilities belong to the wrapped connector")

    def login(self) -> Account:
        return self.inner.login()

    def watch(self, judge: Judge) -> None:
        self.inner.watch(judge)

    def check(self) -> Health:
        return self.inner.check()

    def describe(self, objects: Sequence[str] = (), fields: Mapping[str, Collection[str]] | None = None) -> Catalogue:
        return self.inner.describe(objects, fields)

    def learnt(self) -> str:
        return self.inner.learnt()

    def recall(self, notes: str) -> None:
        self.inner.recall(notes)

    def feeds(self, containers: Sequence[str]) -> list[StreamSpec]:
        return self.inner.feeds(containers)

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        return self.inner.changes(spec, cursor)

    def fetch(self, spec: StreamSpec, keys: Sequence[str]) -> Page:
        return self.inner.fetch(spec, keys)

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        return self.inner.apply(batch)

    def settle(self, request_id: str, batch: Batch) -> Sequence[Outcome] | None:
        return self.inner.settle(request_id, batch)

    def resolve(self, notices: Sequence[Notice]) -> Sequence[tuple[Value, ...] | None]:
        """Only where the vendor has webhooks."""
        return cast(Notified, self.inner).resolve(notices)

    def confirm(self, handshake: Mapping[str, str]) -> None:
        """Only where the vendor has webhooks."""
        cast(Notified, self.inner).confirm(handshake)

    def erase(self, keys: Sequence[str]) -> Sequence[Outcome]:
        return self._eraser().erase(keys)

    def erased(self, request_id: str) -> Outcome | None:
        return self._eraser().erased(request_id)

    def _eraser(self) -> Eraser:
        if not (self.capabilities.erases and isinstance(self.inner, Eraser)):
            raise Misconfigured("This vendor deletes nobody by its API.", remedy="Delete the person there by hand.")
        return self.inner

    def erasing(self, *, delete: bool) -> str:
        return self._record_eraser().erasing(delete=delete)

    def erase_records(self, object: str, keys: Sequence[str], *, delete: bool) -> Sequence[Outcome]:
        return self._record_eraser().erase_records(object, keys, delete=delete)

    def _record_eraser(self) -> RecordEraser:
        if not (self.capabilities.erases_records and isinstance(self.inner, RecordEraser)):
            raise Misconfigured("No records are erased at this vendor.", remedy="Erase the record there by hand.")
        return self.inner

    def close(self) -> None:
        self.inner.close()


class OneSpelling(Wrapper):
    """Tells statuses of a vendor whose subscribers are addresses under one spelling of each, whichever the vendor has it
    in. Where it has several, whoever refused in one of them refused."""

    def __init__(self, inner: Connector, spell: Callable[[str | None], str | None]) -> None:
        super().__init__(inner)
        self._spell = spell

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        for page in self.inner.changes(spec, cursor):
            yield self._spelled(spec, page)

    def fetch(self, spec: StreamSpec, keys: Sequence[str]) -> Page:
        return self._spelled(spec, self.inner.fetch(spec, keys))

    def _spelled(self, spec: StreamSpec, page: Page) -> Page:
        if spec.kind != "status" or self.capabilities.keyed_by != "address":
            return page
        rows: dict[Value, tuple[Value, ...]] = {}
        for container, key, email, status, *rest in page.rows:
            name = self._spell(str(email or key)) or key
            if name not in rows or status in ("unsubscribed", "held"):
                rows[name] = (container, name, email, status, *rest)
        return replace(page, rows=list(rows.values()))


class Around(Wrapper):
    """Has something around every call that reads or writes."""

    @abstractmethod
    def _call(self, verb: Callable[..., T], *arguments: Any) -> T:
        """The answer of ``verb``."""

    def fetch(self, spec: StreamSpec, keys: Sequence[str]) -> Page:
        return self._call(self.inner.fetch, spec, keys)

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        return self._call(self.inner.apply, batch)

    def settle(self, request_id: str, batch: Batch) -> Sequence[Outcome] | None:
        return self._call(self.inner.settle, request_id, batch)


class Doubting(Around):
    """Tells of every call that did not fit the vendor's set-up, before the error goes on to the caller."""

    def __init__(self, inner: Connector, doubt: Callable[[], None]) -> None:
        super().__init__(inner)
        self._doubt = doubt

    def _call(self, verb: Callable[..., T], *arguments: Any) -> T:
        try:
            return verb(*arguments)
        except (AnotherAccount, Misconfigured):
            self._doubt()
            raise

    def feeds(self, containers: Sequence[str]) -> list[StreamSpec]:
        return self._call(self.inner.feeds, containers)

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        try:
            yield from self.inner.changes(spec, cursor)
        except (AnotherAccount, Misconfigured):
            self._doubt()
            raise

    def resolve(self, notices: Sequence[Notice]) -> Sequence[tuple[Value, ...] | None]:
        return self._call(super().resolve, notices)


class Retrying(Around):
    """Repeats calls that surely were not applied, waits as long as the vendor asks, and resumes a broken listing from the
    last cursor it was given. ``stop`` ends every wait at once."""

    def __init__(self, inner: Connector, *, stop: threading.Event | None = None, base: float = 0.5) -> None:
        super().__init__(inner)
        self._stop = stop or threading.Event()
        self._base = base

    def _retryer(self) -> tenacity.Retrying:
        backoff = tenacity.wait_random_exponential(multiplier=self._base, max=60)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            if isinstance(error, Throttled) and error.retry_after is not None:
                return error.retry_after
            return float(backoff(state))

        def passing(error: BaseException) -> bool:
            if isinstance(error, Throttled):
                return error.retry_after is None or error.retry_after <= LONGEST_WAIT
            return isinstance(error, Retry)

        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(passing), stop=tenacity.stop_after_attempt(ATTEMPTS)
            | tenacity.stop_when_event_set(self._stop), wait=wait, sleep=tenacity.sleep_using_event(self._stop),
            reraise=True)

    def _call(self, verb: Callable[..., T], *arguments: Any) -> T:
        return self._retryer()(verb, *arguments)

    def check(self) -> Health:
        return self._call(self.inner.check)

    def describe(self, objects: Sequence[str] = (), fields: Mapping[str, Collection[str]] | None = None) -> Catalogue:
        return self._call(self.inner.describe, objects, fields)

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        """As the connector's, but a break in the middle goes on where it was. A listing that had to be begun again by
        ``CursorLost`` starts over without a cursor, once."""
        position, restarted, failures = cursor, False, 0
        while True:
            try:
                for page in self.inner.changes(spec, position):
                    position, failures = page.cursor, 0
                    yield page
                    if page.last:
                        return
                return
            except CursorLost:
                if restarted:
                    raise
                position, restarted = None, True
            except (Retry, Throttled) as error:
                failures += 1
                if failures >= ATTEMPTS:
                    raise
                self._pause(error, failures)

    def _pause(self, error: Retry | Throttled, failures: int) -> None:
        wait = error.retry_after if isinstance(error, Throttled) else None
        if wait is None:
            wait = min(60.0, self._base * 2.0 ** failures)
        if wait > LONGEST_WAIT or self._stop.wait(wait):
            raise error

    def erase(self, keys: Sequence[str]) -> Sequence[Outcome]:
        return self._call(self._eraser().erase, keys)

    def erased(self, request_id: str) -> Outcome | None:
        return self._call(self._eraser().erased, request_id)

    def erase_records(self, object: str, keys: Sequence[str], *, delete: bool) -> Sequence[Outcome]:
        return self._call(functools.partial(self._record_eraser().erase_records, delete=delete), object, keys)
