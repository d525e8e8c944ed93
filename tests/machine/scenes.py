"""The scenes of a play: the vendors as they are before syncd is installed, and the mappings it runs with."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from connectors.memory.client import fields
from connectors.memory.world import World
from mappings.loader import load_mapping
from mappings.model import Mapping as MappingFile
from syncd.guard import Limits
from tests.system.lab import AUDIENCES, SEGMENT
from tests.system.lab import TOPICS as TOPICS_TEXT

START = 1_750_000_000_000_000
MINUTE = 60_000_000
ROLES = {"sf": "crm", "odoo": "crm", "mc": "esp", "late": "esp"}
OBJECTS = {"sf": "Contact", "odoo": "Partner"}


class Topic(NamedTuple):
    """A topic, the list and the audiences that stand for it at each ESP."""

    id: str
    lists: dict[str, str]
    audiences: dict[str, tuple[str, ...]]


TOPICS = (
    Topic("offers", {"mc": "L1", "late": "M1"}, {"mc": ("de:OFFERS", "de:RICH"), "late": ("de:OFFERS",)}),
    Topic("news", {"mc": "L2", "late": "M2"}, {"mc": ("de:NEWS",), "late": ("de:NEWS",)}),
)
ALL = frozenset(t.id for t in TOPICS)
TOPIC_OF = {(esp, audience): t.id for t in TOPICS for esp, names in t.audiences.items() for audience in names}


class Scene(NamedTuple):
    """What is different from one company to another. ``most``: rows that a page of any vendor, and operations that a call to
    one, have at most; None = more than there are. ``separate``: records that share an address are not one person for it.
    ``unread``: a consent field (connection, field, its line in the mapping) that only one of the mappings names."""

    name: str
    blacklist: bool = False
    tracked: tuple[str, ...] = ()
    by_email: bool = False
    keyed_by: str = "key"
    burst_most: int = Limits().burst_most
    most: int | None = None
    separate: bool = False
    unread: tuple[str, str, str] | None = None


SCENES = (
    Scene("as most companies are"),
    Scene("Odoo has its blacklist, and Salesforce keeps field history", blacklist=True,
          tracked=("opted_out", "no_news", "offers")),
    Scene("one ESP's subscriber keys are addresses, the other knows nothing else", by_email=True, keyed_by="address"),
    Scene("three opt-outs at once are a burst", burst_most=2),
    Scene("two rows are a page, and two writes a call", most=2),
    Scene("who shares an address is somebody else", separate=True),
    Scene("a consent field is mapped later, and two rows are a page", most=2, unread=(
        "sf", "no_news", '      sf.Contact: {field: no_news, "true": opt_out, "false": unknown, holds: opt_out_only}\n')),
)

class Change(NamedTuple):
    """What admins change in the mapping: pieces of text, and what replaces each. ``same``: topics that whoever wanted them
    before gets as before; ``asks``: topics that need an opt-in now; ``ids``: topics that have another id now; ``rekeyed``:
    one ESP's subscriber keys are of the other sort; ``reads``: the field is named that
    a scene's other mappings leave out."""

    name: str
    edits: tuple[tuple[str, str], ...] = ()
    same: frozenset[str] = ALL
    asks: frozenset[str] = frozenset()
    ids: Mapping[str, str] = MappingProxyType({})
    rekeyed: bool = False
    reads: bool = False


NEWS = frozenset({"news"})
MAPPINGS = (
    Change("as it was"),
    Change("a segment's rule is another", (("spent > 100", "spent > 500"),)),
    Change("news needs an opt-in", (("opt_in: none", "opt_in: required"),), ALL - NEWS, NEWS),
    Change("a filter", (("sf.Contact: {attributes", "sf.Contact: {where: spent > 20, attributes"),), frozenset()),
    Change("news have another id", (
        ("  news:\n    name: News\n    was: [letters]", "  letters:\n    name: News\n    was: [news]"),
        ("      news: {publication_list", "      letters: {publication_list")), ids=MappingProxyType({"news": "letters"})),
    Change("other keys", rekeyed=True),
    Change("a field more", reads=True),
)

_PEOPLE = """
people:
  identity: [crm_id, email]
  same_email: one_person
  sources:
    sf.Contact: {attributes: {email: email, first_name: first_name, last_name: last_name, spent: spent}}
    odoo.Partner: {attributes: {email: email, first_name: first_name, last_name: last_name}}
"""

_MAPPING = _PEOPLE + TOPICS_TEXT.replace("    name: News\n", "    name: News\n    was: [letters]\n") + """\
      odoo.Partner: {field: no_news, "true": opt_out, "false": unknown, holds: opt_out_only}
segments:
  rich: {topic: offers, where: "spent > 100"}
destinations:
  mc:
    connection: mc
    subscriber_key: {value: MC_KEY, existing: match_email}
    unknown_subscriber: skip
""" + AUDIENCES + SEGMENT + """\
  late:
    connection: late
    subscriber_key: {value: crm_id, existing: match_email}
    unknown_subscriber: create_unsubscribed
""" + AUDIENCES.replace("L1", "M1").replace("L2", "M2")

_PERSON = fields("email", "first_name", "last_name", opted_out="bool", no_news="bool")
_CONTACT = [*_PERSON, *fields("offers_how", offers="bool", offers_at="instant", spent="decimal")]


@cache
def mapping(number: int, scene: Scene = SCENES[0]) -> MappingFile:
    """One of ``MAPPINGS`` in a scene, loaded."""
    change = MAPPINGS[number]
    text = _MAPPING.replace("MC_KEY", "email" if scene.by_email != change.rekeyed else "crm_id")
    if scene.separate:
        text = text.replace("same_email: one_person", "same_email: separate")
    left_out = () if scene.unread is None or change.reads else ((scene.unread[2], ""),)
    for old, new in (*left_out, *change.edits):
        assert old in text, change.name
        text = text.replace(old, new)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "mapping.yaml"
        path.write_text(text, encoding="utf-8")
        return load_mapping([path])


def new_world(scene: Scene) -> World:
    """The vendors before syncd is installed: ten records of eight people, two of them with refusals in their past."""
    world = World(seed=1, start=START)
    sizes: dict[str, Any] = {} if scene.most is None else {
        "page_size": scene.most, "batch": dict.fromkeys(("upsert", "remove", "status", "update"), scene.most)}
    world.create_crm("sf", {"Contact": {"fields": _CONTACT, "master_flag": "opted_out",
                                        "topics": {"offers": "offers", "news": "no_news"}, "tracked": list(scene.tracked)}},
                     **sizes)
    world.create_crm("odoo", {"Partner": {"fields": _PERSON, "master_flag": "opted_out", "topics": {"news": "no_news"}}},
                     blacklist=scene.blacklist, **sizes)
    name, amount = fields("first_name"), fields(spent="decimal")
    world.create_esp("mc", {"L1": "L1", "L2": "L2"}, {
        "de:OFFERS": {"fields": name, "list": "L1"}, "de:NEWS": {"fields": name, "list": "L2"},
        "de:RICH": {"fields": amount, "list": "L1"}}, **sizes)
    world.create_esp("late", {"M1": "M1", "M2": "M2"}, {
        "de:OFFERS": {"fields": name, "list": "M1"}, "de:NEWS": {"fields": name, "list": "M2"}},
        asynchronous=["upsert"], late_seconds=60.0, late_polls=1, reorder=True, keyed_by=scene.keyed_by, **sizes)
    for n in range(6):
        spent = "900.00" if n % 2 else "50.00"
        values = contact(n, offers=int(n != 5), opted_out=int(n == 4), spent=spent)
        if scene.separate and n == 3:
            values["email"] = contact(2)["email"]
        if scene.unread is not None and n == 1:
            values[scene.unread[1]] = 1
        world.load("sf", "Contact", [values])
    for n in (0, 6, 7):
        world.load("odoo", "Partner", [partner(n, no_news=int(n == 7))])
    return world


NAMES = ("ann", "bob", "cleo", "dan", "eve", "finn", "gus", "hal", "ida", "jon", "kim", "lea", "max", "nora")


def contact(n: int, **values: Any) -> dict[str, Any]:
    """A contact at Salesforce who asked for offers on the web long ago."""
    return {**partner(n), "offers": 1, "offers_at": START - 86_400_000_000, "offers_how": "web", "spent": "50.00", **values}


def partner(n: int, **values: Any) -> dict[str, Any]:
    """A partner at Odoo."""
    name = NAMES[n % len(NAMES)]
    return {"email": f"{name}@mail.example", "first_name": name.capitalize(), "last_name": "Doe", "opted_out": 0,
            "no_news": 0, **values}


