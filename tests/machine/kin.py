"""Who is who, as the oracle sees it: records of one person, of one address, and whoever had to do with them."""

from __future__ import annotations

from collections.abc import Container, Iterable

from tests.machine.said import MOST_RECORDS, Record


class Kin:
    """The records there are, by id. ``separate``: an address says nothing about who somebody is."""

    def __init__(self) -> None:
        self.separate = False
        self.records: dict[str, Record] = {}
        self.doubted: set[str] = set()
        """Records and addresses about which liveness says nothing any more."""
        self._had: dict[str, set[str]] = {}
        """Address -> the records that ever had it."""
        self._near: dict[str, str] = {}

    def know(self, record: Record) -> None:
        """A record is new or was edited."""
        self.records[record.id] = record
        if record.address is not None:
            self._had.setdefault(record.address, set()).add(record.id)
            self.relate(record.id, record.address)

    def root(self, record: str) -> Record:
        """The record that stands for this one today."""
        found = self.records[record]
        while not found.live and found.into is not None and found.into in self.records:
            found = self.records[found.into]
        return found

    def relate(self, *names: str) -> None:
        """These records or addresses had something to do with each other: doubts about one concern all."""
        first = self._group(names[0])
        for other in names[1:]:
            self._near[self._group(other)] = first

    def _group(self, name: str) -> str:
        while name in self._near and self._near[name] != name:
            name = self._near[name]
        return name

    def related(self, name: str, other: str) -> bool:
        """Whether what is done about one may be done about the other: a row of one becomes the other's."""
        return self._group(name) == self._group(other)

    def holders(self, address: str) -> list[Record]:
        return [r for r in self.records.values() if r.live and r.address == address]

    def holder(self, address: str) -> str | None:
        """A record of whoever has an address, where that is one person."""
        found = [r.id for r in self.holders(address)]
        return found[0] if self.people(address) == 1 and not self.ambiguous(self.component(found[0])) else None

    def people(self, address: str, seen: Container[tuple[str, str]] | None = None) -> int:
        """So many people have an address now; of those who were ``seen`` there, as (record, address), where given."""
        return len({min(self.component(r.id)) for r in self.holders(address) if seen is None or (r.id, address) in seen})

    def owner(self, key: str) -> str | None:
        """The record a subscriber key stands for: it is the record's id, or an address that no other record ever had."""
        had = self._had.get(key, set())
        return key if key in self.records else next(iter(had)) if len(had) == 1 else None

    def component(self, record: str) -> set[str]:
        """Records that nobody can tell to be different people: by an address they share, where that says anything, or as one
        absorbed the other."""
        found, todo = set[str](), [record]
        while todo:
            this = self.records[todo.pop()]
            if this.id not in found:
                found.add(this.id)
                todo += [r.id for r in self.records.values()
                         if (not self.separate and r.address is not None and r.address == this.address)
                         or r.into == this.id or r.id == this.into]
        return found

    def ambiguous(self, component: set[str]) -> bool:
        """Whether one CRM has two of different names in it: then they may be two people after all. So may many."""
        living = [r for r in map(self.records.__getitem__, component) if r.live]
        return len(living) > MOST_RECORDS or any(
            a.name != b.name for a in living for b in living if a.connection == b.connection)

    def one_person(self, record: str, other: str) -> bool:
        """Whether these records are surely one person's, or nobody can tell that they are not."""
        known = self.component(record)
        return other in known and (self.root(other).id == self.root(record).id or not self.ambiguous(known))

    def ticked(self, flag: str, addresses: Iterable[str], connection: str | None = None) -> list[str]:
        """Records with a box ticked that had to do with one of these addresses."""
        groups = {self._group(address) for address in addresses}
        return [r.id for r in self.records.values() if connection in (None, r.connection) and r.fields.get(flag)
                and self._group(r.id) in groups]

    def doubt(self, *names: str) -> None:
        self.doubted.update(names)

    def doubtful(self, name: str) -> bool:
        group = self._group(name)
        return any(self._group(d) == group for d in self.doubted)
