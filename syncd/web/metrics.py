"""Figures for Prometheus: counts and instants, nothing about anybody. Read from the state when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

import syncd
from state import forget, inbox
from state.queries import load
from state.store import Store
from state.writer import BOUNDS, Timing
from syncd.desk import views
from syncd.model import Micros

Counts = Mapping[tuple[str, ...], int]


class Figures(Collector):
    """One reading of the state per scrape: indexed look-ups and counts of what is open."""

    def __init__(self, store: Store, clock: Callable[[], Micros], *, deliveries: Callable[[], Counts],
                 calls: Callable[[], Mapping[str, int]], failures: Callable[[], int]) -> None:
        self._store = store
        self._clock = clock
        self._deliveries = deliveries
        self._calls = calls
        self._failures = failures

    def collect(self) -> Iterator[Metric]:
        """Every figure; docs/operating.md lists them."""
        now = self._clock()
        status = views.status(self._store, now)
        yield _gauge("syncd_build_info", "1; the version is a label.", ["version"], [((syncd.__version__,), 1)])
        yield _gauge("syncd_ledger_head", "Position of the ledger's last entry.", [], [((), status["ledger"])])
        yield _gauge("syncd_cycle_failures", "Cycles in a row that failed altogether.", [], [((), self._failures())])
        good = self._store.rows(load("views")["last_good_run"])[0][0]
        if good is not None:
            yield _gauge("syncd_last_success_timestamp_seconds", "When the last good cycle ended.", [], [((), good / 1e6)])
        yield from self._feeds()
        yield from _connections(status["connections"])
        holds: dict[tuple[str, str], int] = {}
        for hold in status["holds"]:
            holds[hold["connection"], hold["class"]] = holds.get((hold["connection"], hold["class"]), 0) + 1
        yield _gauge("syncd_holds_open", "Holds that wait for a person.", ["connection", "class"], holds.items())
        with self._store.reading() as conn:
            asked = [what.asked_at for what in forget.unfinished(conn)]
        yield _gauge("syncd_erasures_open", "Forgotten people whom a side has not erased yet.", [], [((), len(asked))])
        yield _gauge("syncd_oldest_erasure_seconds", "Age of the oldest of these.", [],
                     [((), (now - min(asked)) / 1e6 if asked else 0)])
        waiting = inbox.sizes(self._store.rows)
        yield _gauge("syncd_inbox_waiting", "Webhook deliveries stored and not looked up yet.", ["connection"],
                     [((name,), count) for name, (count, _) in waiting.items()])
        yield _gauge("syncd_inbox_oldest_seconds", "Age of the oldest of them.", ["connection"],
                     [((name,), (now - oldest) / 1e6) for name, (_, oldest) in waiting.items()])
        yield _counter("syncd_webhook_deliveries", "Webhook deliveries by result.", ["connection", "callback", "result"],
                       self._deliveries())
        yield _counter("syncd_calls", "Calls to a connection.", ["connection"],
                       {(name,): count for name, count in self._calls().items()})
        yield from _writes(self._store.writer.timings)

    def _feeds(self) -> Iterator[Metric]:
        """The streams that carry consent."""
        labels, feeds = ["connection", "object", "kind"], self._store.rows(load("registry")["feeds"])
        yield _gauge("syncd_feed_complete_timestamp_seconds", "When a consent feed was last read to its end.", labels,
                     [((name, object_, kind), at / 1e6) for _, name, object_, kind, at, _, _ in feeds if at is not None])
        yield _gauge("syncd_feed_failing", "1 while reading a consent feed fails.", labels,
                     [((name, object_, kind), int(error is not None)) for _, name, object_, kind, _, _, error in feeds])


def _connections(connections: Iterable[views.Json]) -> Iterator[Metric]:
    figures = {
        "syncd_outbox_queued": ("Operations to be sent.", "queued"),
        "syncd_outbox_requests_open": ("Requests sent and not resolved.", "open_requests"),
        "syncd_opt_outs_waiting": ("Opt-outs to be sent.", "opt_outs_waiting"),
        "syncd_oldest_opt_out_seconds": ("Age of the oldest of them.", "oldest_opt_out_seconds"),
        "syncd_quarantine_rows": ("Rows that were refused.", "quarantine")}
    for name, (text, key) in figures.items():
        yield _gauge(name, text, ["connection"], [((c["name"],), c[key] or 0) for c in connections])


def _writes(timings: Mapping[str, Timing]) -> Iterator[Metric]:
    """The state's transactions by the name of what made them."""
    family = HistogramMetricFamily("syncd_write_seconds", "Transactions of the state.", labels=["write"])
    for name, timing in timings.items():
        upto = accumulate(timing.counts)
        buckets = [(str(bound), next(upto)) for bound in (*BOUNDS, "+Inf")]
        family.add_metric([name], buckets, timing.total)
    yield family
    yield _gauge("syncd_write_longest_seconds", "The longest of them since the start.", ["write"],
                 [((name,), timing.longest) for name, timing in timings.items()])


def _gauge(name: str, text: str, labels: list[str], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for each, value in values:
        family.add_metric(list(each), value)
    return family


def _counter(name: str, text: str, labels: list[str], values: Counts) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for each, value in values.items():
        family.add_metric(list(each), value)
    return family


def exposition(figures: Figures) -> Callable[[], bytes]:
    """The text of a scrape, in a registry that knows nothing else."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(figures)

    def text() -> bytes:
        found: Any = generate_latest(registry)
        return bytes(found)
    return text
