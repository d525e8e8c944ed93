"""Sessions, quota, pages and writes against a scripted organisation: what Salesforce does when it does not do its best."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors.base import CallCounter
from connectors.errors import (
    ConnectorError,
    CursorLost,
    Misconfigured,
    Outage,
    Reauthenticate,
    Retry,
    Throttled,
)
from connectors.http import Http
from connectors.salesforce import SalesforceConnector, SalesforceSettings
from connectors.salesforce.records.reading import Cursor
from connectors.salesforce.wire.calls import Session, Wire
from connectors.sim.kernel import Request, Response
from syncd.model import Batch, Op, StreamSpec
from tests.unit.salesforce_scripted import ROOT, SPEC, Make, Org, orgs

ID = "0035g0000000001AAA"


@pytest.fixture
def org() -> Iterator[Make]:
    with orgs() as make:
        yield make
EXPIRED = Response(401, [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}])


def update(*values: Any, column: str = "HasOptedOutOfEmail") -> Batch:
    return Batch("update", "Contact", (column,),
                 [Op(i, f"0035g{i:010d}AAA", None, (v,)) for i, v in enumerate(values)])


# --------------------------------------------------------------------------- sessions

def test_one_login_serves_all_calls(org: Make) -> None:
    o = org()
    o.connector.check()
    list(o.connector.changes(SPEC, None))
    assert o.tokens == 1
    assert all(r.headers["authorization"] == "Bearer T1" for r in o.requests if "token" not in r.path)
    token = next(r for r in o.requests if "token" in r.path)
    assert token.headers["authorization"].startswith("Basic ")
    assert token.form() == {"grant_type": "client_credentials"}


def test_a_session_that_ends_is_renewed_once(org: Make) -> None:
    o = org()
    o.on("/query", EXPIRED, times=1)
    assert list(o.connector.changes(SPEC, None))[-1].last
    assert o.tokens == 2


def test_a_refused_new_session_needs_a_person(org: Make) -> None:
    o = org()
    o.on("/query", EXPIRED)
    with pytest.raises(Reauthenticate):
        list(o.connector.changes(SPEC, None))
    assert o.tokens == 2
    assert len(o.paths("/query")) == 2


def test_a_write_is_sent_again_after_a_401(org: Make) -> None:
    o = org()
    o.on("/composite", EXPIRED, times=1)
    assert [x.state for x in o.connector.apply(update(1))] == ["done"]


def test_jwt_login(org: Make) -> None:
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                            serialization.NoEncryption()).decode()
    o = org(flow="jwt_bearer", username="svc@acme.example", private_key=pem, domain="acme--uat.sandbox.my")
    o.connector.check()
    form = next(r for r in o.requests if "token" in r.path).form()
    claims = jwt.decode(form["assertion"], key.public_key(), algorithms=["RS256"], audience="https://test.salesforce.com",
                        options={"verify_exp": False})
    assert (claims["iss"], claims["sub"]) == ("key", "svc@acme.example")
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"


def test_an_unreadable_key_is_told_before_any_call(org: Make) -> None:
    o = org(flow="jwt_bearer", username="svc@acme.example", private_key="-----BEGIN s3cret")
    with pytest.raises(Reauthenticate, match="private key") as caught:
        o.connector.check()
    assert "s3cret" not in f"{caught.value!r} {caught.value.__context__!r}"
    assert o.requests == []


@pytest.mark.parametrize(("answer", "error"), [
    (Response(400, {"error": "invalid_grant", "error_description": "user hasn't approved this consumer"}),
     Reauthenticate),
    (Response(401, {"error": "invalid_client", "error_description": "s3cret"}), Reauthenticate),
    (Response(503, "<html>s3cret"), Outage), (Response(200, "<html>s3cret"), Outage),
    (Response(200, ["s3cret"]), Outage),
    (Response(200, {"access_token": "s3cret"}), Outage), (Response(200, {"instance_url": "https://s3cret"}), Outage),
    (Response(429, {"message": "x"}), Throttled), (Response(reset=True), Retry),
    (Response(200, {"access_token": "t", "instance_url": "http://s3cret.example"}), Misconfigured)])
def test_logins_that_fail(org: Make, answer: Response, error: type[ConnectorError]) -> None:
    o = org()
    o.on("/token", answer)
    with pytest.raises(error) as caught:
        o.connector.check()
    if error is not Misconfigured:  # which names the host, and only that
        assert "s3cret" not in f"{caught.value} {caught.value.detail} {caught.value.__context__!r}"


def test_sessions_hide_their_token() -> None:
    assert "s3cret" not in repr(Session("s3cret", "https://x", "00D", "005"))


# --------------------------------------------------------------------------- quota

def test_our_share_of_the_quota(org: Make) -> None:
    o = org(api_share=0.5, opt_out_reserve=0.2, opt_out_fields=("Email",))
    o.connector.check()
    o.usage = "per-app-api-usage=17/250(appName=x), api-usage=6000/10000"
    o.connector.fetch(SPEC, [ID])
    before = len(o.requests)
    with pytest.raises(Throttled) as caught:
        list(o.connector.changes(SPEC, None))
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 900
    with pytest.raises(Throttled):
        o.connector.apply(update(0))
    assert len(o.requests) == before
    assert o.connector.apply(update(0, 1))[1].state == "done"  # an opt-out may use the reserve
    assert o.connector.apply(update("x", column="Email"))[0].state == "done"  # so may what the mapping calls consent
    o.usage = "api-usage=7000/10000"
    o.connector.apply(update(1))
    with pytest.raises(Throttled):
        o.connector.apply(update(1))


def test_the_quota_is_looked_at_again_after_a_pause(org: Make) -> None:
    o = org(api_share=0.5)
    o.connector.check()
    o.usage = "api-usage=9999/10000"
    o.connector.fetch(SPEC, [ID])
    with pytest.raises(Throttled):
        list(o.connector.changes(SPEC, None))
    o.kernel.clock.advance(901)
    o.usage = "api-usage=10/10000"
    list(o.connector.changes(SPEC, None))
    list(o.connector.changes(SPEC, None))


def test_the_vendors_own_limit(org: Make) -> None:
    o = org()
    o.on("/query", Response(403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]))
    with pytest.raises(Throttled) as caught:
        list(o.connector.changes(SPEC, None))
    assert caught.value.retry_after == 900
    o.on("/composite", Response(403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "x"}]))
    with pytest.raises(Throttled):
        o.connector.apply(update(1))


# --------------------------------------------------------------------------- pages

def page(count: int, total: int, following: str | None) -> Response:
    records = [{"Id": f"0035g{i:010d}AAA", "SystemModstamp": "2026-11-21T10:00:00.000+0000", "IsDeleted": False,
                "MasterRecordId": None, "Email": "anna@acme.example", "HasOptedOutOfEmail": True} for i in range(count)]
    body = {"totalSize": total, "done": following is None, "records": records}
    return Response(200, body | ({"nextRecordsUrl": following} if following else {}))


def wire(o: Org) -> Wire:
    return Wire(SalesforceSettings(client_id="key", client_secret="s3cret", endpoint=o.url), CallCounter(), Http,
                o.kernel.clock.now)


def test_locators_are_followed(org: Make) -> None:
    o, following = org(), f"{ROOT}/query/0r8AAA-3"
    o.on("/query/0r8", page(2, 5, None))
    o.on("/queryAll", page(3, 5, following))
    one = wire(o)
    assert [(len(r), done) for r, done in one.query("SELECT Id FROM Contact", deleted=True)] == [(3, False), (2, True)]
    one.http.close()


@pytest.mark.parametrize("cut", [page(2, 5, f"{ROOT}/query/0r8AAA-3"), page(2, 3, None), page(3, 2, None)])
def test_cut_pages_are_never_used(org: Make, cut: Response) -> None:
    o = org()
    o.on("/queryAll", cut)
    one = wire(o)
    with pytest.raises(CursorLost):
        next(one.query("SELECT Id FROM Contact", deleted=True))
    one.http.close()


@pytest.mark.parametrize("body", [{}, [], {"records": None, "done": True, "totalSize": 0}, "text", {
    "records": [], "done": False, "totalSize": 1}, {"records": [], "done": True, "totalSize": "many"}])
def test_answers_that_are_not_pages(org: Make, body: Any) -> None:
    o = org()
    o.on("/queryAll", Response(200, body))
    with pytest.raises(Outage):
        list(o.connector.changes(SPEC, None))


def test_server_time_cuts_the_window(org: Make) -> None:
    """A local clock an hour behind must not skip or repeat an hour."""
    o = org(lag_seconds=10)
    settings = SalesforceSettings(client_id="key", client_secret="s3cret", endpoint=o.url, lag_seconds=10)
    late = SalesforceConnector(settings, clock=lambda: o.kernel.clock.now() - 3600)
    cursor = list(late.changes(SPEC, None))[-1].cursor
    assert abs(Cursor.parse(cursor).hi - (o.kernel.clock.now() - 10)) < 5
    assert late.server_skew is not None
    assert late.server_skew > 3500
    late.close()


def test_bulk_results_over_http(org: Make) -> None:
    o = org(bulk_threshold=1, bulk_page=2)
    header = '"Id","SystemModstamp","IsDeleted","MasterRecordId","Email","HasOptedOutOfEmail"\n'
    row = '"0035g000000000{}AAA","2026-11-21T10:00:00.000Z","false","","é@x.example","true"\n'

    def answer(request: Request) -> Response | None:
        path = request.path.removeprefix(ROOT)
        if path.startswith("/queryAll") and "COUNT" in request.query["q"]:
            return Response(200, {"totalSize": 3, "done": True, "records": []})
        if path == "/jobs/query":
            assert request.json()["operation"] == "queryAll"
            return Response(200, {"id": "7505g000000001", "state": "UploadComplete"})
        if path == "/jobs/query/7505g000000001":
            return Response(200, {"id": "7505g000000001", "state": "JobComplete", "numberRecordsProcessed": 3})
        if path.endswith("/results"):
            assert request.query["maxRecords"] == "2"
            first = "locator" not in request.query
            body = header + "".join(row.format(f"{n:02d}") for n in ((1, 2) if first else (3,)))
            return Response(200, body, {"Sforce-Locator": "MTIz" if first else "null",
                                        "Sforce-NumberOfRecords": "2" if first else "1"}, "text/csv")
        return None
    o.answers.append(answer)
    rows = [r for p in o.connector.changes(SPEC, None) for r in p.rows]
    assert [(r[0], r[4], r[5]) for r in rows] == [(f"0035g0000000000{n}AAA", "é@x.example", 1) for n in (1, 2, 3)]
    assert o.connector.counter.by_route["bulk.results"] == 2


@pytest.mark.parametrize(("status", "code", "error"), [
    (400, "INVALID_FIELD", Misconfigured), (403, "INSUFFICIENT_ACCESS", Misconfigured), (503, "", Outage)])
def test_bulk_jobs_that_are_refused(org: Make, status: int, code: str, error: type[ConnectorError]) -> None:
    o = org(bulk_threshold=-1)
    o.on("/jobs/query", Response(status, [{"errorCode": code, "message": "No such column 'Email' on 'anna'"}]))
    with pytest.raises(error) as caught:
        list(o.connector.changes(SPEC, None))
    assert "anna" not in str(caught.value)


def test_fetch_asks_in_portions_that_fit_a_url(org: Make) -> None:
    o = org()
    keys = [f"0035g{i:010d}" for i in range(1000)]
    assert o.connector.fetch(SPEC, [*keys, "no id", "0035g' OR Id != '0", keys[0]]).rows == []
    asked = [r.query["q"] for r in o.requests if "/query" in r.path]
    assert 2 <= len(asked) <= 5
    assert sum(q.count("0035g") for q in asked) == 1000
    assert all("no id" not in q and "OR" not in q for q in asked)


# --------------------------------------------------------------------------- writes

def test_an_update_on_the_wire(org: Make) -> None:
    o = org()
    batch = Batch("update", "Contact", ("HasOptedOutOfEmail", "Born__c", "Email"),
                  [Op(7, ID, None, (1, 1_638_469_419_000_000, None))])
    assert [x.state for x in o.connector.apply(batch)] == ["done"]
    sent = o.requests[-1]
    assert sent.method == "PATCH"
    assert sent.json() == {"allOrNone": False, "records": [{
        "attributes": {"type": "Contact"}, "id": ID, "HasOptedOutOfEmail": True, "Born__c": "2021-12-02T18:23:39.000Z",
        "Email": None}]}
    assert sent.headers["sforce-duplicate-rule-header"] == "allowSave=true"


def test_bad_rows_never_sink_their_batch(org: Make) -> None:
    o = org()
    batch = Batch("update", "Contact", ("HasOptedOutOfEmail",), [
        Op(1, "not an id", None, (1,)), Op(2, ID, None, (None,)), Op(3, ID, None, (1,)), Op(4, ID, None, (7,))])
    assert [x.state for x in o.connector.apply(batch)] == ["rejected", "rejected", "done", "rejected"]
    assert len(o.requests[-1].json()["records"]) == 1


def test_nothing_to_send_sends_nothing(org: Make) -> None:
    o = org()
    assert [x.state for x in o.connector.apply(Batch("update", "Contact", ("Email",), [Op(1, "x", None, ("y",))]))] == [
        "rejected"]
    assert o.paths("/composite") == []


@pytest.mark.parametrize("answer", [
    Response(reset=True), Response(500, "<html>"), Response(503, [{"errorCode": "SERVER_UNAVAILABLE", "message": "x"}]),
    Response(200, "<html>"), Response(200, []), Response(200, {"x": 1})])
def test_a_write_without_a_proper_answer_is_unknown(org: Make, answer: Response) -> None:
    o = org()
    o.on("/composite", answer)
    assert [x.state for x in o.connector.apply(update(1, 0))] == ["unknown", "unknown"]
    assert len(o.paths("/composite")) == 1  # never blindly repeated


@pytest.mark.parametrize(("batch", "match"), [
    (Batch("upsert", "Contact", ("Email",), []), "cannot upsert"),
    (Batch("update", "Contact", ("Email",), [Op(i, ID, None, ("x",)) for i in range(201)]), "201"),
    (Batch("update", "Contact", ("Email", "Nope__c", "IsDeleted"), [Op(1, ID, None, ("x", 1, 0))]),
     "IsDeleted, Nope__c"),
    (Batch("update", "Nope", ("Email",), [Op(1, ID, None, ("x",))]), "Email")])
def test_batches_that_cannot_be_sent(org: Make, batch: Batch, match: str) -> None:
    o = org()
    with pytest.raises(Misconfigured, match=match):
        o.connector.apply(batch)
    assert o.paths("/composite") == []


def test_a_field_that_was_taken_away(org: Make) -> None:
    o = org()
    o.on("/composite", Response(400, [{"errorCode": "INVALID_FIELD", "message": "No such column 'Email' on anna"}]))
    with pytest.raises(Misconfigured, match=r"\(Email\)"):
        o.connector.apply(update("x", column="Email"))


def test_one_record_that_sinks_a_call_is_found_by_halving(org: Make) -> None:
    o = org()
    o.on("/composite", Response(400, [{"errorCode": "MALFORMED_ID", "message": "malformed id"}]))
    many = o.connector.apply(update(1, 1, 1, 1))
    assert {(x.state, x.max_batch) for x in many} == {("retry", 2)}
    assert [x.state for x in o.connector.apply(update(1))] == ["rejected"]


def test_settle_knows_nothing(org: Make) -> None:
    assert [x.state for x in org().connector.settle("x", update(1, 1)) or ()] == ["unknown", "unknown"]


def test_streams_that_salesforce_does_not_have(org: Make) -> None:
    with pytest.raises(Misconfigured, match="status"):
        org().connector.changes(StreamSpec("Contact", "status"), None)


def test_a_refused_describe_is_an_absent_object_but_a_limit_is_not(org: Make) -> None:
    o = org()
    o.on("/Contact/describe", Response(403, [{"errorCode": "INSUFFICIENT_ACCESS", "message": "x"}]), times=1)
    assert o.connector.describe(["Contact"]).objects == {}
    o.on("/Contact/describe", Response(403, [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "x"}]))
    with pytest.raises(Throttled):
        o.connector.describe(["Contact"])


def test_importing_the_connector_does_not_import_the_library() -> None:
    import subprocess
    import sys
    code = "import sys, connectors.salesforce; sys.exit('simple_salesforce' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
