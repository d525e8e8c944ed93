"""A world in memory with one CRM and one ESP, and the batches its tests send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from connectors.memory import World, fields
from syncd.model import Batch, Field, Op, Page, StreamSpec

CONTACTS = StreamSpec("Contact", fields=(Field("email"), Field("first_name"), Field("opted_out", "bool")))
START = 1_800_000_000_000_000


def crm(world: World, name: str = "sf", **options: Any) -> None:
    world.create_crm(name, {
        "Contact": {"fields": fields("email", "first_name", "last_name", opted_out="bool", offers="bool"),
                    "master_flag": "opted_out", "topics": {"offers": "offers"}, "tracked": ["opted_out"]},
        "Lead": {"fields": fields("email", "first_name", "company")}}, **options)


def esp(world: World, name: str = "mc", **options: Any) -> None:
    audiences = {"de:OFFERS": {"fields": fields("FirstName"), "list": "4711"}}
    world.create_esp(name, {"4711": "Offers"}, audiences, **options)


def upsert(*keys: str, text: str = "Ada") -> Batch:
    return Batch("upsert", "de:OFFERS", ("FirstName",),
                 [Op(n, key, f"{key}@mail.example", (text,)) for n, key in enumerate(keys)])


def status(state: str, *keys: str, create: int = 0, container: str = "4711") -> Batch:
    return Batch("status", container, ("status", "reason", "create"),
                 [Op(n, key, f"{key}@mail.example", (state, None, create)) for n, key in enumerate(keys)])


def states(outcomes: Any) -> list[str]:
    return [o.state for o in outcomes]


def everything(pages: Iterator[Page]) -> list[tuple[Any, ...]]:
    return [row for page in pages for row in page.rows]
