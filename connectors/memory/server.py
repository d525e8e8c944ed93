"""The process that holds a world, so that the world outlives whatever is killed around it.

Frames of JSON over a Unix socket whose directory belongs to the caller (``multiprocessing.connection`` does the
framing; nothing is pickled). One thread per client, one lock around the world.
"""

from __future__ import annotations

import contextlib
import threading
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

import orjson

from connectors.memory.sides.table import BadCall
from connectors.memory.world import Broken, World

_CONTROL = frozenset({"create_crm", "create_esp", "load", "people", "act", "tick", "now", "truth", "counters", "digest"})


class Desk:
    """Answers questions about one world, one at a time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._lock = threading.Lock()

    def answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The answer, or None to hang up without one."""
        verb, args, name = request["verb"], request["args"], request.get("as")
        try:
            if name is None:
                with self._lock:
                    return {"ok": self._control(verb, args)}
            with self._lock:
                seconds, cleared = self.world.delay(name, verb, args), self.world.faults.cleared
            cleared.wait(seconds)
            with self._lock:
                return {"ok": self.world.call(name, verb, args)}
        except Broken as error:
            if error.kind in ("lose_reply", "lose_request"):
                return None
            return {"error": error.kind, "seconds": error.seconds}
        except BadCall as error:
            return {"error": "bad_call", "message": str(error)}

    def _control(self, verb: str, args: dict[str, Any]) -> Any:
        if verb == "fault":
            return self.world.faults.add(**args)
        if verb == "clear_faults":
            return self.world.faults.clear(**args)
        if verb in _CONTROL:
            return getattr(self.world, verb)(**args)
        raise BadCall(f"There is no control verb {verb}.")


class Server:
    """Answers the clients of one world until ``stop``."""

    def __init__(self, world: World, socket: Path) -> None:
        self._desk = Desk(world)
        self._listener = Listener(str(socket), family="AF_UNIX", backlog=64)
        socket.chmod(0o600)

    def run(self) -> None:
        """Accept clients until the listener is closed."""
        while True:
            try:
                client = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def stop(self) -> None:
        self._listener.close()

    def _serve(self, client: Connection[Any, Any]) -> None:
        with client, contextlib.suppress(EOFError, OSError):  # a client that was killed is what this server is for
            while True:
                answer = self._desk.answer(orjson.loads(client.recv_bytes()))
                if answer is None:
                    return
                client.send_bytes(orjson.dumps(answer))
