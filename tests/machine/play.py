"""A play: steps carried out one after the other, and what must hold after each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from connectors.memory.sides.table import BadCall
from syncd.model import Notice
from tests.machine.acts import Acts
from tests.machine.said import Record, Refusal
from tests.machine.scenes import ALL, MINUTE, ROLES, TOPIC_OF
from tests.machine.stage import ESPS, FIELD_TOPICS, LISTS, Rows
from tests.machine.steps import Step

MAX_CONSENT_AGE = 60 * MINUTE
RUNS = frozenset({"cycle", "full", "hasty", "midway", "crash", "click", "calm"})
"""Steps in which syncd reads and writes."""


class Broken(AssertionError):
    """An invariant does not hold."""


class Play(Acts):
    """One play on one company.

    :raises Broken: from ``do``
    """

    def do(self, step: Step) -> None:
        """One step; one that makes no sense as things are does nothing."""
        self.steps.append(step)
        kind, *args = step
        if kind != "begin" and self._company is None:
            self.do_begin(0, 0, 1)
        if self._company is not None:
            self.company.advance(1.0)
            self._post()
            self._look()
            if self._ran:
                self.oracle.left()
        self._ran = kind in RUNS
        try:
            done = getattr(self, f"do_{kind}")(*args)
        except BadCall:
            done = False
        except Broken:
            raise
        except Exception as error:  # whatever happens, syncd does not fail by it
            raise Broken(f"{kind} ended with {error!r}") from error
        self.counts["steps"] += 1
        self.counts[f"{kind}{'' if done is not False else ' (idle)'}"] += 1

    # ------------------------------------------------------------------ sends

    def do_send(self, esp: str, topic: str) -> None:
        for (e, audience), t in TOPIC_OF.items():
            if (e, t) == (esp, topic):
                self._send(esp, audience)

    def _send(self, esp: str, audience: str) -> set[str]:
        """Mail an audience; every mail is judged, but those of a row that a write which the vendor has accepted takes to
        another address. Who got it."""
        topic, accepted = TOPIC_OF[esp, audience], self._accepted()
        mails = self.world.account(esp).mailing.mails
        before = len(mails)
        self._act(esp, "send", audience=audience)
        sent = [(m["key"], m["email"].casefold()) for m in mails[before:]]
        self.counts["mails judged"] += len(sent)
        self.counts["addresses that had to be quiet"] += self.oracle.blocked(esp, topic)
        for key, address in sent:
            broken = self.oracle.forbidden(esp, address, key, topic)
            if broken is not None and accepted.get((esp, audience, key), address) in (None, address):
                raise Broken(f"{esp} {audience}: {topic} reached {address} (key {key}) against {broken}")
        return {address for _, address in sent}

    # ------------------------------------------------------------------ syncd

    def do_cycle(self) -> None:
        self._cycle()

    def do_full(self) -> None:
        """One that lists everything."""
        self._cycle(full=True)

    def do_hasty(self) -> None:
        """One that leaves to the next what is still in flight."""
        self.oracle.glimpsed(self.company.now())
        self.company.cycle(wait=False)
        self._bursting()

    def do_midway(self) -> None:
        """The lanes run while the next cycle has only read: nobody is added who was heard refusing."""
        healthy, before = self._healthy(), self._rows().keys() | self._accepted().keys()
        self.oracle.glimpsed(self.company.now())
        if not self.company.midway():
            return
        for (esp, audience, key), address in self._rows().items():
            if (esp, audience, key) not in before:
                self.counts["rows added midway"] += 1
                refusal = self.oracle.heard(healthy, address, key, TOPIC_OF[esp, audience])
                if refusal is not None:
                    raise Broken(f"{esp} {audience}: {key} was added in spite of {refusal}, which had just been read")

    def do_crash(self, point: str, passing: int) -> bool:
        self.oracle.glimpsed(self.company.now())
        return self.company.cycle(crash=(point, passing)) is None

    def do_click(self, who: int, esp: str, scope: str, moment: str | None) -> None:
        """A recipient leaves, and a webhook tells it at once: between two cycles, or while one is at work."""
        address, key = self._address(who), self._link(who, esp)
        self._key(esp, address)
        if moment is None:
            self._click(address, esp, scope, key)
        else:
            self._cycle(meanwhile=(moment, lambda: self._click(address, esp, scope, key)))

    def _click(self, address: str, esp: str, scope: str, key: str | None) -> None:
        """The express way carries it everywhere before anybody sends again."""
        healthy, events, upto = self._healthy(), self.world.account(esp).esp.events.rows, len(self.oracle.refusals)
        before = set(events)
        topics = self._leave(address, esp, scope, key)
        notices = [Notice(kind, at, container, send, None, key, email, name)
                   for name, kind, container, send, key, email, at, _ in events.values() if name not in before]
        if notices and self.company.hear(esp, notices) and self.approved and not self._restored:
            self.oracle.told(self.oracle.refusals[upto:], healthy)
            self.counts["refusals told by a webhook"] += 1
            for (place, audience), topic in TOPIC_OF.items():
                if topic in topics:
                    self._send(place, audience)

    def _cycle(self, *, full: bool = False, meanwhile: tuple[str, Callable[[], None]] | None = None) -> None:
        now, healthy, before, upto = self.company.now(), self._healthy(), self._rows(), len(self.oracle.refusals)
        due = before.keys() | self._accepted().keys()
        self.oracle.glimpsed(self.company.now())
        if self.company.cycle(full=full, meanwhile=meanwhile) is None:
            return
        self._bursting()
        after = self._rows()
        self._lose_none(before, after)
        if any(now - since > MAX_CONSENT_AGE for since in self._silent.values()):
            self.counts["cycles in which grants had to wait"] += 1
            for place in after.keys() - due:
                raise Broken(f"{place} was added although a consent feed is down for long")
        if "odoo" in healthy:
            self._lifted.clear()
        self._restored = self._restored and not (full and healthy == frozenset(ROLES))
        if self.approved:
            self.oracle.cycled(healthy, now, full=full, upto=upto)

    def _lose_none(self, before: Rows, after: Rows) -> None:
        """Whoever was read at an address, and must be mailed, keeps the row, whatever fails."""
        gone = {(esp, audience, address) for (esp, audience, _), address in before.items() if audience != "de:RICH"}
        gone -= {(esp, audience, address) for (esp, audience, _), address in after.items()}
        for esp, audience, address in gone:
            topic = TOPIC_OF[esp, audience]
            for record in self.oracle.holders(address):
                read = self.oracle.seen.get(record.id)
                if topic in self._change.same and (topic == "news" or record.connection == "sf") \
                        and read is not None and read.address == address \
                        and self.oracle.wanted(record, topic, topic == "offers"):
                    raise Broken(f"{esp} {audience}: {record.id} at {address} lost the row of {topic}")

    def do_calm(self) -> None:
        """Nothing is wrong any more, an admin is there: two cycles after the last approval everybody has what they want."""
        self.do_heal()
        self.company.advance(2 * 3600.0)
        self._post()
        quiet = 0
        for turn in range(6):
            self._cycle(full=True)
            quiet = 0 if self.do_approve() else quiet + 1
            if turn >= 2 and quiet >= 2:
                break
        self.company.advance(120.0)
        self._carried()
        self._reached()

    def _reached(self) -> None:
        """Send everything, and miss nobody."""
        for (esp, audience), topic in TOPIC_OF.items():
            reached = self._send(esp, audience)
            if topic in self._change.asks:
                self._asked(esp, audience, reached)
            if audience == "de:RICH" or topic not in self._change.same:
                continue
            for record in self.oracle.records.values():
                if topic == "offers" and record.connection != "sf":
                    continue
                if self.oracle.wanted(record, topic, topic == "offers"):
                    self.counts["recipients that had to be reached"] += 1
                    if record.address not in reached:
                        raise Broken(f"{esp} {audience}: {topic} did not reach {record.id} at {record.address}")

    def _asked(self, esp: str, audience: str, reached: set[str]) -> None:
        """Where an opt-in is needed, nobody gets anything who never asked for it."""
        topic = TOPIC_OF[esp, audience]
        for address in reached:
            if (esp, audience, address) not in self._kept and not self.oracle.doubtful(address) \
                    and not self.oracle.asked(address, topic):
                raise Broken(f"{esp} {audience}: {topic} reached {address}, who never asked for it")

    def _carried(self) -> None:
        """Every side shows every refusal: no row, the blocking status, the flag. What an ESP's user took out stays out."""
        if self._doubles():
            self._cycle(full=True)  # a row leaves only after the next one has come: of two keys given up at once, one by one
        for esp, audience, address in self._doubles():
            raise Broken(f"{esp} {audience}: {address} has too many rows")
        rows = self._rows()
        for row in self.oracle.undone:
            self.counts["rows taken out by hand"] += 1
            if row in rows:
                raise Broken(f"{row} was taken out by hand and came back")
        for refusal, record in self.oracle.settled():
            self.counts["refusals that had to be carried"] += 1
            for (esp, audience, key), address in rows.items():
                if address == refusal.address and TOPIC_OF[esp, audience] in refusal.topics:
                    raise Broken(f"{esp} {audience}: the row of {key} is left in spite of {refusal}")
            for esp in ESPS:
                self._blocked_at(esp, refusal)
            self._on_the_blacklist(refusal, record)
            flag = "opted_out" if refusal.topics == ALL else "no_news"
            if record.id not in self._unticked and refusal.topics in (ALL, FIELD_TOPICS["no_news"]) \
                    and self.oracle.reads(record, flag) and not self._meet(record.connection, record.id).fields[flag]:
                raise Broken(f"{record.id} does not show {refusal}")

    def _doubles(self) -> list[tuple[str, str, str]]:
        """(ESP, audience, address) where somebody has more than one row, and there is no reason for it."""
        counts = Counter((esp, audience, address) for (esp, audience, _), address in self._rows().items())
        return [place for place, count in counts.items() if count > max(1, self.oracle.people(place[2]))
                and not self._lost and not self.oracle.doubtful(place[2])]

    def _on_the_blacklist(self, refusal: Refusal, record: Record) -> None:
        if self.scene.blacklist and refusal.topics == ALL and record.connection == "odoo" \
                and refusal.address not in self._unlisted and not self._stopped("odoo", refusal.address):
            raise Broken(f"odoo: {refusal.address} is not on the blacklist in spite of {refusal}")

    def _blocked_at(self, esp: str, refusal: Refusal) -> None:
        side = self.world.account(esp).esp
        containers, name = side.containers, "" if refusal.topics == ALL else LISTS[next(iter(refusal.topics))][esp]
        for key in (refusal.record, refusal.address):
            if not name and key == refusal.address and side.blocked(key):
                continue
            state = containers[""].rows.get(key)
            if state is not None and state.email.casefold() == refusal.address:
                member = containers[name].rows.get(key)
                if member is None or member.status == "subscribed":
                    raise Broken(f"{esp}: {key} is not blocked in {name or 'all mail'} in spite of {refusal}")


def run(steps: Iterable[Step], counts: Counter[str] | None = None) -> Broken | None:
    """Play these steps; the invariant they break, if they break one."""
    play = Play(counts)
    try:
        for step in steps:
            play.do(step)
    except Broken as broken:
        return broken
    finally:
        play.close()
    return None
