"""What a cycle reads, and what came of it: the streams of all connections, what is known of each, and a pull's account."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from connectors.base import Connector
from connectors.errors import ConnectorError
from state.pace import Pace
from state.relations import AudienceDef
from syncd.model import StreamSpec
from syncd.statements import Requests


@dataclass(frozen=True, slots=True)
class Feed:
    """One stream to read. ``email`` is the position of the address among ``spec.fields``."""

    connection: int
    connector: Connector
    name: str
    spec: StreamSpec
    consent: bool
    stream: int
    email: int | None = None
    sweeps: bool = False
    audience: AudienceDef | None = None
    history: StreamSpec | None = None
    """The history of this stream's consent fields, where the vendor keeps one."""
    master: Feed | None = None
    """Of a list's statuses: the stream of all mail, where a stop of that sets lists as well."""
    sends: StreamSpec | None = None
    """Of a stream of events: where the sends that they name are looked up."""
    pace: Pace = field(default_factory=Pace, compare=False)
    """Of its pages: how many rows one transaction takes."""


@dataclass(slots=True)
class Pulled:
    """What a pull found, per stream name: rows, changed rows, entries; and the streams that failed with their code."""

    rows: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    entries: int = 0
    failed: dict[str, ConnectorError] = field(default_factory=dict)
    emptied: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Streams whose complete listing lacked too much: (missing, known); their records are kept until approved."""
    requests: Requests = field(default_factory=Requests)
    unresolved: int = 0

    def after(self, earlier: Pulled) -> Pulled:
        """This and an earlier pull as one: what both found, and what still fails."""
        def both(now: Mapping[str, int], then: Mapping[str, int]) -> dict[str, int]:
            return {name: now.get(name, 0) + then.get(name, 0) for name in {**then, **now}}

        found = Requests(earlier.requests.found + self.requests.found,
                         echoes=earlier.requests.echoes + self.requests.echoes)
        return Pulled(both(self.rows, earlier.rows), both(self.changed, earlier.changed), self.entries + earlier.entries,
                      self.failed, self.emptied, found, self.unresolved + earlier.unresolved)
