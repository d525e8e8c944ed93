"""Rows as they come from a connector, made into rows as the state wants them: addresses normalised and hashed, values of
their types. Pure but for the key of the hash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from state.records import Prepared
from syncd import normalise
from syncd.model import Field, Value

Row = tuple[Value, ...]


class Incoming:
    """Prepares pages of every kind of stream. ``hashed`` is the keyed hash of a normalised address."""

    def __init__(self, hashed: Callable[[str], bytes]) -> None:
        self.hashed = hashed

    def records(self, fields: Sequence[Field], rows: Sequence[Row], email: int | None,
                names: Sequence[int]) -> tuple[list[Prepared], list[tuple[str, str]]]:
        """CRM records, and (id, reason) for each that holds what cannot be used.

        :param email, names: positions of the address and of the names among ``fields``
        """
        if not rows:
            return [], []
        ids, modified, deleted, merged, *columns = map(list, zip(*rows, strict=True))
        doubts: list[tuple[str, str]] = []
        for index, known in enumerate(fields):
            columns[index], bad = normalise.column(known, columns[index])
            doubts += [(str(ids[row]), f"invalid_value:{known.name}") for row in bad]
        nothing: list[Any] = [None] * len(ids)
        addresses, hashes, folded = nothing, nothing, nothing
        if email is not None:
            written, normal, hashed = columns[email], normalise.email, self.hashed
            addresses = [normal(str(v)) if v is not None else None for v in written]
            hashes = [hashed(a) if a else None for a in addresses]
            doubts += [(str(rid), "invalid_address")
                       for rid, v, a, gone in zip(ids, written, addresses, deleted, strict=True)
                       if a is None and v is not None and not gone]
        if names:
            folded = list(map(normalise.name_hash, zip(*[columns[i] for i in names], strict=True)))
        lives = [gone or 0 for gone in deleted]
        return list(zip(ids, modified, lives, merged, addresses, hashes, folded, *columns, strict=True)), doubts

    def statuses(self, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        """Statuses; those of nobody in particular are left out."""
        out = []
        for container, key, email, status, at, origin, evidence in rows:
            norm, hash_ = self._address(email)
            name = key if key is not None else norm
            if name is not None:
                out.append((container or "", name, norm, hash_, status, at, origin, evidence))
        return out

    def events(self, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        """Events."""
        out = []
        for event, kind, container, send, key, email, at, evidence in rows:
            norm, hash_ = self._address(email)
            out.append((event, kind, container, send, key, norm, hash_, at, evidence))
        return out

    def listed(self, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        """Rows of an audience: (key, normalised address, hash)."""
        return [(key, *self._address(email)) for key, email, *_ in rows]

    def _address(self, email: Value) -> tuple[str | None, bytes | None]:
        norm = normalise.email(str(email)) if email else None
        return norm, self.hashed(norm) if norm else None
