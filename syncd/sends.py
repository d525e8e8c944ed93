"""What a connection's lists, audiences and sends mean in the mapping's words, and which sends were made wrongly."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import orjson

from mappings.model import Campaign, Destination
from mappings.model import Mapping as MappingFile
from state.queries import load
from state.sends import Send, of_row, stands_for, stood_for
from state.store import Store
from syncd.model import Micros, ObjectInfo

RECENT: Micros = 30 * 86_400_000_000
"""For how long a send that was made wrongly is told about."""

CHANGING: Micros = 86_400_000_000
"""For how long after the mapping came to say otherwise a mail may still be about what it was before."""


@dataclass(frozen=True, slots=True)
class Containers:
    """What a connection's lists, audiences and sends stand for.

    topics     list -> its topics
    adopt      lists of which who is in them when they are first read has opted in
    audiences  audience, case-folded -> its topic
    campaigns  (pattern of a send's name, its topics); no topics = a campaign that is no concern of the mapping's
    unit       the business unit that a stop of all mail here is limited to, None = it stops all mail everywhere
    ids        id of a topic, today's or a former one -> today's
    former     what all of it stood for until an instant, the earliest first
    """

    connection: int
    name: str
    topics: Mapping[str, tuple[str, ...]]
    adopt: frozenset[str] = frozenset()
    audiences: Mapping[str, str] = field(default_factory=dict)
    campaigns: tuple[tuple[str, tuple[str, ...]], ...] = ()
    unit: str | None = None
    ids: Mapping[str, str] = field(default_factory=dict)
    former: tuple[tuple[Micros, Containers], ...] = ()

    def scope(self, container: str | None) -> list[tuple[str, str | None]] | None:
        """(level, topic) of each thing a container means; None where the mapping does not know it."""
        if not container:
            return [("master", None)]
        topics = self.topics.get(container)
        return [("topic", t) for t in topics] if topics else None

    def meaning(self, container: str | None, send: Send | None) -> tuple[str, ...] | None:
        """The topics that somebody leaves by leaving ``container`` from a mail of ``send``; () = none of the mapping's,
        None = nobody can tell.

        List, audience and name all count: a mail of one topic may have gone through the list of another. So does what they
        stood for when the mail was sent: its reader leaves what it was about.
        """
        now = self._now(container, send)
        then = [topic for known in (self._then(send.at) if send is not None else ())
                for topic in known._now(container, send) or ()]
        return tuple(dict.fromkeys([*(now or ()), *(self.ids[topic] for topic in then if topic in self.ids)])) or now

    def _now(self, container: str | None, send: Send | None) -> tuple[str, ...] | None:
        found = [*self.topics.get(container or "", ())]
        named: list[tuple[str, ...]] = []
        if send is not None:
            named = [topics for pattern, topics in self.campaigns if _fits(pattern, send)]
            found += [t for name in sorted(send.containers) for t in self.topics.get(name, ())]
            found += [self.audiences[a] for a in sorted(map(str.casefold, send.audiences)) if a in self.audiences]
            found += [topic for topics in named for topic in topics]
        if found or send is None:
            return tuple(dict.fromkeys(found)) or None
        # Where the vendor tells both the list and the audiences of a send, and none is ours, it was about something else.
        return () if named or (send.audiences and (send.containers or container)) else None

    def _then(self, at: Micros | None) -> Iterator[Containers]:
        """What was meant by a mail that was sent at an instant; by one that was sent nobody knows when, whatever was ever
        meant. Who changes the mapping changes the mails about then."""
        since: Micros | None = None
        for until, known in self.former:
            if at is None or ((since is None or since < at) and at - CHANGING < until):
                yield known
            since = until

    def content(self) -> str:
        """What its lists, audiences and sends stand for: JSON that ``_of_content`` reads."""
        return orjson.dumps([self.topics, self.audiences, self.campaigns], option=orjson.OPT_SORT_KEYS).decode()


def remembering(store: Store, known: Containers, now: Micros) -> Containers:
    """The same, knowing what the mappings before this one said; that one is remembered for those to come."""
    content = known.content()
    with store.reading() as conn:
        former = stood_for(conn, known.connection)
    if former.pop(0, None) != content:
        def job(conn: Any) -> dict[int, str]:
            stands_for(conn, known.connection, content, now)
            return stood_for(conn, known.connection)
        former = store.write(job)
        del former[0]
    return replace(known, former=tuple((until, _of_content(known, text)) for until, text in former.items()))


def _of_content(known: Containers, content: str) -> Containers:
    topics, audiences_, named = orjson.loads(content)
    return Containers(known.connection, known.name, {c: tuple(ts) for c, ts in topics.items()}, audiences=audiences_,
                      campaigns=tuple((pattern, tuple(ts)) for pattern, ts in named))


def ids(mapping: MappingFile) -> dict[str, str]:
    """Id of a topic, today's or a former one -> today's."""
    return {**{former: t.id for t in mapping.topics.values() for former in t.was}, **{t: t for t in mapping.topics}}


def _fits(pattern: str, send: Send) -> bool:
    wanted = re.compile(".*".join(map(re.escape, pattern.split("*"))), re.IGNORECASE | re.DOTALL)
    return any(name is not None and wanted.fullmatch(name) for name in (send.name, send.definition))


def campaigns(mapping: MappingFile) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Each pattern of the mapping's campaigns with the topics it stands for."""
    return tuple((pattern, _topics(mapping, c)) for c in mapping.campaigns.values() for pattern in c.sends)


def _topics(mapping: MappingFile, campaign: Campaign) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*campaign.topics, *(mapping.segments[s].topic for s in campaign.segments)]))


def audiences(mapping: MappingFile, connection: str) -> dict[str, str]:
    """Audience, case-folded -> topic, over the destinations at a connection."""
    found: dict[str, str] = {}
    for d in mapping.destinations.values():
        if d.connection == connection:
            found |= {t.audience.object.casefold(): t.topic for t in d.topics.values() if t.audience is not None}
            found |= {s.audience.object.casefold(): mapping.segments[s.segment].topic for s in d.segments.values()}
    return found


# --------------------------------------------------------------------------- sends made wrongly

Fault = tuple[Literal["error", "warning"], str, str]
"""(level, sentence, remedy). An error: unsubscribes may go astray."""


class Wrong(NamedTuple):
    """A send that was not made as the mapping needs it."""

    connection: str
    send: str
    name: str | None
    at: Micros | None
    level: str
    message: str
    remedy: str


def wrong(store: Store, mapping: MappingFile, since: Micros) -> list[Wrong]:
    """What is wrong with the sends since an instant, newest first."""
    found: list[Wrong] = []
    for connection, *row in store.rows(load("sends")["since"], (since,)):
        found += _judge(mapping, connection, of_row(row))
    return found


def _judge(mapping: MappingFile, connection: str, send: Send) -> Iterator[Wrong]:
    for destination in mapping.destinations.values():
        if destination.connection == connection:
            for level, message, remedy in _faults(mapping, destination, send):
                yield Wrong(connection, send.send, send.name, send.at, level, message, remedy)


def defined(mapping: MappingFile, destination: Destination, info: ObjectInfo) -> Iterator[Fault]:
    """What is wrong with a definition of sends, an object "send:<key>"."""
    told = info.properties
    yield from _faults(mapping, destination, of_row((
        info.name, info.label, info.name.removeprefix("send:"), told.get("containers"), told.get("audiences"),
        told.get("classification"), None)))


def _faults(mapping: MappingFile, destination: Destination, send: Send) -> Iterator[Fault]:
    """(level, sentence, remedy) for each fault of a send, or of a definition of sends."""
    lists = {t.topic: t.publication_list for t in destination.topics.values() if t.publication_list is not None}
    known = audiences(mapping, destination.connection)
    read = {known[a] for a in map(str.casefold, send.audiences) if a in known}
    named = [c for c in mapping.campaigns.values() if any(_fits(pattern, send) for pattern in c.sends)]
    meant = {topic for c in named for topic in _topics(mapping, c)} & {*lists, *known.values()}
    through = {topic for topic, list_ in lists.items() if list_ in send.containers}
    # A journey's mail, as a guided send, has a list and a name, and no audience that the provider tells.
    for topic in sorted(read or (set() if through & meant else meant)):
        if topic in lists and topic not in through:
            yield ("error", f'Mail of the topic "{topic}" goes out without its publication list {lists[topic]}: who has '
                   "left the topic gets it, and who leaves by it leaves something else.",
                   f"Choose the publication list {lists[topic]} in the send.")
    if send.classification == "transactional":
        for topic in sorted(read | meant or through):
            if mapping.topics[topic].purpose == "marketing":
                yield ("warning", f'Mail of the marketing topic "{topic}" goes out as transactional: it reaches people who '
                       "opted out.", "Choose a commercial send classification.")
    for campaign in named:
        if send.classification == "commercial" and campaign.classification == "transactional":
            yield ("warning", f'Mail of the campaign "{campaign.id}", which is transactional by the mapping, goes out as '
                   "commercial: who stopped all marketing does not get it.",
                   "Choose a transactional send classification, or correct the mapping.")
