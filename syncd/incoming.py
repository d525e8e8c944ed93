"""Rows as they come from a connector, made into rows as the state wants them: addresses normalised and hashed, values of
their types. Pure but for the key of the hash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from connectors.shapes import Columns
from state.forget import Shape
from state.records import Prepared
from syncd import normalise
from syncd.model import Field, Value

Row = tuple[Value, ...]

ALONE = "address:"
"""Begins the name of a status that stands at an address alone; the queries of ``state`` know it."""


class Incoming:
    """Prepares pages of every kind of stream. ``hashed`` is the keyed hash of a normalised address.

    Who is forgotten arrives as a stub: ``forgotten`` addresses as their hash alone, and of records that have one, or that
    are ``stubs`` (stream, id) themselves, only the consent fields. A subscriber key that is a forgotten address is replaced
    by its hash. Related rows of a stub lose every value.
    """

    def __init__(self, hashed: Callable[[str], bytes], kept: Shape) -> None:
        self.hashed = hashed
        self.kept = kept
        self.forgotten: frozenset[bytes] = frozenset()
        self.stubs: frozenset[tuple[int, str]] = frozenset()

    def know(self, forgotten: frozenset[bytes], stubs: frozenset[tuple[int, str]]) -> None:
        """Who is forgotten by now."""
        self.forgotten, self.stubs = forgotten, stubs

    def records(self, stream: int, fields: Sequence[Field], rows: Sequence[Row],
                email: int | None) -> tuple[Prepared, list[tuple[str, str]]]:
        """CRM records, and (id, reason) for each that holds what cannot be used.

        :param email: position of the address among ``fields``
        """
        if not rows:
            return [], []
        ids, modified, deleted, merged, *values = rows.columns if isinstance(rows, Columns) else zip(*rows, strict=True)
        columns: list[Sequence[Any]] = list(values)
        doubts: list[tuple[str, str]] = []
        for index, known in enumerate(fields):
            columns[index], bad = normalise.column(known, columns[index])
            doubts += [(str(ids[row]), f"invalid_value:{known.name}") for row in bad]
        nothing: list[Any] = [None] * len(ids)
        addresses, hashes = nothing, nothing
        if email is not None:
            written, hashed = columns[email], self.hashed
            addresses = normalise.emails(written)
            hashes = [hashed(a) if a else None for a in addresses]
            if addresses.count(None) > written.count(None):
                doubts += [(str(rid), "invalid_address")
                           for rid, v, a, gone in zip(ids, written, addresses, deleted, strict=True)
                           if a is None and v is not None and not gone]
        lives = [gone or 0 for gone in deleted]
        found: Prepared = [ids, modified, lives, merged, addresses, hashes, *columns]
        if self.forgotten or self.stubs:
            found = self._stubbed(stream, [f.name for f in fields], found)
        return found, doubts

    def _stubbed(self, stream: int, fields: Sequence[str], columns: Prepared) -> Prepared:
        """The rows, of the forgotten only what a stub keeps. A stub's other address is none of its business. What the CRM
        has deleted gets no stub: it is told again as long as readings overlap."""
        keep = [name in self.kept.keep.get(stream, frozenset()) for name in fields]
        owner = self.kept.owners.get(stream)
        place = fields.index(owner) if owner in fields else None
        persons = {rid for _, rid in self.stubs} if place is not None else frozenset()
        found = []
        for row in zip(*columns, strict=True):
            rid, modified, gone, merged, _, hash_, *values = row
            theirs = place is not None and values[place] in persons
            if gone and merged is None and hash_ in self.forgotten and (stream, rid) not in self.stubs:
                continue
            if hash_ in self.forgotten or (stream, rid) in self.stubs or theirs:
                hash_ = hash_ if hash_ in self.forgotten else None
                row = (rid, modified, gone, merged, None, hash_,
                       *(v if k and not theirs else None for v, k in zip(values, keep, strict=True)))
            found.append(row)
        return list(zip(*found, strict=True))

    def statuses(self, rows: Sequence[Row], keyed_by: str) -> list[tuple[Any, ...]]:
        """Statuses; those of nobody in particular are left out. Where subscribers have keys, that of an address alone (a
        suppression list) is no subscriber's, though somebody's key may be that address."""
        out = []
        for container, key, email, status, at, origin, evidence in rows:
            norm, hash_ = self._address(email)
            if key is not None or norm is not None:
                name = key if key is not None else norm if keyed_by == "address" else f"{ALONE}{norm}"
                out.append((container or "", self._key(name), norm, hash_, status, at, origin, evidence))
        return out

    def events(self, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        """Events."""
        out = []
        for event, kind, container, send, key, email, at, evidence in rows:
            norm, hash_ = self._address(email)
            out.append((event, kind, container, send, self._key(key), norm, hash_, at, evidence))
        return out

    def listed(self, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        """Rows of an audience: (key, normalised address, hash)."""
        return [(self._key(key), *self._address(email)) for key, email, *_ in rows]

    def _address(self, email: Value) -> tuple[str | None, bytes | None]:
        norm = normalise.email(str(email)) if email else None
        if norm is None:
            return None, None
        hash_ = self.hashed(norm)
        return norm if hash_ not in self.forgotten else None, hash_

    def _key(self, key: Value) -> Value:
        """A subscriber key; that of somebody forgotten may be her address."""
        if not self.forgotten or not isinstance(key, str) or "@" not in key:
            return key
        norm = normalise.email(key)
        return f"forgotten:{hash_.hex()}" if norm and (hash_ := self.hashed(norm)) in self.forgotten else key
