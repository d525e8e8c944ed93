"""The connector: one business unit of Marketing Cloud behind the contract of ``connectors.base``."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from connectors.base import Account, CallCounter, Capabilities, Judge
from connectors.errors import Misconfigured
from connectors.http import Http
from connectors.marketing_cloud.audiences.reading import RowReader
from connectors.marketing_cloud.audiences.writing import AudienceWriter
from connectors.marketing_cloud.consent.reading import StatusReader
from connectors.marketing_cloud.consent.sends import SendReader
from connectors.marketing_cloud.consent.webhook import Notices
from connectors.marketing_cloud.consent.writing import StatusWriter
from connectors.marketing_cloud.erasing import ContactEraser
from connectors.marketing_cloud.health import examine
from connectors.marketing_cloud.settings import MarketingCloudSettings
from connectors.marketing_cloud.wire.calls import Wire
from connectors.marketing_cloud.wire.describe import Describer
from syncd.model import Batch, Catalogue, Health, Notice, Outcome, Page, StreamSpec, Value


class MarketingCloudConnector:
    """Objects: ``subscribers`` (All Subscribers, container ""), ``list:<id>`` (container "<id>"), ``events`` and
    ``de:<external key>``. A status batch may carry a third column ``create``: 1 creates a subscriber whom the vendor
    does not know, with the status asked for; otherwise the operation is rejected as ``subscriber_not_found``."""

    def __init__(self, settings: MarketingCloudSettings, *, http_factory: Callable[..., Http] = Http,
                 clock: Callable[[], float] = time.time) -> None:
        self.counter = CallCounter()
        self._settings, self._clock, self._started = settings, clock, clock()
        self.capabilities = Capabilities(
            batch={"upsert": settings.max_async_rows, "remove": settings.objects_per_call,
                   "status": settings.objects_per_call, "create_object": 1},
            concurrency=4, writes=4, topic_consent=True, flips_lists=True, keyed_by="key", late=float(settings.late_seconds),
            erases=True, silent_cuts=True)
        self._wire = Wire(settings, self.counter, http_factory, clock)
        self._describer = Describer(self._wire, settings, clock)
        self._statuses = StatusReader(self._wire, settings, self._describer)
        self._sends = SendReader(self._wire, settings)
        self._notices = Notices(self._wire, self._statuses)
        self._rows = RowReader(self._wire, settings, self._describer)
        self._audiences = AudienceWriter(self._wire, settings, self._describer, self._rows)
        self._subscriptions = StatusWriter(self._wire, settings, self._describer, self._statuses)
        self._eraser = ContactEraser(settings, self._describer.enterprise,
                                     lambda there: Wire(there, self.counter, http_factory, clock))

    @property
    def server_skew(self) -> float | None:
        """Seconds the vendor's clock is ahead of ours; None before the first answer."""
        return self._wire.http.server_skew

    def login(self) -> Account:
        """See ``Connector.login``."""
        return self._wire.login.account()

    def watch(self, judge: Judge) -> None:
        """See ``Connector.watch``."""
        self._wire.login.judge = judge

    def check(self) -> Health:
        """Log in, compare the package's scopes, read how the business unit unsubscribes."""
        return examine(self._settings, self._wire, self._describer, self.counter, self._clock() - self._started)

    def describe(self, objects: Sequence[str] = (), fields: Mapping[str, Collection[str]] | None = None) -> Catalogue:
        """Lists with their classification, data extensions with columns, key, sendability and retention; and the
        user-initiated and triggered sends where ``objects`` names "sends"."""
        if "sends" not in objects:
            return self._describer.describe(objects)
        others = [name for name in objects if name != "sends"]
        found = self._describer.describe(others).objects if others else {}
        return Catalogue({**found, **self._sends.describe()})

    def learnt(self) -> str:
        """Nothing: columns matter to writes only, and there it must be sure that the data extension is there."""
        return ""

    def recall(self, notes: str) -> None:
        """See ``learnt``."""

    def feeds(self, containers: Sequence[str]) -> list[StreamSpec]:
        """All Subscribers, each list, the unsubscribe and bounce events, and the sends."""
        return [
            StreamSpec("subscribers", "status", container=""),
            *(StreamSpec(f"list:{each}", "status", container=each) for each in dict.fromkeys(containers) if each),
            StreamSpec("events", "event"), StreamSpec("sends", "send"),
        ]

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        """Pages of ``spec``; data extensions are listed whole each time, for they keep no date of change."""
        return self._sends.changes(cursor) if spec.kind == "send" else self._reader(spec).changes(spec, cursor)

    def fetch(self, spec: StreamSpec, keys: Sequence[str]) -> Page:
        """The present statuses, rows or sends of ``keys``."""
        return self._sends.fetch(keys) if spec.kind == "send" else self._reader(spec).fetch(spec, keys)

    def _reader(self, spec: StreamSpec) -> StatusReader | RowReader:
        if spec.kind == "row":
            return self._rows
        if spec.kind in ("status", "event"):
            return self._statuses
        raise Misconfigured(f"Marketing Cloud has no {spec.kind} streams.", remedy="Correct the mapping.")

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        """Rows are accepted and settled later; deletes, statuses and creations are answered at once."""
        writers: dict[str, Callable[[Batch], list[Outcome]]] = {
            "upsert": self._audiences.upsert, "remove": self._audiences.remove,
            "create_object": self._audiences.create, "status": self._subscriptions.apply}
        if batch.kind not in writers:
            raise Misconfigured(f"Marketing Cloud cannot apply {batch.kind}.", remedy="Correct the mapping.")
        return writers[batch.kind](batch)

    def settle(self, request_id: str, batch: Batch) -> Sequence[Outcome] | None:
        """The end of a queued upsert."""
        return self._audiences.settle(request_id, batch)

    def resolve(self, notices: Sequence[Notice]) -> Sequence[tuple[Value, ...] | None]:
        """Who the subscribers are that notifications name by number."""
        return self._notices.resolve(notices)

    def confirm(self, handshake: Mapping[str, str]) -> None:
        """Verify a callback."""
        self._notices.confirm(handshake)

    def erase(self, keys: Sequence[str]) -> Sequence[Outcome]:
        """Begin to delete contacts in the whole enterprise."""
        return self._eraser.erase(keys)

    def erased(self, request_id: str) -> Outcome | None:
        """The end of a contact delete; it takes as long as the account keeps deleted contacts suppressed."""
        return self._eraser.erased(request_id)

    def close(self) -> None:
        """Release sockets."""
        self._eraser.close()
        self._wire.http.close()
