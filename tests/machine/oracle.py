"""Who may, must and must not be mailed, worked out from what people did and from nothing the product says.

The oracle sees every act in its true order, which no real system does. It keeps two lists, of *refusals* and of *returns*
(what only the person, or an admin with evidence, can do), and answers:

must not   somebody refused, syncd had its chance to learn and to deliver that, and nobody came back since
must       nothing was ever refused, or all of it was surely answered; and nothing else about the person is in doubt
free       everything else: clocks that leave both orders possible, shared addresses, hands in the provider's data

It knows no ledger, no positions, no keys and no decisions. In doubt it says free, so that whatever it does call wrong is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tests.machine.kin import Kin
from tests.machine.said import FLAGS, TOLERANCE, Record, Refusal, Return

Pair = tuple[int, str]
"""A refusal's number and an address it must keep quiet."""


class Oracle(Kin):
    """The model. Addresses are compared as the vendors do, without regard to case.

    :param destinations: the ESP connections
    """

    def __init__(self, destinations: Iterable[str]) -> None:
        super().__init__()
        self.refusals: list[Refusal] = []
        self.returns: list[Return] = []
        self.retracted: set[int] = set()
        self.read: set[int] = set()
        self._dated: dict[int, int] = {}
        """By when those of them were made, as far as anybody knows, of which nobody knows the instant: what was older than
        syncd's first look, by that; a box, by the last edit of its record where that was surely after the look before,
        whatever the clocks, and else by the look that found it."""
        self._looks = (0, 0)
        """When somebody last may have read anything, and when before that."""
        self._unlinked = False
        self._forgotten: dict[str, str] = {}
        """Records of whom was forgotten, with the address. One at another address is a stub, and has none."""
        self._meant: dict[int, set[str]] = {}
        """Whose a refusal may be by its address alone: records that had it when it was made, or until it was read."""
        self._stood: set[tuple[str, str]] = set()
        """Records and addresses that syncd has surely seen them at."""
        self._bound: set[int] = set()
        """Refusals of which the address alone says whose they are, and syncd knew it when it read them."""
        self._addressed: set[int] = set()
        """Refusals that were read while the refuser still had the address they were made at."""
        self._nobodys: set[int] = set()
        """Refusals of an address that several people had when it was read, as syncd knew: each has to come back alone."""
        self._unmapped: set[tuple[str, str]] = set()
        """Boxes (connection, flag) that nobody reads, as the mapping does not name them."""
        self._anew: set[tuple[str, str]] = set()
        """Those that it names since, and that have not surely been read: what they hold may have been said until then."""
        self._glimpsed: dict[tuple[str, str], set[object]] = {}
        """(record, flag) -> what syncd may have read there last."""
        self._overlooked: set[int] = set()
        """Refusals whose box may have been read after it was unticked again: nobody can tell any more that it was ticked."""
        self.glimpses = 0
        """So many refusals may have been read."""
        self.seen: dict[str, Record] = {}
        self.learnt: dict[str, set[Pair]] = {e: set() for e in destinations}
        self.touched: dict[str, set[str]] = {e: set() for e in destinations}
        """Addresses whose rows or statuses an ESP's user changed since that ESP was last listed in full."""
        self._shut: dict[tuple[str, str | None, str | None, str], int] = {}
        """(ESP, subscriber key, address, topic), one of key and address, -> the refusal made right there, which that ESP
        itself knows."""
        self.undone: dict[tuple[str, str, str], str] = {}
        """(ESP, audience, key) of rows an ESP's user deleted, with the address: they are not syncd's to add again."""
        self.missed: set[tuple[str, str, str]] = set()
        """Those of them that syncd has surely found missing since."""
        self._unread: dict[int, int] = {}
        """Returns by a record's field that may not have been read yet, and since when they can be: they are about whatever
        address the record has then."""

    # ------------------------------------------------------------------ what happens to records

    def put(self, record: Record) -> None:
        """A record is new or was edited. What was answered, and is not any more as it meets others, is yet to be read."""
        met = {p for pairs in self.learnt.values() for p in pairs if p[1] == record.address and not self._quiets(*p)}
        self.know(record)
        for pairs in self.learnt.values():
            pairs -= {p for p in met if self._quiets(*p)}
        self._stirred(record.id)
        if record.address is not None:
            for refusal in self.refusals:
                if refusal.number not in self.read and refusal.address == record.address:
                    self._meant[refusal.number].add(record.id)
            for number in self._unread:
                back = self.returns[number]
                if back.record == record.id:
                    self.returns[number] = replace(back, perhaps=back.perhaps | {record.address})

    def _stirred(self, *names: str) -> None:
        """Whatever happens to somebody can be a reason to write their rows again."""
        groups = {self._group(name) for name in names}
        self.undone = {row: address for row, address in self.undone.items() if self._group(address) not in groups}

    def stirring(self, name: str) -> bool:
        """Whether a merge of somebody's records is yet to be read: which of two keys stays, and with it which row, is not
        settled before."""
        group = self._group(name)
        merged = [self.seen.get(r.id) for r in self.records.values() if r.into is not None and self._group(r.id) == group]
        return any(seen is None or seen.into is None for seen in merged)

    # ------------------------------------------------------------------ what people say

    def refuse(self, record: str | None, address: str, topics: frozenset[str], connection: str, at: int, *, made: bool,
               flag: str | None = None, inferred: bool = False) -> Refusal:
        seen = flag is None or not any(self._glimpsed.get((record or "", flag), ()))
        refusal = Refusal(len(self.refusals), record, address, topics, connection, at, made, flag, seen, inferred)
        self.refusals.append(refusal)
        self._meant[refusal.number] = {r.id for r in self.holders(address)}
        if record is not None and self._forgotten.get(record, address) != address:
            self.retracted.add(refusal.number)
            self.doubt(address)
        self._stirred(address)
        if record is not None:
            self.relate(record, address)
            self._stirred(record)
        return refusal

    def shut(self, destination: str, refusal: Refusal, *, key: str | None = None, address: str | None = None) -> None:
        """The ESP at which this was said mails nobody under this key, or at this address, any more."""
        self._shut |= {(destination, key, address, topic): refusal.number for topic in refusal.topics}

    def come_back(self, record: str | None, address: str, topics: frozenset[str], at: int, *,
                  arrives: int | None = None) -> None:
        """Somebody came back; by a field that their record has from the instant ``arrives`` on, where it is one."""
        answers = frozenset(r.number for r in self.refusals if r.number in self.read and not self._unlinked
                            and at > self._dated.get(r.number, r.at) + 3 * TOLERANCE)
        if record is not None and arrives is not None:
            self._unread[len(self.returns)] = arrives
        self.returns.append(Return(record, address, topics, at, answers))
        self._stirred(address, record or address)

    def retract(self, record: str | None, address: str | None) -> None:
        """An admin declared that something no person made about them was never said: which, the oracle does not ask."""
        for r in self.refusals:
            if not r.made and (r.record == record or r.address == address):
                self.retracted.add(r.number)
                self.doubt(r.address)

    def retract_burst(self, connection: str, upto: int) -> None:
        """An admin declared that what no person made at a connection, of the first refusals (``upto``), was never said."""
        for r in self.refusals[:upto]:
            if not r.made and r.at > 0 and r.connection == connection:
                self.retracted.add(r.number)
                self.doubt(r.address)

    def forget(self, record: str, address: str, *, blocked: bool) -> None:
        """Whoever has a record, at this address, was forgotten: what they, or whom they may be, said is gone. Where the
        address is not ``blocked``, it is somebody else's, and nobody knows any more that it was the record's, too."""
        groups, hers = {self._group(record), self._group(address)}, self.component(record)
        for r in self.refusals:
            if groups & {self._group(r.address), self._group(r.record or r.address)} and (
                    not self.separate or hers & (self._meant[r.number] if r.record is None else {r.record})):
                self.retracted.add(r.number)
        self._forgotten |= dict.fromkeys(hers, address if blocked or not self.separate else "")
        self.doubt(record, address)

    def restored(self, *, alone: bool) -> None:
        """syncd may have lost where people were, and that it unticked a box that is ticked. ``alone``: all that is left is
        what was said: every side is read as at a first link, and what refuses there may have been said until then. Nobody
        has surely come back who comes back before that."""
        self._stood.clear()
        last = max((b.at for b in self.returns), default=0)
        self.doubt(*(name for flag in FLAGS for name in self.ticked(flag, (b.address for b in self.returns))
                     if not any((r.record, r.flag) == (name, flag) and r.at > last for r in self.refusals)))
        if alone:
            self._unlinked = True
            self.returns = [replace(r, answers=frozenset()) for r in self.returns]

    def map(self, connection: str, flag: str, topics: frozenset[str], *, read: bool) -> None:
        """Whether a box, about these topics, is read from now on. What one that was not read before holds is found as at a
        first look: who came back from it meanwhile, and has it ticked still, may have refused anew."""
        if not read:
            self._unmapped.add((connection, flag))
            return
        self._unmapped.discard((connection, flag))
        self._anew.add((connection, flag))
        self.doubt(*self.ticked(flag, (b.address for b in self.returns if b.topics & topics), connection))

    def reads(self, record: Record, flag: str) -> bool:
        """Whether a box of a record is read."""
        return (record.connection, flag) not in self._unmapped

    def unsaid(self, address: str, connection: str) -> None:
        """An employee took back what an employee did about an address there; if nobody had read it, nobody ever will."""
        for r in self.refusals:
            if not r.made and r.flag is None and (r.address, r.connection) == (address, connection) \
                    and r.number not in self.read:
                self.retracted.add(r.number)
                self.doubt(address)

    # ------------------------------------------------------------------ what it means

    def addresses(self, refusal: Refusal) -> set[str]:
        """What it keeps quiet now: the address it was said at, and that of whoever said it."""
        found = {refusal.address}
        if refusal.record is not None and (not refusal.inferred or refusal.number in self._bound):
            root = self.root(refusal.record)
            if root.live and root.address is not None and self._forgotten.get(root.id, root.address) == root.address:
                found.add(root.address)
        return found

    def standing(self, refusal: Refusal, address: str, topic: str, mailed: str | None = None) -> bool:
        """Whether it must keep this address quiet about a topic, as nobody who could came back since; quiet to whoever has
        the record ``mailed``, where somebody else at the address may be mailed all the same."""
        if topic not in refusal.topics or refusal.number in self.retracted or address not in self.addresses(refusal):
            return False
        return not any(topic in r.topics and r.at > refusal.at and self._may_answer(r, refusal, address, mailed)
                       for r in self.returns)

    def _quiets(self, number: int, address: str) -> bool:
        return any(self.standing(self.refusals[number], address, topic) for topic in self.refusals[number].topics)

    def _may_answer(self, back: Return, refusal: Refusal, address: str, mailed: str | None) -> bool:
        if len(back.topics) > 1 and len(refusal.topics) == 1:
            return False  # "mail me again" does not take back "but not the offers"
        said_at = back.perhaps | {back.address}
        speaks = not self.separate or None in (mailed, back.record) or back.record in self.component(mailed or "")
        if refusal.record is None:
            return (speaks and (address in said_at or refusal.address in said_at)) or (
                refusal.number not in self._nobodys and back.record is not None
                and any(self.one_person(meant, back.record) for meant in self._meant[refusal.number]))
        root = self.root(refusal.record)
        if back.record is not None and back.record in self.component(refusal.record):
            return self.one_person(refusal.record, back.record)
        return speaks and (not root.live or root.address != address) and address in said_at

    # ------------------------------------------------------------------ what syncd could learn

    def glimpsed(self, now: int) -> None:
        """Somebody may have read everything as it is now, or some of it."""
        self._looks = (now, self._looks[0])
        self.glimpses = len(self.refusals)
        self.left()
        self._overlooked |= {r.number for r in self.refusals if r.flag is not None and r.number not in self.read
                             and not self.records[r.record or ""].fields.get(r.flag)}

    def left(self) -> None:
        """This is how the boxes look to syncd: it may have read them so, or set them back itself."""
        for record in self.records.values():
            for flag in FLAGS:
                if self.reads(record, flag):
                    self._glimpsed.setdefault((record.id, flag), set()).add(record.fields.get(flag))

    def cycled(self, healthy: frozenset[str], now: int, *, full: bool, upto: int | None = None) -> None:
        """A cycle that began now ran to its end, and every connection of ``healthy`` was reachable all the while. Call it
        with the model as it was when the cycle began: what is said meanwhile are refusals from number ``upto`` on."""
        for record in self.records.values():
            if record.connection in healthy:
                if record.live or record.id not in self.seen:
                    self._stood.add((record.id, record.address or ""))
                self.seen[record.id] = replace(record, fields=dict(record.fields))
                self._glimpsed |= {(record.id, f): {record.fields.get(f)} for f in FLAGS if self.reads(record, f)}
        self._unread = {number: since for number, since in self._unread.items() if since > now
                        or self.records[self.returns[number].record or ""].connection not in healthy}
        for r in self.refusals[:upto]:
            if r.number not in self.read and r.connection in healthy and self._legible(r):
                if r.at == 0:
                    self._dated[r.number] = now
                self._reading(r)
        self._anew = {(connection, flag) for connection, flag in self._anew if connection not in healthy}
        if self._unlinked and healthy >= self.learnt.keys() | {r.connection for r in self.records.values()}:
            self._unlinked = False
            self._dated |= {r.number: now for r in self.refusals[:upto]}
        for destination in self.learnt.keys() & healthy:
            if full:
                self.touched[destination].clear()
                self.missed |= {row for row in self.undone if row[0] == destination}
        self._learn(healthy, (r for r in self.refusals if r.number in self.read))

    def told(self, refusals: Iterable[Refusal], healthy: frozenset[str]) -> None:
        """These were just heard by themselves, and all that follows from them was written wherever it could be."""
        said = [r for r in refusals if r.connection in healthy]
        for r in said:
            self._reading(r)
        self._learn(healthy, said)

    def _reading(self, r: Refusal) -> None:
        self.read.add(r.number)
        if (r.record, r.address) in self._stood:
            self._bound.add(r.number)
        elif r.inferred and r.record and not self.records[r.record].live:  # a journal does not tell whose key that was
            self.doubt(r.record)
        if r.record is None and self.separate and self.people(r.address, self._stood) > 1:
            self._nobodys.add(r.number)
        if r.flag is None:
            self._addressed.add(r.number)
            return
        record = self.records[r.record or ""]
        now, before = self._looks
        known = record.edited > before + TOLERANCE and (r.connection, r.flag) not in self._anew
        self._dated.setdefault(r.number, max(r.at, record.edited) if known else now)
        if record.address == r.address:
            self._addressed.add(r.number)

    def _learn(self, healthy: frozenset[str], refusals: Iterable[Refusal]) -> None:
        for r in refusals:
            for destination in self.learnt.keys() & healthy:
                self.learnt[destination] |= {(r.number, address) for address in self.addresses(r)
                                             if address not in self.touched[destination] and self._placed(r, address)}

    def heard(self, healthy: frozenset[str], address: str, key: str, topic: str) -> Refusal | None:
        """A refusal against mail to this key and address that whoever has just read these connections knows."""
        return next((r for r in self.refusals if r.connection in healthy and self._legible(r)
                     and (r.flag is None or address == self.records[r.record or ""].address)
                     and self.standing(r, address, topic, self.owner(key))), None)

    def _legible(self, refusal: Refusal) -> bool:
        """Whether it can be read now: a box must still be ticked, and must have looked different when it was read last."""
        if refusal.flag is None:
            return True
        record = self.records.get(refusal.record or "")
        return refusal.seen and refusal.number not in self._overlooked and record is not None and record.live \
            and self.reads(record, refusal.flag) and bool(record.fields.get(refusal.flag))

    def _placed(self, refusal: Refusal, address: str) -> bool:
        """Whether syncd has read that the refuser is at this address, or was when it read the refusal."""
        if refusal.record is None or (address == refusal.address and refusal.number in self._addressed):
            return True
        chain, record = [], self.records[refusal.record]
        while True:
            chain.append(record)
            if record.live or record.into is None:
                break
            record = self.records[record.into]
        return record.address == address and all(
            (s := self.seen.get(r.id)) is not None and (s.address, s.live, s.into) == (r.address, r.live, r.into)
            for r in chain)

    def touch(self, destination: str, address: str) -> None:
        """An ESP's user changed rows or statuses of an address there: what blocked it may be gone until the next listing."""
        self.touched[destination].add(address)
        self.learnt[destination] = {p for p in self.learnt[destination] if p[1] != address}
        self._shut = {place: number for place, number in self._shut.items()
                      if place[0] != destination or address not in (self.refusals[number].address, place[1], place[2])}
        self.doubt(address)

    # ------------------------------------------------------------------ the answers

    def forbidden(self, destination: str, address: str, key: str, topic: str) -> Refusal | None:
        """The refusal that a mail of this topic from here would break, if there is one."""
        mailed = self.owner(key)
        shut = [self._shut.get((destination, *place, topic)) for place in ((key, None), (None, address))]
        learnt = [number for number, quiet in self.learnt[destination] if quiet == address]
        return next((self.refusals[n] for n in (*shut, *learnt) if n is not None
                     and self.standing(self.refusals[n], address, topic, mailed)), None)

    def blocked(self, destination: str, topic: str) -> int:
        """How many addresses must be quiet there now."""
        return len({a for n, a in self.learnt[destination] if self.standing(self.refusals[n], a, topic)})

    def wanted(self, record: Record, topic: str, needs_opt_in: bool) -> bool:
        """Whether this record's person must get the topic: nothing about them is in doubt, every refusal that could concern
        them was surely answered by themselves, and where an opt-in is needed there is one after all of them."""
        address = record.address
        if not record.live or address is None or self.doubtful(record.id):
            return False
        component = self.component(record.id)
        if self.ambiguous(component) or {r.address for i in component if (r := self.records[i]).live} != {address}:
            return False  # one person gets one mail, at one address
        group = self._group(record.id)
        against = {r.number for r in self.refusals if topic in r.topics
                   and group in (self._group(r.address), self._group(r.record or r.address))}
        own = [r for r in self.returns if r.record == record.id and r.address == address and topic in r.topics
               and not (needs_opt_in and len(r.topics) > 1)]
        if against or needs_opt_in:
            # Who asks for one topic again has an exception from a refusal of all mail; "mail me again" is not about a topic
            # that needs its own opt-in, or had its own refusal.
            return bool(own) and against <= own[-1].answers and all(
                r.record == record.id and r.address == address and r.topics >= own[-1].topics
                for r in (self.refusals[n] for n in against))
        return True

    def asked(self, address: str, topic: str) -> bool:
        """Whether anybody who has to do with this address ever asked for the topic."""
        group = self._group(address)
        return any(topic in r.topics and group in (self._group(r.address), self._group(r.record or r.address))
                   for r in self.returns)

    def settled(self) -> Iterator[tuple[Refusal, Record]]:
        """Refusals about which nothing is in doubt, that nobody took back, of people who still have their record and
        address; each with the record. Every side has to show them once everything was delivered."""
        for r in self.refusals:
            record = self.records.get(r.record or "")
            if record is None or not record.live or record.address != r.address or r.number in self.retracted \
                    or r.number not in self.read or self.doubtful(record.id) or self.ambiguous(self.component(record.id)):
                continue
            group = self._group(record.id)
            if all(b.at <= r.at or self._group(b.address) != group for b in self.returns):
                yield r, record
