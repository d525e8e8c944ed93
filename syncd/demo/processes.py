"""The two programs of the demonstration: the sandbox, and syncd's own command line."""

from __future__ import annotations

import http.client
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import orjson

from syncd.desk import control
from syncd.failures import FAILED, Failure

Json = dict[str, Any]

STARTING = 300.0
"""Seconds the sandbox may take to make its world."""
ANSWERING = 120.0
"""Seconds the control API may take to answer."""
STOPPING = 10.0
TOLERANCE = 1
"""Seconds that the vendors' clocks may differ: all have this machine's. Between real ones a change of mind within minutes
has no sure order."""
IN_ORDER = TOLERANCE + 3.0
"""Seconds after which what is said is surely later: some vendors tell whole seconds only."""
GLANCE = 0.2
"""Seconds between two looks at a running cycle."""


class Sandbox:
    """``connectors.sim.sandbox`` in a process of its own, and its control API.

    :raises Failure: on entering, it did not start; later, it refused something
    """

    def __init__(self, directory: Path, people: int, seed: int) -> None:
        self.config = directory / "syncd.yaml"
        self._command = [sys.executable, "-m", "connectors.sim.sandbox", "serve", "--dir", str(directory),
                         "--people", str(people), "--seed", str(seed)]
        self._log = directory / "sandbox.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of ours
                self._command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL)
        try:
            ready = orjson.loads(self._first_line(self._process))
        except BaseException as error:
            self.close()
            if isinstance(error, orjson.JSONDecodeError):
                raise Failure(FAILED, "the sandbox did not start.", next=f"It says: {self._last_words()}") from None
            raise
        self._address = urlsplit(ready["control"]).netloc
        with self.config.open("a", encoding="utf-8") as config:
            config.write(f"policy: {{clock_tolerance: {TOLERANCE}s}}\n")
        return self

    def _first_line(self, process: subprocess.Popen[bytes]) -> bytes:
        """Its first line; empty when it ended or took too long."""
        assert process.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            return process.stdout.readline() if waiting.select(STARTING) else b""

    def _last_words(self) -> str:
        lines = self._log.read_text("utf-8", "replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "nothing")

    def close(self) -> None:
        """End the sandbox's process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOPPING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    # ------------------------------------------------------------------ the control API

    def world(self, side: str) -> Json:
        """What a side holds."""
        return self._ask("GET", f"world?side={quote(side)}")

    def act(self, act: Mapping[str, Any]) -> Json:
        """Let somebody do something at a vendor's own screen, page or mail.

        :raises Failure: it cannot be done, or changed nothing
        """
        answer = self._ask("POST", "act", act)
        if not answer.get("changed"):
            raise Failure(FAILED, f"the sandbox let {act['actor']} {act['do']}, and nothing changed.")
        return answer

    def send(self, audience: str) -> tuple[str, ...]:
        """Send the mail of an audience to whom the vendor lets have it; the addresses, in lower case."""
        answer = self._ask("POST", "act", {"actor": "esp_user", "do": "send", "to": {"audience": audience}})
        return tuple(str(email).lower() for email in answer["mailed"])

    def calls(self) -> dict[str, Json]:
        """Requests of each side since the last time this was asked."""
        totals: dict[str, Json] = self._ask("GET", "journal")["totals"]
        self._ask("DELETE", "journal")
        return totals

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Json:
        line = http.client.HTTPConnection(self._address, timeout=ANSWERING)
        try:
            line.request(method, f"/sandbox/{path}", None if body is None else orjson.dumps(body),
                         {"Content-Type": "application/json"})
            reply = line.getresponse()
            answer: Json = orjson.loads(reply.read())
        except (OSError, http.client.HTTPException, orjson.JSONDecodeError) as error:
            raise Failure(FAILED, f"the sandbox broke off ({type(error).__name__}).",
                          next=f"It says: {self._last_words()}") from None
        finally:
            line.close()
        if reply.status != 200:
            raise Failure(FAILED, f"the sandbox refused: {answer.get('error')}")
        return answer


class Product:
    """``syncd --config … VERB --json`` in a process of its own."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self._socket = control.socket_path(config.parent / "state" / "syncd.db")

    def call(self, *words: str, stdin: str = "", fine: tuple[int, ...] = (0,),
             watch: Callable[[int], None] | None = None) -> tuple[Json, float]:
        """Run a verb: its answer, and the seconds it took.

        :param fine: exit codes that are no failure here
        :param watch: is told now and then how many operations are queued
        :raises Failure: what syncd said, with another exit code
        """
        command = [sys.executable, "-m", "syncd.cli", "--config", str(self.config), *words, "--json"]
        began = time.monotonic()
        process = subprocess.Popen(  # noqa: S603 - this interpreter and our own command line
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = self._wait(process, stdin.encode(), watch)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.monotonic() - began
        if process.returncode not in fine:
            said = err.decode("utf-8", "replace").strip() or f"exit code {process.returncode}"
            raise Failure(FAILED, f"`syncd {' '.join(words)}` ended with exit code {process.returncode}:", next=said)
        answer: Json = orjson.loads(out)
        return answer, seconds

    def _wait(self, process: subprocess.Popen[bytes], given: bytes,
              watch: Callable[[int], None] | None) -> tuple[bytes, bytes]:
        todo: bytes | None = given
        while True:
            try:
                return process.communicate(todo, timeout=GLANCE if watch is not None else None)
            except subprocess.TimeoutExpired:
                todo = None
            if watch is not None:
                with suppress(control.NotRunning, Failure, TimeoutError):
                    status = control.ask(self._socket, "status", {}, timeout=5.0).data
                    watch(sum(c["queued"] for c in status["connections"]))
