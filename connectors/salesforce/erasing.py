"""Records of people who are to be forgotten. The rule is the vendor's own mark, ``Individual.ShouldForget``, at the one that
a contact or lead points to; deleting puts records into the recycle bin, which Salesforce empties after 15 days."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.batches import parts
from connectors.salesforce.consent.writing import NO_INDIVIDUAL, Find, Save
from connectors.salesforce.records.writing import COLLECTION
from connectors.salesforce.wire.values import id18
from syncd.model import DONE, Outcome

_GONE = frozenset(("ENTITY_IS_DELETED", "NOT_FOUND", "INVALID_CROSS_REFERENCE_KEY"))


def erasing(delete: bool) -> str:
    """What ``erase`` does to a record."""
    mark = "marks the Individual it points to as to be forgotten (ShouldForget)"
    return f"{mark}, where there is one, and deletes it: it stays in the recycle bin for 15 days" if delete else mark


def erase(keys: Sequence[str], pointer: str, find: Find, save: Save, *, delete: bool) -> list[Outcome]:
    """One outcome per record, whose field ``pointer`` names its Individual. A record that is gone is done.

    :raises ConnectorError: nothing was written
    """
    people = find(keys, (pointer,))
    parties = {key: str(values[pointer]) for key, values in people.items() if values.get(pointer)}
    marked = _marked(sorted({*parties.values()}), save)
    found: dict[str, Outcome] = {}
    for key in (id18(k) for k in keys):
        if key not in people:
            found[key] = DONE
        elif key in parties:
            found[key] = marked[parties[key]]
        else:
            found[key] = DONE if delete else NO_INDIVIDUAL
    if delete:
        going = [key for key, outcome in found.items() if key in people and outcome.state == "done"]
        for part in parts(going, COLLECTION):
            found |= zip(part, map(_settled, save("DELETE", [{"id": key} for key in part], False)), strict=True)
    return [found[id18(key)] for key in keys]


def _marked(individuals: Sequence[str], save: Save) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    for part in parts(individuals, COLLECTION):
        records = [{"attributes": {"type": "Individual"}, "id": i, "ShouldForget": True} for i in part]
        outcomes |= zip(part, (outcome for outcome, _ in save("PATCH", records, False)), strict=True)
    return outcomes


def _settled(told: tuple[Outcome, str | None]) -> Outcome:
    """Asked twice, it is gone the second time."""
    outcome, _ = told
    return DONE if outcome.state == "rejected" and (outcome.reason or "").partition(":")[0] in _GONE else outcome
