"""The sandbox: do its files fit its world, and does its control API tell and do the truth?"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from connectors.sim import sandbox
from connectors.sim.control import Control
from connectors.sim.kernel import Call, Kernel, Request, Simulator
from connectors.sim.salesforce import CONNECT_USER
from connectors.sim.sandbox import Sandbox
from connectors.sim.world import layout
from mappings.checks import check_offline, check_online
from syncd.config import load_config
from syncd.model import Catalogue, Field, StreamSpec
from tests.conformance.sandbox_lab import Client, connect, described, mapping_of

SIZE = 3_000
SIDES = ("salesforce", "odoo", "marketing_cloud")


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with sandbox.start(SIZE, 7) as running:
        yield running


@pytest.fixture
def client(box: Sandbox) -> Iterator[Client]:
    client = Client(box.control_url)
    yield client
    client.good("DELETE", "faults")


# --------------------------------------------------------------------------- files

@pytest.mark.parametrize("profile", ["full", "bench"])
def test_the_written_configuration_fits_the_world_it_is_written_for(profile: sandbox.Profile) -> None:
    with sandbox.start(30, 1, profile=profile) as box:
        config = load_config(box.config_path)
        mapping = mapping_of(config)
        assert check_offline(mapping, config.types) == []
        catalogues = described(config, mapping)
        assert check_online(mapping, catalogues) == []
        # The check sees: without one data extension the same mapping does not fit.
        lacking = dict(catalogues["mc_main"].objects)
        del lacking["de:TIPS_ALL"]
        problems = check_online(mapping, {**catalogues, "mc_main": Catalogue(lacking)})
        assert [p.message for p in problems] == ['"mc_main" has no data extension "TIPS_ALL".']


def test_mapping_and_simulators_name_the_same_topics_and_audiences(box: Sandbox) -> None:
    config = load_config(box.config_path)
    mapping = mapping_of(config)
    units = {name: int(config.connections[d.connection].settings()["mid"]) for name, d in mapping.destinations.items()}
    delivered = {(name, a.key, units[d.id], not a.create) for d in mapping.destinations.values()
                 for name, a in d.audiences}
    assert delivered == {(a.name, a.key, a.unit, a.made) for a in layout.AUDIENCES}
    lists = {(t.topic, units[d.id], t.publication_list) for d in mapping.destinations.values()
             for t in d.topics.values()}
    assert lists == {(t.id, t.unit, str(t.publication)) for t in layout.TOPICS}
    assert {(t.id, t.lists["odoo"].container) for t in mapping.topics.values()} == {
        (t.id, str(t.odoo)) for t in layout.TOPICS}
    for topic in layout.TOPICS:
        for consent in mapping.topics[topic.id].fields.values():
            held = topic.salesforce
            assert (consent.field, consent.method, consent.said_at) == (
                held["field"], held.get("method"), held.get("said_at"))


def test_the_mapping_has_the_variety_it_is_for(box: Sandbox) -> None:
    mapping = mapping_of(load_config(box.config_path))
    assert {t.opt_in for t in mapping.topics.values()} == {"none", "required", "confirmed"}
    assert len(mapping.topics) >= 4
    assert len(mapping.segments) >= 8
    assert len({d.connection for d in mapping.destinations.values()}) == 2
    assert {d.unknown_subscriber for d in mapping.destinations.values()} == {"skip", "create_unsubscribed"}
    audiences = [a for d in mapping.destinations.values() for _, a in d.audiences]
    assert {a.create for a in audiences} == {True, False}
    assert {a.rows for a in audiences} == {"shared", "exclusive"}


def test_files_are_rewritten_and_secrets_are_nobody_elses(tmp_path: Path) -> None:
    with sandbox.start(5, 3, directory=tmp_path) as first:
        before = load_config(first.config_path)
        port = urlsplit(first.urls["odoo"]).port
    (tmp_path / "mapping.yaml").write_text("nonsense")
    with sandbox.start(5, 3, directory=tmp_path) as second:
        after = load_config(second.config_path)
        mapping_of(after)
        assert str(urlsplit(second.urls["odoo"]).port) in second.config_path.read_text()
        assert port is not None
    assert after.hash_key == before.hash_key  # a state made beside the first sandbox opens beside the second
    assert Path(after.state) == tmp_path / "state" / "syncd.db"
    assert Path(after.journal) == tmp_path / "journal" / "consent.log"
    kept = list((tmp_path / "secrets").iterdir())
    assert len(kept) == 5
    assert all(path.stat().st_mode & 0o077 == 0 for path in kept)
    text = "".join((tmp_path / name).read_text() for name in ("syncd.yaml", "mapping.yaml"))
    assert not any(path.read_text().strip() in text for path in kept)


def test_the_bench_profile_is_plain() -> None:
    with sandbox.start(2_500, 1, profile="bench") as box:
        assert len(box.salesforce.db.tables["Contact"].rows) == 2_500
        assert len(box.salesforce.db.tables["Lead"].rows) == 0
        assert box.odoo is None
        assert list(load_config(box.config_path).connections) == ["sf", "mc_main"]
        status, answer = Client(box.control_url).call("GET", "world", side="odoo")
        assert (status, answer) == (400, {"error": "side must be one of salesforce, marketing_cloud."})


# --------------------------------------------------------------------------- control API

@pytest.mark.parametrize("side", SIDES)
def test_the_world_is_told_in_pages(client: Client, side: str) -> None:
    rows, key = ("subscribers", "key") if side == "marketing_cloud" else ("people", "id")
    whole = client.world(side)[rows]
    told: list[dict[str, Any]] = []
    while page := client.world(side, limit=700, **({"after": told[-1][key]} if told else {}))[rows]:
        told += page
    assert told == whole
    assert len(whole) > 1_000


def test_what_the_api_refuses(client: Client) -> None:
    refused: list[tuple[int, str, str, Any, dict[str, Any]]] = [
        (400, "GET", "world", None, {}), (400, "GET", "world", None, {"side": "mailchimp"}),
        (400, "GET", "world", None, {"side": "odoo", "limit": "0"}),
        (400, "GET", "world", None, {"side": "odoo", "limit": "many"}),
        (400, "GET", "world", None, {"side": "odoo", "after": "x"}),
        (400, "POST", "act", {}, {}), (400, "POST", "act", {"actor": "dog", "do": "bark"}, {}),
        (400, "POST", "act", {"actor": "crm_user", "do": "edit"}, {}),
        (400, "POST", "act", {"actor": "crm_user", "crm": "marketing_cloud", "do": "edit"}, {}),
        (400, "POST", "act", {"actor": "crm_user", "crm": "salesforce", "do": "dance"}, {}),
        (400, "POST", "act", {"actor": "crm_user", "crm": "salesforce", "do": "edit", "id": "003000000000001"}, {}),
        (400, "POST", "act", {"actor": "crm_user", "crm": "odoo", "do": "edit", "id": "x", "set": {}}, {}),
        (400, "POST", "act", {"actor": "crm_user", "crm": "odoo", "do": "edit", "set": {"topics": 1}}, {}),
        (400, "POST", "act", {"actor": "recipient", "do": "unsubscribe", "email": "a@b.example", "from": "tips"}, {}),
        (400, "POST", "act", {"actor": "recipient", "do": "bounce", "email": "a@b.example", "from": {"mail": 1.5}}, {}),
        (400, "POST", "act", {"actor": "recipient", "do": "unsubscribe", "email": 5}, {}),
        (400, "POST", "act", {"actor": "esp_user", "do": "import", "topic": "tips", "emails": [5]}, {}),
        (400, "POST", "act", {"actor": "esp_user", "do": "send", "to": {"audience": "nobody"}}, {}),
        (400, "POST", "act", {"actor": "esp_user", "do": "send", "to": {"audience": "buyers"}}, {}),
        (400, "POST", "act", [1], {}),
        (400, "POST", "faults", {"target": "moon", "fault": "latency"}, {}),
        (400, "POST", "faults", {"target": "odoo", "fault": "gremlin"}, {}),
        (400, "POST", "faults", {"target": "odoo", "fault": "latency", "colour": "red"}, {}),
        (400, "POST", "faults", {"target": "odoo", "fault": "latency", "count": 0}, {}),
        (400, "POST", "faults", {"target": "odoo", "fault": "latency", "probability": 2}, {}),
        (400, "POST", "faults", {"target": "odoo", "fault": "latency", "count": True}, {}),
        (400, "POST", "faults", {"target": "odoo", "fault": "drop_field", "object": "res.partner"}, {}),
        (400, "DELETE", "faults", None, {"target": "moon"}),
        (400, "POST", "clock", {"advance": -1}, {}), (400, "POST", "clock", {"advance": "1h"}, {}),
        (400, "POST", "clock", {}, {}), (404, "GET", "nothing", None, {}), (405, "DELETE", "world", None, {}),
    ]
    before = client.good("GET", "clock")["now"]
    for expected, method, path, body, query in refused:
        status, answer = client.call(method, path, body, **query)
        assert (status, list(answer)) == (expected, ["error"]), (method, path, body, query, answer)
        assert len(answer["error"].split()) > 1, "a sentence"
    assert client.call("POST", "act", raw=b"{")[0] == 400
    assert client.good("GET", "clock")["now"] - before < 600
    assert client.good("DELETE", "faults") == {"cleared": 0}


def test_time_moves_forward_for_everyone(box: Sandbox, client: Client) -> None:
    before = client.good("GET", "clock")["now"]
    after = client.good("POST", "clock", {"advance": 3_600.5})["now"]
    assert 3_600 < after - before < 3_660
    for side, url in box.urls.items():
        told = parsedate_to_datetime(_date_of(url)).timestamp()
        assert after - 2 <= told < after + 60, side


def _date_of(url: str) -> str:
    """What a vendor says the time is, whatever else it answers."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url + "/", timeout=10) as answer:
            return str(answer.headers["Date"])
    except urllib.error.HTTPError as error:
        with error:
            return str(error.headers["Date"])


def test_a_simulator_that_fails_is_told_from_a_request_that_makes_no_sense(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        side = "odoo"

        def act(self, body: Mapping[str, Any]) -> dict[str, Any]:
            raise KeyError("a bug")

    request = Request("POST", "/sandbox/act", {}, {}, b'{"actor": "crm_user", "crm": "odoo", "do": "edit"}')
    answer = Control(Kernel(), {"odoo": cast(Simulator, Broken())}).handle(request, Call())
    assert (answer.status, answer.body) == (500, {"error": "The simulator failed: KeyError."})
    assert "a bug" in capsys.readouterr().err


def test_the_journal_counts_the_vendors_calls_and_no_control_calls(box: Sandbox, client: Client) -> None:
    client.good("DELETE", "journal")
    zero = {"calls": 0, "reads": 0, "writes": 0, "records_written": 0, "bytes_in": 0}
    assert client.good("GET", "journal") == {"totals": dict.fromkeys(SIDES, zero), "entries": []}
    connector = connect(load_config(box.config_path), "sf")
    rows = 0
    for page in connector.changes(StreamSpec("Contact", fields=(Field("Email"),)), None):
        rows += len(page.rows)
    connector.close()
    told = client.good("GET", "journal")
    assert rows > 1_000
    assert told["totals"]["odoo"] == zero
    counted = told["totals"]["salesforce"]
    assert counted["calls"] == counted["reads"] == len(told["entries"]) > 1
    assert counted["records_written"] == counted["writes"] == 0
    assert {e["side"] for e in told["entries"]} == {"salesforce"}


def test_faults_strike_where_they_are_aimed(box: Sandbox, client: Client) -> None:
    added = client.good("POST", "faults", {"target": "odoo", "fault": "http_500", "count": 2, "route": "/web"})["added"]
    assert (added["target"], added["count"]) == ("odoo", 2)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def status(path: str) -> int:
        try:
            with opener.open(box.urls["odoo"] + path, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
    assert [status("/web/health") for _ in range(3)] == [500, 500, 200]
    client.good("POST", "faults", {"target": "odoo", "fault": "http_500"})
    assert status("/web/health") == 500
    assert client.good("DELETE", "faults", target="salesforce") == {"cleared": 0}
    assert client.good("DELETE", "faults")["cleared"] == 2
    assert status("/web/health") == 200


# --------------------------------------------------------------------------- people act

def _person(box: Sandbox, client: Client) -> dict[str, Any]:
    """A contact who is an active subscriber under the CRM's id, on the list of tips, with an address of their own."""
    crm = {p["id"]: p for p in client.world("salesforce")["people"] if not (p["opted_out"] or p["deleted"])}
    subscribers = client.world("marketing_cloud")["subscribers"]
    held = Counter(s["email"] for s in subscribers)
    for address in box.marketing_cloud.tenant.suppressed.get(layout.MAIN, ()):
        held[address] = 0
    return next(crm[s["key"]] | {"email": s["email"]} for s in subscribers
                if s["key"] in crm and s["bu"] == layout.MAIN and s["status"] == "Active" and held[s["email"]] == 2
                and s["topics"].get("tips") == "Active")


def test_an_unsubscribe_at_the_esp_reaches_the_crm_by_connect_only(box: Sandbox, client: Client) -> None:
    person = _person(box, client)
    assert client.act(actor="recipient", do="unsubscribe", email=person["email"], from_="all")["changed"] == 1
    record = box.salesforce.db.tables[person["object"]].rows[person["id"]]
    assert not record.get("HasOptedOutOfEmail")
    assert client.act(actor="connect", do="echo") == {"changed": 1}
    record = box.salesforce.db.tables[person["object"]].rows[person["id"]]
    assert record["HasOptedOutOfEmail"]
    assert record["LastModifiedById"] == CONNECT_USER
    assert client.act(actor="connect", do="echo") == {"changed": 0}


def test_who_is_mailed_is_seen_and_an_opt_out_of_the_topic_ends_it(box: Sandbox, client: Client) -> None:
    person = _person(box, client)
    client.act(actor="esp_user", do="import", audience="tips", emails=[person["email"]])
    sent = client.act(actor="esp_user", do="send", to={"audience": "tips"}, name="Tips 1")
    assert (sent["mailed"], sent["skipped"]) == ([person["email"]], {})
    mail = client.world("marketing_cloud")["mails"][-1]
    assert (mail["send"], mail["topic"], mail["audience"]) == (sent["id"], "tips", "tips")
    assert client.act(actor="recipient", do="unsubscribe", email=person["email"], from_={"mail": sent["id"]})["changed"]
    again = client.act(actor="esp_user", do="send", to={"audience": "tips"}, name="Tips 2")
    assert (again["mailed"], again["skipped"]) == ([], {"unsubscribed_list": 1})
    told = {s["bu"]: s for s in client.world("marketing_cloud")["subscribers"] if s["email"] == person["email"]}
    assert told[layout.MAIN]["topics"]["tips"] == "Unsubscribed"
    assert told[layout.MAIN]["status"] == "Active"


def test_a_web_form_leaves_its_evidence(client: Client) -> None:
    given = {"Email": "new.one@mail.example", "LastName": "One", "topics": {"offers": True, "news": True}}
    made = client.act(actor="crm_user", crm="salesforce", do="form", object="Lead", set=given)
    assert made["created"] is True
    told = {p["id"]: p for p in client.world("salesforce")["people"]}[made["id"]]
    assert (told["topics"]["offers"], told["topics"]["news"], told["topics"]["tips"]) == (True, True, None)
    assert told["fields"]["Opt_In_Source__c"] == told["fields"]["News_Source__c"] == "web"
    client.act(actor="crm_user", crm="salesforce", do="edit", id=made["id"], set={"topics": {"tips": False}})
    told = {p["id"]: p for p in client.world("salesforce")["people"]}[made["id"]]
    assert told["topics"]["tips"] is False
    assert told["fields"]["Tips_Opt_Out__c"] is True


def test_odoo_is_a_crm_and_an_esp(client: Client) -> None:
    made = client.act(actor="crm_user", crm="odoo", do="create", object="res.partner",
                      set={"name": "Two", "email": "new.two@mail.example", "topics": {"news": True}})
    person = {p["id"]: p for p in client.world("odoo")["people"] if p["object"] == "res.partner"}[made["id"]]
    assert (person["opted_out"], person["topics"]["news"]) == (False, True)
    left = client.act(actor="recipient", esp="odoo", do="unsubscribe", email="new.two@mail.example", from_="all")
    assert left["changed"] == 1
    person = {p["id"]: p for p in client.world("odoo")["people"] if p["object"] == "res.partner"}[made["id"]]
    assert person["opted_out"] is True


def test_asynchronous_rows_wait_for_the_sandboxes_clock(tmp_path: Path) -> None:
    with sandbox.start(20, 1, queue_seconds=500.0) as box:
        client = Client(box.control_url)
        unit = box.marketing_cloud
        extension = unit.tenant.extension(layout.MAIN, "TIPS_ALL")
        assert extension is not None
        token = _post(box.urls["marketing_cloud"] + "/v2/token", {
            "grant_type": "client_credentials", "client_id": layout.MC_CLIENT, "account_id": str(layout.MAIN),
            "client_secret": (box.config_path.parent / "secrets" / "marketing_cloud").read_text().strip()})
        rows = {"items": [{"SubscriberKey": "k", "EmailAddress": "k@mail.example"}]}
        _post(box.urls["marketing_cloud"] + "/data/v1/async/dataextensions/key:TIPS_ALL/rows", rows,
              token["access_token"], "PUT")
        assert client.world("marketing_cloud")["audiences"]["tips"]["rows"] == []
        client.good("POST", "clock", {"advance": 2_000})
        assert [r["key"] for r in client.world("marketing_cloud")["audiences"]["tips"]["rows"]] == ["k"]


def _post(url: str, body: Any, token: str = "", method: str = "POST") -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method=method)  # noqa: S310
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        return json.load(answer)


# --------------------------------------------------------------------------- beginning and end

def test_closing_leaves_nothing_behind() -> None:
    threads = threading.active_count()
    box = sandbox.start(20, 1)
    directory = box.config_path.parent
    ports = [urlsplit(url).port or 0 for url in (box.control_url, *box.urls.values())]
    assert len(set(ports)) == 4
    box.close()
    box.close()
    assert not directory.exists()
    assert threading.active_count() == threads
    for port in ports:
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
            pass


def test_a_port_that_is_taken_is_told_and_nothing_stays_open() -> None:
    threads = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        sandbox.start(20, 1, port=taken.getsockname()[1])
    assert threading.active_count() == threads


@pytest.mark.parametrize(("first", "stop"), [(["serve"], signal.SIGTERM), ([], signal.SIGINT)])
def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path, first: list[str], stop: signal.Signals) -> None:
    command = [sys.executable, "-m", "connectors.sim.sandbox", *first, "--dir", str(tmp_path), "--people", "50",
               "--seed", "4"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            ready = json.loads(process.stdout.readline())
            assert ready["ready"] is True
            assert Path(ready["config"]) == tmp_path / "syncd.yaml"
            load_config(Path(ready["config"]))
            assert Client(ready["control"]).world("odoo")["people"]
        finally:
            process.send_signal(stop)
            code = process.wait(20)
        assert code == 0
        assert process.stdout.read() == b""
        assert process.stderr.read() == b""


@pytest.mark.parametrize("arguments", [[], ["serve"], ["serve", "--dir", "x", "--people", "0"], ["stop", "--dir", "x"]])
def test_the_command_refuses_what_makes_no_sense(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        sandbox.main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err
