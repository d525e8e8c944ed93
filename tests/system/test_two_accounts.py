"""Two organisations of one CRM, and two accounts of one provider, number their people alike: nothing mixes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.memory import World, fields
from state import journal
from tests.unit import cli_lab

HOLDERS = range(6)
SOURCES = "\n".join(f"    {crm}.Contact: {{attributes: {{email: email, first_name: first_name, spent: spent}}}}"
                    for crm in ("sf", "sf2"))
BOXES = "\n".join(f"      {crm}.Contact: {{field: offers, \"true\": opt_in, \"false\": unknown}}" for crm in ("sf", "sf2"))
HEAD, DESTINATION = cli_lab.MAPPING.split("\ndestinations:\n")
MAPPING = (re.sub(r"    sf.Contact: \{attributes.*", SOURCES, re.sub(r"      sf.Contact: \{field.*", BOXES, HEAD))
           + "\ndestinations:\n" + DESTINATION.lstrip("\n") + DESTINATION.lstrip("\n").replace("  mc:\n    connection: mc",
                                                                                            "  mc2:\n    connection: mc2"))


class Lab(cli_lab.Lab):
    """Contact n of ``sf`` is a<n>@example.org; the contact of ``sf2`` with the same id is b<n>@example.org."""

    def build_twice(self) -> None:
        named, spent = fields("first_name"), fields(spent="decimal")
        for crm, letter in (("sf", "a"), ("sf2", "b")):
            self.world.create_crm(crm, {"Contact": {
                "fields": fields("email", "first_name", opted_out="bool", offers="bool", spent="decimal"),
                "master_flag": "opted_out", "topics": {"offers": "offers"}}})
            ids = self.world.load(crm, "Contact", [
                {"email": f"{letter}{n}@example.org", "first_name": f"{letter}{n}", "opted_out": 0, "offers": 1,
                 "spent": "1.00"} for n in HOLDERS])
            assert ids == (self.ids or ids), "the same ids"
            self.ids = ids
        for esp in ("mc", "mc2"):
            self.world.create_esp(esp, ["L1", "L2"], {
                "de:OFFERS": {"fields": named, "list": "L1"}, "de:NEWS": {"fields": named, "list": "L2"},
                "de:RICH": {"fields": spent, "list": "L1"}, "de:TOP": {"fields": spent, "list": "L2"}})
        self.write(mapping=MAPPING)
        text = self.config.read_text()
        for name in ("sf", "mc"):
            line = re.search(rf"  {name}: .*\n", text)
            assert line is not None
            text = text.replace(line[0], line[0] + line[0].replace(f"  {name}:", f"  {name}2:").replace(
                f"name: {name}}}", f"name: {name}2}}"))
        self.config.write_text(text)

    def mailed(self, esp: str) -> set[str]:
        return {address.split("@")[0] for address in self.world.send(esp, "de:NEWS", "L2")["mailed"]}

    def boxes(self, crm: str) -> set[str]:
        """Whose box for all mail is ticked."""
        return {p["fields"]["first_name"] for p in self.world.truth()[crm]["people"] if p["fields"]["opted_out"]}

    def keys(self, esp: str) -> dict[str, str]:
        return {row["email"].split("@")[0]: row["key"] for row in self.world.truth()[esp]["audiences"]["de:NEWS"]["rows"]}


EVERYONE = {f"{letter}{n}" for letter in "ab" for n in HOLDERS}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with World.start(seed=3) as world:
        made = Lab(tmp_path, world)
        made.build_twice()
        made.ask("once", "--approve")
        assert made.mailed("mc") == made.mailed("mc2") == EVERYONE
        made.ask("once")
        yield made


def test_everyone_has_a_key_of_her_own(lab: Lab) -> None:
    for esp in ("mc", "mc2"):
        keys = lab.keys(esp)
        assert keys.keys() == EVERYONE
        assert len({*keys.values()}) == len(EVERYONE)


def test_a_refusal_is_that_persons_alone(lab: Lab) -> None:
    lab.world.act("mc", "unsubscribe", email="a1@example.org")
    lab.world.act("mc2", "unsubscribe", email="b4@example.org")
    lab.world.act("sf2", "edit", object="Contact", id=lab.ids[2], set={"opted_out": 1})
    lab.ask("once")
    lab.ask("once")
    assert lab.boxes("sf") == {"a1"}
    assert lab.boxes("sf2") == {"b2", "b4"}
    assert lab.mailed("mc") == lab.mailed("mc2") == EVERYONE - {"a1", "b2", "b4"}


def test_who_is_forgotten_takes_nothing_of_her_namesake_along(lab: Lab) -> None:
    lab.world.act("sf", "edit", object="Contact", id=lab.ids[3], set={"opted_out": 1})
    lab.world.act("sf2", "edit", object="Contact", id=lab.ids[3], set={"opted_out": 1})
    lab.world.act("mc", "unsubscribe", email="b3@example.org", list="L1")
    lab.ask("once")
    path = lab.directory / "journal" / "consent.log"
    of_b = [line for line in journal.read(path, 0) if line.spoken[0] == "sf2.Contact" and line.rid == lab.ids[3]]
    keyed = [line for line in journal.read(path, 0) if line.spoken[0] == "mc" and line.key == lab.keys("mc2").get("b3")]
    before = lab.ask("consent", "history", "-", input="b3@example.org\n")
    assert of_b
    backup = lab.directory / "elsewhere.db"
    lab.ask("backup", str(backup))
    lab.ask("forget", "--yes", "-", input="a3@example.org\n")
    assert lab.ask("consent", "history", "-", input="b3@example.org\n") == before
    after = journal.read(path, 0)
    assert [line for line in after if line in of_b] == of_b
    assert [line for line in after if line in keyed] == keyed
    assert not [line for line in after if line.spoken[0] == "sf.Contact" and line.rid == lab.ids[3]]
    for source in ([str(backup)], []):
        lab.ask("restore", *source, "--yes")
        planned = lab.ask("plan", exit=4 if not source else 0)
        if not source:
            lab.ask("apply", planned["plan"]["id"])
        lab.ask("once")
        assert lab.mailed("mc") == lab.mailed("mc2") == EVERYONE - {"a3", "b3"}
        assert lab.boxes("sf2") == {"b3"}
