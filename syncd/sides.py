"""What a side cannot hold of the mapping's consent. Nothing wider is written there instead: the ledger holds it, and every
list of that person follows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mappings.model import Mapping as MappingFile
from mappings.model import StreamName


class Unheld(NamedTuple):
    """A connection, and in a sentence what it has no place for; ``remedy`` may be empty."""

    connection: str
    message: str
    remedy: str


def unheld(mapping: MappingFile) -> Iterator[Unheld]:
    """By connection: topics that it has no field and no list for."""
    crms = dict.fromkeys(StreamName.parse(stream).connection for stream in mapping.people.sources)
    delivered = {d.connection for d in mapping.destinations.values()}
    for connection in crms:
        if connection in delivered:
            continue
        for topic in mapping.topics.values():
            held = connection in topic.lists or any(
                StreamName.parse(f.stream).connection == connection for f in topic.fields.values())
            if not held:
                yield Unheld(connection, f'It has no place for the topic "{topic.id}": who leaves it is not shown there, '
                             "and nobody can leave it there.", 'Name a field or a list under "consent" of the topic.')
    for destination in mapping.destinations.values():
        for delivery in destination.topics.values():
            if delivery.publication_list is None:
                yield Unheld(destination.connection, f'It has no list for the topic "{delivery.topic}": who leaves it only '
                             "loses the row, and a click there means all mail.", 'Name a "publication_list".')
        yield Unheld(destination.connection, "It holds a stop of all mail without exceptions: who stopped all and then came "
                     "back to one topic is Active there, with the lists of all other topics shut.",
                     "Give every commercial send a list of the mapping: a send without one asks nobody's lists.")
