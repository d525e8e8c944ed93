"""A company in memory whose commands are killed, and whose state can be gone back to."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from connectors.memory.client import World
from tests.faults.killing import Driver, Memory, intact
from tests.unit import cli_lab

KEY = b"0123456789abcdef0123456789abcdef"
COUNTED = "entries"
TRANSACTION, JOURNAL, TORN, MOVED = "transaction", "state.journal.Journal.append", "torn", "os.replace"
"""Behind which a process dies: a transaction; a line of the journal, before its transaction commits; half of such a line, as
the machine went down, too; a file put in the place of another."""


def dying(place: str, number: int) -> dict[str, Any]:
    """A request's words for dying when ``place`` was passed for the ``number``-th time; a plain name is a failpoint."""
    if place == TRANSACTION:
        return {"transactions": number}
    if place == TORN:
        place = JOURNAL
    return {"calls": [place, number]} if "." in place else {"failpoint": f"{place}:{number}"}


class Commands:
    """Runs the commands of a company as a shell would, and may have them die."""

    def __init__(self, company: cli_lab.Lab, driver: Driver) -> None:
        self._company = company
        self._driver = driver
        self.kills: Counter[str] = Counter()

    def start(self, *words: str, fine: tuple[int, ...] = (0,), **how: Any) -> Any:
        return self._driver.run(words=["--config", str(self._company.config), *words, "--json"], fine=fine,
                                log=str(self._company.directory / "messages.log"), **how)

    def die(self, place: str, number: int, *words: str, **how: Any) -> bool:
        """Start a command that is to die somewhere; whether it did."""
        killed = bool(self.start(*words, **how, **dying(place, number))["killed"])
        self.kills[place] += killed
        if killed and place == TORN:
            whole = self.journal.read_bytes()
            begin = whole.rindex(b"\n", 0, -1) + 1
            os.truncate(self.journal, begin + (len(whole) - begin) // 2)
        return killed

    @property
    def state(self) -> Path:
        return self._company.directory / "state" / "syncd.db"

    @property
    def journal(self) -> Path:
        return self._company.directory / "journal" / "consent.log"


class Town(Commands, cli_lab.Lab):
    """A company in memory whose state can be gone back to."""

    def __init__(self, directory: Path, world: World, driver: Driver) -> None:
        cli_lab.Lab.__init__(self, directory, world)
        Commands.__init__(self, self, driver)

    # ------------------------------------------------------------------ back to where it was

    def keep(self) -> None:
        """Remember state and journal as they are now."""
        for name in ("state", "journal"):
            shutil.copytree(self.directory / name, self.directory / f"{name}.kept", ignore=shutil.ignore_patterns("*.sock"))

    def back(self) -> None:
        """State and journal as they were kept. The world goes on."""
        for name in ("state", "journal"):
            shutil.rmtree(self.directory / name)
            shutil.copytree(self.directory / f"{name}.kept", self.directory / name)

    def everywhere(self, *words: str, places: tuple[str, ...] = (TRANSACTION, JOURNAL), **how: Any) -> Iterator[str]:
        """From the kept state, run the command once for each passing of each of the ``places``, and die there. Each yield
        is such a death."""
        for place in places:
            for number in count(1):
                self.back()
                if not self.die(place, number, *words, **how):
                    break
                yield f"{place} {number}"

    # ------------------------------------------------------------------ what is known

    def memory(self) -> Memory:
        """What the state knows, and of statements how many there are; the file is whole and the chain good."""
        found = intact(self.state, self.journal, KEY, 0)
        found[COUNTED] = {tuple(self.ask("consent", "verify").values())[:1]}
        return found


@contextmanager
def town(directory: Path, driver: Driver, *, people: int = cli_lab.PEOPLE, mapping: str = cli_lab.MAPPING,
         seed: int = 3) -> Iterator[Town]:
    """A company in ``directory``, linked: the first plan was approved and carried out."""
    directory.mkdir(exist_ok=True)
    with World.start(seed=seed) as world:
        made = Town(directory, world, driver)
        made.build(people, batch={"upsert": 4, "remove": 2, "status": 2})
        made.write(mapping=mapping)
        made.ask("once", "--approve")
        yield made
