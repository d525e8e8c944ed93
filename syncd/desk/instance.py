"""A syncd at work: one configuration over one opened state, and what is made from them when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from mappings.model import Mapping as MappingFile
from state.pace import Pace
from state.store import Store
from syncd import compose, guard
from syncd.app import App, wall
from syncd.compile import CompiledMapping
from syncd.config import Config
from syncd.cycle import Cycle
from syncd.desk import views
from syncd.failures import USAGE, Failure
from syncd.guard import Plan
from syncd.model import Micros


class Instance:
    """One configuration over one opened store. Thread-safe."""

    def __init__(self, config: Config, store: Store, mapping: MappingFile | None = None, *,
                 clock: Callable[[], Micros] = wall) -> None:
        self.config = config
        self.store = store
        self.stop = threading.Event()
        self.import_pace = Pace()
        self.mask = views.Mask(config.hash_key.reveal().encode())
        self._clock = clock
        self._mapping = mapping
        self._app: App | None = None
        self._making = threading.RLock()

    @property
    def mapping(self) -> MappingFile:
        if self._mapping is None:
            self._mapping = compose.mapping_of(self.config)
        return self._mapping

    @property
    def app(self) -> App:
        """The application; making it makes no call."""
        with self._making:
            if self._app is None:
                self._app = compose.app(self.config, self.mapping, self.store, self.stop, clock=self._clock)
            return self._app

    @property
    def compiled(self) -> CompiledMapping:
        """The compiled mapping. Where no run has compiled it yet, by what the connections described last, however long ago
        that was; they are asked only if they never did, or not what the mapping names now.

        :raises ConnectorError, MappingProblems:
        """
        with self._making:
            return self.app.compiled or self.app.compile(None)

    @property
    def settled(self) -> CompiledMapping:
        """The compiled mapping, if it is the one by which the state was last decided: to compile another would already
        change the state.

        :raises Failure: the mapping was edited since, or does not fit
        """
        if self.app.compiled is not None and self.app.compiled.unfit:
            raise Failure(USAGE, "the mapping does not fit what the connections hold: only opt-outs travel until it does.",
                          next="Look with `syncd check --online`.", code="misfit")
        if self.app.compiled is None and self.store.meta("relations") not in (None, self.mapping.fingerprint):
            raise Failure(USAGE, "the mapping was edited since the last run: the state does not answer it yet.",
                          next="Look at what it changes with `syncd plan`; then ask again.", code="mapping_edited")
        return self.compiled

    def now(self) -> Micros:
        """The application's clock where there is one, else the host's."""
        return self._app.clock() if self._app is not None else self._clock()

    def progress(self) -> tuple[int, ...]:
        """Numbers that move while a cycle does: calls of every connection, transactions of the state."""
        calls = self.calls().values() if self._app is not None else ()
        return (self.store.writer.done, *calls)

    def close(self) -> None:
        """Release the connectors; the store belongs to who opened it."""
        self.stop.set()
        if self._app is not None:
            for connector in self._app.connectors.values():
                connector.close()

    def cycle_of_now(self, life: Micros = 0, *, whole: bool = True) -> Cycle:
        """A cycle of the mapping in use. ``life``: how old a description may be that another process was given, in µs.
        Unless it must be ``whole``, one in which something does not fit carries opt-outs.

        :raises ConnectorError, MappingProblems: it is not whole
        """
        with self._making:
            return self.app.cycle(life, whole=whole)

    def calls(self) -> dict[str, int]:
        """Calls to each connection since it was made."""
        return {name: endpoint.connector.counter.calls  # type: ignore[attr-defined]  # beside the contract, as all have it
                for name, endpoint in self.app.endpoints.items()}

    def approve(self, plan: Plan, plan_id: str) -> Plan:
        """Approve ``plan_id``, which must still say what would happen.

        :raises Failure: no such plan was made
        :raises guard.Stale: something waits that it did not show
        """
        try:
            guard.approve_plan(self.store, self.compiled.relations, plan_id, "cli", self.now())
        except KeyError:
            raise Failure(USAGE, f"no plan {plan_id} was ever made here.", next="Run `syncd plan`.",
                          code="unknown_plan") from None
        current = guard.current_plan(self.store, self.compiled.relations, self.now())
        return current if any(h.cls == "burst" for h in current.holds) else plan.approved()
