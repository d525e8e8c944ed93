"""Contacts and leads together with the consent of the Individuals they point to (``objects``): streams read as one.

A change of a consent row touches no contact. So after the changed contacts of each reading but the first, the changed
consent rows are read, those whose period has begun or ended, and the contacts that point to their Individuals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from connectors import opaque
from connectors.batches import parts
from connectors.errors import CursorLost
from connectors.salesforce.consent.objects import DATE, SOURCE, Consents, Place, is_consent, pointer, value_of
from connectors.salesforce.records.reading import AT_ONCE, Cursor, Reader
from connectors.salesforce.records.source import Row, Source
from syncd.model import RECORD_COLUMNS, Field, Page, StreamSpec, Value

VERSION = 2
"""Of the cursors; another one than that of streams without consent, whose cursors are none of these."""
_SUFFIXES = (DATE, SOURCE)
HOUR = 3600  # how often it is asked which periods have begun or ended


@dataclass(slots=True)
class Joined:
    """One stream with consent among its fields. ``plain`` is what is read of the object itself."""

    consents: Consents
    reader: Reader
    spec: StreamSpec
    source: Callable[[StreamSpec], Source]
    plain: StreamSpec = field(init=False)
    _places: dict[str, Place] = field(init=False)

    def __post_init__(self) -> None:
        own = tuple(f for f in self.spec.fields if not is_consent(f.name))
        if all(f.name != self._pointer for f in own):
            own = (*own, Field(self._pointer, "id"))
        self.plain = replace(self.spec, fields=own)
        self._places = {name: self.consents.place(name) for name in dict.fromkeys(
            _status(f.name) for f in self.spec.fields if is_consent(f.name))}

    @property
    def _pointer(self) -> str:
        return pointer(self.spec.object)

    @property
    def _kinds(self) -> list[str]:
        return sorted({place.kind.object for place in self._places.values()})

    def rows(self, rows: Sequence[tuple[Value, ...]]) -> list[Row]:
        """Rows of ``plain`` as rows of ``spec``."""
        names = [f.name for f in self.plain.fields]
        at = len(RECORD_COLUMNS) + names.index(self._pointer)
        kinds = {place.kind.object: place.kind for place in self._places.values()}
        held = self.consents.of({str(row[at]) for row in rows if row[at]}, kinds.values())
        now = self.consents.now()
        values: dict[str, dict[str, Value]] = {}
        for individual, found in held.items():
            values[individual] = {}
            for name, place in self._places.items():
                told = value_of([c for c in found if place.has(c)], now)
                values[individual] |= dict(zip((name, name + DATE, name + SOURCE), told, strict=True))
        places = [(None if is_consent(f.name) else len(RECORD_COLUMNS) + names.index(f.name), f.name)
                  for f in self.spec.fields]
        return [(*row[:len(RECORD_COLUMNS)], *(values.get(str(row[at]), {}).get(name) if i is None else row[i]
                                              for i, name in places)) for row in rows]

    def changes(self, cursor: str | None) -> Iterator[Page]:
        """See ``Connector.changes``."""
        at = _Cursor.parse(cursor) if cursor is not None else _Cursor(None, {k: self.reader.from_now() for k in self._kinds})
        if set(at.kinds) != set(self._kinds):
            raise CursorLost("Consent is read from other objects than before.", remedy="The stream is read anew.")
        for page in self.reader.changes(self.source(self.plain), at.own):
            at = replace(at, own=page.cursor)
            last = page.last and cursor is None
            yield Page(self.rows(page.rows), at.text(), last=last, complete=page.complete)
            if last:
                return
        for object in self._kinds:
            for rows, after, ended in self._follow(object, at.kinds[object]):
                at = replace(at, kinds={**at.kinds, object: after})
                yield Page(rows, at.text(), last=ended and object == self._kinds[-1])

    def _follow(self, object: str, cursor: str) -> Iterator[tuple[list[Row], str, bool]]:
        """(contacts whose consent of one kind has changed, the cursor after them, whether these were all)."""
        kind = next(p.kind for p in self._places.values() if p.kind.object == object)
        changed, names = self.consents.source(kind)
        people = self.source(self.plain)
        before, now = Cursor.parse(cursor).hi, self.consents.now() // 1_000_000
        turned = self.consents.turned(kind, before, now) if before // HOUR < now // HOUR else []
        for page in self.reader.changes(changed, cursor):
            read, turned = [*page.rows, *turned], []
            ids = sorted(self.consents.parties(kind, read, names)) if read else []
            for part in parts(ids, AT_ONCE):
                if rows := [*self.reader.having(people, self._pointer, part)]:
                    yield self.rows(rows), cursor, False
            cursor = page.cursor
            yield [], cursor, page.last


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Where the object itself and each kind of consent stand; opaque texts of the reader."""

    own: str | None
    kinds: Mapping[str, str]

    def text(self) -> str:
        return opaque.write(VERSION, [self.own, self.kinds])

    @classmethod
    def parse(cls, text: str) -> _Cursor:
        """:raises CursorLost: it was read without consent before"""
        def build(content: Any) -> _Cursor:
            own, kinds = content
            return cls(str(own), {str(k): str(v) for k, v in kinds.items()})
        return opaque.cursor(text, VERSION, build, "Salesforce")


def _status(name: str) -> str:
    """The field that holds the status beside which this one is."""
    return next((name.removesuffix(s) for s in _SUFFIXES if name.endswith(s)), name)
