"""The Odoo simulator answers like a real 18.0 server in all recorded exchanges whose data it can have."""

from __future__ import annotations

import json
import re
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from connectors.sim.kernel import Kernel, serve
from connectors.sim.odoo import ApiKey, OdooSim, User

RECORDINGS = Path(__file__).parents[2].parent / "shared" / "facts" / "odoo-transcripts.jsonl"

# Exchanges whose effects or data the simulator does not have.
NOT_MODELLED = {
    "object.apikey_of_other_user", "apikey.expired.cached_worker", "apikey.expired.authenticate",
    "apikey.expired.after_cache_clear", "user.archived.object_call", "user.archived.authenticate",
    "db_down.0", "db_down.1", "custom_field.create", "web_search_read", "action.returns_client_action",
    "search_read.fields_empty", "path.not_found", "write.concurrent_serialization_failure",
    "partner_merge.wizard.create.as_sync_user", "partner_merge.action_merge", "mailing.action_put_in_queue",
    "mailing.action_send_mail", "xmlrpc2.none_return", "mailing.mailing.create.on_list", "partner_merge.after",
    "unsubscribe.list_mailing.GET", "unsubscribe.oneclick.POST", "unsubscribe.feedback", "mailing.list.unlink",
    "unsubscribe.list_update.resubscribe", "unsubscribe.blocklist_add", "unsubscribe.blocklist_feedback",
    "unsubscribe.blocklist_remove", "unsubscribe.partner_mailing.GET", "login_cooldown.object_call_uncached",
    "session.login_cooldown.5", "session.login_cooldown.6", "session.login_cooldown.attempt_9",
    "session.login_cooldown.attempt_10", "session.login_cooldown.attempt_11", "session.login_cooldown.good_password",
    "session.call_kw.ok", "fields_get.mailing.mailing",
}


def recordings() -> list[dict[str, Any]]:
    if not RECORDINGS.exists():
        return []
    # Secrets are replaced by <api-key-sync> and the like, which no XML parser takes.
    text = re.sub(r"<(api-key-[a-z-]+|demo-password|elided)>", r"\1", RECORDINGS.read_text())
    lines = map(json.loads, text.splitlines())
    return [line for line in lines if line["kind"] == "exchange" and line["label"] not in NOT_MODELLED]


def lab_world() -> OdooSim:
    """A database with the records the recordings speak of."""
    every = frozenset({"partner_manager", "sale_all", "mailing_user"})
    users = [
        User(1, "__system__", "OdooBot", active=False), User(4, "public", active=False, share=True, groups=frozenset()),
        User(2, "admin", "Mitchell Admin", "admin", groups=frozenset({"system"})), User(6, "demo", password="demo"),
        User(8, "sync@example.test", password="demo-password", keys=(ApiKey("api-key-sync"),), groups=every),
        User(9, "plain@example.test", keys=(ApiKey("api-key-plain"),)),
        User(10, "own@example.test", keys=(ApiKey("api-key-own"),), groups=frozenset({"sale_own"})),
    ]
    sim = OdooSim(Kernel(), database="lab", users=users, fields={"res.partner": {
        "x_persona": {"type": "selection", "selection": [["buyer", "Buyer"], ["dev", "Dev"]]},
        "x_is_champion": {"type": "boolean"}}})
    partners = [{"id": i, "name": f"P {i}", "email": f"p{i}@example.test", "country_id": 233} for i in range(1, 46)]
    partners += [{"id": i, "name": f"P {i}", "email": f"p{i}@example.test"} for i in (49, 53, 55, 18577, 22393)]
    partners += [{"id": 51, "name": "multi", "email": '"A, B" <a@example.test>, b@example.test'},
                 {"id": 18581, "name": "Other company", "company_id": 2},
                 {"id": 22390, "name": "Empty", "x_persona": "dev", "x_is_champion": True}]
    partners[14]["name"] = "Azure Interior"
    partners[0]["is_company"] = True
    sim.load({
        "res.company": [{"id": 2, "name": "Second"}],
        "res.partner.category": [{"id": 4, "name": "Tag"}, {"id": 10, "name": "Archived", "active": False}],
        "res.partner": partners,
        "crm.lead": [{"id": i, "name": f"L{i}", "email_from": f"l{i}@example.test", "user_id": 2, "stage_id": 1,
                      "type": "lead", "partner_id": 49, "lang_id": 1, "team_id": 1} for i in (25, 45, 46, 48, 49, 50)],
        "mailing.list": [{"id": i, "name": f"List {i}"} for i in (3, 4, 5, 6, 10)],
        "mailing.contact": [{"id": i, "name": f"C {i}", "email": f"c{i}@example.test"} for i in range(1, 16)],
        "mailing.subscription": [
            {"id": 11, "contact_id": 10, "list_id": 3, "opt_out": True, "write_date": None, "create_date": None},
            {"id": 12, "contact_id": 10, "list_id": 4, "write_date": None, "create_date": None}],
        "res.users": [{"id": 2, "login": "admin", "name": "Mitchell Admin", "partner_id": 3}],
        "mail.blacklist": [{"id": 4, "email": "bl.one@example.test"}, {"id": 5, "email": "u4@example.test"},
                           {"id": 1011, "email": "p53@example.test"},
                           {"id": 1012, "email": "old@example.test", "active": False},
                           {"id": 6, "email": "u.one@example.test", "active": False}],
    })
    return sim


@pytest.fixture(scope="module")
def lab() -> Iterator[str]:
    sim = lab_world()
    server = serve(sim.kernel, sim.side, sim.handle)
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def shape(value: Any) -> Any:
    """Types of a JSON value, to compare answers about different data. False stands for any unset value."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        kinds = [shape(item) for item in value if not (isinstance(item, str) and item.startswith("…"))]
        return kinds[:1]
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def same(ours: Any, theirs: Any) -> bool:
    """Whether two shapes agree: where one side has no value or an empty list, anything does. The simulator has fewer
    fields than the server; those it has are alike."""
    if "bool" in (ours, theirs) or ours == [] or theirs == []:
        return True
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() <= theirs.keys() and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return same(ours[0], theirs[0])
    return bool(ours == theirs)


def first_line(text: str) -> str:
    """An error's first line, which holds no list of groups and no excerpt of SQL."""
    return text.splitlines()[0]


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings of a real server are not beside this repository")
@pytest.mark.parametrize("line", recordings(), ids=lambda line: str(line["label"]))
def test_an_answer_is_like_the_recorded_one(lab: str, line: dict[str, Any]) -> None:
    wanted, sent = line["response"], line["request"]
    body = sent["body"] if isinstance(sent["body"], str) else json.dumps(sent["body"])
    got = requests.request(sent["method"], lab + sent["path"], data=body.encode(), timeout=10,
                           headers={"Content-Type": "application/json", **sent.get("headers", {})})
    assert got.status_code == wanted["status"]
    assert got.headers["Connection"] == "close"
    if isinstance(wanted["body"], dict):
        compare(got.json(), wanted["body"])
    elif wanted["body"].startswith("<?xml"):
        compare_xml(got.content, wanted["body"])
    else:
        assert got.headers["Content-Type"].partition(";")[0] == "text/html"


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys(), ours.get("error")
    if "error" not in theirs:
        assert same(shape(ours.get("result")), shape(theirs.get("result"))), (ours, theirs)
        return
    a, b = ours["error"], theirs["error"]
    assert (a["code"], a["message"], a["data"]["name"]) == (b["code"], b["message"], b["data"]["name"])
    assert same(shape(a["data"]), shape(b["data"]))
    assert first_line(a["data"]["message"]) == first_line(b["data"]["message"])


def compare_xml(ours: bytes, theirs: str) -> None:
    results = []
    for text in (ours, theirs.encode()):
        try:
            results.append(("value", shape(list(xmlrpc.client.loads(text)[0]))))
        except xmlrpc.client.Fault as fault:
            results.append(("fault", fault.faultCode))
    assert results[0][0] == results[1][0]
    assert results[0][0] == "value" or results[0] == results[1]
    assert same(results[0][1], results[1][1])
