"""Tokens, protocols and the error table, against a scripted vendor."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

import pytest

from connectors.errors import (
    ConnectorError,
    LostReply,
    Misconfigured,
    Outage,
    Reauthenticate,
    Retry,
    Throttled,
)
from connectors.marketing_cloud import MarketingCloudConnector
from connectors.marketing_cloud.wire.calls import Wire
from connectors.sim.kernel import Request, Response
from syncd.model import Page, StreamSpec
from tests.unit.marketing_cloud_lab import API, NOW, SECRET, Script, fault, retrieved, scripted, threads, token, xml

MEMBERS = StreamSpec("list:4711", "status", container="4711")
ROW = ("<SubscriberKey>{}</SubscriberKey><ListID>4711</ListID><Status>Active</Status>"
       "<ModifiedDate>2026-11-01T00:00:00</ModifiedDate>")


@pytest.fixture
def vendor() -> Iterator[tuple[Script, MarketingCloudConnector]]:
    with scripted() as pair:
        yield pair


def wire_of(connector: MarketingCloudConnector) -> Wire:
    return connector._wire


def read(connector: MarketingCloudConnector) -> list[Page]:
    return list(connector.changes(MEMBERS, None))


# --------------------------------------------------------------------------- tokens

def test_one_token_serves_many_threads_and_is_renewed_before_it_ends() -> None:
    now = [NOW]
    with scripted(lambda: now[0]) as (script, connector):
        wire = wire_of(connector)
        threads(8, wire.token)
        assert len(script.logins) == 1
        assert script.logins[0].json() == {"grant_type": "client_credentials", "client_id": "mc-client",
                                           "client_secret": SECRET, "account_id": 12345}
        for seconds, logins in ((800, 1), (820, 2)):
            now[0] = NOW + seconds
            wire.token()
            assert len(script.logins) == logins


@pytest.mark.parametrize("refusal", [Response(401, {"message": "Not Authorized", "errorcode": 0}), None])
def test_an_expired_token_is_renewed_once_and_the_call_repeated(
        vendor: tuple[Script, MarketingCloudConnector], refusal: Response | None) -> None:
    script, connector = vendor
    wire = wire_of(connector)
    script.answers = [refusal or fault("q0:Security", "Token Expired"), Response(202, {}) if refusal else retrieved()]
    if refusal:
        assert wire.rest("PUT", "/data/v1/async/x/rows", route="r", json={}, write=True).status == 202
    else:
        assert wire.retrieve("List", ("ID",)).rows == []
    assert len(script.logins) == 2
    script.answers = [refusal or fault("q0:Security", "Token Expired")] * 2
    call = (lambda: wire.rest("GET", "/x", route="r")) if refusal else (lambda: wire.retrieve("List", ("ID",)))
    with pytest.raises(Reauthenticate):
        call()
    assert script.answers == [], "asked twice, not for ever"


@pytest.mark.parametrize(("answer", "error"), [
    (Response(401, {"error": "invalid_client", "error_description": "mc-secret is wrong"}), Reauthenticate),
    (Response(400, {"error": "invalid_scope"}), Misconfigured),
    (Response(400, {"error": "ada@mail.example"}), Misconfigured),
    (Response(429, {"errorcode": 50100, "retryAfter": 5}, {"Retry-After": "5"}), Throttled),
    (Response(503, "busy"), Retry), (Response(200, "<html>"), Outage), (Response(200, {"access_token": "tok"}), Outage),
])
def test_a_refused_login_says_what_to_do_and_no_secret(
        vendor: tuple[Script, MarketingCloudConnector], answer: Response, error: type[ConnectorError]) -> None:
    script, connector = vendor
    script.login = lambda request: answer
    with pytest.raises(error) as caught:
        connector.check()
    told = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert SECRET not in told
    assert "ada@" not in told


def test_a_login_answer_cannot_lead_the_token_to_a_foreign_host(
        vendor: tuple[Script, MarketingCloudConnector]) -> None:
    script, connector = vendor
    script.login = lambda request: token(rest_instance_url="https://evil.example/", soap_instance_url="https://evil.example/")
    script.answers = [Response(200, {}), retrieved()]
    wire_of(connector).rest("GET", "/x", route="r")
    wire_of(connector).retrieve("List", ("ID",))
    assert [request.path for request in script.asked] == ["/x", "/Service.asmx"]


# --------------------------------------------------------------------------- the error table

@pytest.mark.parametrize(("answer", "read_error", "write_error"), [
    (Response(400, {"errorcode": 10003}), Misconfigured, Misconfigured),
    (Response(403, {"errorcode": 40002}), Misconfigured, Misconfigured),
    (Response(404, ""), Misconfigured, Misconfigured), (Response(596, ""), Misconfigured, Misconfigured),
    (Response(415, ""), Misconfigured, Misconfigured), (Response(418, ""), Outage, Outage),
    (Response(500, "<html>"), Retry, LostReply), (Response(503, ""), Retry, LostReply),
    (Response(200, "", reset=True), Retry, LostReply),
])
def test_a_rest_answer_means_what_to_do_next(
        vendor: tuple[Script, MarketingCloudConnector], answer: Response, read_error: type[ConnectorError],
        write_error: type[ConnectorError]) -> None:
    script, connector = vendor
    script.answers = [answer, answer]
    with pytest.raises(read_error):
        wire_of(connector).rest("GET", "/x", route="r")
    with pytest.raises(write_error):
        wire_of(connector).rest("PUT", "/x", route="r", json={}, write=True)


@pytest.mark.parametrize(("answer", "seconds"), [
    (Response(429, {"errorcode": 50100, "retryAfter": 9}, {"Retry-After": "5"}), 5.0),
    (Response(429, {"errorcode": 50100, "retryAfter": 9}), 9.0),
    (Response(429, {"message": "Your requests are temporarily blocked.", "errorcode": 50200}), None),
])
def test_throttling_tells_the_time_where_the_vendor_does(
        vendor: tuple[Script, MarketingCloudConnector], answer: Response, seconds: float | None) -> None:
    script, connector = vendor
    script.answers = [answer, answer]
    wire = wire_of(connector)
    for call in (lambda: wire.rest("PUT", "/x", route="r", json={}, write=True),
                 lambda: wire.save("Update", ["<Objects/>"], route="s")):
        with pytest.raises(Throttled) as caught:
            call()
        assert caught.value.retry_after == seconds


@pytest.mark.parametrize(("answer", "read_error", "write_error"), [
    (fault("soap:Server", "The request was throttled. Please try again later."), Throttled, Throttled),
    (fault("soap:Client", "ada@mail.example is out of sequence"), Misconfigured, Misconfigured),
    (fault("soap:Server", "Object reference not set"), Retry, LostReply),
    (Response(500, "<html>Internal Server Error</html>"), Retry, LostReply),
    (Response(200, "<html>maintenance</html>"), Outage, LostReply),
])
def test_a_soap_answer_means_what_to_do_next(
        vendor: tuple[Script, MarketingCloudConnector], answer: Response, read_error: type[ConnectorError],
        write_error: type[ConnectorError]) -> None:
    script, connector = vendor
    script.answers = [answer, answer]
    with pytest.raises(read_error) as caught:
        wire_of(connector).retrieve("List", ("ID",))
    assert "ada@" not in str(caught.value) + caught.value.detail
    with pytest.raises(write_error):
        wire_of(connector).save("Update", ["<Objects/>"], route="s")


@pytest.mark.parametrize(("status", "error"), [
    ("Error: Unable to find a handler for object type: Lst. Object types are case-sensitive", Misconfigured),
    ("Error: timeout of the query for ada@mail.example", Retry), ("", Misconfigured),
])
def test_an_error_inside_http_200_is_an_error(
        vendor: tuple[Script, MarketingCloudConnector], status: str, error: type[ConnectorError]) -> None:
    script, connector = vendor
    script.answers = [retrieved(status=status)]
    with pytest.raises(error) as caught:
        read(connector)
    assert "ada@" not in str(caught.value) + caught.value.detail


def test_a_write_nobody_may_do_is_misconfigured(vendor: tuple[Script, MarketingCloudConnector]) -> None:
    script, connector = vendor
    script.answers = [xml(f'<UpdateResponse xmlns="{API}"><Results><StatusCode>Error</StatusCode><StatusMessage>'
                          "API Permission Failed. Object Type: Subscriber</StatusMessage></Results></UpdateResponse>")]
    with pytest.raises(Misconfigured, match="may not update"):
        wire_of(connector).save("Update", ["<Objects/>"], route="s")


# --------------------------------------------------------------------------- listings

def continued(request: Request) -> bool:
    return b"<ContinueRequest>" in request.body


def test_a_listing_goes_on_until_the_vendor_says_so(vendor: tuple[Script, MarketingCloudConnector]) -> None:
    script, connector = vendor
    script.answers = [retrieved(ROW.format("a"), status="MoreDataAvailable", request="r1"),
                      retrieved(ROW.format("b"), status="MoreDataAvailable", request="r2"), retrieved(ROW.format("c"))]
    pages = read(connector)
    assert [row[1] for page in pages for row in page.rows] == ["a", "b", "c"]
    assert [page.complete for page in pages] == [False, False, True]
    assert [b"<ContinueRequest>r1<" in r.body for r in script.asked] == [False, True, False]
    assert b"<ContinueRequest>r2<" in script.asked[2].body


def test_a_forgotten_page_begins_the_listing_again_and_loses_nobody(
        vendor: tuple[Script, MarketingCloudConnector]) -> None:
    script, connector = vendor
    script.answers = [retrieved(ROW.format("a"), status="MoreDataAvailable"),
                      retrieved(status="Error: The ContinueRequest is not valid."),
                      retrieved(ROW.format("a"), status="MoreDataAvailable"), retrieved(ROW.format("b"))]
    pages = read(connector)
    assert [row[1] for page in pages for row in page.rows] == ["a", "a", "b"]
    assert pages[-1].complete
    script.answers = [retrieved(ROW.format("a"), status="MoreDataAvailable"),
                      *[retrieved(status="Error: The ContinueRequest is not valid.") if n % 2 == 0
                        else retrieved(status="MoreDataAvailable") for n in range(9)]]
    with pytest.raises(Retry, match="losing its place"):
        read(connector)


def test_more_data_without_a_way_to_it_is_no_end(vendor: tuple[Script, MarketingCloudConnector]) -> None:
    script, connector = vendor
    script.answers = [retrieved(ROW.format("a"), status="MoreDataAvailable", request="")]
    with pytest.raises(Outage):
        read(connector)


def test_a_resumed_listing_is_not_complete(vendor: tuple[Script, MarketingCloudConnector]) -> None:
    script, connector = vendor
    script.answers = [retrieved(ROW.format("a"), status="MoreDataAvailable", request="r7")]
    first = next(connector.changes(MEMBERS, None))
    script.answers = [retrieved(ROW.format("b"))]
    [rest] = connector.changes(MEMBERS, first.cursor)
    assert rest.last
    assert not rest.complete
    assert b"<ContinueRequest>r7<" in script.asked[-1].body


def test_an_unknown_status_is_an_error_and_not_a_guess(vendor: tuple[Script, MarketingCloudConnector]) -> None:
    script, connector = vendor
    script.answers = [retrieved(ROW.format("a").replace("Active", "Snoozed"))]
    with pytest.raises(Misconfigured, match="not known"):
        read(connector)
