"""What connections described is remembered between processes, for as long as nothing speaks against it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from connectors.base import Connector
from connectors.errors import ConnectorError, Misconfigured, Outage
from state.store import Store
from syncd.catalogues import LIFE, PATIENCE, Catalogues
from syncd.model import Catalogue, FieldInfo, ObjectInfo
from tests.unit.cli_lab import Lab, lab

FIELDS = {"sf": {"Contact": ("Email",)}}


class Teller:
    """A connector that can only describe."""

    def __init__(self, error: ConnectorError | None = None, kind: str = "text") -> None:
        self.asked, self.notes, self.error, self.kind = 0, "", error, kind

    def describe(self, objects: Sequence[str], fields: Mapping[str, Collection[str]]) -> Catalogue:
        self.asked += 1
        if self.error is not None:
            raise self.error
        told = tuple(FieldInfo(name, self.kind) for name in ("Email", "Phone", "Stop"))  # type: ignore[arg-type]
        return Catalogue({name: ObjectInfo(name, fields=told, master_flag="Stop") for name in objects})

    def learnt(self) -> str:
        return self.notes

    def recall(self, notes: str) -> None:
        self.notes = notes


class World:
    """A state, a clock, and processes that come and go."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self.now = 10 * LIFE
        self.id = self.store.connection("sf", "crm")

    def process(self, fields: Mapping[str, Mapping[str, Collection[str]]] = FIELDS, account: str = "me") -> Catalogues:
        return Catalogues(self.store, fields, {"sf": account}, lambda: self.now)

    def get(self, catalogues: Catalogues, teller: Teller, life: int | None = LIFE) -> Catalogue:
        return catalogues.get("sf", self.id, cast(Connector, teller), life)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "s.db")
    yield made
    made.store.close()


def test_another_process_is_told_what_one_was(world: World) -> None:
    first, second = Teller(), Teller()
    one = world.process()
    told = world.get(one, first)
    assert [f.name for f in told.objects["Contact"].fields] == ["Email", "Stop"], "what is not mapped is not kept"
    first.notes = "learnt by reading"
    one.save()
    assert world.get(world.process(), second) == told
    assert (first.asked, second.asked, second.notes) == (1, 0, "learnt by reading")


@pytest.mark.parametrize("case", ["older", "ahead", "daemon", "mapping", "login"])
def test_what_makes_a_process_ask_again(world: World, case: str) -> None:
    world.get(world.process(), Teller())
    world.now += {"older": LIFE + 1, "ahead": -1}.get(case, 1)
    fields = {"sf": {"Contact": ("Email", "Phone")}} if case == "mapping" else FIELDS
    teller = Teller()
    world.get(world.process(fields, "she" if case == "login" else "me"), teller, 0 if case == "daemon" else LIFE)
    assert teller.asked == 1


def test_whoever_only_looks_takes_any_age_and_login_but_not_another_mapping(world: World) -> None:
    world.get(world.process(), Teller())
    world.now += 1000 * LIFE
    teller = Teller()
    world.get(world.process(account="she"), teller, None)
    assert teller.asked == 0
    world.get(world.process({"sf": {"Lead": ("Email",)}}), teller, None)
    assert teller.asked == 1


def test_a_doubted_description_is_forgotten_at_once(world: World) -> None:
    world.get(world.process(), Teller())
    cold = world.process()
    world.get(cold, Teller())
    cold.doubt("sf")
    assert cold.doubtful
    other = Teller(kind="integer")
    assert world.get(world.process(), other, None).objects["Contact"].fields[0].type == "integer"
    again = Teller(kind="integer")
    assert world.get(cold, again).objects["Contact"].fields[0].type == "integer"
    assert not cold.doubtful
    assert again.asked == 0, "another process has asked meanwhile"


def test_what_this_process_was_told_is_doubted_now_and_then_only(world: World) -> None:
    teller = Teller()
    process = world.process()
    world.get(process, teller, 0)
    process.doubt("sf")
    assert not process.doubtful
    world.now += PATIENCE + 1
    process.doubt("sf")
    world.get(process, teller, 0)
    assert teller.asked == 2


def test_who_does_not_answer_is_taken_at_the_last_word(world: World) -> None:
    told = world.get(world.process(), Teller())
    silent = Teller(Outage("away"))
    process = world.process()
    assert world.get(process, silent, 0) == told
    assert not process.good(0), "and asked again as soon as it answers"
    silent.error = None
    world.get(process, silent, 0)
    assert process.good(0)
    for error in (Misconfigured("no right"), Outage("away")):
        with pytest.raises(type(error)):
            world.get(world.process(account="she"), Teller(error), 0)


# --------------------------------------------------------------------------- commands

@pytest.fixture
def linked() -> Iterator[Lab]:
    """After the first approved plan."""
    with lab() as made:
        made.ask("once", "--approve")
        yield made


def test_a_command_does_not_ask_for_descriptions_again(linked: Lab) -> None:
    for name in ("sf", "mc"):
        linked.world.fault("unauthorised", connection=name, verb="describe", count=None)
        linked.world.fault("unauthorised", connection=name, verb="hello", count=None)
    assert linked.ask("once")["outcome"] == "ok"
    assert linked.ask("plan")["plan"]["counts"] == []


def test_a_field_that_is_hidden_meanwhile_freezes(linked: Lab) -> None:
    """It is asked for anew before anything is decided, and what was read of it stays."""
    before = linked.world.truth()["mc"]["audiences"]["de:NEWS"]["rows"]
    linked.world.fault("hide_field", object="Contact", field="first_name", count=None)
    linked.world.act("sf", "edit", object="Contact", id=linked.ids[0], set={"first_name": "Other"})
    data = linked.ask("once", exit=2)
    assert list(data["failed"]) == ["sf.Contact"]
    assert data["plan"]["counts"] == []
    assert [r["outcome"] for r in linked.ask("runs")["runs"]][:2] == ["partial", "partial"], "the first one stopped"
    assert linked.world.truth()["mc"]["audiences"]["de:NEWS"]["rows"] == before
    linked.world.clear_faults()
    linked.ask("once")
    assert "Other" in {r["first_name"] for r in linked.world.truth()["mc"]["audiences"]["de:NEWS"]["rows"]}


def test_a_resync_and_a_doctor_ask(linked: Lab) -> None:
    linked.world.fault("act", connection="sf", verb="describe", count=2, acts=[
        {"connection": "sf", "do": "create", "object": "Contact", "set": {"email": None}}])
    known = len(linked.world.truth()["sf"]["people"])
    linked.ask("once")
    assert len(linked.world.truth()["sf"]["people"]) == known
    linked.ask("resync", "--all")
    linked.ask("doctor", exit=2)
    assert len(linked.world.truth()["sf"]["people"]) == known + 2
