"""The Marketing Cloud simulator's people: who is mailed, what leaving changes, what the platform tells about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors.sim.kernel import BadAct
from tests.conformance.marketing_cloud_client import (
    AUDIENCE,
    LIST,
    MID,
    Client,
    running,
    where,
)

TOPIC = {"topic": "offers"}


def mail(number: int) -> str:
    return f"p{number}@mail.example"


@pytest.fixture
def mc() -> Iterator[Client]:
    """Five people in the audience; nobody is a subscriber yet."""
    with running() as client:
        client.sim.load({f"DataExtensionObject[{AUDIENCE}]": [
            {"SubscriberKey": f"K{n}", "EmailAddress": mail(n)} for n in range(5)]})
        yield client


def members(mc: Client) -> dict[str, str]:
    found = mc.retrieve("ListSubscriber", ["SubscriberKey", "Status"], where("ListID", "equals", str(LIST)))
    return {m["SubscriberKey"]: m["Status"] for m in found}


def lists(action: str = "", status: str = "") -> str:
    return (f"<Lists><ID>{LIST}</ID>" + (f"<Status>{status}</Status>" if status else "")
            + (f"<Action>{action}</Action>" if action else "") + "</Lists>")


# --------------------------------------------------------------------------- who is mailed

def test_sending_makes_subscribers_and_members_active(mc: Client) -> None:
    sent = mc.send()
    assert sent["mailed"] == [mail(n) for n in range(5)]
    assert members(mc) == {f"K{n}": "Active" for n in range(5)}  # nobody ever opted in
    assert mc.truth("K1") == {"key": "K1", "email": mail(1), "bu": MID, "status": "Active",
                              "topics": {"offers": "Active"}}
    mails = mc.sim.world()["mails"]
    assert [(m["send"], m["email"], m["audience"], m["topic"], m["classification"]) for m in mails[:1]] == [
        (sent["id"], mail(0), "everyone", "offers", "commercial")]


def test_every_level_stops_a_commercial_mail(mc: Client) -> None:
    mc.subscriber("Create", "K0", mail(0), lists=lists(status="Unsubscribed"))
    mc.subscriber("Create", "K1", mail(1), status="Unsubscribed")
    mc.sim.load({"Subscriber": [{"SubscriberKey": "K2", "EmailAddress": mail(2), "Status": "Held"}]})
    mc.act("esp_user", "suppress", emails=[mail(3)])
    mc.act("esp_user", "suppress", emails=[mail(4)], list="global")
    sent = mc.send()
    assert sent["mailed"] == []
    assert sent["skipped"] == {"unsubscribed_list": 1, "unsubscribed": 1, "held": 1, "auto_suppressed": 1,
                               "global_unsubscribe": 1}
    assert mc.retrieve("Subscriber", ["SubscriberKey"], where("SubscriberKey", "equals", "K3")) == []


def test_a_transactional_mail_asks_neither_list_nor_opt_out(mc: Client) -> None:
    mc.subscriber("Create", "K0", mail(0), lists=lists(status="Unsubscribed"))
    mc.subscriber("Create", "K1", mail(1), status="Unsubscribed")
    mc.sim.load({"Subscriber": [{"SubscriberKey": "K2", "EmailAddress": mail(2), "Status": "Held"}]})
    sent = mc.send("transactional")
    assert sent["mailed"] == [mail(0), mail(1), mail(3), mail(4)]
    assert sent["skipped"] == {"held": 1}
    assert members(mc) == {"K0": "Unsubscribed"}
    mc.sim.load({"SendClassification": [{"CustomerKey": "Receipts", "SendClassificationType": "Operational",
                                         "HonorPublicationListOptOutsForTransactionalSends": True}]})
    assert mc.send("Receipts")["skipped"] == {"unsubscribed_list": 1, "held": 1}


def test_status_belongs_to_the_key_and_not_to_the_address(mc: Client) -> None:
    mc.sim.load({f"DataExtensionObject[{AUDIENCE}]": [{"SubscriberKey": "TWIN", "EmailAddress": mail(0)}]})
    mc.subscriber("Create", "K0", mail(0), status="Unsubscribed")
    assert mc.send()["mailed"].count(mail(0)) == 1
    mc.subscriber("Update", "K0", status="Active")
    assert mc.send()["mailed"].count(mail(0)) == 2
    assert mc.send(dedupe_by_email=True)["mailed"].count(mail(0)) == 1


def test_without_a_list_the_unsubscribe_means_everything(mc: Client) -> None:
    sent = mc.send(list=None)
    assert members(mc) == {}
    assert mc.act("recipient", "unsubscribe", email=mail(1), origin={"mail": sent["id"]}) == {"changed": 1}
    assert mc.truth("K1")["status"] == "Unsubscribed"
    [event] = mc.retrieve("UnsubEvent", ["SubscriberKey", "IsMasterUnsubscribed", "SendID"])
    assert (event["IsMasterUnsubscribed"], event["SendID"]) == ("true", str(sent["id"]))


# --------------------------------------------------------------------------- leaving

def test_the_link_of_a_mail_leaves_its_list_only(mc: Client) -> None:
    sent = mc.send()
    mc.act("recipient", "unsubscribe", email=mail(1).upper(), origin={"mail": sent["id"]})
    assert mc.truth("K1") | {"email": ""} == {"key": "K1", "email": "", "bu": MID, "status": "Active",
                                              "topics": {"offers": "Unsubscribed"}}
    [event] = mc.retrieve("UnsubEvent", ["SubscriberKey", "List.ID", "SendID", "IsMasterUnsubscribed"])
    assert (event["SubscriberKey"], event["List.ID"], event["IsMasterUnsubscribed"]) == ("K1", str(LIST), "false")
    assert mc.retrieve("SubscriberStatusEvent", ["SubscriberKey"]) == []  # list changes are not seen there
    assert mail(1) not in mc.send()["mailed"]


def test_without_any_mail_there_is_a_status_and_no_event(mc: Client) -> None:
    mc.subscriber("Create", "K1", mail(1), lists=lists(status="Active"))
    assert mc.act("recipient", "unsubscribe", email=mail(1), origin=TOPIC) == {"changed": 1}
    assert members(mc) == {"K1": "Unsubscribed"}
    assert mc.retrieve("UnsubEvent", ["SubscriberKey"]) == []


def test_leaving_everything_flips_all_lists_with_one_event(mc: Client) -> None:
    mc.send()
    mc.act("recipient", "unsubscribe", email=mail(1), origin="all")
    assert (mc.truth("K1")["status"], mc.truth("K1")["topics"]) == ("Unsubscribed", {"offers": "Unsubscribed"})
    assert len(mc.retrieve("UnsubEvent", ["SubscriberKey"])) == 1
    [change] = mc.retrieve("SubscriberStatusEvent", ["SubscriberKey", "PreviousStatus", "CurrentStatus", "ReasonUnsub"])
    assert (change["PreviousStatus"], change["CurrentStatus"]) == ("Normal", "Unsub")


def test_a_complaint_moves_all_subscribers_while_its_event_names_the_list(mc: Client) -> None:
    mc.send()
    mc.act("recipient", "complain", email=mail(1), origin={"audience": "everyone"})
    assert (mc.truth("K1")["status"], mc.truth("K1")["topics"]) == ("Unsubscribed", {"offers": "Active"})
    assert mc.retrieve("UnsubEvent", ["List.ID"])[0]["List.ID"] == str(LIST)
    [change] = mc.retrieve("SubscriberStatusEvent", ["ReasonUnsub"])
    assert change["ReasonUnsub"] == "Spam complaint from mail.example"


def test_a_user_or_program_leaves_no_unsubscribe_event(mc: Client) -> None:
    mc.send()
    mc.subscriber("Update", "K1", status="Unsubscribed")
    mc.act("esp_user", "unsubscribe", emails=[mail(2)])
    mc.act("esp_user", "import", topic="offers", emails=[mail(3)], status="Unsubscribed")
    assert mc.retrieve("UnsubEvent", ["SubscriberKey"]) == []
    reasons = {r["SubscriberKey"]: r["ReasonUnsub"]
               for r in mc.retrieve("SubscriberStatusEvent", ["SubscriberKey", "ReasonUnsub"])}
    assert reasons == {"K1": "Unsubscribed by subscriber edit API call.",
                       "K2": "Unsubscribed from list details on subscriber properties dialog."}
    assert members(mc)["K3"] == "Unsubscribed"


def test_log_unsub_event_without_a_list_is_a_master_opt_out(mc: Client) -> None:
    sent = mc.send()
    assert mc.unsubscribe(SubscriberKey="K1", ListID=LIST)["StatusMessage"] == "Event posted"
    assert mc.unsubscribe(SubscriberKey="K2", JobID=sent["id"])["StatusCode"] == "OK"
    assert mc.unsubscribe(SubscriberKey="K3")["StatusCode"] == "OK"
    assert {k: s for k, s in members(mc).items() if s != "Active"} == {"K1": "Unsubscribed", "K2": "Unsubscribed"}
    assert mc.truth("K3")["status"] == "Unsubscribed"
    assert {e["SubscriberKey"] for e in mc.retrieve("UnsubEvent", ["SubscriberKey"])} == {"K1", "K2"}
    assert mc.unsubscribe(EmailAddress=mail(4))["StatusCode"] == "Error"  # keyed account: the address is not enough


# --------------------------------------------------------------------------- coming back, forgetting

def test_active_resubscribes_whatever_was_said(mc: Client) -> None:
    mc.subscriber("Create", "K1", mail(1), status="Unsubscribed", lists=lists(status="Unsubscribed"))
    mc.subscriber("Create", "K1", mail(1), upsert=True)  # without a status nothing changes
    assert mc.truth("K1")["status"] == "Unsubscribed"
    mc.subscriber("Update", "K1", status="Active", lists=lists("update", "Active"))
    assert (mc.truth("K1")["status"], mc.truth("K1")["topics"]) == ("Active", {"offers": "Active"})


def test_all_subscribers_is_a_list_too(mc: Client) -> None:
    mc.subscriber("Create", "K1", mail(1))
    [everyone] = mc.retrieve("List", ["ID"], where("ListName", "equals", "All Subscribers"))
    status = f"<Lists><ID>{everyone['ID']}</ID><Status>Unsubscribed</Status><Action>update</Action></Lists>"
    assert mc.subscriber("Update", "K1", lists=status)["StatusCode"] == "OK"
    assert mc.truth("K1")["status"] == "Unsubscribed"
    [row] = mc.retrieve("ListSubscriber", ["SubscriberKey", "Status"], where("ListID", "equals", everyone["ID"]))
    assert row["Status"] == "Unsubscribed"


def test_a_removed_member_comes_back_active(mc: Client) -> None:
    mc.subscriber("Create", "K1", mail(1), lists=lists(status="Unsubscribed"))
    assert mail(1) not in mc.send()["mailed"]
    assert mc.subscriber("Update", "K1", lists=lists("delete"))["StatusCode"] == "OK"
    assert "K1" not in members(mc)
    assert mail(1) in mc.send()["mailed"]
    assert members(mc)["K1"] == "Active"


def test_a_deleted_subscriber_is_forgotten(mc: Client) -> None:
    mc.send()
    mc.act("recipient", "unsubscribe", email=mail(1), origin="all")
    assert mc.subscriber("Delete", "K1")["StatusMessage"] == "Subscriber deleted"
    assert mc.retrieve("UnsubEvent", ["SubscriberKey"]) == []
    assert mail(1) in mc.send()["mailed"]


def test_a_contact_delete_hides_then_removes(mc: Client) -> None:
    mc.send()
    reply = mc.rest("POST", "/contacts/v1/contacts/actions/delete?type=keys", json={"values": ["K1"]})
    assert reply.json()["operationInitiated"] is True
    assert "K1" not in members(mc)
    assert mc.send()["skipped"] == {"contact_deleted": 1}
    assert "K1" in mc.row_keys()
    mc.pass_time(3 * 86_400)
    mc.login()
    assert "K1" not in mc.row_keys()


def test_subscriber_errors(mc: Client) -> None:
    assert mc.subscriber("Update", "nobody", status="Unsubscribed")["ErrorCode"] == "12001"
    assert mc.subscriber("Create", "K1", "no address")["ErrorCode"] == "12000"
    mc.subscriber("Create", "K1", mail(1))
    assert mc.subscriber("Create", "K1", mail(1))["ErrorCode"] == "12014"
    assert mc.subscriber("Update", "K1", lists=lists("update", "Unsubscribed"))["StatusCode"] == "Error"
    assert mc.subscriber("Update", "K1", lists=lists("upsert", "Unsubscribed"))["StatusCode"] == "OK"
    assert mc.subscriber("Update", "K1", lists=lists("create", "Active"))["ErrorCode"] == "12014"
    assert members(mc) == {"K1": "Unsubscribed"}
    mc.act("esp_user", "suppress", emails=[mail(2)], list="global")
    assert mc.subscriber("Create", "K2", mail(2))["ErrorCode"] == "12003"


@pytest.mark.parametrize(("behavior", "enterprise", "status"), [
    ("ENTIRE_ENTERPRISE", "Unsubscribed", "Unsubscribed"), ("BUSINESS_UNIT_ONLY", "Active", "Active")])
def test_the_unit_setting_decides_how_far_an_opt_out_and_its_return_reach(behavior: str, enterprise: str,
                                                                         status: str) -> None:
    with running(business_units={1: {"name": "Parent"}, MID: {"name": "Child", "behavior": behavior}}, eid=1) as mc:
        mc.login(MID)
        mc.subscriber("Create", "K1", mail(1))
        mc.subscriber("Update", "K1", status="Unsubscribed")
        seen = {s["bu"]: s["status"] for s in mc.sim.world()["subscribers"]}
        assert seen == {1: enterprise, MID: "Unsubscribed"}
        mc.subscriber("Update", "K1", status="Active")  # no effect while the enterprise row is Unsubscribed
        assert {s["bu"]: s["status"] for s in mc.sim.world()["subscribers"]}[MID] == status


def test_confirming_without_a_key_makes_the_address_the_key(mc: Client) -> None:
    assert mc.act("recipient", "confirm", email="new@mail.example", origin=TOPIC) == {"changed": 1}
    assert mc.truth("new@mail.example")["topics"] == {"offers": "Active"}
    mc.act("recipient", "unsubscribe", email="new@mail.example", origin="all")
    mc.act("recipient", "confirm", email="new@mail.example", origin=TOPIC)
    assert (mc.truth("new@mail.example")["status"], mc.truth("new@mail.example")["topics"]) == (
        "Active", {"offers": "Active"})


# --------------------------------------------------------------------------- bounces

def test_bounces_lead_to_held_and_a_click_leads_back(mc: Client) -> None:
    mc.send()
    for expected in ("Bounced", "Bounced", "Held"):
        mc.act("recipient", "bounce", email=mail(1), kind="hard", origin={"audience": "everyone"})
        assert mc.truth("K1")["status"] == expected
    assert mail(1) not in mc.send()["mailed"]
    assert [e["BounceCategory"] for e in mc.retrieve("BounceEvent", ["BounceCategory"])] == ["Hard bounce"] * 3
    mc.act("recipient", "click", email=mail(1))
    assert mc.truth("K1")["status"] == "Active"


def test_soft_bounces_hold_only_over_fifteen_days(mc: Client) -> None:
    mc.send()
    for _ in range(4):
        mc.act("recipient", "bounce", email=mail(1), kind="soft")
    assert mc.truth("K1")["status"] == "Bounced"
    mc.pass_time(15 * 86_400)
    mc.act("recipient", "bounce", email=mail(1), kind="soft")
    assert mc.truth("K1")["status"] == "Held"


# --------------------------------------------------------------------------- users, Connect, refusals

def test_imports_resubscribes_and_deletions_of_rows(mc: Client) -> None:
    mc.subscriber("Create", "K1", mail(1), lists=lists(status="Unsubscribed"))
    assert mc.act("esp_user", "import", topic="offers", emails=[mail(1), "x@mail.example"]) == {"changed": 1}
    assert members(mc) == {"K1": "Unsubscribed", "x@mail.example": "Active"}
    assert mc.act("esp_user", "resubscribe", topic="offers", emails=[mail(1)]) == {"changed": 1}
    assert members(mc)["K1"] == "Active"
    assert mc.act("esp_user", "delete_rows", audience="everyone", emails=[mail(2)]) == {"changed": 1}
    assert "K2" not in mc.row_keys()
    assert mc.act("esp_user", "import", audience="everyone", emails=["y@mail.example"]) == {"changed": 1}
    rows = mc.sim.world()["audiences"]["everyone"]["rows"]
    assert [(r["key"], r["email"]) for r in rows][-1] == ("y@mail.example", "y@mail.example")


@pytest.mark.parametrize("auto", [True, False])
def test_connect_echoes_every_unsubscribe_as_a_master_opt_out(auto: bool) -> None:
    echoed: list[tuple[str, str]] = []

    def sink(key: str, email: str) -> bool:
        echoed.append((key, email))
        return True

    with running(echo_sink=sink, echo_auto=auto) as mc:
        mc.subscriber("Create", "K1", mail(1), lists=lists(status="Active"))
        mc.subscriber("Create", "K2", mail(2), status="Unsubscribed")  # by API: not mirrored
        mc.act("recipient", "unsubscribe", email=mail(1), origin=TOPIC)
        mc.unsubscribe(SubscriberKey="K2", ListID=LIST)
        assert len(echoed) == (2 if auto else 0)
        assert mc.act("connect", "echo") == {"changed": 0 if auto else 2}
        assert echoed == [("K1", mail(1)), ("K2", mail(2))]


@pytest.mark.parametrize("body", [
    {"actor": "recipient", "do": "dance"}, {"actor": "esp_user", "do": "send", "to": {"audience": "nobody"}},
    {"actor": "esp_user", "do": "send", "to": {"audience": "everyone"}, "classification": "urgent"},
    {"actor": "recipient", "do": "unsubscribe", "email": mail(1), "from": {"mail": 1}},
    {"actor": "recipient", "do": "bounce", "email": mail(1), "kind": "rubber"},
    {"actor": "platform", "do": "explode"}, {"actor": "esp_user", "do": "import", "topic": "offers"},
])
def test_senseless_acts_are_refused(mc: Client, body: dict[str, Any]) -> None:
    with pytest.raises(BadAct):
        mc.sim.act(body)


def test_the_world_is_paged_by_key(mc: Client) -> None:
    mc.send()
    first = mc.sim.world(limit=2)
    rest = mc.sim.world(after="K1")
    assert [s["key"] for s in first["subscribers"]] == ["K0", "K1"]
    assert [s["key"] for s in rest["subscribers"]] == ["K2", "K3", "K4"]
    assert "mails" in first
    assert "mails" not in rest


def test_a_send_definition_tells_which_list_an_audience_mails_over(mc: Client) -> None:
    [definition] = mc.retrieve("EmailSendDefinition", ["CustomerKey", "SendDefinitionList",
                                                       "SendClassification.CustomerKey"])
    [extension] = mc.retrieve("DataExtension", ["ObjectID"])
    assert definition["SendDefinitionList.List.ID"] == str(LIST)
    assert definition["SendDefinitionList.CustomObjectID"] == extension["ObjectID"]
    assert definition["SendClassification.CustomerKey"] == "Default Commercial"
    sent = mc.send()
    assert mc.retrieve("ListSend", ["SendID", "List.ID"])[0] | {"PartnerKey": "", "ObjectID": ""} == {
        "SendID": str(sent["id"]), "List.ID": str(LIST), "PartnerKey": "", "ObjectID": ""}
    assert mc.retrieve("Send", ["ID", "NumberSent"])[0]["NumberSent"] == "5"


# --------------------------------------------------------------------------- what was sent

def test_a_send_names_its_definition_and_that_its_pair_of_list_and_extension(mc: Client) -> None:
    job = mc.send(name="Spring")["id"]
    [found] = mc.retrieve("Send", ["ID", "EmailName", "EmailSendDefinition.CustomerKey"], where("ID", "equals", str(job)))
    assert (found["EmailName"], found["EmailSendDefinition.CustomerKey"]) == ("Spring", "send-everyone")
    [definition] = mc.retrieve("EmailSendDefinition", ["CustomerKey", "SendDefinitionList"],
                               where("CustomerKey", "equals", "send-everyone"))
    assert definition["SendDefinitionList.List.ID"] == str(LIST)
    [extension] = mc.retrieve("DataExtension", ["ObjectID", "CustomerKey"],
                              where("ObjectID", "equals", definition["SendDefinitionList.CustomObjectID"]))
    assert extension["CustomerKey"] == AUDIENCE
    guided = mc.send(how="guided")["id"]
    [found] = mc.retrieve("Send", ["ID", "EmailSendDefinition.CustomerKey"], where("ID", "equals", str(guided)))
    assert not found.get("EmailSendDefinition.CustomerKey")


def test_a_journeys_mail_is_named_by_its_triggered_definition(mc: Client) -> None:
    mc.send(how="triggered", name="Welcome")
    assert mc.act("recipient", "unsubscribe", email=mail(1), **{"from": {"audience": "everyone"}})["changed"] == 1
    [event] = mc.retrieve("UnsubEvent", ["SubscriberKey", "SendID", "TriggeredSendDefinitionObjectID"])
    [definition] = mc.retrieve("TriggeredSendDefinition", ["ObjectID", "Name", "List.ID"],
                               where("ObjectID", "equals", event["TriggeredSendDefinitionObjectID"]))
    assert (definition["Name"], definition["List.ID"]) == ("Welcome", str(LIST))
