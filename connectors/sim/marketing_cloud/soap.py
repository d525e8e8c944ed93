"""The SOAP endpoint: one message in, one out. Describe, Execute and Perform are here; the rest is next door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.sim.kernel import Call, Faults, Request, Response
from connectors.sim.marketing_cloud import people, sends, writes
from connectors.sim.marketing_cloud.access import SIDE, Access, Session
from connectors.sim.marketing_cloud.model import Job, Subscriber, Tenant, UnsubEvent
from connectors.sim.marketing_cloud.objects import TYPES
from connectors.sim.marketing_cloud.retrieve import Retriever
from connectors.sim.marketing_cloud.xml import API, Node, SoapFault, check_order, element, envelope, fault, parse

_ORDERS = dict.fromkeys(("CreateRequest", "UpdateRequest", "DeleteRequest"), ("Options", "Objects"))
_DATA_TYPES = {"text": "String", "int": "Int32", "bool": "Boolean", "instant": "DateTime", "nest": "APIObject[]"}
_MESSAGES = {
    "RetrieveRequestMsg": ("Retrieve", "RetrieveResponseMsg"), "CreateRequest": ("Create", "CreateResponse"),
    "UpdateRequest": ("Update", "UpdateResponse"), "DeleteRequest": ("Delete", "DeleteResponse"),
    "DefinitionRequestMsg": ("Describe", "DefinitionResponseMsg"),
    "ExecuteRequestMsg": ("Execute", "ExecuteResponseMsg"),
    "PerformRequestMsg": ("Perform", "PerformResponseMsg"),
}
Posted = list[UnsubEvent]


class SoapEndpoint:
    """``posted`` collects unsubscribe events made by Execute, for the notification service."""

    def __init__(self, tenant: Tenant, access: Access, faults: Faults, posted: Posted) -> None:
        self.tenant = tenant
        self.access = access
        self.faults = faults
        self.posted = posted
        self.retriever = Retriever(tenant, faults)

    def answer(self, request: Request, call: Call) -> Response:
        ids = (self.tenant.guid(), self.tenant.guid(), "")
        try:
            action, content = self._dispatch(request, call)
        except SoapFault as error:
            actor = f"http://{request.headers.get('host', '127.0.0.1')}/Service.asmx"
            wsa = "http://schemas.xmlsoap.org/ws/2004/08/addressing/fault"
            return Response(500, envelope(wsa, fault(error.code, str(error), actor), ids),
                            content_type="text/xml; charset=utf-8")
        return Response(200, envelope(f"{action}Response", content, ids), content_type="text/xml; charset=utf-8")

    def _dispatch(self, request: Request, call: Call) -> tuple[str, str]:
        if "xml" not in request.headers.get("content-type", ""):
            raise SoapFault("soap:Client", "The content type must be text/xml.")
        token, message = parse(request.body)
        action, answer = _MESSAGES.get(message.name, ("", ""))
        if not action or request.headers.get("soapaction", "").strip('"').rpartition("/")[2] != action:
            raise SoapFault("soap:Client", "The SOAPAction and the message do not belong together.")
        kind = message.get("RetrieveRequest", "ObjectType") or next((o.type for o in message.all("Objects")), "")
        call.route = f"soap.{action}" + (f".{kind.partition('[')[0]}" if kind else "")
        call.write = action not in ("Retrieve", "Describe")
        session = self.access.session(token)
        if session is None:
            raise SoapFault("q0:Security", "Token Expired")
        if self.access.soap_limit.full() or self.faults.active(SIDE, "soap_throttle", f"POST /Service.asmx {action}"):
            raise SoapFault("soap:Server", "The request was throttled. Please try again later.")
        content = self._content(action, message, session, call)
        return action, f'<{answer} xmlns="{API}">{content}</{answer}>'

    def _content(self, action: str, message: Node, session: Session, call: Call) -> str:
        if action == "Retrieve":
            content, _ = self.retriever.answer(message, session.mid, session.scopes)
            return content
        if action in ("Create", "Update", "Delete"):
            check_order(message, _ORDERS[message.name])
            content, call.records = writes.answer(self.tenant, message, action, session.mid, session.scopes,
                                                  self.faults)
            return content
        if action == "Describe":
            return self._describe(message)
        if action == "Execute":
            return self._execute(message, session.mid)
        return self._perform(message, session.mid)

    # ---- Describe

    def _describe(self, message: Node) -> str:
        asked = [r.get("ObjectType") or "" for d in message.all("DescribeRequests")
                 for r in d.all("ObjectDefinitionRequest")]
        out = []
        for name in asked:
            kind = TYPES.get(name)
            props = [] if kind is None else [
                {"PartnerKey": None, "ObjectID": None, "Name": n, "DataType": _DATA_TYPES[p.kind],
                 "IsUpdatable": p.writable, "IsRetrievable": True} for n, p in kind.props.items()]
            out.append(element("ObjectDefinition", {"ObjectType": name, "Properties": props}))
        return "".join(out) + element("RequestID", self.tenant.guid())

    # ---- Execute

    def _execute(self, message: Node, mid: int) -> str:
        results = []
        for each in message.all("Requests"):
            if each.get("Name") != "LogUnsubEvent":
                results.append(_error(400, "The requested method is not known"))
                continue
            client = each.get("Client", "ID") or ""
            child = int(client) if mid == self.tenant.eid and client.isdigit() else mid
            unit = child if child in self.tenant.units else mid
            parameters = {p.get("Name") or "": p.get("Value") or "" for p in each.all("Parameters")}
            results.append(self._log_unsub(parameters, unit))
        failed = sum(r["StatusCode"] == "Error" for r in results)
        overall = "OK" if not failed else "Error" if failed == len(results) else "Has Errors"
        return (element("OverallStatus", overall) + element("RequestID", self.tenant.guid())
                + "".join(element("Results", r) for r in results))

    def _log_unsub(self, parameters: Mapping[str, str], mid: int) -> dict[str, Any]:
        """LogUnsubEvent: the job names the list; a list alone takes the latest job sent to that person; neither of them
        is a master unsubscribe without any event."""
        found = self._who(parameters)
        if found is None:
            return _error(12012, "No subscriber matches all given values")
        job_id, list_id = _integer(parameters.get("JobID")), _integer(parameters.get("ListID"))
        reason = parameters.get("Reason") or people.BY_LOG_EVENT
        target = self.tenant.lists.get(list_id) if list_id is not None else None
        if list_id is not None and (target is None or target.mid != mid):
            return _error(404, "The list does not exist")
        if job_id is None and list_id is None:
            people.unsubscribe_all(self.tenant, found, mid, None, reason, flip=False)
            return _posted()
        job: Job | None
        if job_id is not None:
            job = self.tenant.jobs.get(job_id)
            if job is None or job.mid != mid:
                return _error(402, "The job does not exist")
        else:
            mail = people.last_mail(self.tenant, [found.key])
            job = mail[1] if mail is not None else None
        if target is None:
            number = (job.list_id if job is not None else None) or self.tenant.units[mid].all_subscribers
            target = self.tenant.lists.get(number)
        if target is None:
            return _error(404, "The list does not exist")
        _, event = people.unsubscribe_list(self.tenant, found, target, job, reason)
        if event is not None:
            self.posted.append(event)
        return _posted()

    def _who(self, parameters: Mapping[str, str]) -> Subscriber | None:
        key, number, email = (parameters.get(n) for n in ("SubscriberKey", "SubscriberID", "EmailAddress"))
        found = self.tenant.find(key) if key else None
        if found is None and number and not key:
            found = next((s for s in self.tenant.live() if str(s.id) == number), None)
        if found is None or (number and str(found.id) != number) or (email and found.email.lower() != email.lower()):
            return None
        return found

    # ---- Perform

    def _perform(self, message: Node, mid: int) -> str:
        action = message.get("Action") or ""
        results = [self._perform_one(action, d, mid) for p in message.all("Definitions") for d in p.all("Definition")]
        failed = sum(r["StatusCode"] == "Error" for r in results)
        overall = "OK" if not failed else "Error" if failed == len(results) else "Has Errors"
        return (element("Results", {"Result": results}) + element("OverallStatus", overall)
                + "<OverallStatusMessage />" + element("RequestID", self.tenant.guid()))

    def _perform_one(self, action: str, node: Node, mid: int) -> dict[str, Any]:
        key = node.get("CustomerKey") or ""
        if node.type == "DataExtension" and action == "ClearData":
            extension = self.tenant.extension(mid, key)
            if extension is None:
                return _error(2, "The data extension does not exist.")
            extension.clear(self.tenant.now())
            return {"StatusCode": "OK", "StatusMessage": "DataExtension perform called successfully"}
        if node.type == "EmailSendDefinition" and action == "start":
            return self._start(key, mid)
        return _error(1, f"The action {action} is not known for {node.type}")

    def _start(self, key: str, mid: int) -> dict[str, Any]:
        definition = self.tenant.definitions.get((mid, key))
        extension = self.tenant.extension(mid, definition.extension) if definition is not None else None
        target = self.tenant.lists.get(definition.list_id) if definition is not None else None
        if definition is None or extension is None or target is None:
            return _error(2, "The send definition, its data extension or its list does not exist.")
        classification = self.tenant.classifications[mid, definition.classification]
        own = None if target.id == self.tenant.units[mid].all_subscribers else target
        try:
            job, _ = sends.send(self.tenant, sends.Wish(mid, definition.name, extension, own, classification,
                                                        definition.dedupe))
        except sends.SendError as error:
            return _error(2, str(error))
        return {"StatusCode": "OK", "StatusMessage": "EmailSendDefinition perform called successfully",
                "Task": {"StatusCode": "OK", "StatusMessage": "OK", "ID": job.id}}


def _integer(text: str | None) -> int | None:
    return int(text) if text and text.strip().isdigit() and int(text) > 0 else None


def _posted() -> dict[str, Any]:
    return {"StatusCode": "OK", "StatusMessage": "Event posted"}


def _error(code: int, message: str) -> dict[str, Any]:
    return {"StatusCode": "Error", "StatusMessage": message, "ErrorCode": code}
