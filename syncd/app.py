"""Composition: connectors in their wrappers, store, compiled mapping, cycle. Nothing below this module knows a vendor."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from connectors.base import Connector
from connectors.errors import AnotherAccount, ConnectorError, Misconfigured
from connectors.wrappers import Doubting, OneSpelling, Retrying
from mappings.fields import record_fields
from mappings.functions import FUNCTIONS
from mappings.model import Mapping as MappingFile
from mappings.model import StreamName
from mappings.problems import MappingProblems
from state import forget
from state.store import Store
from syncd import normalise, sends
from syncd.accounts import Accounts
from syncd.catalogues import Catalogues
from syncd.compile import CompiledMapping, Compiler
from syncd.consent import CLOCK_TOLERANCE
from syncd.cycle import Cycle
from syncd.decide import Decider
from syncd.deliver import Lane
from syncd.destinations import Wiring
from syncd.guard import Limits
from syncd.inbox import Resolver, Turn
from syncd.incoming import Incoming
from syncd.listen import Listener
from syncd.model import Micros, StreamSpec
from syncd.pull import Puller
from syncd.reconcile import Reconciler, senders_of

DAY = 86_400_000_000
HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Policy:
    """What the configuration decides about running. Durations in µs."""

    full_every: Micros = DAY
    max_consent_age: Micros = HOUR
    limits: Limits = field(default_factory=Limits)
    hash_key: bytes = b""
    clock_tolerance: Micros = CLOCK_TOLERANCE


@dataclass(slots=True)
class Endpoint:
    """One connection as the app holds it. ``loopback`` connections may move the clock (a sandbox's time). ``account`` is a
    digest of its settings and credentials: with others it has to be described anew."""

    role: str
    connector: Connector
    loopback: bool = False
    account: str = ""


def wall() -> Micros:
    """Microseconds since the epoch by this host's clock."""
    return time.time_ns() // 1000


class App:
    """One configured syncd: compiles the mapping against the live descriptions, then runs cycles."""

    def __init__(self, store: Store, mapping: MappingFile, endpoints: Mapping[str, Endpoint], policy: Policy, *,
                 clock: Callable[[], Micros] = wall, stop: threading.Event | None = None) -> None:
        self.store = store
        self.mapping = mapping
        self.policy = policy
        self.stop = stop or threading.Event()
        self._clock = clock
        self.endpoints = endpoints
        accounts = Accounts(store, {name: e.role for name, e in endpoints.items()})
        for name, endpoint in endpoints.items():
            endpoint.connector.watch(functools.partial(accounts.judge, name))
        self.catalogues = Catalogues(store, {name: fields_of(mapping, name) for name in endpoints},
                                     {name: e.account for name, e in endpoints.items()}, clock)
        self.connectors: dict[str, Connector] = {
            name: Doubting(Retrying(OneSpelling(e.connector, normalise.email), stop=self.stop),
                           functools.partial(self.catalogues.doubt, name))
            for name, e in endpoints.items()}
        self.failpoint = failpoints()
        self.compiled: CompiledMapping | None = None
        self._asked = False
        self.turns = {name: threading.Lock() for name in endpoints}
        self.resolving = Turn()

    def clock(self) -> Micros:
        """Now. Loopback servers may be ahead or behind (a simulator's time); the farthest ahead is followed."""
        skews = [s for e in self.endpoints.values() if e.loopback
                 if (s := getattr(e.connector, "server_skew", None)) is not None and abs(s) > 30]
        return self._clock() + int(max(skews, default=0.0) * 1_000_000)

    def compile(self, life: Micros | None = 0, *, whole: bool = True) -> CompiledMapping:
        """Compile the mapping against what the connections describe. ``life`` is how old, in µs, a description may be that
        another process was given: 0 = each is asked now, None = any will do. Unless it must be ``whole``, what does not fit
        is left out and named.

        :raises ConnectorError: a connection cannot be described
        :raises MappingProblems: the mapping does not fit what is there
        """
        try:
            compiled = self._compile(life, whole)
            if not (compiled.unfit and self.catalogues.remembered):
                return compiled
        except (MappingProblems, Misconfigured):
            if not self.catalogues.remembered:
                raise
        return self._compile(0, whole)

    def _compile(self, life: Micros | None, whole: bool) -> CompiledMapping:
        wiring: dict[str, Wiring] = {}
        unfit: dict[str, ConnectorError] = {}
        for name, endpoint in self.endpoints.items():
            id_, connector = self.store.connection(name, endpoint.role), self.connectors[name]
            try:
                wiring[name] = Wiring(id_, connector, self.catalogues.get(name, id_, connector, life))
            except ConnectorError as error:
                error.connection = name
                if whole:
                    raise
                unfit[name] = error
                wiring[name] = Wiring(id_, connector, self.catalogues.last(id_))
        compiled = Compiler(self.mapping, self.store, wiring, None if whole else unfit).compile()
        compiled.containers = {id_: sends.remembering(self.store, known, self.clock())
                               for id_, known in compiled.containers.items()}
        self.compiled = compiled
        self.store.conform(compiled.relations, provisional=bool(unfit))
        return self.compiled

    def _current(self, life: Micros | None, whole: bool) -> CompiledMapping:
        """The mapping as compiled, or anew where the descriptions it rests on will not do."""
        before, cold = self.compiled, self.catalogues.remembered
        if before is None or before.unfit:
            self.catalogues.review()
            linked = self.store.rows("SELECT 1 FROM connection WHERE approved_at IS NOT NULL LIMIT 1")
            return self.compile(life, whole=whole or not linked)
        if self.catalogues.good(life):
            return before
        try:
            return self.compile(life)
        except (ConnectorError, MappingProblems) as error:
            if cold and isinstance(error, MappingProblems):
                raise
            if isinstance(error, AnotherAccount):  # until somebody corrects it, opt-outs between the others
                return self.compile(life, whole=whole)
            # A service goes on with what it has: reading meets the same fault, and other connections carry opt-outs.
            self.catalogues.settle()
            return before

    def cycle(self, life: Micros | None = 0, *, whole: bool = True) -> Cycle:
        """The cycle of the mapping, compiled where that has not happened or does not fit any more; ``life`` and ``whole`` as
        in ``compile``."""
        compiled = self._current(life, whole)
        self._tell_the_time()
        return self.cycle_of(compiled)

    def _tell_the_time(self) -> None:
        """A sandbox's time is known once it has answered, and a mapping compiled from memory asked nobody: the first cycle
        would take its own reading for old, and grant nothing."""
        for endpoint in self.endpoints.values():
            if endpoint.loopback and getattr(endpoint.connector, "server_skew", 0.0) is None and not self._asked:
                with suppress(ConnectorError):  # reading meets the same fault, and says so
                    endpoint.connector.login()
        self._asked = True

    def cycle_of(self, c: CompiledMapping) -> Cycle:
        """The cycle of a mapping as it was compiled; asks nobody anything."""
        rel = c.relations
        rows = Incoming(normalise.hasher(self.policy.hash_key), forget.shape(rel))
        listener = Listener(self.store, rows, c.containers, self.policy.clock_tolerance, self.clock)
        listener.know()
        puller = Puller(self.store, rel, rows, listener, self.policy.full_every,
                        frozenset(c.audience_names[o] for o in c.creates),
                        clock_tolerance=self.policy.clock_tolerance, failpoint=self.failpoint)
        fold = Reconciler(rel.topics, self.policy.clock_tolerance, rel.units, senders_of(self.mapping))
        decider = Decider(self.store, rel, fold, c.record_objects, c.zones)
        resolver = Resolver(self.store, c.feeds, listener, self.resolving, self.failpoint)
        cycle = Cycle(self.store, rel, puller, resolver, decider, c.feeds, {}, self._limits(c), self.clock,
                      self.policy.max_consent_age, self.failpoint, lambda: self.catalogues.doubtful, c.unfit, c.unread)
        cycle.lanes = {name: self._lane(name, c, cycle) for name in self.endpoints}
        return cycle

    def _limits(self, c: CompiledMapping) -> Limits:
        return replace(self.policy.limits, churn=c.churn)

    def _lane(self, name: str, c: CompiledMapping, cycle: Cycle) -> Lane:
        connection = self.store.connection(name, self.endpoints[name].role)
        specs: dict[str, StreamSpec] = c.container_specs.get(name, {})
        return Lane(self.store, c.relations, connection, self.connectors[name], specs, self.clock,
                    cycle.consent_is_fresh, self.stop,
                    {c.audience_names[o]: d for o, (n, d) in c.creates.items() if n == name}, self.turns[name],
                    failpoint=self.failpoint)

    def close(self) -> None:
        """Release connectors and state."""
        self.stop.set()
        for connector in self.connectors.values():
            connector.close()
        self.store.close()


def open_store(path: os.PathLike[str] | str, journal: os.PathLike[str] | str | None, hash_key: bytes, *,
               check: bool = True) -> Store:
    """The store with the functions the mapping's expressions rely on; ``check`` as in ``Store``."""
    from pathlib import Path

    return Store(Path(path), journal=Path(journal) if journal else None, hash_key=hash_key, functions=FUNCTIONS,
                 check=check)


def objects_of(mapping: MappingFile, connection: str) -> set[str]:
    """The remote objects the mapping names at one connection: CRM objects, lists, audiences."""
    found = set(fields_of(mapping, connection))
    for topic in mapping.topics.values():
        found |= {f"list:{c.container}" for c in topic.lists.values() if c.connection == connection}
    for d in mapping.destinations.values():
        if d.connection == connection:
            found |= {a.object for _, a in d.audiences}
            found |= {f"list:{t.publication_list}" for t in d.topics.values() if t.publication_list is not None}
    return found


def fields_of(mapping: MappingFile, connection: str) -> dict[str, tuple[str, ...]]:
    """The CRM objects the mapping reads at one connection, with the fields it names; and the subscribers where it says how
    far their stops of all mail reach, or where they may be another connection's, too."""
    found: dict[str, tuple[str, ...]] = {}
    several = len({d.connection for d in mapping.destinations.values()}) > 1
    if any(d.connection == connection and (several or d.unit is not None) for d in mapping.destinations.values()):
        found["subscribers"] = ()
    for text, fields in record_fields(mapping).items():
        stream = StreamName.parse(text)
        if stream.connection == connection:
            found[stream.object] = fields
    return found


def failpoints() -> Callable[[str], None]:
    """For the crash tests: SYNCD_FAILPOINT=name:n kills this process at the n-th passing of a named point. Off otherwise."""
    wanted = os.environ.get("SYNCD_FAILPOINT")
    if not wanted:
        return lambda name: None
    name, _, count = wanted.partition(":")
    left = [int(count or 1)]

    def pass_by(point: str) -> None:
        if point == name:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    return pass_by
