"""``syncd consent import``, ``export`` and ``requests``: old suppression lists in, what stands out, and what waits for a
person's word.

An imported opt-out is what an admin found, not what a person did: said at some time before the import, so it wins against
everything said before. It can be retracted, and importing the same list again changes nothing, also for people who came
back since.
"""

from __future__ import annotations

from collections.abc import Sequence

from mappings.model import Mapping as MappingFile
from mappings.problems import did_you_mean
from state import people, suppressions
from state.ledger import Utterance
from state.pace import Pace
from state.people import Case
from state.queries import load
from state.store import Store
from state.suppressions import Taken
from syncd import normalise
from syncd.config import Config
from syncd.desk.subjects import case_at, case_of, reconciler, statement_json
from syncd.desk.views import Json, instant
from syncd.failures import USAGE, Failure
from syncd.model import Micros
from syncd.statements import refusal

METHOD = "import"
KEYED, SHA256 = 32, 64
"""Hexadecimal digits of our own keyed hash, as `consent export` writes it, or of an MD5 of the address; and of a SHA-256."""

MOST = 5_000
"""Values of one call."""


def take(store: Store, mapping: MappingFile, config: Config, values: Sequence[str], *, topic: str | None,
         evidence: str | None, by: str | None, dry_run: bool, now: Micros, pace: Pace | None = None) -> Json:
    """Record an opt-out at every address of a list's part, in transactions of ``pace``.

    :param values: addresses, and keyed hashes, SHA-256 or MD5 digests in hexadecimal, told apart by their looks
    :param topic: what was refused; None = all marketing
    :returns: counts, and ``bad``: the indexes of values that are none of these
    :raises Failure: no such topic; too many values
    """
    if len(values) > MOST:
        raise Failure(USAGE, f"a part of a list has at most {MOST} values.")
    if topic is not None and topic not in mapping.topics:
        raise Failure(USAGE, f'there is no topic "{topic}".', next=did_you_mean(topic, list(mapping.topics)))
    key, pace = config.hash_key.reveal().encode(), pace or Pace()
    note = ": ".join(part for part in (by, evidence) if part) or None
    former = [words(mapping, topic, name) for name in mapping.topics[topic].was] if topic is not None else []
    total, by_digest = Taken(0, 0, 0, 0, 0), 0
    bad: list[int] = []
    start = 0
    for part, _ in pace.slices(values):
        hashes, digests, wrong = sort(part, key)
        done = store.write(pace.over(len(part), lambda conn, hashes=hashes, digests=digests: suppressions.take(  # type: ignore[misc]
            conn, store.book, words(mapping, topic), hashes, digests, former=former, evidence=note, now=now,
            dry_run=dry_run)))
        total = Taken(*map(sum, zip(total, done, strict=True)))
        by_digest += len({d for d in digests if len(d) == SHA256 // 2})
        bad += [start + index for index in wrong]
        start += len(part)
    return {**total._asdict(), "by_digest": by_digest, "bad": bad, "dry_run": dry_run}


def words(mapping: MappingFile, topic: str | None, name: str | None = None) -> Utterance:
    """What an import says; under a former ``name`` of the topic, where one is given."""
    known = mapping.topics[topic] if topic is not None else None
    return Utterance(None, METHOD, METHOD, 0, 1, refusal(name or topic), known.channel if known else "email",
                     known.purpose if known else "marketing", unit=known.unit if known else None)


def sort(values: Sequence[str], key: bytes) -> tuple[list[bytes], list[bytes], list[int]]:
    """(keyed hashes, digests, indexes of what is neither nor an address). What looks like one of our keyed hashes may be
    an MD5 and is among both."""
    hashed, email = normalise.hasher(key), normalise.email
    hashes: list[bytes] = []
    digests: list[bytes] = []
    bad: list[int] = []
    for index, value in enumerate(values):
        text = value.strip()
        found = _digest(text)
        if found is not None:
            digests.append(found)
            if len(text) == KEYED:
                hashes.append(found)
        elif (address := email(text)) is not None:
            hashes.append(hashed(address))
        else:
            bad.append(index)
    return hashes, digests, bad


def _digest(text: str) -> bytes | None:
    if len(text) not in (KEYED, SHA256) or "@" in text:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


# --------------------------------------------------------------------------- out

def suppressed(store: Store, mapping: MappingFile, config: Config, after: int, limit: int) -> Json:
    """A part of what stands: for each address beyond ``after`` every scope that is not mailed because somebody refused.

    :returns: ``rows``, and ``after`` for the next part, None at the end
    """
    with store.reading() as conn:
        found = suppressions.refused(conn, after, limit)
    fold = reconciler(mapping, config)
    rows: list[Json] = []
    for address, hash_, email in found:
        best: dict[str, tuple[int, Json]] = {}
        for case in _cases(store, address):
            decision = fold.decision(case)
            spoken = {s.position: s for s in case.statements}
            for scope, answer in (("all_marketing", decision.master), *decision.topics.items()):
                if answer.state == "unsubscribed" and answer.position > best.get(scope, (0, {}))[0]:
                    s = spoken[answer.position]
                    best[scope] = (answer.position, {
                        "address": email, "hash": bytes(hash_).hex(), "scope": scope, "since": instant(s.said_hi),
                        "source": s.source, "method": s.method, "rule": answer.rule, "statement": s.position})
        rows += [row for _, row in best.values()]
    return {"rows": rows, "after": found[-1][0] if len(found) == limit else None}


def _cases(store: Store, address: int) -> list[Case]:
    """Everyone who holds the address, each decided for it; nobody in particular where nobody does."""
    holders = [row[0] for row in store.rows(load("views")["holders"], (address,))]
    return [case_of(store, person) for person in holders] or [case_at(store, address)]


def statements(store: Store, after: int, limit: int) -> Json:
    """A part of all statements in ledger order; addresses as keyed hashes, and in the clear where they are known."""
    with store.reading() as conn:
        rows = suppressions.entries(conn, after, limit)
        known = suppressions.hashes(conn, list({row[2] for row in rows if row[2] is not None}))
    found = []
    for row in rows:
        hash_, email = known.get(row[2], (None, None))
        found += [{"address": email, "hash": hash_.hex() if hash_ else None, **statement_json(s)}
                  for s in people.statements([row])]
    return {"rows": found, "after": rows[-1][0] if len(rows) == limit else None}


# --------------------------------------------------------------------------- what waits for a word

def requests(store: Store, mapping: MappingFile, config: Config) -> Json:
    """Flags that somebody at a CRM turned towards mail without evidence, and that the ledger does not allow."""
    topics = {(f.stream, f.field): t.id for t in mapping.topics.values() for f in t.fields.values()}
    fold = reconciler(mapping, config)
    found = []
    for _, person, connection, object_, rid, field, asked, again in store.rows(load("suppressions")["requests"]):
        topic = topics.get((f"{connection}.{object_}", field))
        decision = fold.decision(case_of(store, person))
        answer = decision.topics.get(topic) if topic is not None else decision.master
        if answer is not None and answer.state == "subscribed":
            continue
        what = f"--topic {topic}" if topic is not None else "--all-marketing"
        found.append({
            "person": person, "stream": f"{connection}.{object_}", "record": rid, "field": field, "topic": topic,
            "asked": instant(asked), "set_back": again, "state": answer.state if answer else None,
            "next": f"syncd consent grant - {what} --crm-id {rid} --evidence TEXT --by NAME"})
    return {"requests": found}


def part(store: Store, mapping: MappingFile, config: Config, what: str, after: int, limit: int) -> Json:
    """A part of an export. ``what``: suppressions or statements.

    :raises Failure: anything else
    """
    if what == "suppressions":
        return suppressed(store, mapping, config, after, limit)
    if what == "statements":
        return statements(store, after, limit)
    raise Failure(USAGE, f'there is no export of "{what}".', next="Choose suppressions or statements.")


