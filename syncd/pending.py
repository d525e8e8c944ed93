"""What a plan covers: the open operations, counted by sort, and a hash of them that tells two plans apart.

Both come from one look at what waits, some thousand people at a time and column by column: there may be millions.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from state.queries import load

BLOCK = 8_192
"""People whose operations are looked at together."""
KINDS = ("upsert", "remove", "status", "update")
_COVERED = {code: code & ~3 if code >> 2 & 3 else None for code in range(64, 128)}
"""The letters of the query ``pending``, as far as a plan's hash covers them: opt-outs go, of others kind and class stay."""


class Count(NamedTuple):
    """How many operations of one sort are pending. ``state`` is "held" or "queued", ``sort`` a word for people."""

    connection: str
    object: str
    kind: str
    sort: str
    state: str
    operations: int


def covered(conn: Any, fingerprint: str) -> tuple[str, tuple[Count, ...], Mapping[str, int]]:
    """A hash of the mapping and of everything that waits, opt-outs aside; what waits, by sort; and how much of it is queued
    at each connection: where nothing was ever approved, the first plan holds that."""
    q, digest = load("guard"), hashlib.blake2b(fingerprint.encode(), digest_size=6)
    shut = {name for _, name, known in conn.execute(q["approved"]) if not known}
    counts, queued = list[Count](), Counter[str]()
    for object_, connection, name in conn.execute(q["objects"]).fetchall():
        letters, named = Counter[str](), False
        for sorts, *texts in _blocks(conn, object_):
            letters.update(sorts)
            hashes = sorts.translate(_COVERED)
            if hashes:
                digest.update(b"" if named else orjson.dumps((connection, name)))
                named = True
                for text in (hashes, *texts):  # each after its length, so that no two plans have one text
                    digest.update(b"%d:" % len(text))
                    digest.update(text.encode())
        sums = Counter[tuple[str, str, str]]()
        for letter, count in letters.items():
            kind, cls, fresh, held = _sort(letter)
            sums[kind, sort_of(kind, cls, fresh), "held" if held or connection in shut else "queued"] += count
            queued[connection] += 0 if held else count
        counts += [Count(connection, name, *sort, count) for sort, count in sums.items()]
    return digest.hexdigest(), tuple(sorted(counts)), queued


def _blocks(conn: Any, object_: int) -> Iterator[tuple[str, ...]]:
    """What waits for an object, by the person and in columns (see ``pending``), some people at a time: it may be much. Where
    a block ends depends on nothing but the numbers of people."""
    q, after = load("guard"), -1
    while True:
        [person] = conn.execute(q["next_pending"], {"object": object_, "after": after}).fetchone()
        if person is None:
            return
        first = person - person % BLOCK
        row = conn.execute(q["pending"], {"object": object_, "first": first, "end": first + BLOCK}).fetchone()
        if row[0] is not None:  # else all of it is only planned
            yield tuple(text or "" for text in row)
        after = first + BLOCK - 1


def _sort(letter: str) -> tuple[str, int, bool, bool]:
    """What a letter of ``pending`` says: kind, class, whether there was nothing before, whether it is held."""
    code = ord(letter) - 64
    return KINDS[code >> 4], code >> 2 & 3, bool(code & 2), bool(code & 1)


def sort_of(kind: str, cls: int, fresh: bool) -> str:
    """The word for an operation: add, change, remove, suppress or reopen."""
    if kind == "remove":
        return "suppress" if cls == 0 else "remove"
    if kind == "upsert":
        return "add" if fresh else "change"
    return {0: "suppress", 1: "reopen"}.get(cls, "change")


def differences(before: Iterable[Count], now: Iterable[Count]) -> tuple[str, ...]:
    """What waits now and did not then, or the other way round, in words; opt-outs, which no plan decides about, aside."""
    was, wanted = _sums(before), _sums(now)
    changed = [(*what, was[what], wanted[what]) for what in sorted(was.keys() | wanted.keys()) if was[what] != wanted[what]]
    return tuple(f"{connection} {object_}: {n} to {sort} instead of {m}" for connection, object_, sort, m, n in changed)


def _sums(counts: Iterable[Count]) -> Counter[tuple[str, str, str]]:
    sums = Counter[tuple[str, str, str]]()
    for c in counts:
        if c.sort != "suppress":
            sums[c.connection, c.object, c.sort] += c.operations
    return sums
