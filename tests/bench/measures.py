"""What is measured: each function runs processes and gives figures by the names of budgets.toml.

A name that budgets.toml does not hold is told for information.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from tests.bench.calibrate import Speed
from tests.bench.world import World, serve, work

MB = 1024 * 1024
POLLS = frozenset({"bulk.poll", "async.status"})
BULK_PAGE, ASYNC_ROWS, DELETES = 20_000, 2_500, 50
"""Rows of a Bulk page, of an asynchronous upsert and of a SOAP Delete: the connectors' settings."""
SLOW_PEOPLE, SLOW_CALL = 1_000, 0.05
LEAVERS = "email not like '%0@%'"
"""The sandbox's people are p0@…, p1@…: one in ten has a number that ends with 0."""

SEGMENTS = """segments:
  first: {{topic: tips, where: "first_name is not null", order_by: "last_name, first_name", limit: {limit}}}
  short: {{topic: tips, where: "first_name in ('Ann', 'Bob') or last_name like 'A%'"}}

destinations:"""
DELIVERIES = """
    segments:
      first: {data_extension: {key: TIPS_DE}, fields: {FirstName: first_name}}
      short: {data_extension: {key: TIPS_BUYERS, create: true}, fields: {FirstName: first_name}}
"""
"""What is added to the bench's mapping before somebody is explained."""

Figures = dict[str, float]


def million(people: int) -> Figures:
    """A first link, cycles without news, everyone decided anew, and a tenth that leaves by a change of the filter."""
    found: Figures = {}
    with tempfile.TemporaryDirectory(prefix="syncd-bench-") as place, serve(Path(place), people, "bench") as world:
        linked = work("link", world)
        world.mapping.write_text(world.mapping.read_text().replace("name: Tips", f'name: Tips\n    where: "{LEAVERS}"'))
        left = work("leave", world)["leave"][0]
        found |= explain(world, people)
    link, whole = linked["link"][0], linked["linked"][0]
    found["first link: CPU per person"] = cpu(whole) / people * 1e6
    found |= _calls("first link", link, pages=math.ceil(people / BULK_PAGE), rows=people, deletes=0)
    found["first link: peak memory"] = whole["peak"] / MB
    found["first link: ledger entries"] = link["entries"]
    found |= {f"first link: CPU per person until {step}": took / link["pace"] / people * 1e6
              for step, took in link["steps"].items()}
    found["first link: pace of the machine"] = link["pace"]
    quiet = linked["quiet"][1:]
    found["no change: CPU per cycle"] = statistics.median(cpu(each) for each in quiet) * 1e3
    found["no change: calls"] = max(sum(each["calls"].values()) for each in quiet)
    found["targets compared with desired rows: CPU per person"] = cpu(linked["compare"][0]) / people * 1e6
    found["everyone decided anew: CPU per person"] = cpu(linked["anew"][0]) / people * 1e6
    found["state file per person"] = linked["file"][0]["bytes"] / people
    found["tenth leaves: CPU per person"] = cpu(left) / people * 1e6
    found["tenth leaves: pace of the machine"] = left["pace"]
    found |= _calls("tenth leaves", left, pages=0, rows=0, deletes=people // 10)
    found["tenth leaves: peak memory"] = left["peak"] / MB
    return found


def cpu(facts: Mapping[str, Any]) -> float:
    """CPU seconds that it would have taken at the reference machine's pace."""
    took: float = facts["cpu"] / facts["pace"]
    return took


def _calls(name: str, facts: Mapping[str, Any], *, pages: int, rows: int, deletes: int) -> Figures:
    """Calls apart from those that the work itself needs.

    :raises RuntimeError: it was not the work that is to be measured
    """
    done = facts["operations"].get("done", 0)
    if done != rows + deletes:
        raise RuntimeError(f"{name}: {done} operations were done, {rows + deletes} expected")
    calls: Mapping[str, int] = facts["calls"]
    polls = sum(count for route, count in calls.items() if route.partition(".")[2] in POLLS)
    needed = pages + math.ceil(rows / ASYNC_ROWS) + math.ceil(deletes / DELETES)
    return {f"{name}: calls beyond pages and batches": sum(calls.values()) - polls - needed,
            f"{name}: calls for pages and batches": needed, f"{name}: polls": polls}


def explain(world: World, people: int) -> Figures:
    """What it takes to explain one of the linked people, one segment being a tenth of all, ranked: for whoever holds the
    state, for a process that opens it first, and for the command as a whole."""
    world.mapping.write_text(world.mapping.read_text().replace("destinations:", SEGMENTS.format(limit=people // 10))
                             + DELIVERIES)
    asking = [sys.executable, "-m", "tests.bench.asking", str(world.config)]
    facts = orjson.loads(subprocess.run(asking, stdout=subprocess.PIPE, check=True).stdout)
    command = [sys.executable, "-m", "syncd.cli", "--config", str(world.config), "explain", "-"]
    return {"explain: CPU per answer, the worst": facts["worst"] / facts["pace"] * 1e3,
            "explain: CPU of compiling the mapping first": facts["compile"] / facts["pace"] * 1e3,
            "explain: CPU of the command without a service": _cpu(command, facts["address"] + "\n") * 1e3}


def burst(people: int) -> Figures:
    """A data load opts everyone out: what it costs until all of them have left, what is written elsewhere before anybody
    approved it, and what it costs to take it back."""
    with tempfile.TemporaryDirectory(prefix="syncd-bench-") as place, serve(Path(place), people, "bench") as world:
        work("link", world)
        world.data_load("HasOptedOutOfEmail")
        found = {name: facts[0] for name, facts in work("burst", world).items()}
    if found["burst"]["entries"] != people or found["retraction"]["retracted"] != people:
        raise RuntimeError(f"the burst was of {found['burst']['entries']} opt-outs, {people} expected")
    held = found["burst held"]
    if held["held"] < people:
        raise RuntimeError(f"only {held['held']} writes to other systems waited: the burst would prove nothing")
    return {"burst: CPU per opt-out": cpu(found["burst"]) / people * 1e6,
            "burst: peak memory": found["burst"]["peak"] / MB,
            "burst: people still mailable": held["mailable"] + held["rows"],
            "burst: writes that wait for approval": held["held"],
            "burst: written elsewhere before approval": held["written"],
            "burst: CPU per statement retracted": cpu(found["retraction"]) / people * 1e6,
            "burst: CPU per person who is back": cpu(found["back"]) / people * 1e6,
            "burst: people not back after two cycles": found["burst undone"]["missing"]}


def growth(people: int) -> Figures:
    """Peak memory of a first link."""
    with tempfile.TemporaryDirectory(prefix="syncd-bench-") as place, serve(Path(place), people, "bench") as world:
        return {"peak": work("link", world)["linked"][0]["peak"] / MB}


def slow() -> Figures:
    """Three vendors, each answering 50 ms late: who waits for whom, and whether a grant overtakes consent."""
    with tempfile.TemporaryDirectory(prefix="syncd-bench-") as place, serve(Path(place), SLOW_PEOPLE, "full") as world:
        for side in ("salesforce", "odoo", "marketing_cloud"):
            world.slow(side, SLOW_CALL)
        seen = work("slow", world)["slow"][0]
    return {"50 ms per call: reading, against the slowest stream": seen["reading"] / seen["slowest_stream"],
            "50 ms per call: sending, against the slowest destination": seen["sending"] / seen["slowest_destination"],
            "50 ms per call: grants before consent was read": float(not seen["gate_kept"])}


def start() -> Figures:
    """CPU of ``syncd --help``, a fresh interpreter included."""
    command = [sys.executable, "-m", "syncd.cli", "--help"]
    return {"syncd --help: CPU": _cpu(command) * 1e3}


def _cpu(command: list[str], text: str = "") -> float:
    """User and system seconds of a process of its own that is given ``text``: the median of some, at the reference machine's
    pace."""
    speed, took = Speed(), []
    for _ in range(5):
        took.append(_ended(command, text))
        for _ in range(5):
            speed.look()
    return statistics.median(took) / speed.pace()


def _ended(command: list[str], text: str) -> float:
    """:raises RuntimeError: it failed"""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(text.encode())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} ended with {process.returncode}")
    return usage.ru_utime + usage.ru_stime
