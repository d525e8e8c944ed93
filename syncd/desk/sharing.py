"""What somebody who is forgotten refused at an address that another person holds, too. The address stays that one's, and the
mailbox stays quiet: the refusals stay with the address, as nobody's in particular."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson

from state import people as reading
from state.forget import SHARED, SOURCE, Kept
from state.ledger import Utterance
from state.people import Case, Decided
from state.queries import load
from state.relations import OPTED_OUT, unit_id
from syncd.reconcile import Reconciler
from syncd.statements import refusal


def kept(conn: Any, reconciler: Reconciler, people: Sequence[int]) -> list[Kept]:
    """What is to stay at each address that others hold."""
    spoken = [s for p in people for s in reading.statements(conn.execute(load("ledger")["of_person"], (p,)), p)]
    found = []
    for address, hash_, theirs in conn.execute(load("forget")["shared_addresses"], {
            "people": orjson.dumps(list(people)).decode()}).fetchall():
        here = [replace(s, address=address) if theirs else s for s in spoken]
        decided = reconciler.decided(Case(0, address, here, {}))
        if words := [*_words(reconciler, decided)]:
            found.append(Kept(address, bytes(hash_), words))
    return found


def _words(reconciler: Reconciler, decided: Decided) -> Iterator[Utterance]:
    def words(topic: str | None, channel: str = "email", purpose: str = "marketing", unit: str | None = None) -> Utterance:
        return Utterance(None, SOURCE, SHARED, 0, 0, refusal(topic), channel, purpose, unit=unit)

    if decided.master >= OPTED_OUT:
        yield words(None)
    for t in reconciler.policy.topics:
        if decided.topics[t.id][1] >= OPTED_OUT:
            yield words(t.id, t.channel, t.purpose)
    for unit in reconciler.units:
        if decided.topics[unit_id(unit)][1] >= OPTED_OUT and decided.master < OPTED_OUT:
            yield words(None, unit=unit)
