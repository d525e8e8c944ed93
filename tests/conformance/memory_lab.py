"""Hands in a world in memory, and the connectors to it."""

from __future__ import annotations

import itertools
from typing import Any

from connectors.memory import World, fields
from syncd.model import Field, StreamSpec
from tests.conformance.lab import AudienceLab, Lab, RecordLab, StatusLab

_numbers = itertools.count(1)


class MemoryLab(Lab):
    """Hands in a world."""

    def __init__(self, world: World, kind: str) -> None:
        self.world = world
        self.name = f"{kind}{next(_numbers)}"
        self.connector = world.connector(self.name)

    def settle(self) -> None:
        self.world.tick()

    def throttle(self, seconds: int) -> None:
        self.world.fault("throttle", connection=self.name, seconds=seconds)

    def revoke(self) -> None:
        self.world.fault("unauthorised", connection=self.name, count=None)

    def break_read(self) -> None:
        self.world.fault("outage", connection=self.name, verb="changes")

    def lose_reply(self, kind: str) -> None:
        self.world.fault("lose_reply", connection=self.name, verb="apply")


class CrmLab(MemoryLab, RecordLab):
    """A CRM whose changes become visible late, out of order, and are read again with an overlap."""

    spec = StreamSpec("Contact", fields=(Field("email"), Field("first_name"), Field("opted_out", "bool")))
    email, text, flag, writable = "email", "first_name", "opted_out", "first_name"
    unknown_id = "0035f9999999999AAA"

    def __init__(self, world: World, **options: Any) -> None:
        super().__init__(world, "crm")
        world.create_crm(self.name, {"Contact": {
            "fields": fields("email", first_name={"type": "text", "length": 80}, opted_out="bool"),
            "master_flag": "opted_out", "tracked": ["opted_out"]}}, **{"page_size": 3, **options})

    def create(self, email: str, text: str) -> str:
        made = self.world.act(self.name, "create", object="Contact", set={"email": email, "first_name": text})
        return str(made["id"])

    def edit(self, id: str, text: str) -> None:
        self.world.act(self.name, "edit", object="Contact", id=id, set={"first_name": text})

    def delete(self, id: str) -> None:
        self.world.act(self.name, "delete", object="Contact", id=id)

    def merge(self, loser: str, winner: str) -> None:
        self.world.act(self.name, "merge", object="Contact", id=loser, into=winner)

    def opt_out(self, id: str) -> None:
        self.world.act(self.name, "edit", object="Contact", id=id, set={"opted_out": 1})


class EspLab(MemoryLab, StatusLab, AudienceLab):
    """An ESP."""

    containers = ("", "4711", "4712")
    audience, columns = "de:OFFERS", ("FirstName", "Spent")

    def __init__(self, world: World, **options: Any) -> None:
        super().__init__(world, "esp")
        audience = {"fields": fields(FirstName={"type": "text", "length": 80}, Spent="decimal"), "list": "4711"}
        world.create_esp(self.name, ["4711", "4712"], {"de:OFFERS": audience}, **{"page_size": 3, **options})

    def join(self, key: str, email: str) -> str:
        for container in self.containers:
            self.world.act(self.name, "import", list=container, members={key: email})
        return email if self.connector.capabilities.keyed_by == "address" else key

    def unsubscribe(self, key: str, email: str, container: str) -> None:
        self.world.act(self.name, "unsubscribe", email=email, list=container)
