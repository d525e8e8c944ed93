"""Batches sent in parts: what has become of each operation, however the calls for it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from connectors.errors import ConnectorError, LostReply, RejectRecord, Throttled
from syncd.model import DONE, UNKNOWN, Op, Outcome

T = TypeVar("T")

_GRAVITY = {"done": 0, "rejected": 1, "retry": 2, "unknown": 3, "accepted": 3}


def later(error: ConnectorError) -> Outcome:
    """The outcome of operations that an error kept from being sent."""
    return Outcome("retry", retry_after=error.retry_after if isinstance(error, Throttled) else None)


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The outcome of an operation that several writes had to fulfil."""
    return max(outcomes, key=lambda o: _GRAVITY[o.state], default=DONE)


def refused(error: RejectRecord) -> Outcome:
    """The outcome of an operation that cannot be sent, or was refused by itself."""
    return Outcome("rejected", f"{error.code}: {error.message}")


def parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """``items``, at most ``size`` at a time."""
    for begin in range(0, len(items), size):
        yield items[begin:begin + size]


def in_chunks(ops: Sequence[Op], size: int, send: Callable[[Sequence[Op]], list[Outcome]]) -> list[Outcome]:
    """``send`` for every ``size`` of ``ops``. An error of the first chunk is raised; after that the rest is ``retry``.

    A lost reply makes its chunk ``unknown`` and does not stop the others.
    """
    outcomes: list[Outcome] = []
    for chunk in parts(ops, size):
        try:
            outcomes += send(chunk)
        except LostReply:
            outcomes += [UNKNOWN] * len(chunk)
        except ConnectorError as error:
            if not outcomes:
                raise
            return outcomes + [later(error)] * (len(ops) - len(outcomes))
    return outcomes


class _Stop(Exception):
    """The rest of the batch is not tried."""


class Progress:
    """A batch where one bad operation refuses all that are sent with it, and several calls may serve one operation."""

    def __init__(self, ops: Sequence[Op]) -> None:
        self.ops = ops
        self.outcomes: list[Outcome | None] = [None] * len(ops)
        self.touched = False
        """Whether a call that writes may have been applied."""

    def run(self, work: Callable[[], None]) -> list[Outcome]:
        """``work`` as far as it gets. One outcome per operation: what no call refused is done.

        :raises ConnectorError: nothing of the batch was applied
        """
        try:
            work()
        except _Stop:
            pass  # every operation has its outcome
        except ConnectorError as error:
            # Raised by a read between two writes, too: what was written then must not be forgotten.
            if not self.touched:
                raise
            self._put_off(error)
        return [DONE if outcome is None else outcome for outcome in self.outcomes]

    def open(self) -> list[int]:
        """Positions of the operations nothing is known of yet."""
        return [n for n, outcome in enumerate(self.outcomes) if outcome is None]

    def reject(self, at: Iterable[int], error: RejectRecord) -> None:
        for n in at:
            self.outcomes[n] = refused(error)

    def attempt(self, items: Sequence[T], owners: Callable[[T], Iterable[int]],
                send: Callable[[Sequence[T]], object], *, final: bool = False) -> None:
        """Within ``run``: send the items whose operations are open in one call; halve what is refused until the bad ones are
        found. ``owners`` gives the positions of an item's operations. ``final``: what was sent is done, and not one of
        several steps.

        :raises ConnectorError: nothing of the batch was applied
        """
        waiting = [[i for i in items if any(self.outcomes[n] is None for n in owners(i))]]
        while waiting:
            part = waiting.pop(0)
            if not part:
                continue
            try:
                send(part)
                self.touched = True
                for n in (n for i in part for n in owners(i)) if final else ():
                    self.outcomes[n] = DONE
            except RejectRecord as error:
                if len(part) == 1:
                    self.reject(owners(part[0]), error)
                else:
                    waiting[:0] = [part[:len(part) // 2], part[len(part) // 2:]]
            except LostReply as error:
                for n in (n for i in part for n in owners(i)):
                    self.outcomes[n] = UNKNOWN
                self.touched = True
                self._put_off(error)
                raise _Stop from None
            except ConnectorError as error:
                if not self.touched:
                    raise
                self._put_off(error)
                raise _Stop from None

    def _put_off(self, error: ConnectorError) -> None:
        """Whatever nothing is known of yet is to be sent again later."""
        for n in self.open():
            self.outcomes[n] = later(error)
