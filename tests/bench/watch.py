"""A connector that notes when its calls began and ended, for what is said about order and about waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from connectors.base import Connector
from connectors.wrappers import Wrapper
from syncd.model import Batch, Outcome, Page, StreamSpec


@dataclass(slots=True)
class Seen:
    """Monotonic seconds: when each consent-bearing stream was read to its end, and when the first grant was sent; how long
    each stream was read; and per round of delivery when each destination's first call began and its last one ended, the
    time its queue takes included."""

    complete: dict[str, float] = field(default_factory=dict)
    first_grant: float | None = None
    reading: dict[str, float] = field(default_factory=dict)
    rounds: list[dict[str, tuple[float, float]]] = field(default_factory=lambda: [{}])
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def slowest_stream(self) -> float:
        return max(self.reading.values(), default=0.0)

    @property
    def slowest_destination(self) -> float:
        """Of all rounds together."""
        names = {name for each in self.rounds for name in each}
        return max((sum(end - begin for each in self.rounds for n, (begin, end) in each.items() if n == name)
                    for name in names), default=0.0)

    @property
    def gate_kept(self) -> bool:
        """Whether nothing that can make someone mailable left before every stream was complete."""
        return self.first_grant is None or all(at <= self.first_grant for at in self.complete.values())

    def read(self, stream: str, seconds: float) -> None:
        """A page of a stream took so long."""
        with self.lock:
            self.reading[stream] = self.reading.get(stream, 0.0) + seconds

    def wrote(self, connection: str, began: float, ended: float) -> None:
        """A call that writes, or asks what became of a write."""
        with self.lock:
            present = self.rounds[-1]
            present[connection] = (present.get(connection, (began, ended))[0], ended)


class Watched(Wrapper):
    """``inner`` under its connection's name."""

    def __init__(self, inner: Connector, name: str, seen: Seen) -> None:
        super().__init__(inner)
        self._name, self._seen = name, seen

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        name = f"{self._name}.{spec.object}.{spec.kind}"
        pages = self.inner.changes(spec, cursor)
        while True:
            began = time.monotonic()
            page = next(pages, None)
            ended = time.monotonic()
            self._seen.read(name, ended - began)
            if page is None:
                return
            if page.last:
                self._seen.complete[name] = ended
            yield page

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        began = time.monotonic()
        if self._seen.first_grant is None and _grants(batch):
            self._seen.first_grant = began
        try:
            return self.inner.apply(batch)
        finally:
            self._seen.wrote(self._name, began, time.monotonic())

    def settle(self, request_id: str, batch: Batch) -> Sequence[Outcome] | None:
        began = time.monotonic()
        try:
            return self.inner.settle(request_id, batch)
        finally:
            self._seen.wrote(self._name, began, time.monotonic())


def _grants(batch: Batch) -> bool:
    """Whether a batch can make someone mailable. An update of a CRM record may set a flag back."""
    return batch.kind in ("upsert", "update") or (
        batch.kind == "status" and any(op.values[0] != "unsubscribed" for op in batch.ops))
