"""syncd keys: counting, moving, and what is printed about it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.cli_lab import MAPPING, PEOPLE, Lab, lab

BY_EMAIL = MAPPING.replace("value: crm_id", "value: email")
assert BY_EMAIL != MAPPING


@pytest.fixture
def linked() -> Iterator[Lab]:
    with lab() as made:
        made.write(mapping=BY_EMAIL)
        made.ask("once", "--approve")
        yield made


def counts(made: Lab) -> dict[str, int]:
    [found] = made.ask("keys", "list")["destinations"]
    return {name: count for name, count in found.items() if name != "connection"}


def move_to_ids(made: Lab) -> None:
    made.write()
    made.ask("apply", made.ask("plan")["plan"]["id"])


def test_keys_move_by_command_and_the_old_ones_are_listed(linked: Lab) -> None:
    assert counts(linked)["other"] == 0
    assert "everyone at mc has the key" in linked.run("keys", "migrate", "--connection", "mc", "--plan").stdout
    move_to_ids(linked)
    planned = linked.run("keys", "migrate", "--connection", "mc", "--plan")
    assert f"{PEOPLE} of {PEOPLE} people at mc have another key" in planned.stdout
    assert counts(linked)["moving"] == 0
    asked = linked.run("keys", "migrate", "--connection", "mc", input="n\n")
    assert asked.exit_code == 1
    assert counts(linked)["moving"] == 0
    moving = linked.run("keys", "migrate", "--connection", "mc", "--yes")
    assert f"{PEOPLE} people at mc are moving" in moving.stdout
    linked.ask("once")
    assert counts(linked) == {"people": PEOPLE, "other": 0, "existing": 0, "moving": 0, "refusals": 0, "former": PEOPLE,
                              "without": 0}
    truth = linked.world.truth()["mc"]["audiences"]["de:NEWS"]["rows"]
    assert {row["key"] for row in truth} == set(linked.ids)
    former = linked.run("keys", "former", "--connection", "mc").stdout.split()
    assert sorted(former) == sorted(f"p{i}@example.org" for i in range(PEOPLE))
    assert linked.ask("keys", "former", "--connection", "mc")["former"] == former


def test_a_move_can_be_stopped(linked: Lab) -> None:
    move_to_ids(linked)
    linked.ask("keys", "migrate", "--connection", "mc", "--yes")
    assert f"{PEOPLE} people at mc keep their key" in linked.run("keys", "migrate", "--connection", "mc", "--stop").stdout
    assert counts(linked)["moving"] == 0


def test_nobody_moves_by_a_mapping_that_nobody_approved(linked: Lab) -> None:
    linked.write()
    assert linked.ask("keys", "list", exit=2)["error"]["code"] == "mapping_edited"
    linked.ask("plan")
    refused = linked.run("keys", "migrate", "--connection", "mc", "--yes")
    assert refused.exit_code == 2
    assert "no plan of this mapping was approved" in refused.stderr


def test_a_connection_without_keys_is_named_as_such(linked: Lab) -> None:
    refused = linked.run("keys", "migrate", "--connection", "sf", "--yes")
    assert refused.exit_code == 2
    assert "There are: mc." in refused.stderr
