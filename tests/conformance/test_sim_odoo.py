"""What the Odoo simulator does over several calls, and how two public client libraries get on with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import odoolib
import odoorpc
import pytest
import requests
from odoolib.tools import AuthenticationError

from connectors.sim.kernel import Kernel, serve
from connectors.sim.odoo import ApiKey, OdooSim


class Rpc:
    """A bare JSON-RPC client of one simulator."""

    def __init__(self, sim: OdooSim) -> None:
        self.sim = sim
        self.server = serve(sim.kernel, sim.side, sim.handle)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def call(self, model: str, method: str, *args: Any, uid: int = 8, key: str = "key-sync", **named: Any) -> Any:
        params = {"service": "object", "method": "execute_kw",
                  "args": ["odoo", uid, key, model, method, list(args), named]}
        answer = requests.post(f"{self.url}/jsonrpc", json={"params": params, "id": 1}, timeout=10).json()
        if "error" in answer:
            raise ValueError(answer["error"]["data"]["name"])
        return answer.get("result")


@pytest.fixture(params=["18.0"])
def rpc(request: pytest.FixtureRequest) -> Iterator[Rpc]:
    client = Rpc(OdooSim(Kernel(), version=request.param, topics={"news": 7, "offers": 8}))
    yield client
    client.server.shutdown()
    client.server.server_close()


def stamp(rpc: Rpc, model: str, row_id: int) -> int:
    """write_date as stored, in micros."""
    return int(rpc.sim.db.tables[model].rows[row_id]["write_date"])


def test_write_date_is_compared_in_micros_and_shown_in_seconds(rpc: Rpc) -> None:
    rpc.sim.load({"res.partner": [{"id": 50, "name": "A", "write_date": "2026-01-01 10:00:00.685612"}]})
    [row] = rpc.call("res.partner", "read", [50], ["write_date"])
    assert row["write_date"] == "2026-01-01 10:00:00"

    def hits(sign: str, text: str) -> int:
        return int(rpc.call("res.partner", "search_count", [["id", "=", 50], ["write_date", sign, text]]))

    shown, exact = "2026-01-01 10:00:00", "2026-01-01 10:00:00.685612"
    assert [hits(s, shown) for s in (">", ">=", "=", "<=")] == [1, 1, 0, 0]
    assert [hits(s, exact) for s in (">", "=", "<=")] == [0, 1, 1]


def test_a_late_commit_bears_its_beginning_and_an_older_id(rpc: Rpc) -> None:
    rpc.sim.act({"actor": "crm_user", "do": "create", "object": "res.partner", "set": {"name": "Late"}, "delay": 60})
    early = rpc.call("res.partner", "create", {"name": "Early"})
    assert rpc.call("res.partner", "search", [["name", "=", "Late"]]) == []
    rpc.sim.clock.advance(61)
    [late] = rpc.call("res.partner", "search", [["name", "=", "Late"]])
    assert late < early
    assert stamp(rpc, "res.partner", late) <= stamp(rpc, "res.partner", early)


def test_what_bumps_a_partner_and_what_does_not(rpc: Rpc) -> None:
    company = rpc.call("res.partner", "create", {"name": "Co", "is_company": True})
    person = rpc.call("res.partner", "create", {"name": "P", "email": "p@x.test", "parent_id": company})
    tag = rpc.call("res.partner.category", "create", {"name": "T"})

    def bumps(*what: Any, **named: Any) -> bool:
        before = stamp(rpc, "res.partner", person)
        rpc.sim.clock.advance(2)
        rpc.call(*what, **named)
        return stamp(rpc, "res.partner", person) != before

    assert bumps("res.partner", "write", [person], {})
    assert bumps("res.partner", "write", [person], {"write_date": "2001-01-01 00:00:00"})
    assert bumps("res.partner", "write", [person], {"category_id": [[4, tag]]})
    assert not bumps("res.partner.category", "write", [tag], {"partner_ids": [[3, person]]})
    assert not bumps("res.partner.category", "write", [tag], {"partner_ids": [[4, person]]})
    assert not bumps("res.partner.category", "write", [tag], {"active": False})
    assert rpc.call("res.partner", "read", [person], ["category_id"])[0]["category_id"] == []
    assert rpc.call("res.partner", "search_count", [["category_id", "in", [tag]]]) == 1
    assert bumps("res.partner", "write", [company], {"name": "Renamed"})
    assert not bumps("mail.blacklist", "create", [{"email": "P@x.test"}])
    assert rpc.call("res.partner", "read", [person], ["is_blacklisted"])[0]["is_blacklisted"] is True
    assert bumps("res.partner", "unlink", [company])


def test_an_archived_blacklist_row_stays_archived_when_created_again(rpc: Rpc) -> None:
    row = rpc.call("mail.blacklist", "create", {"email": "A@x.test"})
    rpc.call("mail.blacklist", "write", [row], {"active": False})
    assert rpc.call("mail.blacklist", "create", {"email": "a@x.test"}) == row
    assert rpc.call("mail.blacklist", "search_count", [["email", "=", "a@x.test"]]) == 0
    answer = rpc.call("mail.blacklist", "create", [{"email": "z@x.test"}, {"email": "a@x.test"}, {"email": "Z@x.test"}])
    assert answer == [row, row + 1]
    assert rpc.call("mail.blacklist", "action_add", [row]) is None
    assert rpc.call("mail.blacklist", "search_count", [["email", "=", "A@X.test"]]) == 1
    assert rpc.call("mail.blacklist", "search_count", [["email", "in", ["A@X.test"]]]) == 0


def test_rows_of_a_many2many_command_have_no_dates(rpc: Rpc) -> None:
    contact = rpc.call("mailing.contact", "create", {"name": "C", "email": "c@x.test", "list_ids": [[6, 0, [7]]]})
    domain = [["contact_id", "=", contact]]
    assert rpc.call("mailing.subscription", "search", [*domain, ["write_date", ">", "2000-01-01 00:00:00"]]) == []
    [row] = rpc.call("mailing.subscription", "search_read", domain, fields=["write_date", "opt_out", "create_uid"])
    assert (row["write_date"], row["opt_out"], row["create_uid"]) == (False, False, False)
    assert rpc.call("mailing.subscription", "search_count", [*domain, ["write_date", "=", False]]) == 1


def test_one_bad_record_refuses_the_batch(rpc: Rpc) -> None:
    before = rpc.call("res.partner", "search_count", [])
    with pytest.raises(ValueError, match="ValidationError"):
        rpc.call("res.partner", "create", [{"name": "Good"}, {"email": "bad@x.test"}])
    assert rpc.call("res.partner", "search_count", []) == before


def test_a_get_of_the_unsubscribe_link_opts_out_every_contact_of_the_address(rpc: Rpc) -> None:
    contacts = rpc.call("mailing.contact", "create", [{"name": n, "email": e, "list_ids": [[6, 0, [7, 8]]]} for n, e in
                                                      (("A", "a@x.test"), ("B", "A@X.test"), ("C", "c@x.test"))])
    sent = rpc.sim.act({"actor": "esp_user", "do": "send", "to": {"topic": "news"}})
    assert (sent["mailed"], sent["skipped"]) == (["a@x.test", "c@x.test"], {"mail_dup": 1})
    path = rpc.sim.unsubscribe_path(int(sent["id"]), contacts[0], "a@x.test")
    assert requests.get(rpc.url + path.replace("hash_token=", "hash_token=0"), timeout=10).status_code == 418
    assert requests.get(rpc.url + path, timeout=10).status_code == 200
    rows = rpc.call("mailing.subscription", "search_read", [["opt_out", "=", True]],
                    fields=["contact_id", "list_id", "write_uid", "opt_out_datetime"], load="")
    assert {(r["contact_id"], r["list_id"], r["write_uid"]) for r in rows} == {(contacts[0], 7, 4), (contacts[1], 7, 4)}
    again = rpc.sim.act({"actor": "esp_user", "do": "send", "to": {"topic": "news"}})
    assert (again["mailed"], again["skipped"]) == (["c@x.test"], {"mail_optout": 2})
    rpc.sim.clock.advance(60)
    reason = {"mailing_id": int(sent["id"]), "document_id": contacts[0], "email": "a@x.test", "opt_out_reason_id": 5,
              "hash_token": path.partition("hash_token=")[2], "last_action": "subscription_updated"}
    assert requests.post(f"{rpc.url}/mailing/feedback", json={"params": reason}, timeout=10).json()["result"] is True
    [later] = rpc.call("mailing.subscription", "read", [rows[0]["id"]], ["opt_out_datetime"])
    assert later["opt_out_datetime"] > rows[0]["opt_out_datetime"]


def test_the_fifth_bounce_of_some_weeks_blacklists(rpc: Rpc) -> None:
    rpc.sim.load({"res.partner": [{"id": 60, "name": "B", "email": "b@x.test"}]})
    for _ in range(5):
        assert rpc.call("mail.blacklist", "search_count", []) == 0
        rpc.sim.act({"actor": "recipient", "do": "bounce", "email": "b@x.test", "kind": "hard"})
        rpc.sim.clock.advance(3 * 86_400)
    [row] = rpc.call("mail.blacklist", "search_read", [], fields=["email", "create_uid"], load="")
    assert (row["email"], row["create_uid"]) == ("b@x.test", 1)
    assert rpc.call("res.partner", "read", [60], ["message_bounce"])[0]["message_bounce"] == 5


def test_a_merge_leaves_no_trace_but_the_filled_winner(rpc: Rpc) -> None:
    rpc.sim.load({"res.partner": [{"id": 70, "name": "W"}, {"id": 71, "name": "L", "phone": "1", "email": "l@x.test"}],
                  "crm.lead": [{"id": 5, "name": "Lead", "partner_id": 71}]})
    rpc.sim.act({"actor": "crm_user", "do": "merge", "object": "res.partner", "id": "71", "into": "70"})
    assert rpc.call("res.partner", "read", [70, 71], ["name", "phone", "email"]) == [
        {"id": 70, "name": "W", "phone": "1", "email": "l@x.test"}]
    assert rpc.call("crm.lead", "read", [5], ["partner_id"], load="")[0]["partner_id"] == 70
    people = {p["id"]: p for p in rpc.sim.world()["people"] if p["object"] == "res.partner"}
    assert (people["70"]["deleted"], people["71"]["deleted"]) == (False, True)


def test_rules_hide_silently_in_a_search_and_loudly_in_a_read(rpc: Rpc) -> None:
    rpc.sim.load({"crm.lead": [{"id": 1, "name": "Theirs", "user_id": 2}, {"id": 2, "name": "Own", "user_id": 10}]})
    assert rpc.call("crm.lead", "search", [], uid=10, key="key-own", order="id") == [2]
    with pytest.raises(ValueError, match="AccessError"):
        rpc.call("crm.lead", "read", [1], ["name"], uid=10, key="key-own")


def test_a_used_key_goes_on_working_after_its_expiry(rpc: Rpc) -> None:
    user = rpc.sim.access.users[9]
    user.keys = (ApiKey("short", expires=rpc.sim.clock.now() + 60),)
    assert rpc.call("res.partner", "search", [], uid=9, key="short") == []
    rpc.sim.clock.advance(61)
    assert rpc.call("res.partner", "search", [], uid=9, key="short") == []
    assert rpc.sim.access.authenticate("plain@example.test", "short") is None


def test_sessions_open_by_password_only_and_cool_down(rpc: Rpc) -> None:
    def enter(password: str) -> Any:
        params = {"db": "odoo", "login": "admin", "password": password}
        return requests.post(f"{rpc.url}/web/session/authenticate", json={"params": params}, timeout=10)

    opened = enter("admin")
    read = requests.post(f"{rpc.url}/web/dataset/call_kw/res.partner/search_count", timeout=10, cookies=opened.cookies,
                         json={"params": {"model": "res.partner", "method": "search_count", "args": [[]]}})
    assert read.json()["result"] == 0
    for _ in range(10):
        assert "error" in enter("bad").json()
    assert "Too many" in enter("admin").json()["error"]["data"]["message"]
    rpc.sim.clock.advance(61)
    assert enter("admin").json()["result"]["uid"] == 2


def test_offset_paging_on_a_moving_table_misses_rows(rpc: Rpc) -> None:
    rpc.sim.load({"res.partner": [{"id": i, "name": "P", "write_date": f"2026-01-01 00:{i // 60:02}:{i % 60:02}"}
                                  for i in range(1, 301)]})
    seen: list[int] = []
    for offset in range(0, 300, 50):
        rows = rpc.call("res.partner", "search", [], order="write_date, id", offset=offset, limit=50)
        rpc.call("res.partner", "write", rows[:5], {"name": "Q"})
        seen += rows
    assert len(set(seen)) == 275


def test_world_and_acts(rpc: Rpc) -> None:
    act = rpc.sim.act
    made = act({"actor": "crm_user", "do": "create", "object": "res.partner", "set": {
        "name": "A", "email": "A@x.test", "opted_out": True, "topics": {"news": True, "offers": False}}})
    [person] = [p for p in rpc.sim.world()["people"] if p["object"] == "res.partner"]
    assert (person["id"], person["opted_out"], person["topics"]) == (made["id"], True, {"news": True, "offers": False})
    act({"actor": "crm_user", "do": "mass_edit", "object": "res.partner", "where": {"email": "A@x.test"},
         "set": {"opted_out": False, "function": "CTO"}})
    act({"actor": "crm_user", "do": "form", "object": "res.partner",
         "set": {"email": "a@x.test", "topics": {"offers": True}}})
    lead = act({"actor": "crm_user", "do": "create", "object": "crm.lead",
                "set": {"name": "L", "contact_name": "New", "email_from": "new@x.test"}})
    partner = act({"actor": "crm_user", "do": "convert", "object": "crm.lead", "id": lead["id"]})
    world = {(p["object"], p["id"]): p for p in rpc.sim.world()["people"]}
    person = world["res.partner", made["id"]]
    assert (person["opted_out"], person["topics"]["offers"], person["fields"]["function"]) == (False, True, "CTO")
    assert world["crm.lead", lead["id"]]["fields"]["partner_id"] == int(partner["id"])
    assert world["res.partner", partner["id"]]["email"] == "new@x.test"
    ids = [int(p["id"]) for p in rpc.sim.world(limit=1)["people"]]
    assert len(set(ids)) == 1
    rest = [int(p["id"]) for p in rpc.sim.world(after=str(ids[-1]))["people"]]
    assert len(ids) + len(rest) == len(world)
    assert set(ids).isdisjoint(rest)


# --------------------------------------------------------------------------- independent clients

def test_odoorpc(rpc: Rpc) -> None:
    rpc.sim.load({"res.partner": [{"id": 80, "name": "Ada", "email": "ada@x.test", "country_id": 20}]})
    client = odoorpc.ODOO("127.0.0.1", port=rpc.port, timeout=10)
    client.login("odoo", "sync@example.test", "key-sync")
    partners = client.env["res.partner"]
    [found] = partners.search([("email", "=", "ada@x.test")])
    ada = partners.browse(found)
    assert (ada.name, ada.country_id.code, ada.email_normalized) == ("Ada", "BE", "ada@x.test")
    ada.function = "CTO"
    assert partners.read([found], ["function"])[0]["function"] == "CTO"
    made = client.env["mailing.contact"].create({"name": "C", "email": "c@x.test", "list_ids": [(6, 0, [7])]})
    assert client.env["mailing.contact"].browse(made).list_ids.ids == [7]
    with pytest.raises(odoorpc.error.RPCError, match="Invalid field"):
        partners.search_read([], ["nope"])
    with pytest.raises(odoorpc.error.RPCError):
        client.login("odoo", "sync@example.test", "wrong")


@pytest.mark.parametrize("protocol", ["xmlrpc", "jsonrpc"])
def test_odoo_client_lib(rpc: Rpc, protocol: str) -> None:
    rpc.sim.load({"res.partner": [{"id": 80, "name": "Ada", "email": "ada@x.test"}]})
    connection = odoolib.get_connection("127.0.0.1", protocol, rpc.port, "odoo", "sync@example.test", "key-sync")
    connection.check_login()
    partners = connection.get_model("res.partner")
    [found] = partners.search_read([("email", "=", "ada@x.test")], ["name", "write_date"])
    assert found["name"] == "Ada"
    assert partners.write([80], {"name": "Ada L"}) is True
    assert partners.read(80, ["name"])["name"] == "Ada L"
    with pytest.raises(AuthenticationError):
        odoolib.get_connection("127.0.0.1", protocol, rpc.port, "odoo", "sync@example.test", "bad").check_login()


@pytest.mark.parametrize("rpc", ["19.0"], indirect=True)
def test_odoo_client_lib_over_json2(rpc: Rpc) -> None:
    connection = odoolib.get_connection("127.0.0.1", "json2", rpc.port, "odoo", password="key-sync")
    assert connection.check_login()
    partners = connection.get_model("res.partner")
    [made] = partners.create([{"name": "Ada", "email": "ada@x.test"}])
    assert partners.search([("email", "=", "ada@x.test")]) == [made]
    assert partners.write([made], {"name": "Ada L"}) is True
    assert partners.read([made], ["name"])["name"] == "Ada L"
    with pytest.raises(ValueError, match="Invalid request"):
        partners.search_read(ids=[made], domain=[])
    assert not odoolib.get_connection("127.0.0.1", "json2", rpc.port, "odoo", password="bad").check_login()


@pytest.mark.parametrize(("rpc", "model", "column"), [
    ("15.0", "mailing.contact.subscription", "unsubscription_date"),
    ("16.0", "mailing.contact.subscription", "unsubscription_date"),
    ("17.0", "mailing.subscription", "opt_out_datetime"),
], indirect=["rpc"])
def test_versions_name_the_subscription_model(rpc: Rpc, model: str, column: str) -> None:
    contact = rpc.call("mailing.contact", "create", {"name": "C", "email": "c@x.test", "list_ids": [[6, 0, [7]]]})
    [sub] = rpc.call(model, "search", [["contact_id", "=", contact]])
    rpc.call(model, "write", [sub], {"opt_out": True})
    assert rpc.call(model, "read", [sub], [column])[0][column]
    assert requests.post(f"{rpc.url}/json/2/res.partner/search", timeout=10).status_code == 404
