"""The Unix socket beside the state: whoever holds the state answers the verbs of the command line on it.

One JSON line asks, ``{"verb": …, "with": {…}}``; one JSON line answers, ``{"data": …, "exit": 0}`` or
``{"error": {…}}``. The socket is for its owner only (mode 0600); addresses travel over it, never over a process's
arguments.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from syncd.desk.answers import Answer
from syncd.failures import FAILED, Failure, failure_of

MAX_LINE = 1 << 20
"""Bytes of a question. Answers may be longer: a plan with its operations is."""

WORKERS = 8
"""Questions answered at the same time; those that need a cycle wait for their turn."""

Handler = Callable[[str, Mapping[str, Any]], Answer]


class NotRunning(Exception):
    """Nobody answers on the socket."""


class Broken(Failure):
    """Whoever was asked ended before it answered: what was asked for may or may not have been done."""


def socket_path(state: str | os.PathLike[str]) -> Path:
    """Where the holder of a state listens."""
    return Path(f"{os.fspath(state)}.sock")


@contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """A name for the socket that fits into sun_path (108 bytes) however deep its directory is."""
    if len(os.fsencode(path)) < 100:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def ask(path: Path, verb: str, parameters: Mapping[str, Any], timeout: float | None = None) -> Answer:
    """Ask whoever holds the state; waits as long as the verb takes.

    :param timeout: seconds of silence after which it is given up, None = never
    :raises NotRunning: nobody listens
    :raises Broken: it ended before it answered
    :raises Failure: what the other side reported
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(timeout)
        try:
            with _reachable(path) as name:
                line.connect(name)
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning from None
        except OSError as error:
            raise Failure(FAILED, f"the control socket {path} cannot be used: {error.strerror}.",
                          next="Run the command as the user syncd runs as.") from None
        try:
            line.sendall(orjson.dumps({"verb": verb, "with": dict(parameters)}) + b"\n")
            text = b"".join(iter(lambda: line.recv(1 << 16), b""))
        except OSError:
            text = b""
    if not text.endswith(b"\n"):
        raise Broken(FAILED, "the running syncd ended before it answered.", next="Run `syncd status`, then try again.")
    answer = orjson.loads(text)
    if "error" in answer:
        raise Failure.from_json(answer["error"])
    return Answer(answer["data"], answer["exit"])


class Server:
    """Answers on the socket until it is closed. To be made by the holder of the state's lock only: a socket file that
    is there already is a dead one's."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self.path = path
        self._handler = handler
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            with _reachable(path) as name:
                self._listener.bind(name)
        except OSError:
            self._listener.close()
            raise
        finally:
            os.umask(before)
        self._listener.listen(16)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="control")
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
                 ) -> None:
        self.close()

    def close(self) -> None:
        """Take no more questions; those being answered are finished."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self._pool.shutdown(wait=True)

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:  # closed
                return
            self._pool.submit(self._serve, line)

    def _serve(self, line: socket.socket) -> None:
        with line, suppress(OSError):  # who asked has gone: nobody is left to tell
            line.settimeout(10.0)
            question = self._read(line)
            if question is not None:
                line.settimeout(60.0)
                line.sendall(orjson.dumps(self._answer(question)) + b"\n")

    @staticmethod
    def _read(line: socket.socket) -> bytes | None:
        text = bytearray()
        while not text.endswith(b"\n"):
            part = line.recv(1 << 16)
            if not part or len(text) > MAX_LINE:
                return None
            text += part
        return bytes(text)

    def _answer(self, question: bytes) -> dict[str, Any]:
        try:
            asked = orjson.loads(question)
            answer = self._handler(str(asked["verb"]), asked["with"])
        except Exception as error:
            return {"error": failure_of(error).as_json()}
        return {"data": answer.data, "exit": answer.exit_code}
