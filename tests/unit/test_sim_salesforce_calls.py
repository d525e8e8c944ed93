"""The Salesforce simulator's sessions, quota and faults."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.sim.kernel import Call, Request
from connectors.sim.salesforce import SalesforceSim
from tests.unit.sim_salesforce_lab import Org, code


@pytest.fixture
def org() -> Org:
    return Org()


def test_a_session_dies_by_time_and_by_fault(org: Org) -> None:
    org.kernel.clock.advance(7201)
    dead = org.call("GET", "/limits")
    assert (dead.status, dead.body) == (401, [{"message": "Session expired or invalid",
                                               "errorCode": "INVALID_SESSION_ID"}])
    org.login()
    org.fault("token_expired", route="/limits", count=1)
    assert org.call("GET", "/sobjects").status == 200
    assert org.call("GET", "/limits").status == 401
    assert org.call("GET", "/sobjects").status == 401, "the token is gone for every call"
    org.login()
    assert org.call("GET", "/limits").status == 200


def test_the_daily_quota_is_a_rolling_one() -> None:
    org = Org(daily_requests=12)
    for _ in range(12):
        answer = org.call("GET", "/limits")
    assert answer.headers["Sforce-Limit-Info"] == "api-usage=10/12", "the header lags"
    assert answer.body["DailyApiRequests"] == {"Max": 12, "Remaining": 0}
    over = org.call("GET", "/limits")
    assert (over.status, over.body[0]["errorCode"]) == (403, "REQUEST_LIMIT_EXCEEDED")
    org.kernel.clock.advance(86400)
    org.login()
    assert org.call("GET", "/limits").status == 200


def test_faults_that_bend_answers(org: Org) -> None:
    for name in ("a", "b", "c", "d"):
        org.create("Contact", LastName=name)
    query = "/query?q=SELECT+Id+FROM+Contact"
    org.fault("truncated_page", object="Contact", count=1)
    page = org.get(query)
    assert (page["totalSize"], page["done"], len(page["records"])) == (4, True, 2)
    org.fault("empty_list", object="Contact", count=1)
    assert org.get(query) == {"totalSize": 0, "done": True, "records": []}
    assert len(org.get(query)["records"]) == 4
    org.fault("drop_field", object="Contact", field="Email")
    assert org.refusal("SELECT Email FROM Contact")[0] == "INVALID_FIELD"
    assert "Email" not in {f["name"] for f in org.get("/sobjects/Contact/describe")["fields"]}
    org.kernel.faults.clear()
    assert org.query("SELECT Email FROM Contact LIMIT 1")
    org.fault("partial", object="Contact", count=1)
    rows = org.patch(*({"id": i, "Title": "t"} for i in org.ids("SELECT Id FROM Contact")))
    failed = [r for r in rows if not r["success"]]
    assert 0 < len(failed) <= 4
    assert {code(r) for r in failed} == {"UNABLE_TO_LOCK_ROW"}
    assert len(org.ids("SELECT Id FROM Contact WHERE Title = 't'")) == 4 - len(failed)


def test_versions_and_wrong_doors(org: Org) -> None:
    anyone = org.sim.handle(Request("GET", "/services/data", {}, {}, b""), Call())
    assert anyone.body[-1]["version"] == "67.0"
    assert org.call("GET", "/services/data/v30.0/limits").status == 410
    assert org.call("GET", "/services/data/v99.0/limits").status == 404
    assert org.call("GET", "/nothing").body[0]["errorCode"] == "NOT_FOUND"
    assert org.call("DELETE", "/limits").status == 405
    assert org.call("POST", "/sobjects/Contact", b"{").body[0]["errorCode"] == "JSON_PARSER_ERROR"
    assert org.call("POST", "/sobjects/User", {"LastName": "x"}).status == 400


def test_the_same_seed_tells_the_same_story() -> None:
    def story() -> list[Any]:
        org = Org()
        org.sim.load({"Contact": [{"LastName": f"n{i}"} for i in range(3000)]})
        page = org.get("/query?q=SELECT+Id+FROM+Contact")
        return [org.token, page["nextRecordsUrl"], len(page["records"]), org.create("Contact", LastName="z")]
    assert story() == story()


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match=r"Contact\.Nope"):
        SalesforceSim(Org().kernel, hidden_fields={"Contact": ["Nope"]})
    with pytest.raises(ValueError, match="unknown keys"):
        SalesforceSim(Org().kernel, custom_fields={"Contact": {"X__c": {"typ": "text"}}})
    with pytest.raises(ValueError, match="no field Nope"):
        Org().sim.load({"Contact": [{"LastName": "a", "Nope": "b"}]})
    with pytest.raises(ValueError, match="not an id"):
        Org().sim.load({"Contact": [{"Id": "0035g00000zzzzzZZZ"}]})
