"""The other side: a sandbox in a process of its own, whose costs count for nobody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import requests

MAPPING = Path(__file__).with_name("mapping.yaml")


class World:
    """A served sandbox: where its configuration is, and its control API."""

    def __init__(self, config: Path, control: str) -> None:
        self.config = config
        self.control = control

    @property
    def mapping(self) -> Path:
        return self.config.with_name("mapping.yaml")

    def slow(self, target: str, seconds: float) -> None:
        """Every call to one side takes this much longer."""
        self._post("/sandbox/faults", {"target": target, "fault": "latency", "seconds": seconds})

    def data_load(self, field: str) -> None:
        """Somebody ticks a box of every contact."""
        self._post("/sandbox/act", {"actor": "crm_user", "crm": "salesforce", "do": "mass_edit", "object": "Contact",
                                    "where": {}, "set": {field: True}})

    def act(self, body: dict[str, Any]) -> dict[str, Any]:
        """Somebody acts; what the control API answers."""
        return self._post("/sandbox/act", body)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = requests.post(self.control + path, json=body, timeout=300)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def serve(directory: Path, people: int, profile: str) -> Iterator[World]:
    """A sandbox with so many people, in a process of its own, gone when the block ends.

    :raises RuntimeError: it did not come up
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "connectors.sim.sandbox", "serve", "--dir", str(directory), "--people", str(people),
         "--profile", profile, "--queue-seconds", "0"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the sandbox ended with {process.wait()}")
        ready = orjson.loads(line)
        world = World(Path(ready["config"]), ready["control"])
        if profile == "bench":
            world.mapping.write_text(MAPPING.read_text())
        yield world
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def work(step: str, world: World) -> dict[str, list[dict[str, Any]]]:
    """Run one step of ``tests.bench.worker``; its measurements by name.

    :raises subprocess.CalledProcessError: the step failed
    """
    done = subprocess.run([sys.executable, "-m", "tests.bench.worker", step, str(world.config)],
                          stdout=subprocess.PIPE, check=True)
    found: dict[str, list[dict[str, Any]]] = {}
    for line in done.stdout.splitlines():
        facts = orjson.loads(line)
        found.setdefault(facts["name"], []).append(facts)
    return found
