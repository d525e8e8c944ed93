"""The company the machine plays with: two CRMs, two ESPs and a syncd, all in this process.

``Company.template`` builds one and keeps it; ``Company.of`` makes a fresh copy of world and state in a few milliseconds.
"""

from __future__ import annotations

import copy
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import structlog

from connectors.errors import ConnectorError
from connectors.memory.connector import MemoryConnector
from connectors.memory.line import ShortLine
from connectors.memory.server import Desk
from connectors.memory.world import World
from mappings.model import Mapping as MappingFile
from syncd import guard
from syncd.app import App, Endpoint, Policy, open_store
from syncd.compile import CompiledMapping
from syncd.config import Config
from syncd.desk import forget, keys
from syncd.desk.instance import Instance
from syncd.desk.restoring import restore
from syncd.express import Express
from syncd.failures import Failure
from syncd.guard import Limits
from syncd.inbox import receive
from syncd.model import Notice, StreamSpec, Value
from syncd.normalise import hasher
from syncd.references import Secret
from syncd.runs import Report
from tests.machine.inline import PASSED
from tests.machine.scenes import MAPPINGS, ROLES, SCENES, TOPIC_OF, Scene, mapping, new_world
from tests.passing import Passing

HASH_KEY = b"machine"
PATIENCE = 600.0
"""Seconds that a cycle may take. Only waiting takes any: for what is in flight, for what is tried again."""


class Hearing(MemoryConnector):
    """A connector whose vendor has webhooks: a notice names the event that it tells."""

    def resolve(self, notices: Sequence[Notice]) -> list[tuple[Value, ...] | None]:
        """See ``connectors.base.Notified``."""
        names = [str(n.evidence) for n in notices]
        found = {row[0]: row for row in self.fetch(StreamSpec("events", "event"), names).rows}
        return [found.get(name) for name in names]

    def confirm(self, handshake: Mapping[str, str]) -> None:
        """The vendor asks nothing."""


class Crash(BaseException):
    """syncd was killed here."""


class Office(Instance):
    """The company's syncd as its commands see it."""

    def __init__(self, company: Company) -> None:
        super().__init__(company.config(), company.app.store, company.rules, clock=company.host_now)
        self._of = company

    @property
    def app(self) -> App:
        return self._of.app


class Company:
    """One world and one syncd on a directory of their own.

    :param world: is taken over, not copied
    :param source: a directory whose state and journal are copied, None = a syncd that never ran
    """

    def __init__(self, world: World, source: Path | None = None, scene: Scene = SCENES[0]) -> None:
        self.world = world
        self.scene = scene
        self.directory = Path(tempfile.mkdtemp(prefix="machine-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
        if source is not None:
            for path in source.iterdir():
                shutil.copyfile(path, self.directory / path.name)
        self.host_ahead = 0
        self.mapping = 0
        self._failpoint: tuple[str, int] | None = None
        self._meanwhile: tuple[str, Callable[[], None]] | None = None
        self._express: Express | None = None
        self._line = ShortLine(Desk(world).answer)
        self._app: App | None = None
        self.backups = 0
        random.seed(0)  # pauses before retries are drawn at random

    @classmethod
    def linked(cls, scene: Scene) -> Company:
        """A company that has been at work for a while."""
        world, directory = _linked(scene)
        return cls(copy.deepcopy(world), directory, scene)

    @classmethod
    def unlinked(cls, scene: Scene) -> Company:
        """One where syncd is about to be installed."""
        return cls(new_world(scene), scene=scene)

    # ------------------------------------------------------------------ syncd

    @property
    def app(self) -> App:
        """The running syncd; started when first needed."""
        if self._app is None:
            store = open_store(self.state, self.journal, HASH_KEY)
            endpoints = {name: Endpoint(role, Hearing(self._line, name)) for name, role in ROLES.items()}
            policy = Policy(hash_key=HASH_KEY, limits=Limits(burst_most=self.scene.burst_most))
            self._app = App(store, self.rules, endpoints, policy, clock=self.host_now,
                            stop=Passing(self.advance, alone=True))
            self._app.failpoint = self._pass
        return self._app

    @property
    def rules(self) -> MappingFile:
        """The mapping in force."""
        return mapping(self.mapping, self.scene)

    @property
    def state(self) -> Path:
        return self.directory / "state.db"

    @property
    def journal(self) -> Path:
        return self.directory / "journal.log"

    def stop(self) -> None:
        """End syncd as an operator does."""
        if self._app is not None:
            self._app.close()
            self._app = self._express = None

    def remap(self, number: int) -> None:
        """Start it again with another mapping."""
        self.stop()
        self.mapping = number % len(MAPPINGS)

    def cycle(self, *, full: bool = False, wait: bool = True, crash: tuple[str, int] | None = None,
              meanwhile: tuple[str, Callable[[], None]] | None = None) -> Report | None:
        """One cycle; None when it was killed at the n-th passing of a failpoint, or could not even begin. ``meanwhile``
        something happens, once, where it passes another."""
        self._failpoint, self._meanwhile = crash, meanwhile
        try:
            cycle = self.app.cycle()
            report = cycle.run("once", full=full, wait=wait, deadline=PASSED() + PATIENCE)
            forget.follow(Office(self), cycle)
            return report
        except Crash:
            self._bury()
        except ConnectorError:  # syncd was started while a vendor was away: it says so and tries again
            self.stop()
        finally:
            self._failpoint = self._meanwhile = None
        return None

    def hear(self, esp: str, notices: Sequence[Notice]) -> bool:
        """A webhook of an ESP comes; what the daemon's express way does at once is done. False when it could not look up
        whom the webhook is about."""
        app = self.app
        body = " ".join(str(n.evidence) for n in notices).encode()
        receive(app.store, hasher(HASH_KEY), app.store.connection(esp, "esp"), body, notices, self.host_now(), PATIENCE)
        if self._express is None:
            try:
                self._compiled()
            except ConnectorError:
                return False
            self._express = Express(app, structlog.wrap_logger(structlog.ReturnLogger()))
        heard = True
        try:
            self._express.turn()
        except ConnectorError:
            heard = False
        for courier in self._express.couriers.values():
            with suppress(ConnectorError):  # the outbox keeps what could not be sent
                courier.send()
        return heard

    def _compiled(self) -> CompiledMapping:
        return self.app.compiled or self.app.compile()

    def midway(self) -> bool:
        """The lanes send what is queued while the next cycle has read its pages and decided nothing yet. False when syncd
        could not even begin."""
        try:
            cycle = self.app.cycle()
        except ConnectorError:
            self.stop()
            return False
        cycle.puller.run(cycle.feeds, self.host_now())
        cycle.deliver(PASSED() + PATIENCE, wait=False)
        return True

    def approve(self, *, mapping: bool = False, vanished: bool = False) -> bool:
        """An admin approves whatever waits, by the plan's id, and each burst; False when nothing did. ``mapping``: the
        mapping, too, where nothing waits because of it. ``vanished``: that rows which were found missing are added again."""
        try:
            compiled = self._compiled()
        except ConnectorError:
            return False
        plan = guard.current_plan(self.app.store, compiled.relations, self.host_now())
        singly = [hold.id for hold in plan.holds if hold.cls == "burst" or (vanished and hold.cls == "vanished")]
        for hold in singly:
            guard.decide_hold(self.app.store, hold, "approved", self.host_now())
        if plan.held or mapping:
            plan = guard.current_plan(self.app.store, compiled.relations, self.host_now())
            guard.approve_plan(self.app.store, compiled.relations, plan.id, "admin", self.host_now())
        return plan.held > 0 or bool(singly)

    def migrate(self) -> bool:
        """``syncd keys migrate`` of the ESP whose keys the mapping may change; False when that is refused."""
        self.approve(mapping=True)
        try:
            keys.migrate(Office(self), "mc")
        except (ConnectorError, Failure):
            return False
        return True

    def forget(self, address: str, record: str) -> bool | None:
        """``syncd forget`` of whoever has a record; whether the address is blocked now, which it is not where others hold it
        too. None when that is refused."""
        try:
            answer = forget.run(Office(self), address, crm_id=record)
        except (ConnectorError, Failure):
            return None
        return not answer.data["shared_addresses"]

    def backup(self) -> None:
        """Copy the state as ``syncd backup`` does."""
        self.backups += 1
        self.app.store.backup(self.directory / f"backup-{self.backups}")

    def restore(self, number: int | None) -> bool:
        """``syncd restore`` of a backup, or of the journal alone; False when there is no backup yet."""
        if number is not None and not self.backups:
            return False
        self.stop()
        restore(self.config(), None if number is None else self.directory / f"backup-{number % self.backups + 1}")
        return True

    def config(self) -> Config:
        """What commands need to know of the configuration."""
        return Config.model_construct(state=str(self.state), journal=str(self.journal), hash_key=Secret(HASH_KEY.decode()),
                                      connections=dict.fromkeys(ROLES))

    def _pass(self, name: str) -> None:
        if self._meanwhile is not None and self._meanwhile[0] == name:
            act, self._meanwhile = self._meanwhile[1], None
            act()
        if self._failpoint is None or self._failpoint[0] != name:
            return
        self._failpoint = (name, self._failpoint[1] - 1)
        if self._failpoint[1] == 0:
            for path in self._files():
                shutil.copyfile(path, path.with_name(path.name + ".killed"))
            raise Crash

    def _files(self) -> list[Path]:
        return [p for p in (self.state, self.state.with_name("state.db-wal"), self.journal) if p.exists()]

    def _bury(self) -> None:
        """What a killed process leaves behind: the files as they were, whatever its shutdown would still have written."""
        self.stop()
        for path in self._files():
            path.unlink()
        for path in self.directory.glob("*.killed"):
            path.rename(path.with_suffix(""))

    # ------------------------------------------------------------------ time

    def advance(self, seconds: float) -> None:
        self.world.tick(1, seconds)
        PASSED.advance(seconds)

    def now(self) -> int:
        """The true instant, which is also the vendors'."""
        return self.world.now()

    def host_now(self) -> int:
        """What the clock of syncd's host shows."""
        return self.world.now() + self.host_ahead

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


@cache
def _linked(scene: Scene) -> tuple[World, Path]:
    company = Company.unlinked(scene)
    company.cycle()
    company.approve()
    company.cycle()
    for (esp, audience) in TOPIC_OF:
        company.world.act(esp, "send", {"audience": audience})
        company.advance(120)
    company.cycle()
    company.approve()
    company.cycle()
    company.stop()
    return company.world, company.directory

