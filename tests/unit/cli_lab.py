"""A world in memory with a configuration beside it, for the tests of command line and daemon."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from connectors.memory import World, fields
from syncd.cli import main
from tests.system.lab import DESTINATION

ROOT = Path(__file__).resolve().parents[2]
PEOPLE = 40

MAPPING = """\
people:
  identity: [crm_id, email]
  same_email: one_person
  sources:
    sf.Contact: {attributes: {email: email, first_name: first_name, spent: spent}}
topics:
  offers:
    name: Offers
    purpose: marketing
    opt_in: required
    consent:
      sf.Contact: {field: offers, "true": opt_in, "false": unknown}
  news:
    name: News
    purpose: marketing
    opt_in: none
segments:
  rich: {topic: offers, where: "spent > 100"}
  top: {topic: news, order_by: "spent desc", limit: 3, expected_churn: 30%}
""" + DESTINATION

CONFIG = """\
state: state/syncd.db
journal: journal/consent.log
hash_key: ${{file:hash_key}}
mappings: [mapping.yaml]
connections:
  sf: {{type: memory, socket: {socket}, name: sf}}
  mc: {{type: memory, socket: {socket}, name: mc}}
schedule: {{poll: {poll}}}
"""


class Lab:
    """A directory with syncd.yaml, mapping.yaml and hash key, and the world they point at."""

    def __init__(self, directory: Path, world: World) -> None:
        self.directory = directory
        self.world = world
        self.config = directory / "syncd.yaml"
        self.root = ROOT
        self.ids: list[str] = []

    def write(self, *, poll: str = "60s", mapping: str = MAPPING) -> None:
        for name in ("state", "journal"):
            (self.directory / name).mkdir(mode=0o700, exist_ok=True)
        (self.directory / "hash_key").write_text("0123456789abcdef0123456789abcdef\n")
        (self.directory / "mapping.yaml").write_text(mapping)
        self.config.write_text(CONFIG.format(socket=self.world.address, poll=poll))

    def build(self, people: int = PEOPLE, **esp: Any) -> None:
        """A CRM with people of whom every second opted in to offers, and an empty ESP, which has options."""
        self.world.create_crm("sf", {"Contact": {
            "fields": fields("email", "first_name", opted_out="bool", offers="bool", spent="decimal"),
            "master_flag": "opted_out", "topics": {"offers": "offers"}}})
        self.ids = self.world.load("sf", "Contact", [
            {"email": f"p{i}@example.org", "first_name": f"Name{i}", "opted_out": 0, "offers": i % 2,
             "spent": f"{i * 10}.00"} for i in range(people)])
        named, spent = fields("first_name"), fields(spent="decimal")
        self.world.create_esp("mc", ["L1", "L2"], {
            "de:OFFERS": {"fields": named, "list": "L1"}, "de:NEWS": {"fields": named, "list": "L2"},
            "de:RICH": {"fields": spent, "list": "L1"}, "de:TOP": {"fields": spent, "list": "L2"}}, **esp)

    def run(self, *words: str, input: str | None = None, config: bool = True) -> Result:
        """The command in this process."""
        given = ["--config", str(self.config)] if config else []
        return CliRunner().invoke(main, [*given, *words], input=input)

    def ask(self, *words: str, exit: int = 0, input: str | None = None) -> Any:
        """A command's JSON; it must end with ``exit``."""
        result = self.run(*words, "--json", input=input)
        assert result.exit_code == exit, (result.exit_code, result.output)
        return json.loads(result.stdout)

    def leave_offers(self, address: str) -> None:
        """After the first plan and a send: somebody unsubscribes from offers at the ESP, and syncd hears of it."""
        self.ask("once", "--approve")
        self.world.send("mc", "de:OFFERS", "L1")
        self.world.act("mc", "unsubscribe", email=address, list="L1")
        self.ask("once")

    def rows(self, audience: str) -> int:
        """How many rows the ESP holds."""
        return len(self.world.truth()["mc"]["audiences"][f"de:{audience}"]["rows"])

    def command(self, *words: str) -> list[str]:
        """The command for a process of its own, to be run in ``root``."""
        return [sys.executable, "-m", "syncd.cli", "--config", str(self.config), *words]

    def spawn(self, *words: str) -> subprocess.Popen[str]:
        """The command as a process of its own."""
        return subprocess.Popen(self.command(*words), cwd=ROOT, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@contextmanager
def lab(poll: str = "60s") -> Iterator[Lab]:
    """A lab in a directory of its own, all gone at the end."""
    directory = Path(tempfile.mkdtemp(prefix="syncd-"))
    try:
        with World.start(seed=3) as world:
            made = Lab(directory, world)
            made.build()
            made.write(poll=poll)
            yield made
    finally:
        shutil.rmtree(directory)
