"""What the Salesforce connector's check finds, against a scripted organisation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.errors import Misconfigured
from connectors.sim.kernel import Response
from tests.unit.salesforce_scripted import FIELDS, SPEC, Make, orgs


@pytest.fixture
def org() -> Iterator[Make]:
    with orgs() as make:
        yield make


def test_health_of_a_good_org(org: Make) -> None:
    o = org()
    health = o.connector.check()
    assert health.ok
    assert health.account.startswith("org 00D5g000000000AEAQ as user 0055g000000000AAAQ at 127.0.0.1:")
    assert health.quota == {"DailyApiRequests": (1000, 15000)}
    assert [f.level for f in health.findings] == ["info"]  # no field history here


def hidden(*names: str) -> Response:
    return Response(200, {"name": "Contact", "fields": [f for f in FIELDS if f["name"] not in names]})


def test_a_hidden_opt_out_flag_stops_the_connection_until_it_is_shown(org: Make) -> None:
    o = org()
    o.on("/Contact/describe", hidden("HasOptedOutOfEmail"), times=1)
    health = o.connector.check()
    assert not health.ok
    assert any("Contact.HasOptedOutOfEmail" in f.message for f in health.findings if f.level == "error")
    assert o.connector.check().ok


def test_findings(org: Make) -> None:
    o = org()
    o.on("/limits", Response(403, [{"errorCode": "INSUFFICIENT_ACCESS", "message": "x"}],
                             {"Sforce-Limit-Info": "api-usage=14900/15000"}))
    o.on("et4ae5__", Response(200, {"name": "et4ae5__SendDefinition__c", "fields": []}))
    o.on("/Contact/describe", Response(200, {"name": "Contact", "fields": FIELDS, "updateable": False}))
    warnings = " ".join(f.message for f in o.connector.check().findings if f.level == "warning")
    for part in ("quota cannot be read", "only opt-outs", "cannot edit Contact.HasOptedOutOfEmail", "Cloud Connect"):
        assert part in warnings


def test_an_org_without_people_is_an_error(org: Make) -> None:
    o = org()
    o.on("/describe", Response(404, [{"errorCode": "NOT_FOUND", "message": "x"}]))
    assert not o.connector.check().ok
    assert o.connector.describe(["Contact"]).objects == {}
    with pytest.raises(Misconfigured, match="object Contact"):
        o.connector.changes(SPEC, None)
