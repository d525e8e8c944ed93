"""Writes of consent that lies in rows of its own (``objects``): a refusal changes the rows in force, or makes one; who
came back has the refusing rows turned, and no row made. An Individual is made only where the connection is told to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from connectors.batches import later, parts, worst
from connectors.errors import ConnectorError
from connectors.salesforce.consent.objects import (
    BY_SUBSCRIPTION,
    OPT_IN,
    OPT_OUT,
    OURS,
    STATUS,
    Consent,
    Consents,
    Place,
    pointer,
)
from connectors.salesforce.records.writing import COLLECTION
from connectors.salesforce.wire.values import id18
from syncd.model import Outcome, Value

Record = dict[str, Any]
Find = Callable[[Sequence[str], Sequence[str]], Mapping[str, Mapping[str, Value]]]
"""Living records by their ids, with values by name."""
Save = Callable[[str, Sequence[Record], bool], Sequence[tuple[Outcome, str | None]]]
"""(method, records, whether an opt-out is among them) -> outcome of each, and its id where that is told."""

ACCOUNT, PERSONAL = "Account", "IsPersonAccount"

NO_INDIVIDUAL = Outcome("rejected", "NO_INDIVIDUAL: The record points to no Individual that could hold this consent.")
NO_STATUS = Outcome("rejected", f"INVALID_STATUS: Consent is written as {OPT_OUT} or {OPT_IN} only.")


@dataclass(slots=True)
class Wishes:
    """What is to be written: record id -> place -> status."""

    consents: Consents
    object: str
    wanted: Mapping[str, Mapping[Place, Value]]
    find: Find
    save: Save
    create: bool
    _outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    _waiting: dict[tuple[str, str], list[tuple[Record, list[str]]]] = field(default_factory=dict)
    """(method, object) -> records, each with whose wish it is."""

    def fulfil(self) -> dict[str, Outcome]:
        """One outcome for every record id. Never raises once a write may have been applied.

        :raises ConnectorError: nothing was written
        """
        touched = False
        try:
            people = self.find(list(self.wanted), ("FirstName", "LastName", self._email, pointer(self.object), PERSONAL))
            parties, touched = self._parties(people)
            held = self.consents.of(parties.values(), {p.kind for w in self.wanted.values() for p in w}, urgent=self._urgent)
            self._plan(people, parties, held)
            for (method, _), waiting in self._waiting.items():
                for part in parts(waiting, COLLECTION):
                    touched = True
                    for (_, owners), (outcome, _) in zip(part, self.save(method, [r for r, _ in part], self._urgent),
                                                         strict=True):
                        self._note(owners, outcome)
        except ConnectorError as error:
            if not touched:
                raise
            return {key: worst([*self._outcomes.get(key, ()), later(error)]) for key in self.wanted}
        return {key: worst(self._outcomes.get(key, ())) for key in self.wanted}

    @property
    def _urgent(self) -> bool:
        return any(status == OPT_OUT for wish in self.wanted.values() for status in wish.values())

    @property
    def _email(self) -> str:
        return "PersonEmail" if self.object == ACCOUNT else "Email"

    def _is_person(self, values: Mapping[str, Value]) -> bool:
        """A company has no Individual."""
        return self.object != ACCOUNT or bool(values.get(PERSONAL))

    def _note(self, keys: Iterable[str], outcome: Outcome) -> None:
        for key in keys:
            self._outcomes.setdefault(key, []).append(outcome)

    # ------------------------------------------------------------------ whose it is

    def _parties(self, people: Mapping[str, Mapping[str, Value]]) -> tuple[dict[str, str], bool]:
        """Record -> its Individual, made where there is none and that is asked for; whether anything was written."""
        found: dict[str, str] = {}
        lacking = []
        for key in self.wanted:
            values = people.get(id18(key))
            if values is not None and values.get(pointer(self.object)):
                found[key] = str(values[pointer(self.object)])
            elif values is not None and self.create and OPT_OUT in self.wanted[key].values() and self._is_person(values):
                lacking.append((key, values))
            else:
                self._note([key], NO_INDIVIDUAL)
        if not lacking:
            return found, False
        made = self.save("POST", [{"attributes": {"type": "Individual"}, "FirstName": v.get("FirstName"),
                                   "LastName": v.get("LastName") or "Unknown"} for _, v in lacking], self._urgent)
        links = []
        for (key, _), (outcome, id_) in zip(lacking, made, strict=True):
            if outcome.state == "done" and id_ is not None:
                links.append((key, id_))
            else:
                self._note([key], outcome)
        linked = self.save("PATCH", [{"attributes": {"type": self.object}, "id": key, pointer(self.object): id_}
                                     for key, id_ in links], self._urgent) if links else ()
        for (key, id_), (outcome, _) in zip(links, linked, strict=True):
            if outcome.state == "done":
                found[key] = id_
            else:
                self._note([key], outcome)
        return found, True

    # ------------------------------------------------------------------ what is written

    def _plan(self, people: Mapping[str, Mapping[str, Value]], parties: Mapping[str, str],
              held: Mapping[str, Sequence[Consent]]) -> None:
        """Records that point to one Individual wish for it together; a refusal goes before anything else."""
        wishes: dict[tuple[str, Place, Value], list[str]] = {}
        for key, individual in parties.items():
            for place, status in self.wanted[key].items():
                if status in (OPT_OUT, OPT_IN):
                    wishes.setdefault((individual, place, status), []).append(key)
                else:
                    self._note([key], NO_STATUS)
        now = self.consents.now()
        points = self._points([i for i, place, _ in wishes if place.kind is BY_SUBSCRIPTION])
        for (individual, place, status), keys in sorted(wishes.items(), key=lambda w: w[0][2] != OPT_OUT):
            standing = [c for c in held.get(individual, ()) if place.has(c) and c.counts(now)]
            refusing = [c for c in standing if c.status == OPT_OUT]
            if status == OPT_OUT and not refusing and not standing:
                address = next((str(people[id18(k)].get(self._email) or "") for k in keys), "")
                row = {"attributes": {"type": place.kind.object}, **_new(place, individual, now),
                       **self._said(place, status, now)}
                if point := _point(points.get(individual, ()), address):
                    row["ContactPointId"] = point
                self._waiting.setdefault(("POST", place.kind.object), []).append((row, keys))
            for consent in refusing if status == OPT_IN else standing if not refusing else ():
                self._waiting.setdefault(("PATCH", place.kind.object), []).append(
                    ({"attributes": {"type": place.kind.object}, "id": consent.id, **self._said(place, status, now)}, keys))

    def _points(self, individuals: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for id_, individual, address in self.consents.points("ParentId", sorted({*individuals}), urgent=self._urgent):
            found.setdefault(individual, []).append((id_, address))
        return found

    @staticmethod
    def _said(place: Place, status: Value, now: int) -> Record:
        """A consent that we turn keeps its date: it is that of the word we turn it by, or of none."""
        said: Record = {STATUS: status, place.kind.how: OURS}
        if status == OPT_OUT:
            said[place.kind.captured] = _moment(now).isoformat()
        return said


def _new(place: Place, individual: str, now: int) -> Record:
    """What a new row has beside its status."""
    at = _moment(now)
    by_subscription = place.kind is BY_SUBSCRIPTION
    own: Record = {name: values[0] for name, values in place.rows.items() if values[0] is not None}
    return {**own, "Name": place.name.partition(".")[2], place.kind.parties[-1]: individual,
            place.kind.since: at.date().isoformat() if by_subscription else at.isoformat()}


def _point(points: Sequence[tuple[str, str]], address: str) -> str | None:
    return next((id_ for id_, own in points if own.lower() == address.lower()), None)


def _moment(now: int) -> datetime:
    return datetime.fromtimestamp(now // 1_000_000, UTC)
