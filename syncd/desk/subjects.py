"""Whose consent, and what it is: from an address or a CRM id to people, from people to statements and decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mappings.model import Mapping as MappingFile
from state import people
from state.people import Case
from state.queries import load
from state.relations import TopicDef
from state.store import Store
from syncd import normalise
from syncd.config import Config
from syncd.consent import RULES, TopicDecision
from syncd.desk.views import Json, instant
from syncd.failures import USAGE, Failure
from syncd.model import Statement
from syncd.reconcile import Reconciler, senders_of


class Subject(NamedTuple):
    """Who was asked about. ``people`` hold the address now or had something said under it; ``holders`` hold it now."""

    email: str | None
    address: int | None
    hash: bytes | None
    undeliverable: int | None
    people: tuple[int, ...]
    holders: tuple[int, ...]


def at_address(store: Store, config: Config, text: str) -> Subject:
    """:raises Failure: the text is no address (it is not repeated)"""
    email = normalise.email(text)
    if email is None:
        raise Failure(USAGE, "what was given on standard input is not an e-mail address.",
                      next="Give one address on one line.")
    q = load("views")
    hashed = normalise.hasher(config.hash_key.reveal().encode())(email)
    rows = store.rows(q["address"], (hashed,))
    if not rows:
        return Subject(email, None, hashed, None, (), ())
    address = int(rows[0][0])
    return Subject(email, address, hashed, rows[0][2], _column(store.rows(q["people_at"], {"address": address})),
                   _column(store.rows(q["holders"], (address,))))


def at_record(store: Store, crm_id: str) -> Subject:
    """The person of a CRM record.

    :raises Failure: no record has this id
    """
    found = _column(store.rows(load("views")["people_of_rid"], {"rid": crm_id}))
    if not found:
        raise Failure(USAGE, f'no record with the id "{crm_id}" was read.',
                      next="Salesforce ids have 18 characters here; `syncd resync --crm-id` reads a record again.")
    return Subject(None, None, None, None, found, found)


def of_record(store: Store, crm_id: str, among: Sequence[int]) -> int:
    """Whom of some people a CRM record belongs to; two CRMs, or two objects of one, may count their records alike.

    :raises Failure: none of them, or several; no record has this id
    """
    found = [person for person in at_record(store, crm_id).people if person in among]
    if not found:
        raise Failure(USAGE, f'the record "{crm_id}" has nothing to do with this address.',
                      next="Look with `syncd explain -`.")
    if len(found) > 1:
        raise Failure(USAGE, f'{len(found)} people with this address have a record "{crm_id}".',
                      next="Look with `syncd explain -`; name another record of the one you mean.")
    return found[0]


def _column(rows: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(int(row[0]) for row in rows)


def address_of(store: Store, person: int) -> int | None:
    """The address the person's decision is made for."""
    found: int | None = store.rows(load("views")["address_of"], {"person": person})[0][0]
    return found


def case_of(store: Store, person: int) -> Case:
    """Everything the fold needs about one person."""
    with store.reading() as conn:
        return people.case(conn, person, address_of(store, person))


def case_at(store: Store, address: int) -> Case:
    """An address that nobody holds, with what was said under it."""
    with store.reading() as conn:
        said = people.statements(conn.execute(load("views")["words_at"], (address,)))
    return Case(0, address, said, {address: frozenset()})


def reconciler(mapping: MappingFile, config: Config) -> Reconciler:
    """The fold of the mapping's topics; needs no connection."""
    return Reconciler(tuple(TopicDef(t.id, None, t.opt_in, None, t.channel, t.purpose, t.unit, t.was)
                            for t in mapping.topics.values()), config.policy.clock_tolerance, senders=senders_of(mapping))


def decision_json(answer: TopicDecision) -> Json:
    """One answer with its rule in words."""
    return {"state": answer.state, "mailable": answer.mailable, "rule": answer.rule, "because": RULES[answer.rule],
            "statement": answer.position or None, "whose": answer.whose}


def statement_json(s: Statement) -> Json:
    """One statement as support staff and auditors read it."""
    return {
        "position": s.position, "state": s.state, "level": s.scope.level, "topic": s.scope.topic,
        "all_except": list(s.scope.all_except), "unit": s.scope.unit, "channel": s.channel, "purpose": s.purpose,
        "source": s.source, "method": s.method, "person_made": s.person_made, "said_from": instant(s.said_lo),
        "said_until": instant(s.said_hi), "seen": instant(s.seen_at), "knew": s.knowledge, "retracts": s.retracts,
        "baseline": s.baseline, "person": s.person, "by_address_only": s.subject == "address", "evidence": s.evidence}


def deciding_json(case: Case, topic: str | None, position: int) -> Json | None:
    """The statement at a position that a decision about a topic (None: all marketing) rests on; None where it rests on
    none. An entry may say several things: the one about the topic is told."""
    at = [s for s in case.statements if s.position == position]
    found = next((s for s in at if s.scope.level == "topic" and s.scope.topic == topic), at[0] if at else None)
    return None if found is None else statement_json(found)


def statements_json(case: Case) -> list[Json]:
    """The case's statements in ledger order."""
    return [statement_json(s) for s in sorted(case.statements, key=lambda s: (s.position, str(s.scope)))]
