"""The express way of opt-outs: from a webhook to every destination in seconds, while a cycle takes its hours.

One thread looks up what came, decides the people concerned and queues what keeps mail from them; one thread per
destination sends it. Nothing else: no grant, no update, nothing at a connection that was never approved. The people stay
dirty, so that the cycle plans the rest as if this had not been (docs/decisions/0012-express.md).

Nothing here must survive: deliveries wait in the inbox, opt-outs in the outbox, people among the dirty. Whatever is cut
short, the next cycle does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import orjson
import structlog

from connectors.errors import ConnectorError
from state.queries import load
from syncd import logs
from syncd.app import App
from syncd.compile import CompiledMapping
from syncd.cycle import Cycle
from syncd.deliver import Delivered, Lane
from syncd.desk.answers import problem
from syncd.failures import failure_of

AGAIN = 1.0
"""Seconds after which people with something in flight are looked at again, and opt-outs that wait for an answer."""
LONGEST_PAUSE = 60.0
PEOPLE_PER_TURN = 200
"""People decided in one transaction: few, as others wait for the writer too."""


@dataclass(slots=True)
class Courier:
    """One destination's sender. ``lane`` gives its lane by the mapping in force."""

    lane: Callable[[], Lane]
    stop: threading.Event
    failed: Callable[[ConnectorError | Exception | None], None]
    """Called when sending fails, and with None when it works again."""
    wake: threading.Event = field(default_factory=threading.Event)
    failures: int = 0

    def run(self) -> None:
        """Send whenever something is due, until stopped."""
        while not self.stop.is_set():
            try:
                waiting = self.send()
            except Exception as error:  # the outbox keeps it; the thread must outlive any trouble
                self.failures += 1
                self.failed(error)
                self.stop.wait(min(LONGEST_PAUSE, 2.0 ** min(self.failures, 6)))
                continue
            if self.failures:
                self.failures = 0
                self.failed(None)
            self.wake.wait(AGAIN if waiting else None)
            self.wake.clear()

    def send(self) -> bool:
        """Send what is due; whether an opt-out waits for its time or for an answer.

        :raises ConnectorError: the destination does not take them now
        """
        lane = self.lane()
        lane.express(Delivered())
        return lane.opt_outs_open()


class Express:
    """The express way of one application; made when its mapping is compiled, closed before its connectors are. Once it is
    started, threads of its own take its turns."""

    def __init__(self, app: App, log: structlog.stdlib.BoundLogger) -> None:
        """``app`` has compiled its mapping; when it compiles it anew, this follows."""
        self._app = app
        self._made: tuple[CompiledMapping, Cycle] | None = None
        self._making = threading.Lock()
        self._log = log
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._flying: set[int] = set()
        self._told: dict[str, str] = {}
        self.couriers = {name: Courier(partial(self._lane, name), self._stop, partial(self._failed, name))
                         for name in app.endpoints}
        self._threads = [threading.Thread(target=self._run, name="express", daemon=True), *(
            threading.Thread(target=courier.run, name=f"express-{name}", daemon=True)
            for name, courier in self.couriers.items())]

    def start(self) -> Express:
        for thread in self._threads:
            thread.start()
        self.wake()  # for what came before the last end
        return self

    def _cycle(self) -> Cycle:
        """The parts of a cycle by the mapping as it is compiled now."""
        compiled = self._app.compiled
        if compiled is None:
            raise RuntimeError("there is no express way before the mapping is compiled")
        with self._making:
            if self._made is None or self._made[0] is not compiled:
                self._made = compiled, self._app.cycle_of(compiled)
            return self._made[1]

    def _lane(self, name: str) -> Lane:
        return self._cycle().lanes[name]

    def wake(self) -> None:
        """Something came."""
        self._wake.set()

    def close(self) -> None:
        """Finish what is being sent, then end."""
        self._stop.set()
        self._wake.set()
        for courier in self.couriers.values():
            courier.wake.set()
        for thread in self._threads:
            thread.join()

    # ------------------------------------------------------------------ from the inbox to the outbox

    def _run(self) -> None:
        pause: float | None = None
        while not self._stop.is_set():
            self._wake.wait(pause)
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                pause = self.turn()
                self._failed("inbox", None)
            except Exception as error:  # the inbox keeps it; the thread must outlive any trouble
                self._failed("inbox", error)
                pause = min(LONGEST_PAUSE, 2 * (pause or AGAIN))

    def turn(self) -> float | None:
        """Look up, decide, queue; seconds until there is something to look at again, None = until woken.

        :raises ConnectorError: a vendor could not be asked whom its webhooks are about; they wait
        """
        cycle = self._cycle()
        found = cycle.inbox.run(self._app.clock(), express=True)
        if found.strangers:
            self._log.warning(logs.WEBHOOK_STRANGERS, events=found.strangers)
        ready = cycle.decider.concerned(found.people) | (self._flying - self._in_flight(self._flying))
        if ready and cycle.linked():
            self._suppress(cycle, sorted(ready))
            # What is in flight may undo it, or keep the same record from being written: looked at again afterwards.
            self._flying = self._in_flight(self._flying | ready)
        if found.failed:
            raise next(iter(found.failed.values()))
        return AGAIN if self._flying else None

    def _suppress(self, cycle: Cycle, people: list[int]) -> None:
        """Queue the opt-outs of these people and wake the senders."""
        began, count, whole = time.monotonic(), 0, not (cycle.unfit or cycle.half_read())
        for start in range(0, len(people), PEOPLE_PER_TURN):
            count += cycle.decider.suppress(people[start:start + PEOPLE_PER_TURN], self._app.clock(), cycle.leave,
                                            whole=whole)
            self._app.failpoint("suppressed")
            for courier in self.couriers.values():
                courier.wake.set()
        if count:
            self._log.info(logs.EXPRESS_PLANNED, people=len(people), opt_outs=count,
                           seconds=round(time.monotonic() - began, 3))

    def _in_flight(self, people: set[int]) -> set[int]:
        if not people:
            return set()
        text = orjson.dumps(sorted(people)).decode()
        return {row[0] for row in self._app.store.rows(load("people")["in_flight"], (text,))}

    # ------------------------------------------------------------------ what fails

    def _failed(self, what: str, error: Exception | None) -> None:
        """Tell what fails when that begins, changes or ends."""
        if error is None:
            if self._told.pop(what, None) is not None:
                self._log.info(logs.CONNECTION_RECOVERED, what=f"{what} (express)")
            return
        about: Mapping[str, object] = problem(error) if isinstance(error, ConnectorError) else failure_of(error).as_json()
        if self._told.get(what) != about["code"]:
            self._told[what] = str(about["code"])
            self._log.warning(logs.CONNECTION_FAILED, what=f"{what} (express)", **about)
