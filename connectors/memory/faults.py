"""The faults of a world: which call of which connection goes wrong, and how."""

from __future__ import annotations

import copy
import dataclasses
import random
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from connectors.memory.sides.table import BadCall

NAMES: Mapping[str, str] = {
    "lose_reply": "the call is carried out, its answer never arrives",
    "lose_request": "the connection breaks before the call is carried out",
    "outage": "the vendor answers nonsense",
    "throttle": "the vendor asks for a pause of `seconds` (None: it does not say how long)",
    "unauthorised": "the credentials are refused",
    "retry": "a passing fault",
    "cursor_lost": "the vendor no longer knows the cursor (changes only)",
    "slow": "the answer takes `seconds`, or until faults are cleared",
    "reject": "rows whose key or address is in `keys` are refused for good",
    "retry_rows": "rows whose key or address is in `keys` are to be sent again after `seconds`, by at most `max_batch`",
    "truncate": "listings end after `rows` rows; `silent` = the vendor's own count lies too",
    "hide_field": "field `field` of `object` cannot be read or seen until the fault is cleared",
    "act": "after the call, `acts` (each {connection, do, ...}) happen: somebody acts between two calls",
}
_ONLY: Mapping[str, str] = {"cursor_lost": "changes", "truncate": "changes", "reject": "apply", "retry_rows": "apply"}
"""Faults that mean something for one verb only; other calls do not use them up."""


@dataclass(slots=True)
class Fault:
    """A fault in force.

    connection, verb, object   what it applies to, None = all
    skip                       so many matching calls go well first
    count                      so many calls fail then, None = until cleared
    probability                of each of them, drawn from the world's seed
    """

    name: str
    connection: str | None = None
    verb: str | None = None
    object: str | None = None
    skip: int = 0
    count: int | None = 1
    probability: float = 1.0
    keys: frozenset[str] = frozenset()
    seconds: float | None = None
    max_batch: int | None = None
    rows: int = 0
    silent: bool = False
    field: str | None = None
    reason: str = "VALIDATION: the vendor refuses this row."
    acts: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class Faults:
    """The faults in force, in the order they were set."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._faults: list[Fault] = []
        self.cleared = threading.Event()
        """Set when faults end, and another one then: who waits for the sake of one need not any more."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Faults:
        """Worlds are copied, by tests that begin with the same one many times; nobody waits in a copy."""
        copied = Faults(copy.deepcopy(self._rng, memo))
        copied._faults = copy.deepcopy(self._faults, memo)
        return copied

    def add(self, name: str, **about: Any) -> None:
        """:raises BadCall: no such fault or parameter"""
        if name not in NAMES:
            raise BadCall(f"There is no fault {name}.")
        try:
            self._faults.append(Fault(name, **{**about, "keys": frozenset(about.get("keys", ()))}))
        except TypeError as error:
            raise BadCall(f"Fault {name}: {error}") from None

    def clear(self, name: str | None = None) -> int:
        """End all faults, or those of one name; how many there were."""
        kept = [f for f in self._faults if name is not None and f.name != name]
        gone = len(self._faults) - len(kept)
        self._faults = kept
        self.cleared.set()
        self.cleared = threading.Event()
        return gone

    def hidden(self, connection: str) -> set[tuple[str | None, str | None]]:
        """(object, field) of every field that this connection's account may not see."""
        return {(f.object, f.field) for f in self._faults
                if f.name == "hide_field" and f.connection in (None, connection)}

    def firing(self, connection: str, verb: str, object: str | None, *, slow: bool = False) -> Iterator[Fault]:
        """The faults that strike this call, either the ones named "slow" or all others; each is counted as it is
        yielded."""
        for fault in self._faults:
            if fault.name == "hide_field" or (fault.name == "slow") != slow or _ONLY.get(fault.name, verb) != verb:
                continue
            if fault.connection not in (None, connection) or fault.verb not in (None, verb):
                continue
            if fault.object not in (None, object) or fault.count == 0:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.probability < 1.0 and self._rng.random() >= fault.probability:
                continue
            if fault.count is not None:
                fault.count -= 1
            yield fault
