"""The wire of Odoo: protocols, logins, what each refusal means, and that nothing private leaks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import LostReply, Misconfigured, Outage, Reauthenticate, RejectRecord, Retry, Throttled
from connectors.odoo import OdooConnector, OdooSettings
from connectors.odoo.wire import errors
from connectors.odoo.wire.calls import Wire
from connectors.odoo.wire.values import micros, normal_address
from connectors.shapes import decimal_text
from connectors.sim.kernel import Call, Kernel, Request, Response, serve
from connectors.sim.odoo import ApiKey
from connectors.sim.odoo.values import normalize_email
from tests.unit.odoo_lab import Lab, odoo

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "facts" / "odoo-transcripts.jsonl"


@pytest.fixture(params=["16.0", "18.0", "19.0"])
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    with odoo(request.param) as lab:
        yield lab


@pytest.fixture
def scripted() -> Iterator[Callable[[Callable[[Request], Response]], OdooConnector]]:
    """Connectors of servers that answer as a test says."""
    made: list[Any] = []

    def make(answer: Callable[[Request], Response]) -> OdooConnector:
        def handle(request: Request, _call: Call) -> Response:
            return answer(request)

        server = serve(Kernel(), "odoo", handle)
        connector = OdooConnector(OdooSettings(
            f"http://127.0.0.1:{server.server_address[1]}", "db", "me@x.test", "very-secret-key"))
        made.append((server, connector))
        return connector

    yield make
    for server, connector in made:
        connector.close()
        server.shutdown()
        server.server_close()


def answering(result: dict[str, Any]) -> Callable[[Request], Response]:
    """A server that logs everybody in and then says the same to every call of a method."""
    def answer(request: Request) -> Response:
        params = request.json()["params"]
        if params["method"] == "version":
            return Response(200, {"jsonrpc": "2.0", "id": 1, "result": {
                "server_version": "18.0", "server_version_info": [18, 0, 0, "final", 0, ""]}})
        if params["method"] == "authenticate":
            return Response(200, {"jsonrpc": "2.0", "id": 1, "result": 8})
        return Response(200, {"jsonrpc": "2.0", "id": 1, **result})
    return answer


# --------------------------------------------------------------------------- who we are

def test_one_login_serves_all_calls(lab: Lab) -> None:
    for _ in range(3):
        lab.connector.wire.count("res.partner", [])
    calls = lab.calls()
    assert calls.pop("res.partner.search_count") == 3
    assert all(count == 1 for count in calls.values())


@pytest.mark.parametrize(("settings", "error"), [
    ({"api_key": "wrong"}, Reauthenticate), ({"database": "nope"}, Misconfigured)])
def test_a_wrong_login(lab: Lab, settings: dict[str, str], error: type[Exception]) -> None:
    lab.connector.wire.settings = OdooSettings(lab.connector.wire.settings.url, **{  # type: ignore[misc]
        "database": "odoo", "user": "sync@example.test", "api_key": "key-sync", **settings})
    with pytest.raises(error) as caught:
        lab.connector.check()
    assert "wrong" not in f"{caught.value!r} {caught.value.__dict__}"


def test_an_archived_user_is_noticed_in_mid_run(lab: Lab) -> None:
    lab.connector.check()
    lab.sim.access.users[8].active = False
    with pytest.raises(Reauthenticate):
        lab.connector.wire.count("res.partner", [])


def test_one_worker_that_refuses_a_good_key_is_a_passing_fault(lab: Lab) -> None:
    lab.connector.check()
    lab.fault("token_expired", route="res.partner", count=1)
    with pytest.raises(Retry):
        lab.connector.wire.count("res.partner", [])
    assert lab.connector.wire.count("res.partner", []) == 0


def test_an_expired_key_stops_at_the_next_check(lab: Lab) -> None:
    lab.sim.access.users[8].keys = (ApiKey("key-sync", expires=lab.sim.clock.now() + 86_400 * 3),)
    lab.sim.load({"res.users.apikeys": [{"id": 1, "name": "k", "user_id": 8, "expiration_date":
                                         int((lab.sim.clock.now() + 86_400 * 3) * 1e6)}]})
    warned = any("expires in" in f.message for f in lab.connector.check().findings)
    assert warned is (lab.sim.major >= 18), "older servers have keys without expiry"
    lab.quiet(86_400 * 4)
    with pytest.raises(Reauthenticate):
        lab.connector.check()


def test_check_tells_what_is_hidden_or_missing(lab: Lab) -> None:
    assert lab.connector.check().findings == ()
    lab.sim.load({"res.company": [{"id": 2, "name": "Second"}]})
    lab.sim.access.users[8].groups = frozenset({"sale_own"})
    messages = " ".join(f.message for f in lab.connector.check().findings)
    for told in ("only its own leads", "1 of 2 companies", "may not read or write or create mail.blacklist"):
        assert told in messages
    assert lab.connector.check().ok, "records can be read all the same"


def test_versions_choose_the_protocol(lab: Lab) -> None:
    assert lab.connector.wire.session().json2 is (lab.sim.major >= 19)
    assert lab.connector.wire.session().major == lab.sim.major


@pytest.mark.parametrize(("version", "api"), [("19.0", "jsonrpc"), ("19.0", "json2")])
def test_the_protocol_can_be_named(version: str, api: str) -> None:
    with odoo(version, {"api": api}) as lab:
        assert lab.connector.check().ok
        assert lab.connector.wire.session().json2 is (api == "json2")


def test_json2_of_an_older_server_is_a_mistake_of_the_configuration() -> None:
    with odoo("18.0", {"api": "json2"}) as lab, pytest.raises(Misconfigured):
        lab.connector.check()


# --------------------------------------------------------------------------- what refusals mean

TEXTS = [
    ("odoo.exceptions.AccessDenied", "Access Denied", Reauthenticate, Reauthenticate),
    ("odoo.http.SessionExpiredException", "Session expired", Reauthenticate, Reauthenticate),
    ("odoo.exceptions.AccessError", "Uh-oh! Looks like you have stumbled upon", RejectRecord, Misconfigured),
    ("odoo.exceptions.MissingError", "Record does not exist or has been deleted.", RejectRecord, Misconfigured),
    ("odoo.exceptions.ValidationError", "Contacts require a name", RejectRecord, Misconfigured),
    ("odoo.exceptions.UserError", "Object no.such.model doesn't exist", RejectRecord, Misconfigured),
    ("builtins.ValueError", "Invalid field 'nope' on model 'res.partner'", Misconfigured, Misconfigured),
    ("builtins.ValueError", "Invalid field res.partner.nope in leaf ('nope', '=', 1)", Misconfigured, Misconfigured),
    ("builtins.ValueError", "Wrong value for res.partner.type: 'zzz'", RejectRecord, Misconfigured),
    ("builtins.TypeError", "got an unexpected keyword argument 'limitt'", Misconfigured, Misconfigured),
    ("builtins.AttributeError", "The method 'x' does not exist on the model", Misconfigured, Misconfigured),
    ("psycopg2.errors.SerializationFailure", "could not serialize access due to concurrent update\n", Retry, Retry),
    ("psycopg2.OperationalError", 'connection to server at "127.0.0.1", port 5432 failed: FATAL:  database "nosuchdb" '
     "does not exist\n", Misconfigured, Misconfigured),
    ("psycopg2.OperationalError", 'connection to server at "127.0.0.1", port 5432 failed: Connection refused\n'
     "\tIs the server running on that host and accepting TCP/IP connections?\n", Outage, Outage),
    ("odoo.addons.custom.Boom", "anything", RejectRecord, Outage),
]


@pytest.mark.parametrize(("name", "message", "write", "read"), TEXTS)
def test_an_exception_of_the_server(name: str, message: str, write: type[Exception], read: type[Exception]) -> None:
    for doing, wanted in ((True, write), (False, read)):
        error = errors.classify(name, message, what="m.write", write=doing)
        assert type(error) is wanted
        assert error.code == name
        assert message not in str(error)


@pytest.mark.parametrize(("status", "write", "read"), [
    (429, Throttled, Throttled), (503, Throttled, Throttled), (502, LostReply, Outage), (504, LostReply, Outage),
    (500, LostReply, Outage), (404, Misconfigured, Misconfigured), (413, Misconfigured, Misconfigured),
    (403, Reauthenticate, Reauthenticate), (200, LostReply, Outage)])
def test_a_page_that_is_not_odoos(status: int, write: type[Exception], read: type[Exception]) -> None:
    assert type(errors.http_failure(status, 7.0, what="m", write=True)) is write
    error = errors.http_failure(status, 7.0, what="m", write=False)
    assert type(error) is read
    if isinstance(error, Throttled):
        assert error.retry_after == 7.0


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings of a real server are not beside this repository")
def test_every_recorded_answer_is_understood() -> None:
    seen = 0
    for line in map(json.loads, RECORDINGS.read_text().splitlines()):
        body = line["response"]["body"] if line["kind"] == "exchange" else None
        if not isinstance(body, dict) or "jsonrpc" not in body:
            continue
        seen += 1
        if "error" not in body:
            assert Wire._result(body, "m", write=True) == body.get("result")
            continue
        with pytest.raises((Misconfigured, Outage, Reauthenticate, RejectRecord, Retry)) as caught:
            Wire._result(body, "m", write=True)
        assert type(caught.value) is not RejectRecord or "custom" not in caught.value.code
        assert caught.value.code == body["error"]["data"]["name"]
        told = f"{caught.value!r}{caught.value} {caught.value.__dict__}"
        assert not re.search(r"@|Traceback|999999", told)
    assert seen > 100


# --------------------------------------------------------------------------- answers

def test_an_answer_without_result_and_error_is_a_success(scripted: Any) -> None:
    assert scripted(answering({})).wire.call("res.partner", "action_unarchive", [1], write=True) is None


@pytest.mark.parametrize("answer", [
    Response(200, "<html>hello</html>", content_type="text/html"), Response(200, [1], content_type="application/json"),
    Response(200, {"status": "maintenance"}), Response(502, "bad gateway", content_type="text/html")])
def test_what_is_no_answer_of_odoo_is_neither_success_nor_empty(scripted: Any, answer: Response) -> None:
    login = answering({})

    def reply(request: Request) -> Response:
        return answer if request.json()["params"]["service"] == "object" else login(request)

    connector = scripted(reply)
    with pytest.raises(Outage):
        connector.wire.search("res.partner", [])
    with pytest.raises(LostReply):
        connector.wire.call("res.partner", "write", [1], write=True, vals={})


def test_an_error_tells_neither_text_nor_trace_nor_secret(scripted: Any) -> None:
    data = {"name": "odoo.exceptions.ValidationError", "message": "ada@x.test is taken", "arguments": ["ada@x.test"],
            "debug": "Traceback ada@x.test /opt/odoo"}
    connector = scripted(answering({"error": {"code": 200, "message": "Odoo Server Error", "data": data}}))
    with pytest.raises(RejectRecord) as caught:
        connector.wire.call("res.partner", "write", [1], write=True, vals={"email": "ada@x.test"})
    told = f"{caught.value!r} {caught.value} {caught.value.__dict__}"
    assert not re.search(r"ada|Traceback|very-secret-key|/opt", told)
    assert "very-secret-key" not in repr(connector.wire.settings)


def test_a_list_that_is_no_list_is_an_outage(scripted: Any) -> None:
    connector = scripted(answering({"result": False}))
    with pytest.raises(Outage):
        connector.wire.search("res.partner", [])
    with pytest.raises(Outage):
        connector.wire.search_read("res.partner", [], ["name"])


# --------------------------------------------------------------------------- values

@pytest.mark.parametrize("address", [
    "A.B@X.Test", "plus+Tag@x.test", "É@Z.test", "x@y", "o'hara@x.test", "no address", "a b@x.test", "", "@x", "x@"])
def test_addresses_are_normalised_as_the_server_does_it(address: str) -> None:
    ours = normal_address(address)
    if ours is not None:
        assert normalize_email(address) == ours
    else:
        assert normalize_email(address) != address


def test_numbers_and_instants() -> None:
    assert [decimal_text(n) for n in (0.0, 1234.5, 1e21, 0.1, -2.50, 1e-7)] == [
        "0", "1234.5", "1000000000000000000000", "0.1", "-2.5", "0.0000001"]
    assert micros("2026-01-01 00:00:01") == 1767225601000000
