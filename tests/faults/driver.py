"""``python -m tests.faults.driver``: runs cycles in processes that may be killed at a named point.

One JSON object per line comes in, one per line goes out. Each request is carried out in a forked child, which opens the
state as a started daemon would, so that a kill -9 is a kill -9 and the next request is a restart; the imports are paid once.

request   where it dies, if it is to: failpoint ("sent:2" or ""); after (seconds, wherever it is); transactions (as soon as
          so many are committed); behind (as soon as one of that name is, such as "keys.begin"); calls (["os.replace", 2]:
          as soon as that function has returned for the second time).
          What is otherwise: mutant (of ``mutants.py``: the product has that fault), constants
          ({"syncd.cli.lists.PART": 10}), pace (rows that one transaction takes on where there are many). And either
          words (of syncd's command line), input (for its standard input), log (the file that its messages go to), or
          world (socket), directory, approve (approve what waits), wait, full: a cycle against the world in memory
answer    killed (the child died by SIGKILL), code, and if it was not killed what the command printed as JSON, or:
          held, left, counts, failed, people, transactions (their names)
"""

from __future__ import annotations

import importlib
import itertools
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

import orjson

from connectors.memory.client import World
from mappings.loader import load_mapping
from mappings.model import Mapping
from state import db, parcels
from state.pace import Pace
from state.writer import Writer, name_of
from syncd import guard
from syncd.app import App, Endpoint, Policy, open_store
from syncd.cli import main
from tests.faults import mutants
from tests.passing import Passing

HASH_KEY = b"faults"
ROLES = {"sf": "crm", "mc": "esp"}
PART = 2
"""Rows of a page that one transaction stores: a process dies between the parts of a page, too."""
parcels.LEAST = 1  # few people make a parcel, too
PATIENCE = 30.0
"""Seconds of real time one cycle may take."""
WARM = ("email_validator", "sqlglot.dialects.sqlite", "sqlite_utils", "connectors.marketing_cloud", "connectors.odoo",
        "connectors.salesforce", "lxml.etree", "syncd.daemon", "syncd.desk.doctor", "syncd.desk.explain",
        "syncd.desk.resync")
"""Imported once, before the children are made; a start imports them when it needs them."""


def cycle(request: dict[str, Any], mapping: Mapping) -> dict[str, Any]:
    """One cycle of a syncd that was just started."""
    os.environ["SYNCD_FAILPOINT"] = request.get("failpoint", "")
    world, directory = World(request["world"]), Path(request["directory"])
    store = open_store(directory / "state.db", directory / "journal.log", HASH_KEY)
    endpoints = {name: Endpoint(role, world.connector(name)) for name, role in ROLES.items()}
    app = App(store, mapping, endpoints, Policy(hash_key=HASH_KEY), clock=world.now, stop=Passing(partial(world.tick, 0)))
    running = app.cycle()
    running.feeds = [replace(feed, pace=Pace(PART, least=PART, most=PART)) for feed in running.feeds]

    def approve(plan: guard.Plan) -> guard.Plan:
        if request.get("approve") and plan.held:
            guard.approve_plan(store, running.rel, plan.id, "admin", world.now())
        return plan.approved()

    report = running.run("once", approve=approve if request.get("approve") else None, full=request.get("full", False),
                         wait=request.get("wait", True), deadline=time.monotonic() + PATIENCE)
    answer = {"held": report.held, "left": report.left, "people": report.people, "failed": sorted(report.pulled.failed),
              "counts": {name: d.counts for name, d in report.delivered.items()},
              "transactions": sorted(store.writer.timings)}
    app.close()
    return answer


def command(request: dict[str, Any]) -> dict[str, Any]:
    """One command of a syncd that was just started, as a shell would start it. It ends with SystemExit."""
    os.environ["SYNCD_FAILPOINT"] = request.get("failpoint", "")
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, sys.stderr.fileno())
    reader, writer = os.pipe()
    os.write(writer, request.get("input", "").encode())
    os.close(writer)
    os.dup2(reader, 0)
    main(request["words"], prog_name="syncd")
    raise AssertionError("a command ends by itself")


class Mortal(Writer):
    """Dies when so many transactions, of a name if there is one, are committed, before whoever asked for the last one learns
    of that."""

    def __init__(self, conn: db.Connection, transactions: int, name: str | None) -> None:
        super().__init__(conn)
        self._numbers = itertools.count(1)
        self._last = transactions
        self._name = name

    def run(self, job: Callable[[db.Connection], Any], **how: Any) -> Any:
        result = super().run(job, **how)
        if self._name in (None, how.get("name") or name_of(job)) and next(self._numbers) == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


def deadly(name: str, count: int) -> None:
    """Have this process die when a function has returned for the ``count``-th time, before its caller goes on."""
    numbers, original = itertools.count(1), resolve_name(name)

    def call(*what: Any, **how: Any) -> Any:
        result = original(*what, **how)
        if next(numbers) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    patch(name, call).start()


def child(work: Callable[[], dict[str, Any]], pipe: int, request: dict[str, Any]) -> None:
    """Carry out one request and end the process, whatever happens."""
    code = 1
    os.dup2(pipe, sys.stdout.fileno())
    try:
        if "transactions" in request or "behind" in request:
            patch("state.store.Writer", partial(Mortal, transactions=request.get("transactions", 1),
                                                name=request.get("behind"))).start()
        if "mutant" in request:
            mutants.named(request["mutant"]).apply()
        if "calls" in request:
            deadly(*request["calls"])
        for name, value in request.get("constants", {}).items():
            patch(name, value).start()
        if (pace := request.get("pace")) is not None:
            patch("state.store.Pace", partial(Pace, pace, least=pace, most=pace)).start()
        os.write(pipe, orjson.dumps(work()))
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def carry_out(work: Callable[[], dict[str, Any]], request: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request."""
    after = request.get("after")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        child(work, writer, request)
    os.close(writer)
    # The child stays a zombie until it is waited for, so the number is nobody else's when the timer uses it.
    timer = threading.Timer(after or 0.0, os.kill, (pid, signal.SIGKILL))
    if after is not None:
        timer.start()
    with os.fdopen(reader, "rb") as answers:
        answer = answers.read()
    if after is not None:
        timer.cancel()
        timer.join()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    killed = code == -signal.SIGKILL
    return {"killed": killed, "code": code, **({} if killed else orjson.loads(answer or b"{}"))}


def serve() -> None:
    """Answer requests until there are no more."""
    for name in WARM:
        importlib.import_module(name)
    mappings: dict[Path, Mapping] = {}
    for line in sys.stdin.buffer:
        request = orjson.loads(line)
        if "words" in request:
            work = partial(command, request)
        else:
            path = Path(request["directory"]) / "mapping.yaml"
            if path not in mappings:
                mappings[path] = load_mapping([path])
            work = partial(cycle, request, mappings[path])
        answer = carry_out(work, request)
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve()
