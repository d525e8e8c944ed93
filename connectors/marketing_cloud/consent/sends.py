"""What a send was: its name, the lists it went through, the data extensions it went to, its classification.

A job names the user-initiated send it was started from, and that one pairs a data extension with a publication list. A
guided send leaves only the lists; a journey mail, which events name by its triggered send definition, has one list and no
audience that the vendor tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from connectors.errors import Misconfigured
from connectors.marketing_cloud.settings import MarketingCloudSettings
from connectors.marketing_cloud.wire import cursor as cursors
from connectors.marketing_cloud.wire import soap, values
from connectors.marketing_cloud.wire.calls import Wire
from connectors.shapes import choices
from syncd.model import Micros, ObjectInfo, Page, Value

Tuple = tuple[Value, ...]

SCOPE = "email_read"
"""What the installed package should be allowed to do, to tell what a send was."""

TRIGGERED = "triggered:"
"""How a triggered send is told from a job where events name their send."""

_JOB = ("ID", "EmailName", "CreatedDate", "EmailSendDefinition.CustomerKey")
_LISTS = ("SendID", "List.ID")
_LIST = ("ID", "Type")
_DEFINITION = ("CustomerKey", "Name", "SendClassification.CustomerKey", "SendDefinitionList")
_TRIGGERED = ("ObjectID", "CustomerKey", "Name", "List.ID", "SendClassification.CustomerKey", "TriggeredSendStatus")
_CLASSIFICATION = ("CustomerKey", "SendClassificationType")
_EXTENSION = ("ObjectID", "CustomerKey")

_OVER = frozenset(("Inactive", "Canceled", "Deleted", "Moved"))
"""TriggeredSendStatus of definitions that send no more: a journey leaves them behind with every version."""

CLASSES = {"marketing": "commercial", "operational": "transactional"}
"""SendClassificationType, in lower case."""


class Definition(NamedTuple):
    """A user-initiated or triggered send: ``lists`` and ``audiences`` as choices."""

    key: str
    name: str | None
    lists: str | None
    audiences: str | None
    classification: str | None


class SendReader:
    """The sends of one business unit."""

    def __init__(self, wire: Wire, settings: MarketingCloudSettings) -> None:
        self._wire = wire
        self._settings = settings

    def changes(self, cursor: str | None) -> Iterator[Page]:
        """Pages of jobs since ``cursor``; at first as far back as events are read."""
        state = cursors.start(cursor, self._wire.now(), self._settings.overlap_seconds * 1_000_000)
        if state.since is None:
            state = replace(state, since=state.until - self._settings.event_days * 86_400 * 1_000_000)
        if not self.allowed():
            yield Page([], state.at(None).text(), last=True)
            return
        for jobs, more in self._wire.pages("Send", _JOB, soap.after("CreatedDate", state.since or 0), state.more):
            yield Page(self._jobs(jobs), state.at(more).text(), last=more is None)

    def fetch(self, sends: Sequence[str]) -> Page:
        """The sends that events name so; one that the vendor does not know (any more) is absent.

        :raises Misconfigured: the package may not read sends
        """
        if not self.allowed():
            raise Misconfigured("The installed package may not read sends.", code="Scope", remedy=f"Add the scope {SCOPE}.")
        triggered = [send.removeprefix(TRIGGERED) for send in sends if send.startswith(TRIGGERED)]
        jobs = [send for send in sends if send.isascii() and send.isdigit()]
        rows = self._jobs(self._wire.named("Send", _JOB, "ID", jobs)) if jobs else []
        found = self._wire.named("TriggeredSendDefinition", _TRIGGERED, "ObjectID", triggered)
        return Page([*rows, *((f"{TRIGGERED}{id_}", d.name, d.key, d.lists, None, d.classification, None)
                              for id_, d in self._triggered(found))], "", last=True)

    def allowed(self) -> bool:
        """Whether the package may read sends."""
        scope = self._wire.token().scope
        return not scope or SCOPE in scope

    def describe(self) -> dict[str, ObjectInfo]:
        """All user-initiated sends and the triggered ones that are in use (each mail of a journey is one), as objects
        "send:<key>"; none where they may not be read."""
        if not self.allowed():
            return {}
        triggered = [row for row in self._wire.every("TriggeredSendDefinition", _TRIGGERED)
                     if row.get("TriggeredSendStatus") not in _OVER]
        found = [*self._definitions(self._wire.every("EmailSendDefinition", _DEFINITION)),
                 *(definition for _, definition in self._triggered(triggered))]
        return {f"send:{d.key}": ObjectInfo(f"send:{d.key}", d.name or "", properties={
            "containers": d.lists, "audiences": d.audiences, "classification": d.classification}) for d in found}

    # ----------------------------------------------------------------- jobs

    def _jobs(self, jobs: Sequence[soap.Row]) -> list[Tuple]:
        ids = [job["ID"] or "" for job in jobs if job.get("ID")]
        lists: dict[str, set[str]] = {}
        for row in self._wire.named("ListSend", _LISTS, "SendID", ids):
            lists.setdefault(row.get("SendID") or "", set()).add(row.get("List.ID") or "")
        keys = sorted({key for job in jobs if (key := job.get("EmailSendDefinition.CustomerKey"))})
        started = self._definitions(self._wire.named("EmailSendDefinition", _DEFINITION, "CustomerKey", keys))
        known = {definition.key.lower(): definition for definition in started}
        topical = self._topical({each for found in lists.values() for each in found})
        rows: list[Tuple] = []
        for job in jobs:
            definition = known.get((job.get("EmailSendDefinition.CustomerKey") or "").lower())
            through = lists.get(job.get("ID") or "", set()) & topical
            rows.append((job.get("ID"), job.get("EmailName"), definition.name if definition else None, choices(through),
                         definition.audiences if definition else None,
                         definition.classification if definition else None, self._at(job)))
        return [row for row in rows if row[0]]

    def _at(self, job: soap.Row) -> Micros | None:
        try:
            return values.parse_time(job.get("CreatedDate"), self._settings.zone)
        except ValueError:
            return None  # only for showing: an odd date is no reason to know less of what was sent

    def _triggered(self, found: Sequence[soap.Row]) -> list[tuple[str, Definition]]:
        """ObjectID of each triggered send, and what it is."""
        topical = self._topical({row.get("List.ID") or "" for row in found})
        kinds = self._classes({row.get("SendClassification.CustomerKey") for row in found})
        return [(row["ObjectID"] or "", Definition(
            row.get("CustomerKey") or "", row.get("Name"), choices({row.get("List.ID") or ""} & topical), None,
            kinds.get((row.get("SendClassification.CustomerKey") or "").lower()))) for row in found if row.get("ObjectID")]

    # ----------------------------------------------------------------- definitions

    def _definitions(self, found: Sequence[soap.Row]) -> list[Definition]:
        pairs = [(row, list(_sources(row))) for row in found]
        topical = self._topical({each for _, sources in pairs for each, _ in sources})
        keys = self._extensions({extension for _, sources in pairs for _, extension in sources if extension})
        kinds = self._classes({row.get("SendClassification.CustomerKey") for row in found})
        return [Definition(row.get("CustomerKey") or "", row.get("Name"),
                           choices({each for each, _ in sources} & topical),
                           choices({f"de:{keys[e]}" for _, e in sources if e in keys}),
                           kinds.get((row.get("SendClassification.CustomerKey") or "").lower()))
                for row, sources in pairs]

    def _extensions(self, ids: set[str]) -> dict[str, str]:
        """ObjectID -> key of data extensions."""
        return {row["ObjectID"] or "": row.get("CustomerKey") or ""
                for row in self._wire.named("DataExtension", _EXTENSION, "ObjectID", sorted(ids)) if row.get("ObjectID")}

    def _classes(self, keys: set[str | None]) -> dict[str, str]:
        """Key of a send classification, in lower case -> what it is."""
        rows = self._wire.named("SendClassification", _CLASSIFICATION, "CustomerKey", sorted(key for key in keys if key))
        return {(row.get("CustomerKey") or "").lower(): CLASSES[kind] for row in rows
                if (kind := (row.get("SendClassificationType") or "").lower()) in CLASSES}

    def _topical(self, ids: set[str]) -> set[str]:
        """Those of some lists that are not All Subscribers, which is all mail and no list."""
        rows = self._wire.named("List", _LIST, "ID", sorted(filter(None, ids)))
        return {row["ID"] or "" for row in rows if row.get("ID") and row.get("Type") != "Master"}


def _sources(row: soap.Row) -> Iterator[tuple[str, str | None]]:
    """(list, ObjectID of a data extension) of each source of a definition; exclusions are left out."""
    number = 1
    while True:
        prefix = "SendDefinitionList." if number == 1 else f"SendDefinitionList[{number}]."
        part = {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
        if not part:
            return
        if part.get("SendDefinitionListType") == "SourceList":
            yield part.get("List.ID") or "", part.get("CustomObjectID")
        number += 1
