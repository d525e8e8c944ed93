"""Old suppression lists into the ledger, and what stands in the ledger out again, in parts of bounded size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any, NamedTuple

import orjson

from state import addresses, db, ledger, statuses
from state.ledger import NewEntry, Utterance
from state.queries import load

DIGESTED = 20_000
"""Addresses whose digests are compared in one transaction: about 100 ms."""

HASH = 16
"""Bytes of a keyed hash, and of an MD5."""


class Taken(NamedTuple):
    """What a part of a list came to: distinct addresses, those the list had brought before, those somebody we know holds,
    statements written (in a preview: that would be written), and values that may be keyed hashes or MD5."""

    addresses: int
    repeated: int
    held: int
    written: int
    unsure: int


def take(conn: db.Connection, book: ledger.Book, utterance: Utterance, hashes: Sequence[bytes], digests: Sequence[bytes],
         *, evidence: str | None, now: int, dry_run: bool, former: Sequence[Utterance] = ()) -> Taken:
    """Record an opt-out at each address, given by its keyed hash or by a digest, that ``utterance`` did not bring before.
    Digests wait until an address has them (``compare``).

    :param digests: SHA-256; and those ``hashes`` that may be MD5 as well, unless they prove to be an address's keyed hash
    :param former: what said the same before, under other ids of the topic
    """
    q = load("suppressions")
    spoken = 0 if dry_run else ledger.utterance_id(conn, utterance)
    same = [row[0] for words in (utterance, *former) for row in conn.execute(q["same_words"], words[:7])]
    given = {"same": orjson.dumps(same).decode()}
    conn.execute(q["page_table"])
    conn.execute("DELETE FROM import_page")
    db.insert(conn, q["fill"], ((h,) for h in hashes))
    addresses.look_up(conn, "import_page")
    count, repeated, held = conn.execute(q["counts"], given).fetchone()
    different = {d for d in digests if len(d) > HASH or conn.execute(q["is_address"], (d,)).fetchone() is None}
    strange = [d for d in different if conn.execute(q["known_digest"], {**given, "digest": d}).fetchone() is None]
    if not dry_run:
        # By their hashes alone: whoever is not known yet stays unknown until a system of ours has a record.
        addresses.resolve(conn, "import_page")
        entries = [NewEntry(utterance, None, address, None, now, evidence=evidence, hash=hash_)
                   for address, hash_ in conn.execute(q["fresh"], given)]
        if entries:
            book.append(conn, entries, now)
            statuses.mark(conn, entries)
        if strange:
            _wait(conn, spoken, evidence, now, strange)
            book.note({"digests": [utterance[1:], evidence, now, [d.hex() for d in strange]]})
    only, new = (sum(len(d) > HASH for d in those) for those in (different, strange))
    return Taken(count + only, repeated + only - new, held, count - repeated + new, len(different) - only)


def _wait(conn: db.Connection, utterance: int, evidence: str | None, at: int, digests: Sequence[bytes]) -> int:
    """Keep digests, imported at ``at``, for addresses that have them; returns how many are new. All addresses are compared
    again."""
    q = load("suppressions")
    new = int(conn.executemany(q["add_digest"], ((d, utterance, evidence, at) for d in digests)).rowcount)
    if new:
        conn.execute(q["digested_to"], (0,))
    return new


def restore(conn: db.Connection, notes: Iterable[Mapping[str, Any]]) -> int:
    """Put back the digests that the journal noted and the state lacks; returns how many."""
    return sum(_wait(conn, ledger.utterance_id(conn, Utterance(None, *words)), evidence, at, [*map(bytes.fromhex, digests)])
               for words, evidence, at, digests in (note["digests"] for note in notes if "digests" in note))


def retell(conn: db.Connection, book: ledger.Book) -> None:
    """Note once more what waits, for a journal that lost it."""
    q = load("suppressions")
    rows = conn.execute(q["digests"]).fetchall()
    for (spoken, evidence, at), group in groupby(rows, key=lambda row: row[:3]):
        words, digests = conn.execute(q["utterance"], (spoken,)).fetchone()[1:], [row[3].hex() for row in group]
        for start in range(0, len(digests), ledger.RETOLD):
            book.note({"digests": [words, evidence, at, digests[start:start + ledger.RETOLD]]})


def compare(conn: db.Connection, book: ledger.Book, now: int) -> bool:
    """Look up the digests of addresses that were not compared yet; True while there are more. A digest speaks once for an
    address, however often it is compared: who came back since stays."""
    q = load("suppressions")
    any_, after, last = conn.execute(q["any_digest"]).fetchone()
    if not any_ or after >= last:
        return False
    rows = conn.execute(q["undigested"], (after, DIGESTED)).fetchall()
    entries = []
    for address, hash_, email in rows:
        said = {spoken: (evidence, at) for digest in digests(email)
                for spoken, evidence, at in conn.execute(q["digests_of"], (digest,))}
        for spoken, (evidence, at) in said.items():
            if conn.execute(q["said_there"], (address, spoken)).fetchone():
                continue
            words = Utterance(*conn.execute(q["utterance"], (spoken,)).fetchone())
            entries.append(NewEntry(words, None, address, None, at, evidence=evidence, hash=hash_))
    if entries:
        book.append(conn, entries, now)
        statuses.mark(conn, entries)
    done = len(rows) < DIGESTED
    conn.execute(q["digested_to"], (last if done else rows[-1][0],))
    return not done


def digests(email: str) -> list[bytes]:
    """What other systems make of a normalised address: SHA-256 and MD5; of a domain that has two spellings, of both."""
    spellings = [email]
    local, _, domain = email.rpartition("@")
    if "xn--" in domain:
        with suppress(UnicodeError):  # a name that is no name: nobody spelled it otherwise
            spellings.append(f"{local}@{domain.encode('ascii').decode('idna')}")
    return [digest for text in map(str.encode, spellings)
            for digest in (hashlib.sha256(text).digest(), hashlib.md5(text, usedforsecurity=False).digest())]


def refused(conn: db.Connection, after: int, limit: int) -> list[tuple[int, bytes, str | None]]:
    """(address, keyed hash, text) of addresses beyond ``after`` at which anything was said against mail."""
    return conn.execute(load("suppressions")["refused_addresses"], {"after": after, "limit": limit}).fetchall()


def entries(conn: db.Connection, after: int, limit: int) -> list[tuple[Any, ...]]:
    """Entries beyond position ``after``, as ``state.people.statements`` reads them."""
    return conn.execute(load("suppressions")["entries"], {"after": after, "limit": limit}).fetchall()


def hashes(conn: db.Connection, addresses: Sequence[int]) -> dict[int, tuple[bytes, str | None]]:
    """Keyed hash and text of addresses by id."""
    rows = conn.execute(load("suppressions")["hashes"], (orjson.dumps(list(addresses)).decode(),))
    return {id_: (bytes(hash_), email) for id_, hash_, email in rows}
