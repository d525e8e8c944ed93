"""``syncd run``: one cycle after another on a monotonic clock, until a signal.

The main thread runs cycles and the verbs that need one; the control socket's threads answer everything else. SIGTERM
and SIGINT finish what is being sent and end; the second one ends at once. SIGHUP reads the files again.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from state.db import OperationalError
from syncd import compose, logs, sends
from syncd.desk import control, views
from syncd.desk.answers import Answer, problem
from syncd.desk.verbs import EXCLUSIVE, LOOKS, Desk
from syncd.failures import DAMAGED, LOCKED, Failure, failure_of
from syncd.notify import notify, reloading, watchdog_seconds
from syncd.web.front import Front

if TYPE_CHECKING:
    from state.store import Store
    from syncd.config import Config
    from syncd.runs import Report

LONGEST_PAUSE = 900.0
"""Seconds between two tries while cycles fail altogether."""

LONGEST_LOCAL_PAUSE = 60.0
"""The same where it is this machine's disks that fail: to try them costs nobody anything, and opt-outs wait."""

SHORTEST_DEADLINE = 30.0
"""Seconds a cycle waits for slow destinations at least, however short the schedule."""

STALL = 900.0
"""Seconds without any call, page or operation after which a running cycle no longer counts as alive."""

LATE = 900.0
"""Seconds an opt-out may wait for its destination before that is an alert."""


@dataclass(slots=True)
class Job:
    """A verb that waits for the main thread."""

    verb: str
    parameters: Mapping[str, Any]
    answer: Future[Answer] = field(default_factory=Future)


class Daemon:
    """The service over one configuration file."""

    def __init__(self, path: Path, *, pretty: bool = False, debug: bool = False) -> None:
        self.path = path
        self.log = logs.logger(pretty=pretty, debug=debug)
        self.wakes: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self.stopping = threading.Event()
        self.reload = False
        self.hurry = False
        self.desk: Desk
        self.alerts = Alerts(self)
        self.heart = Heart(self)
        self.web = Front(lambda: self.desk, self.log, self.heart.is_alive, lambda: self.failures)
        self.failures = 0

    def run(self) -> int:
        """Serve until a signal; the exit code.

        :raises Problems, StateLocked, StateDamaged: before anything was begun
        """
        config, mapping = compose.load(self.path)
        store = compose.store(config)
        store.writer.slow = lambda name, seconds: self.log.debug(logs.WRITE_SLOW, write=name, seconds=round(seconds, 3))
        try:
            self.desk = Desk(config, store, mapping)
            self._listen()
            self.web.open()
            with control.Server(control.socket_path(config.state), self.answer):
                if store.journal.cut or store.replayed or store.retold:
                    self.log.warning(logs.JOURNAL_MENDED, cut_bytes=store.journal.cut, entries=store.replayed,
                                     written_again=store.retold)
                self.log.info(logs.SERVICE_STARTED, state=str(config.state), mapping=mapping.fingerprint)
                notify("READY=1", "STATUS=first cycle")
                self.heart.start()
                code = self._loop()
                self._refuse_waiting()
            self.web.close()
            self.desk.close()
        finally:
            self.stopping.set()
            self.web.close()
            store.close()
        self.log.info(logs.SERVICE_STOPPED)
        return code

    # ------------------------------------------------------------------ signals

    def _listen(self) -> None:
        """A thread acts on signals, and reads them from the pipe that Python writes them to as they arrive: a handler would
        run in the main thread, and not before a wait ends that began at the same instant."""
        told, tell = os.pipe()
        os.set_blocking(tell, False)
        signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: None)
        threading.Thread(target=self._heed, args=(told,), name="signals", daemon=True).start()

    def _heed(self, told: int) -> None:
        while True:
            number = os.read(told, 1)[0]
            if number == signal.SIGHUP:
                self.reload = True
            elif self.stopping.is_set():
                os._exit(128 + number)
            else:
                self.stopping.set()
                self.desk.stop.set()
                notify("STOPPING=1", "STATUS=finishing what is being sent")
            self.wakes.put(None)

    # ------------------------------------------------------------------ the loop

    def _loop(self) -> int:
        due = time.monotonic()
        while not self.stopping.is_set():
            self.heart.idle = True
            job = self._wait(due)
            self.heart.idle = False
            if self.stopping.is_set():
                break
            if self.reload:
                self._reload()
            if job is not None:
                self._work(job)
            if (self.hurry or time.monotonic() >= due) and not self.stopping.is_set():
                self.hurry = False
                try:
                    pause = self._cycle()
                except Failure as failure:  # nothing a next cycle could do better
                    self.log.critical(logs.CYCLE_FAILED, **failure.as_json())
                    return failure.exit_code
                due = self._next(min(due, time.monotonic()), pause)
        self.log.info(logs.STOP_ASKED)
        return 0

    def _wait(self, due: float) -> Job | None:
        try:
            return self.wakes.get(timeout=max(0.0, due - time.monotonic()))
        except queue.Empty:
            return None

    def _next(self, due: float, pause: float) -> float:
        """When the next cycle is due: in step with the schedule, or from now on where the last one took longer."""
        return max(due + pause, time.monotonic() + min(pause, 1.0))

    def _cycle(self) -> float:
        """One cycle; seconds until the next.

        :raises Failure: the state is damaged
        """
        poll: float = self.desk.config.schedule.poll / 1e6
        try:
            self.desk.cycle_of_now(whole=False)
            self.web.ready()  # before the cycle: one that reads everything again may take hours
            report, data = self.desk.cycle("daemon", max(poll, SHORTEST_DEADLINE))
        except Exception as error:
            failure = failure_of(error)
            if failure.exit_code == DAMAGED:
                raise failure from error
            self.failures += 1
            longest = LONGEST_LOCAL_PAUSE if isinstance(error, OSError | OperationalError) else LONGEST_PAUSE
            pause = float(min(longest, max(poll, 1.0) * 2 ** min(self.failures, 10)))
            if not self.stopping.is_set():
                self.log.error(logs.CYCLE_FAILED, **failure.as_json(), next_try_seconds=round(pause))
                notify(f"STATUS=failed: {failure.code}")
            return pause
        self.failures = 0
        self._tell(report, data)
        self._audit()
        return poll

    def _audit(self) -> None:
        """When it is time, compare a part of the people with what the sides hold. What fails is tried the next time."""
        desk, now = self.desk, self.desk.now()
        last = desk.store.meta("audit_begun")
        if last is not None and 0 <= now - last < desk.config.schedule.audit:
            return
        try:
            desk.store.remember("audit_begun", now)
            if last is None or self.stopping.is_set():
                return  # a new installation has nothing to audit yet
            data = desk.call("audit", {"scheduled": True}).data
        except Exception as error:
            self.log.warning(logs.CONNECTION_FAILED, what="audit", **failure_of(error).as_json())
            return
        told = {k: data[k] for k in ("people", "compared", "agreeing", "disagreeing", "repaired", "recorded", "remaining")}
        self.log.info(logs.AUDIT_ENDED, **told)
        if data["disagreeing"]:
            self.log.error(logs.AUDIT_DISAGREED, **told, next="syncd audit")

    def _tell(self, report: Report, data: views.Json) -> None:
        """One line for a normal cycle; more only for what changed."""
        operations = {name: {k: v for k, v in d.items() if k != "error"} for name, d in data["delivered"].items()}
        self.log.info(logs.CYCLE_ENDED, run=report.run, outcome=report.outcome, seconds=data["seconds"],
                      rows=sum(data["rows"].values()), entries=data["entries"], people=data["people"],
                      operations=operations, calls=sum(data["calls"].values()))
        notify(f"STATUS=run {report.run}: {report.outcome}")
        if not self.stopping.is_set():
            self.alerts.look(report)

    # ------------------------------------------------------------------ reloading

    def _reload(self) -> None:
        """Use the files as they are now, or keep the old ones and say why."""
        self.reload = False
        reloading()
        try:
            config, mapping = compose.load(self.path)
            self._same_state(config)
            self._replace(Desk(config, self.store, mapping))
        except Exception as error:
            self.log.error(logs.CONFIG_REFUSED, **failure_of(error).as_json())
        else:
            self.log.info(logs.CONFIG_RELOADED, mapping=mapping.fingerprint)
        notify("READY=1")

    def _same_state(self, config: Config) -> None:
        old = self.desk.config
        if (config.state, config.journal, config.hash_key) != (old.state, old.journal, old.hash_key):
            raise Failure(LOCKED, "state, journal and hash_key cannot be changed while the service runs.",
                          next="Restart the service.")
        if config.web != old.web:
            raise Failure(LOCKED, "web cannot be changed while the service runs.", next="Restart the service.")

    def _replace(self, new: Desk) -> None:
        """Take the new desk once its mapping fits what the connections describe.

        :raises ConnectorError, MappingProblems: it does not, or nobody can tell
        """
        try:
            new.app.compile()
        except BaseException:
            new.close()
            raise
        self.web.pause()
        old, self.desk = self.desk, new
        old.close()
        self.web.ready()
        if self.stopping.is_set():
            new.stop.set()

    @property
    def store(self) -> Store:
        return self.desk.store

    # ------------------------------------------------------------------ verbs

    def answer(self, verb: str, parameters: Mapping[str, Any]) -> Answer:
        """Called by the control socket's threads."""
        quiet = verb in LOOKS or bool(parameters.get("more"))  # of a long list only the last part is worth a line
        if not quiet:
            self.log.info(logs.VERB_ASKED, verb=verb)
        if verb not in EXCLUSIVE:
            answer = self.desk.call(verb, parameters)
            if verb == "status":
                answer.data["service"] = {"pid": os.getpid(), "failures": self.failures,
                                          "failing": sorted(self.alerts.known)}
            elif not quiet:
                self.hurry = True
                self.wakes.put(None)
            return answer
        if self.stopping.is_set():
            raise Failure(LOCKED, "the service is stopping.", next="Try again when it has ended.")
        job = Job(verb, parameters)
        self.wakes.put(job)
        return job.answer.result()

    def _work(self, job: Job) -> None:
        try:
            job.answer.set_result(self.desk.call(job.verb, job.parameters))
        except Exception as error:
            job.answer.set_exception(failure_of(error))

    def _refuse_waiting(self) -> None:
        """Whoever still waits for a turn is told that none will come."""
        while True:
            try:
                job = self.wakes.get_nowait()
            except queue.Empty:
                return
            if job is not None:
                job.answer.set_exception(Failure(LOCKED, "the service is stopping.", next="Try again later."))


class Alerts:
    """Says what fails, waits or is late when that begins, changes or ends, not once per cycle."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.known: dict[str, str] = {}
        self.holds: set[int] = set()
        self.late: set[str] = set()
        self.sends: set[tuple[str, str, str]] = set()
        self.erasures: set[int] = set()

    def look(self, report: Report) -> None:
        errors: dict[str, BaseException] = dict(report.pulled.failed)
        errors |= {f"{name} (writing)": d.error for name, d in report.delivered.items() if d.error is not None}
        self._errors({name: problem(error) for name, error in errors.items()})
        self._holds(report)
        self._opt_outs()
        self._sends()
        self._erasures()

    def _errors(self, problems: Mapping[str, views.Json]) -> None:
        log = self.daemon.log
        for name, about in problems.items():
            if self.known.get(name) != about["code"]:
                log.warning(logs.CONNECTION_FAILED, what=name, **about)
        for name in self.known.keys() - problems.keys():
            log.info(logs.CONNECTION_RECOVERED, what=name)
        self.known = {name: about["code"] for name, about in problems.items()}

    def _holds(self, report: Report) -> None:
        holds = {h.id: h for h in report.plan.holds} if report.plan is not None else {}
        for id_ in holds.keys() - self.holds:
            self.daemon.log.warning(logs.HOLD_OPENED, hold=id_, connection=holds[id_].connection,
                                    object=holds[id_].object, reason=holds[id_].reason,
                                    operations=holds[id_].operations, next=f"syncd holds show {id_}")
        self.holds = set(holds)

    def _opt_outs(self) -> None:
        status = views.status(self.daemon.store, self.daemon.desk.now())
        late = {c["name"]: c for c in status["connections"] if (c["oldest_opt_out_seconds"] or 0) > LATE}
        for name in late.keys() - self.late:
            self.daemon.log.error(logs.OPT_OUTS_LATE, connection=name, waiting=late[name]["opt_outs_waiting"],
                                  oldest_seconds=late[name]["oldest_opt_out_seconds"], next="syncd quarantine list")
        self.late = set(late)

    def _sends(self) -> None:
        desk = self.daemon.desk
        wrong = {(w.connection, w.send, w.message): w
                 for w in sends.wrong(desk.store, desk.mapping, desk.now() - sends.RECENT)}
        for key in wrong.keys() - self.sends:
            about = wrong[key]
            tell = self.daemon.log.error if about.level == "error" else self.daemon.log.warning
            tell(logs.SEND_WRONG, connection=about.connection, send=about.send, message=about.message, next=about.remedy)
        self.sends = set(wrong)

    def _erasures(self) -> None:
        desk = self.daemon.desk
        late = {e["erasure"]: e for e in views.erasures(desk.store, desk.now(), desk.config.policy.max_erasure_age)
                if e["late"]}
        for id_ in late.keys() - self.erasures:
            self.daemon.log.error(logs.ERASURE_LATE, erasure=id_, seconds=late[id_]["seconds"],
                                  connections=sorted({p["connection"] for p in late[id_]["providers"]}), next="syncd status")
        self.erasures = set(late)


class Heart:
    """Feeds the service manager's watchdog while the loop is idle or a cycle makes progress."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.idle = True
        self._seen: tuple[int, ...] = ()
        self._since = time.monotonic()

    def start(self) -> None:
        """Beat in a thread of its own, if anybody listens."""
        seconds = watchdog_seconds()
        if seconds is not None:
            threading.Thread(target=self._beat, args=(seconds / 2,), name="heart", daemon=True).start()

    def _beat(self, seconds: float) -> None:
        while not self.daemon.stopping.wait(seconds):
            if self.is_alive():
                notify("WATCHDOG=1")

    def is_alive(self) -> bool:
        """Idle, or something moved within the last STALL seconds."""
        now, seen = time.monotonic(), self.daemon.desk.progress()
        if self.idle or seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since < STALL
