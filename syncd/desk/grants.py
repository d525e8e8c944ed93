"""``syncd consent``: what is known about somebody's consent, and the entries an admin adds to the ledger.

A grant records what a person told the admin: person-made, with name and evidence, in knowledge of everything the
ledger holds at that moment. A retraction records that a statement was never the person's; a person's own word cannot be
retracted.
"""

from __future__ import annotations

from typing import Any

import orjson

from mappings.model import Mapping as MappingFile
from state import addresses, bursts, ledger, statuses
from state.ledger import NewEntry, Utterance
from state.queries import load
from state.store import Store
from syncd.config import Config
from syncd.desk.answers import Answer
from syncd.desk.subjects import (
    Subject,
    at_address,
    case_at,
    case_of,
    decision_json,
    of_record,
    reconciler,
    statements_json,
)
from syncd.desk.views import Json, instant
from syncd.failures import DAMAGED, USAGE, Failure
from syncd.model import Micros
from syncd.statements import said

SOURCE = "admin"


def show(store: Store, mapping: MappingFile, config: Config, address: str) -> Json:
    """The decisions for everybody at an address, folded from the ledger as it is now."""
    subject = at_address(store, config, address)
    fold = reconciler(mapping, config)
    cases = [case_of(store, person) for person in subject.people]
    if not cases and subject.address is not None:
        cases = [case_at(store, subject.address)]
    people = []
    for case in cases:
        decision = fold.decision(case)
        people.append({
            "person": case.person or None, "holds_address": case.person in subject.holders,
            "all_marketing": decision_json(decision.master),
            "topics": {t.id: {"name": t.name, **decision_json(decision.topics[t.id])}
                       for t in mapping.topics.values() if t.id in decision.topics},
            "blocked_by": list(decision.blocked_by)})
    return {"address": subject.email, "undeliverable_since": instant(subject.undeliverable), "people": people}


def history(store: Store, config: Config, address: str) -> Json:
    """Every statement that can matter for the address or the people who have, or had, it."""
    subject = at_address(store, config, address)
    found: dict[tuple[Any, ...], Json] = {}
    cases = [case_of(store, person) for person in subject.people]
    if subject.address is not None:
        cases.append(case_at(store, subject.address))
    for case in cases:
        for s in statements_json(case):
            found.setdefault((s["position"], s["level"], s["topic"], s["state"]), s)
    return {"address": subject.email, "people": list(subject.people),
            "statements": [found[k] for k in sorted(found, key=lambda k: (k[0], str(k)))]}


def grant(store: Store, mapping: MappingFile, config: Config, address: str, *, topic: str | None, evidence: str,
          by: str, crm_id: str | None, now: Micros) -> Json:
    """Record that the person at an address wants a topic (None = all marketing).

    :raises Failure: no such topic; several people hold the address and none is named; no evidence or name
    """
    _demand(evidence, by)
    if topic is not None and topic not in mapping.topics:
        raise Failure(USAGE, f'there is no topic "{topic}".', next=f"Topics: {', '.join(mapping.topics)}.")
    subject = at_address(store, config, address)
    person = _one(store, subject, crm_id)
    known = mapping.topics[topic] if topic is not None else None
    words = said("topic", topic, "opt_in") if topic is not None else said("master", None, "opt_in")
    utterance = Utterance(None, SOURCE, "grant", 1, 0, orjson.dumps([words]).decode(),
                          known.channel if known else "email", known.purpose if known else "marketing",
                          unit=known.unit if known else None)

    def job(conn: Any) -> int:
        head = conn.execute(load("views")["head"]).fetchone()[0]
        record = None if person is None else conn.execute(
            load("views")["record_of"], {"person": person, "rid": crm_id}).fetchone()[0]
        at = subject.address
        if at is None:
            assert subject.hash is not None
            at = addresses.known(conn, subject.hash, subject.email)
        return _append(store, conn, NewEntry(utterance, record, at, now, now, evidence=f"{by}: {evidence}",
                                             knowledge=head), now)
    return {"statement": store.write(job, urgent=True), "topic": topic, "person": person, "by": by}


def retract(store: Store, statement: int, *, evidence: str, by: str, now: Micros) -> Json:
    """Record that a statement was never the person's.

    :raises Failure: there is no such statement, the person made it, or it was retracted before
    """
    _demand(evidence, by)
    q = load("views")
    rows = store.rows(q["entry"], (statement,))
    if not rows or rows[0][9] is None:
        raise Failure(USAGE, f"there is no statement {statement}.", next="Run `syncd consent history -`.")
    _, record, address, key, retracts, channel, purpose, person_made, _, _, unit = rows[0]
    if person_made or retracts is not None:
        raise Failure(USAGE, f"statement {statement} is the person's own word, or was recorded with name and evidence;"
                             " it cannot be retracted.",
                      next="If the person changed their mind, record it with `syncd consent grant -`.")
    if before := store.rows(q["retraction_of"], (statement,)):
        raise Failure(USAGE, f"statement {statement} was retracted by {before[0][0]} already.")
    utterance = Utterance(None, SOURCE, "retraction", 1, 0, orjson.dumps([said("master", None, "opt_in")]).decode(),
                          channel, purpose, unit=unit)

    def job(conn: Any) -> int:
        return _append(store, conn, NewEntry(utterance, record, address, now, now, key if record is None else None,
                                             f"{by}: {evidence}", retracts=statement), now)
    return {"statement": store.write(job, urgent=True), "retracts": statement, "by": by}


def retract_burst(store: Store, burst: int, *, evidence: str, by: str, now: Micros) -> Json:
    """Record of every statement of a burst that it was never the person's. Interrupted, it is finished by asking again.

    :raises Failure: there is no such burst
    """
    _demand(evidence, by)
    with store.reading() as conn:
        parts = bursts.ranges(conn, burst)
        own = bursts.own_word(conn, parts)
    if not parts:
        raise Failure(USAGE, f"hold {burst} is no burst.", next="Run `syncd holds list`, or retract one statement.")
    count = 0
    for part in parts:
        while done := store.write(lambda conn, part=part: _retract(store, conn, part, f"{by}: {evidence}", now)):  # type: ignore[misc]  # bound now
            count += done
    store.write(lambda conn: bursts.close(conn, burst, now))
    return {"burst": burst, "retracted": count, "own_word": own, "by": by}


def _retract(store: Store, conn: Any, part: bursts.Range, evidence: str, now: Micros) -> int:
    words = orjson.dumps([said("master", None, "opt_in")]).decode()
    entries = [NewEntry(Utterance(None, SOURCE, "retraction", 1, 0, words, w.channel, w.purpose, unit=w.unit), w.record,
                        w.address, now, now, w.key if w.record is None else None, evidence, retracts=w.position)
               for w in bursts.to_retract(conn, part, bursts.CHUNK)]
    if entries:
        store.book.append(conn, entries, now)
        statuses.mark(conn, entries)
    return len(entries)


def _append(store: Store, conn: Any, entry: NewEntry, now: Micros) -> int:
    position = store.book.append(conn, [entry], now)
    statuses.mark(conn, [entry])
    return position


def _demand(evidence: str, by: str) -> None:
    if not evidence.strip() or not by.strip():
        raise Failure(USAGE, "evidence and name must not be empty.",
                      next="Say how the person told you, and who you are: --evidence TEXT --by NAME.")


def _one(store: Store, subject: Subject, crm_id: str | None) -> int | None:
    """The one person meant; None where nobody holds the address, so that the words bind the address alone."""
    if crm_id is not None:
        return of_record(store, crm_id, subject.holders)
    if len(subject.holders) > 1:
        raise Failure(USAGE, f"{len(subject.holders)} people hold this address, and consent is one person's.",
                      next="Say whose it is with --crm-id.")
    if subject.holders and store.rows(load("views")["ambiguous"], subject.holders):
        raise Failure(USAGE, "the records with this address may be several people's, and consent is one person's.",
                      next="Say on whose record it is to stand with --crm-id; `syncd explain -` lists them.")
    return subject.holders[0] if subject.holders else None


def verify(store: Store) -> Answer:
    """Recompute the ledger's chain and commitments."""
    with store.reading() as conn:
        count, bad = ledger.verify(conn)
    return Answer({"entries": count, "intact": not bad, "broken": sorted(set(bad))}, DAMAGED if bad else 0)
