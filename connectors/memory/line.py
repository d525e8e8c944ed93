"""The client's end of a world: of its socket, or of one in this very process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from multiprocessing.connection import Client, Connection
from typing import Any

import orjson


class Unreached(Exception):
    """The world could not be connected to: surely nothing was asked."""


class Cut(Exception):
    """The line broke after the question was sent: it may or may not have been acted upon."""


class Line:
    """Questions and answers, one at a time per socket, with as many sockets as callers at once. Thread-safe.

    :param address: path of the world's Unix socket
    :param patience: seconds to wait for an answer
    """

    def __init__(self, address: str, patience: float = 60.0) -> None:
        self._address = address
        self._patience = patience
        self._idle: list[Connection[Any, Any]] = []
        self._lock = threading.Lock()

    def ask(self, question: dict[str, Any]) -> tuple[dict[str, Any], int, int]:
        """The answer, bytes sent, bytes received.

        :raises Unreached, Cut:
        """
        data = orjson.dumps(question)
        socket = self._take()
        try:
            socket.send_bytes(data)
            if not socket.poll(self._patience):
                raise Cut("no answer in time")
            answer = socket.recv_bytes()
        except (EOFError, OSError) as error:
            socket.close()
            raise Cut(type(error).__name__) from None
        except BaseException:
            socket.close()
            raise
        with self._lock:
            self._idle.append(socket)
        return orjson.loads(answer), len(data), len(answer)

    def _take(self) -> Connection[Any, Any]:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        try:
            return Client(self._address, family="AF_UNIX")
        except OSError as error:
            raise Unreached(type(error).__name__) from None

    def close(self) -> None:
        with self._lock:
            while self._idle:
                self._idle.pop().close()


class ShortLine:
    """Questions to a world in this process. They are turned into JSON all the same, so that both sides see what they
    would see through a socket.

    :param answer: ``connectors.memory.server.Desk.answer``
    """

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
        self._answer = answer

    def ask(self, question: dict[str, Any]) -> tuple[dict[str, Any], int, int]:
        """The answer, bytes sent, bytes received.

        :raises Cut:
        """
        data = orjson.dumps(question)
        found = self._answer(orjson.loads(data))
        if found is None:
            raise Cut("hung up")
        answer = orjson.dumps(found)
        return orjson.loads(answer), len(data), len(answer)

    def close(self) -> None:
        """There is nothing to release."""
