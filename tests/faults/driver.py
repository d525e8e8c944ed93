"""``python -m tests.faults.driver``: runs cycles in processes that may be killed at a named point.

One JSON object per line comes in, one per line goes out. Each request is carried out in a forked child, which opens the
state as a started daemon would, so that a kill -9 is a kill -9 and the next request is a restart; the imports are paid once.

request   world (socket), directory, failpoint ("sent:2" or ""), approve (approve what waits), wait, full
answer    killed (the child died by SIGKILL), and if not: held, left, plan, counts, failed, people
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import email_validator  # noqa: F401 - imported once, before the children are made
import orjson
import sqlglot.dialects.sqlite  # noqa: F401
import sqlite_utils  # noqa: F401

from connectors.memory.client import World
from mappings.loader import load_mapping
from mappings.model import Mapping
from syncd import guard
from syncd.app import App, Endpoint, Policy, open_store

HASH_KEY = b"faults"
ROLES = {"sf": "crm", "mc": "esp"}
PATIENCE = 30.0
"""Seconds of real time one cycle may take."""


class Passing(threading.Event):
    """Waiting moves the world's time instead."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def wait(self, timeout: float | None = None) -> bool:
        if timeout and not self.is_set():
            self._world.tick(0, float(timeout))
        return self.is_set()


def cycle(request: dict[str, Any], mapping: Mapping) -> dict[str, Any]:
    """One cycle of a syncd that was just started."""
    os.environ["SYNCD_FAILPOINT"] = request.get("failpoint", "")
    world, directory = World(request["world"]), Path(request["directory"])
    store = open_store(directory / "state.db", directory / "journal.log", HASH_KEY)
    endpoints = {name: Endpoint(role, world.connector(name)) for name, role in ROLES.items()}
    app = App(store, mapping, endpoints, Policy(hash_key=HASH_KEY), clock=world.now, stop=Passing(world))
    running = app.cycle()

    def approve(plan: guard.Plan) -> guard.Plan:
        if request.get("approve") and plan.held:
            guard.approve_plan(store, running.rel, plan.id, "admin", world.now())
        return plan.approved()

    report = running.run("once", approve=approve if request.get("approve") else None, full=request.get("full", False),
                         wait=request.get("wait", True), deadline=time.monotonic() + PATIENCE)
    answer = {"held": report.held, "left": report.left, "people": report.people, "failed": sorted(report.pulled.failed),
              "counts": {name: d.counts for name, d in report.delivered.items()}}
    app.close()
    return answer


def child(request: dict[str, Any], mapping: Mapping, pipe: int) -> None:
    """Carry out one request and end the process, whatever happens."""
    code = 1
    try:
        os.write(pipe, orjson.dumps(cycle(request, mapping)))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    mappings: dict[str, Mapping] = {}
    for line in sys.stdin.buffer:
        request = orjson.loads(line)
        path = Path(request["directory"]) / "mapping.yaml"
        if str(path) not in mappings:
            mappings[str(path)] = load_mapping([path])
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            child(request, mappings[str(path)], writer)
        os.close(writer)
        with os.fdopen(reader, "rb") as answers:
            answer = answers.read()
        _, status = os.waitpid(pid, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        result = {"killed": killed, "code": os.waitstatus_to_exitcode(status), **(orjson.loads(answer or b"{}"))}
        sys.stdout.buffer.write(orjson.dumps(result) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
