"""A company of which one process after another is killed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from connectors.memory.client import World, fields
from tests.faults import driver
from tests.faults.killing import (
    Driver,
    Memory,
    intact,
)
from tests.system.lab import CONTACT, MAPPING, NEWS, OFFERS, RICH, START, TOP

PEOPLE = 14
LISTS = {OFFERS: "L1", RICH: "L1", TOP: "L1", NEWS: "L2"}


class Company:
    """A world, the state of a syncd, and what happens in each round: the same for every company, killed or not."""

    def __init__(self, driver: Driver, directory: Path) -> None:
        directory.mkdir()
        self.driver, self.directory = driver, directory
        # Everyone who refuses gets a status there, so that the end does not depend on how far her row had come.
        text = MAPPING.replace("unknown_subscriber: skip", "unknown_subscriber: create_unsubscribed")
        (directory / "mapping.yaml").write_text(text, encoding="utf-8")
        self.world = World.start(seed=3, start=START)
        self.world.create_crm("sf", {"Contact": {"fields": CONTACT, "master_flag": "opted_out"}}, page_size=6,
                              batch={"update": 2})
        name, decimal = fields("first_name"), fields(spent="decimal")
        self.world.create_esp("mc", ["L1", "L2"], {
            OFFERS: {"fields": name, "list": "L1"}, NEWS: {"fields": name, "list": "L2"},
            RICH: {"fields": decimal, "list": "L1"}, TOP: {"fields": decimal, "list": "L1"}},
            asynchronous=["upsert"], late_seconds=40.0, page_size=6, batch={"upsert": 4, "remove": 2, "status": 2})
        self.ids: list[str] = []
        self.refused: set[tuple[str, str]] = set()
        """(audience, address) of what was refused and carried out on every side: never mailed again."""
        self.pending: set[tuple[str, str]] = set()
        """The same, said in this round."""
        self.add(PEOPLE)

    def add(self, count: int) -> None:
        start = len(self.ids)
        self.ids += self.world.load("sf", "Contact", [
            {"email": f"p{n}@mail.example", "first_name": f"P{n}", "last_name": "Doe", "opted_out": 0, "offers": 1,
             "no_news": 0, "spent": f"{n * 17 % 200}.00"} for n in range(start, start + count)])

    def edit(self, n: int, **values: Any) -> None:
        self.world.act("sf", "edit", object="Contact", id=self.ids[n], set=values)

    def cycle(self, failpoint: str = "", **options: Any) -> dict[str, Any]:
        return self.driver.run(world=self.world.address, directory=str(self.directory), failpoint=failpoint, **options)

    # ------------------------------------------------------------------ what happens

    def first_acts(self, n: int) -> None:
        """Before the round's first cycle."""
        rng = random.Random(n)
        self.add(1)
        self.edit(rng.randrange(4), first_name=f"Name {n}")
        self.edit(rng.randrange(4), spent=f"{rng.randrange(300)}.50")
        self.edit(4 + n % 8, no_news=1)
        self._refuse(f"p{4 + n % 8}@mail.example", NEWS)
        if n % 4 == 2:
            self.world.act("sf", "delete", object="Contact", id=self.ids[-2])
        if n % 4 == 3:
            self.edit(3, email=f"moved{n}@mail.example")

    def later_acts(self, n: int) -> None:
        """While the round's first cycle is dead."""
        if n % 2:
            self.world.act("mc", "unsubscribe", email=f"p{5 + n % 8}@mail.example", list="L1")
            self._refuse(f"p{5 + n % 8}@mail.example", OFFERS, RICH, TOP)
        elif n in (4, 8):
            self.world.act("mc", "unsubscribe", email=f"p{9 + n // 4}@mail.example")
            self._refuse(f"p{9 + n // 4}@mail.example", OFFERS, RICH, TOP, NEWS)
        if n % 3:
            # Somebody so new that her row may still be on its way.
            self.edit(-1, no_news=1)
            self._refuse(f"p{len(self.ids) - 1}@mail.example", NEWS)
        if n == 6:
            self.world.act("sf", "merge", object="Contact", id=self.ids[12], into=self.ids[2])

    def _refuse(self, address: str, *audiences: str) -> None:
        self.pending |= {(audience, address) for audience in audiences}

    def end_of_round(self) -> str:
        """Everything was carried out: mail everyone, and say what the world is like."""
        self.refused |= self.pending
        self.pending = set()
        for audience in LISTS:
            mailed = self.world.send("mc", audience)["mailed"]
            assert not {(audience, address) for address in mailed} & self.refused
        self.world.tick(0, 3600)
        return self.world.digest()

    def nobody_who_refused_would_be_mailed(self) -> None:
        """At any instant, also between a kill and the restart."""
        truth = self.world.truth()["mc"]
        statuses = {s["key"]: s for s in truth["subscribers"]}
        for audience, through in LISTS.items():
            for row in truth["audiences"][audience]["rows"]:
                s = statuses.get(row["key"], {"status": "subscribed", "topics": {}})
                silent = s["status"] in ("unsubscribed", "held") or s["topics"].get(through) == "unsubscribed"
                assert silent or (audience, row["email"]) not in self.refused

    def memory(self) -> Memory:
        return intact(self.directory / "state.db", self.directory / "journal.log", driver.HASH_KEY, PEOPLE)

    def close(self) -> None:
        self.world.close()


@contextmanager
def company(driver: Driver, directory: Path, sort: type[Company] = Company) -> Iterator[Company]:
    found = sort(driver, directory)
    try:
        yield found
    finally:
        found.close()
