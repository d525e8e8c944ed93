"""Which account a login leads to, as each vendor tells it: in the connectors, and in the simulators for any client."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from connectors.base import Account
from connectors.errors import AnotherAccount, Retry, Throttled
from connectors.sim.kernel import Kernel, Response, serve
from connectors.sim.marketing_cloud import MarketingCloudSim
from connectors.sim.odoo import ApiKey, OdooSim, User
from connectors.sim.salesforce import SalesforceSim
from syncd.model import Batch, Op
from tests.unit.marketing_cloud_lab import MID, scripted, serving
from tests.unit.odoo_lab import odoo
from tests.unit.salesforce_scripted import Make, orgs

UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
ADMIN = User(20, "boss@example.test", keys=(ApiKey("key-boss"),), groups=frozenset({"system"}))
BOSS = {"user": ADMIN.login, "api_key": "key-boss"}


def only(account: Account) -> None:
    """Lets one Salesforce organisation pass."""
    if account.id != "org 00D5g000000000AEAQ":
        raise AnotherAccount("elsewhere")


# --------------------------------------------------------------------------- Salesforce

@pytest.fixture
def org() -> Iterator[Make]:
    with orgs() as make:
        yield make


def token(url: str, id_: str) -> Response:
    return Response(200, {"access_token": "T", "instance_url": url, "token_type": "Bearer",
                          **({"id": f"https://login.salesforce.com/id/{id_}/0055g000000000AAAQ"} if id_ else {})})


def test_salesforce_tells_the_organisation_with_the_token(org: Make) -> None:
    o = org()
    assert o.connector.login() == Account("org 00D5g000000000AEAQ", o.url.partition("//")[2])
    assert len(o.requests) == 1
    shy = org()
    shy.on("/token", token(shy.url, ""))
    assert shy.connector.login() == Account("", shy.url.partition("//")[2])


def test_a_sandbox_that_is_refreshed_between_two_calls_is_not_written(org: Make) -> None:
    """Its session ends, and the same credentials are good for the new one."""
    o = org()
    o.connector.watch(only)
    batch = Batch("update", "Contact", ("HasOptedOutOfEmail",), [Op(1, "0035g0000000001AAA", None, (1,))])
    assert o.connector.apply(batch)[0].state == "done"
    o.on("/composite", Response(401, [{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}]))
    o.on("/token", token(o.url, "00D5g000000000BEAQ"))
    with pytest.raises(AnotherAccount):
        o.connector.apply(batch)
    assert len(o.paths("/composite")) == 2
    with pytest.raises(AnotherAccount):
        o.connector.describe(["Contact"])


# --------------------------------------------------------------------------- Marketing Cloud

def told(**organization: object) -> Response:
    return Response(200, {"organization": organization, "user": {"email": "me@x.test"}})


@pytest.mark.parametrize(("answer", "id_"), [
    (told(member_id=MID, enterprise_id=1), f"enterprise 1, MID {MID}"),
    (told(member_id=MID), ""), (Response(200, ["?"]), ""), (Response(403, {"errorcode": 20002}), ""),
    (Response(404, "?"), "")])
def test_marketing_cloud_is_asked_once_whose_token_it_is(answer: Response, id_: str) -> None:
    now = [1_795_000_000.0]
    with scripted(lambda: now[0]) as (script, connector):
        script.answers = [answer]
        account = connector.login()
        assert (account.id, account.place.endswith(f", MID {MID}")) == (id_, True)
        now[0] += 3600
        assert connector.login() == account
        assert [r.path for r in script.asked] == ["/v2/userinfo"]
        assert len(script.logins) == 2


@pytest.mark.parametrize(("answer", "error"), [
    (Response(503, "?"), Retry), (Response(429, {"retryAfter": 3}), Throttled), (Response(401, {"errorcode": 0}), Retry)])
def test_marketing_cloud_that_cannot_tell_now_is_asked_again_with_another_token(
        answer: Response, error: type[Exception]) -> None:
    def passing(account: Account) -> None:
        assert account.id

    with scripted() as (script, connector):
        connector.watch(passing)
        script.answers = [answer, told(member_id=MID, enterprise_id=1)]
        with pytest.raises(error):
            connector.describe()
        connector.login()
        assert (len(script.logins), len(script.asked)) == (2, 2)


def test_a_token_that_may_not_ask_who_it_is_does_not_stop_everything() -> None:
    refused = Response(401, {"errorcode": 0, "message": "Not Authorized"})
    with scripted() as (script, connector):
        script.answers = [refused, refused]
        with pytest.raises(Retry):
            connector.login()
        assert connector.login().id == ""


# --------------------------------------------------------------------------- Odoo

@pytest.mark.parametrize("version", ["16.0", "18.0", "19.0"])
def test_odoo_tells_administrators_which_database_it_is_and_others_are_known_by_its_name(version: str) -> None:
    with odoo(version, BOSS, uuid=UUID, users=[ADMIN]) as lab:
        account = lab.connector.login()
        assert (account.id, account.place.rpartition("/")[2]) == (f"database {UUID}", "odoo")
    with odoo(version, uuid=UUID) as lab:
        account = lab.connector.login()
        assert (account.id, account.place.rpartition("/")[2]) == ("", "odoo")
        calls = lab.calls()
        assert lab.connector.login() == account
        assert calls["ir.config_parameter.get_param"] == 1
        assert not lab.calls()


def test_a_worker_of_odoo_that_refuses_the_key_for_once_is_asked_again() -> None:
    with odoo("18.0") as lab:
        lab.fault("token_expired", route="ir.config_parameter", count=1)
        with pytest.raises(Retry):
            lab.connector.login()
        assert lab.connector.login().place


# --------------------------------------------------------------------------- the simulators, for any client

def test_the_simulators_answer_other_clients_too() -> None:
    mc = MarketingCloudSim(Kernel(), business_units={1: {"name": "Parent"}, MID: {"name": "Child"}}, eid=1)
    with serving(serve(mc.kernel, mc.side, mc.handle)) as url:
        answer = requests.post(f"{url}/v2/token", timeout=10, json={
            "grant_type": "client_credentials", "client_id": "mc-client", "client_secret": "mc-secret", "account_id": MID})
        bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        about = requests.get(f"{url}/v2/userinfo", timeout=10, headers=bearer).json()["organization"]
        assert (about["member_id"], about["enterprise_id"]) == (MID, 1)
        assert requests.get(f"{url}/v2/userinfo", timeout=10).status_code == 401
    database = OdooSim(Kernel(), uuid=UUID)
    with serving(serve(database.kernel, database.side, database.handle)) as url:
        def ask(uid: int, secret: str) -> object:
            args = ["odoo", uid, secret, "ir.config_parameter", "get_param", ["database.uuid"]]
            answer = requests.post(f"{url}/jsonrpc", timeout=10, json={
                "id": 1, "params": {"service": "object", "method": "execute_kw", "args": args}}).json()
            return answer["result"] if "result" in answer else answer["error"]["data"]["name"]
        assert ask(2, "admin") == UUID
        assert ask(8, "key-sync") == "odoo.exceptions.AccessError"
    sandbox = SalesforceSim(Kernel(), organization="00D5g000000000BEAQ")
    with serving(serve(sandbox.kernel, sandbox.side, sandbox.handle)) as url:
        answer = requests.post(f"{url}/services/oauth2/token", timeout=10, data={
            "grant_type": "client_credentials", "client_id": "sandbox-client", "client_secret": "sandbox-secret"})
        assert "/id/00D5g000000000BEAQ/" in answer.json()["id"]
        [found] = requests.get(f"{url}/services/data/v67.0/query", timeout=10, params={"q": "SELECT Id FROM Organization"},
                               headers={"Authorization": f"Bearer {answer.json()['access_token']}"}).json()["records"]
        assert found["Id"] == "00D5g000000000BEAQ"
