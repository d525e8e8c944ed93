"""What the Marketing Cloud connector tells of sends: name, lists, data extensions, classification."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors.errors import Misconfigured
from connectors.marketing_cloud.wire import soap
from syncd.model import SEND_COLUMNS, StreamSpec
from tests.unit.marketing_cloud_lab import World, simulated

SENDS, EVENTS = StreamSpec("sends", "send"), StreamSpec("events", "event")
Row = dict[str, Any]


@pytest.fixture
def world() -> Iterator[World]:
    """Five people in the audience of offers; the list "press" is another topic's."""
    with simulated({"topics": {"offers": 4711, "press": 4999}}) as found:
        found.sim.load({"DataExtensionObject[OFFERS]": [
            {"SubscriberKey": f"k{n}", "Email": f"p{n}@mail.example"} for n in range(5)]})
        yield found


def send(world: World, **about: Any) -> str:
    """Mail the audience; the send's id."""
    return str(world.sim.act({"actor": "esp_user", "do": "send", "to": {"audience": "offers"}, **about})["id"])


def rows(page: Any) -> list[Row]:
    return [dict(zip(SEND_COLUMNS, row, strict=True)) for row in page.rows]


def listed(world: World, cursor: str | None = None) -> tuple[list[Row], str]:
    pages = list(world.connector.changes(SENDS, cursor))
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    return [row for page in pages for row in rows(page)], pages[-1].cursor


def leave(world: World, mail: str) -> Row:
    """p1 leaves by the link of a mail; the event."""
    world.sim.act({"actor": "recipient", "do": "unsubscribe", "email": "p1@mail.example", "from": {"mail": mail}})
    columns = EVENTS.columns
    found = [dict(zip(columns, row, strict=True)) for page in world.connector.changes(EVENTS, None) for row in page.rows]
    return found[-1]


def test_a_send_tells_its_definitions_list_and_data_extension(world: World) -> None:
    mail = send(world, name="Spring 2026")
    [[row], _] = listed(world)
    assert row.pop("at") is not None
    assert row == {"send": mail, "name": "Spring 2026", "definition": "offers mailing", "containers": ";4711;",
                   "audiences": ";de:OFFERS;", "classification": "commercial"}
    assert rows(world.connector.fetch(SENDS, [mail, "999", "nonsense"])) == listed(world)[0]


@pytest.mark.parametrize(("about", "containers", "audiences", "classification"), [
    ({"list": "press"}, ";4999;", ";de:OFFERS;", "commercial"),
    ({"list": None}, None, ";de:OFFERS;", "commercial"),
    ({"classification": "transactional"}, ";4711;", ";de:OFFERS;", "transactional"),
    ({"how": "guided"}, ";4711;", None, None)])
def test_sends_that_are_otherwise(world: World, about: Row, containers: str | None, audiences: str | None,
                                  classification: str | None) -> None:
    send(world, **about)
    [[row], _] = listed(world)
    assert (row["containers"], row["audiences"], row["classification"]) == (containers, audiences, classification)


def test_an_event_names_its_send_and_a_journeys_mail_its_definition(world: World) -> None:
    mail = send(world)
    assert leave(world, mail)["send"] == mail
    world.kernel.clock.advance(60)
    mail = send(world, how="triggered", name="Welcome")
    world.sim.act({"actor": "esp_user", "do": "resubscribe", "emails": ["p1@mail.example"], "topic": "offers"})
    event = leave(world, send(world, how="triggered", name="Welcome"))
    assert event["send"].startswith("triggered:")
    [row] = rows(world.connector.fetch(SENDS, [event["send"]]))
    assert (row["name"], row["containers"], row["audiences"], row["classification"]) == (
        "Welcome", ";4711;", None, "commercial")


def test_later_sends_come_with_the_next_reading_for_a_call_each(world: World) -> None:
    send(world)
    world.kernel.clock.advance(86_400)
    _, cursor = listed(world)
    before = world.calls()
    assert listed(world, cursor)[0] == []
    assert world.calls() - before == 1
    mail = send(world)
    assert [row["send"] for row in listed(world, cursor)[0]] == [mail]


def test_definitions_are_described_where_they_are_asked_for(world: World) -> None:
    send(world, list="press")
    found = world.connector.describe(["sends"]).objects
    assert {name: dict(info.properties) for name, info in found.items() if ";4999;" in str(info.properties)} == {
        "send:send-OFFERS-2": {"containers": ";4999;", "audiences": ";de:OFFERS;", "classification": "commercial"}}
    assert not any(name.startswith("send:") for name in world.connector.describe().objects)


def test_triggered_sends_are_described_while_they_are_in_use(world: World) -> None:
    """Each mail of a journey is one. Old versions of a journey leave theirs behind."""
    def described() -> dict[str, dict[str, Any]]:
        found = world.connector.describe(["sends"]).objects
        return {info.label: dict(info.properties) for name, info in found.items() if name.startswith("send:journey-")}
    send(world, how="triggered", name="Welcome", classification="transactional")
    send(world, how="triggered", name="Reminder", list=None)
    assert described() == {
        "Welcome": {"containers": ";4711;", "audiences": None, "classification": "transactional"},
        "Reminder": {"containers": None, "audiences": None, "classification": "commercial"}}
    for definition in world.sim.tenant.triggered.values():
        definition.status = "Inactive"
    assert described() == {}


def test_a_package_that_may_not_read_sends_reads_none_and_says_so() -> None:
    clients = {"mc-client": {"secret": "mc-secret", "scopes": [
        "data_extensions_read", "data_extensions_write", "list_and_subscribers_read", "list_and_subscribers_write",
        "tracking_events_read"]}}
    with simulated({"clients": clients}) as world:
        assert listed(world)[0] == []
        assert world.connector.describe(["sends"]).objects == {}
        with pytest.raises(Misconfigured, match="may not read sends"):
            world.connector.fetch(SENDS, ["1"])
        health = world.connector.check()
        assert health.ok
        assert [f.message for f in health.findings if "email_read" in f.message]


def test_sources_are_told_from_exclusions() -> None:
    """A definition with two sources and an exclusion: each list belongs to its own data extension."""
    def part(kind: str, list_: str, extension: str) -> str:
        number = f"<List><ID>{list_}</ID></List>" if list_ else ""
        return (f"<SendDefinitionList>{number}<SendDefinitionListType>{kind}</SendDefinitionListType>"
                f"<CustomObjectID>{extension}</CustomObjectID></SendDefinitionList>")

    from connectors.marketing_cloud.consent.sends import _sources
    body = (f'<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body><R xmlns="{soap.API}">'
            f'{part("SourceList", "1", "one")}{part("ExclusionList", "", "no")}{part("SourceList", "2", "two")}'
            "</R></Body></Envelope>")
    assert list(_sources(soap.flatten(soap.parse(body.encode())))) == [("1", "one"), ("2", "two")]


def test_a_stop_of_all_mail_and_the_lists_it_sets_are_of_one_instant(world: World) -> None:
    send(world)
    world.kernel.clock.advance(3_600)
    world.sim.act({"actor": "recipient", "do": "unsubscribe", "email": "p1@mail.example", "from": "all"})
    def read(object_: str, container: str) -> tuple[Any, Any]:
        [row] = world.connector.fetch(StreamSpec(object_, "status", container=container), ["k1"]).rows
        return row[3], row[4]
    assert read("list:4711", "4711") == read("subscribers", "")
    assert world.connector.capabilities.flips_lists
