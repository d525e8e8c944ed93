"""Marketing Cloud's listings, which may end early without a word: the second reading asks otherwise than the first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors.sim.kernel import Fault
from connectors.sim.marketing_cloud import retrieve
from connectors.sim.marketing_cloud.retrieve import RetrieveError
from syncd.model import StreamSpec
from tests.unit.marketing_cloud_lab import LIST, World, simulated

PEOPLE = 40
STREAMS = {"Subscriber": StreamSpec("subscribers", "status", container=""),
           "ListSubscriber": StreamSpec(f"list:{LIST}", "status", container=LIST),
           "OFFERS": StreamSpec("de:OFFERS", "row")}


@pytest.fixture
def world() -> Iterator[World]:
    with simulated() as made:
        made.sim.load({"Subscriber": [{"SubscriberKey": f"k{n:03}", "EmailAddress": f"p{n}@mail.example"}
                                      for n in range(PEOPLE)],
                       "ListSubscriber": [{"ListID": LIST, "SubscriberKey": f"k{n:03}"} for n in range(PEOPLE)]})
        made.sim.load({"DataExtensionObject[OFFERS]": [
            {"SubscriberKey": f"k{n:03}", "Email": f"p{n}@mail.example"} for n in range(PEOPLE)]})
        yield made


def keys(world: World, spec: StreamSpec) -> list[str]:
    """The keys that a reading from the start shows, in order."""
    pages = []
    for page in world.connector.changes(spec, None):
        pages.append(page)
        if page.last:
            break  # as the wrappers do
    assert [page.complete for page in pages] == [False] * (len(pages) - 1) + [True]
    place = spec.columns.index("key")
    return [str(row[place]) for page in pages for row in page.rows]


@pytest.mark.parametrize("kind", STREAMS)
def test_every_reading_shows_everything_once(world: World, kind: str) -> None:
    first = keys(world, STREAMS[kind])
    assert len(first) >= PEOPLE
    for _ in range(2):
        before = world.calls()
        assert sorted(keys(world, STREAMS[kind])) == sorted(first)
        assert world.calls() - before == 2


@pytest.mark.parametrize("kind", STREAMS)
def test_two_readings_that_are_cut_at_the_same_place_do_not_look_alike(world: World, kind: str) -> None:
    world.kernel.faults.add(Fault("marketing_cloud", "truncated_page", object=kind))
    first, second = set(keys(world, STREAMS[kind])), set(keys(world, STREAMS[kind]))
    assert second != first
    assert len(second) < len(first | second), "so the second is not believed either"


def test_a_list_of_two_that_is_cut_to_one_is_not_believed() -> None:
    with simulated() as world:
        world.kernel.faults.add(Fault("marketing_cloud", "truncated_page", object="ListSubscriber"))
        assert keys(world, STREAMS["ListSubscriber"]) == ["k0"]
        assert keys(world, STREAMS["ListSubscriber"]) == []


def test_a_vendor_that_compares_no_keys_is_read_as_it_always_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = retrieve._simple

    def refuse(prop: Any, how: str, values: list[Any]) -> Any:
        if how in ("lessThanOrEqual", "greaterThan"):
            raise RetrieveError(f"The operator {how} is not supported here.")
        return compiled(prop, how, values)
    first = keys(world, STREAMS["ListSubscriber"])
    monkeypatch.setattr(retrieve, "_simple", refuse)
    assert keys(world, STREAMS["ListSubscriber"]) == first
    before = world.calls()
    assert keys(world, STREAMS["ListSubscriber"]) == first
    assert world.calls() - before == 1, "it is not asked again"


def test_a_reading_that_broke_off_between_the_halves_begins_anew(world: World) -> None:
    """Another process does not know where the halves part."""
    spec = STREAMS["ListSubscriber"]
    first = keys(world, spec)
    pages = list(world.connector.changes(spec, None))
    assert len(pages) == 2
    world.connector._statuses._parted._ends.clear()
    again = list(world.connector.changes(spec, pages[0].cursor))
    assert [str(row[1]) for page in again for row in page.rows] == first
    assert [page.last for page in again] == [True]
