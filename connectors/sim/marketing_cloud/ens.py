"""The event notification service: callbacks, verification, signed batches, retries.

The platform posts to public https addresses; this one posts to 127.0.0.1 and nowhere else. Delivery runs in a thread
of its own that starts with the first subscription and ends with ``close``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from connectors.sim.kernel import Call, Request, Response
from connectors.sim.marketing_cloud.access import Access
from connectors.sim.marketing_cloud.model import Tenant, UnsubEvent
from connectors.sim.marketing_cloud.rest import RestError, authorized

PROBE_SECONDS = 30.0
ANSWER_SECONDS = 2.0
VERIFY_SECONDS = 4 * 3600.0
ATTEMPTS = 5
UNSUBSCRIBE = "EngagementEvents.EmailUnsubscribe"
TYPES = frozenset({
    UNSUBSCRIBE, "EngagementEvents.EmailOpen", "EngagementEvents.EmailClick", "TransactionalSendEvents.EmailSent",
    "TransactionalSendEvents.EmailNotSent", "TransactionalSendEvents.EmailBounced"})


@dataclass(slots=True)
class Callback:
    id: str
    mid: int
    name: str
    url: str
    batch: int
    key: str
    verification: str
    created: float
    verified: bool = False


@dataclass(slots=True)
class Subscription:
    id: str
    callback: str
    name: str
    types: tuple[str, ...]
    filters: tuple[str, ...]
    status: str = "active"


@dataclass(slots=True)
class _Parcel:
    callback: Callback
    body: bytes
    attempts: int = 0
    due: float = field(default_factory=time.monotonic)


class Notifier:
    """``retry_seconds``: real seconds between attempts. ``duplicate_every``: every n-th batch is sent twice."""

    def __init__(self, tenant: Tenant, access: Access, lock: threading.RLock, *, retry_seconds: float = 0.5,
                 duplicate_every: int = 0) -> None:
        self.tenant = tenant
        self.access = access
        self.retry_seconds = retry_seconds
        self.duplicate_every = duplicate_every
        self.callbacks: dict[str, Callback] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.delivered = 0
        self._lock = lock
        self._parcels: deque[_Parcel] = deque()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._batches = 0

    # ---- routes; called without the simulator's lock, for the probe waits for the client

    def answer(self, request: Request, call: Call) -> Response:
        call.route, call.write = "ens", request.method != "GET"
        route = f"{request.method} {request.path.removeprefix('/platform/v1/')}"
        handlers: dict[str, Callable[[Any, int], Response]] = {
            "POST ens-callbacks": self._create, "POST ens-verify": self._verify, "PUT ens-regenerate": self._regenerate,
            "POST ens-subscriptions": self._subscribe, "PUT ens-subscriptions": self._change}
        try:
            with self._lock:
                session = authorized(self.access, request)
            if route in handlers:
                return handlers[route](request.json(), session.mid)
            name, _, number = route.partition("/")
            if name == "GET ens-subscriptions-by-cb":
                return Response(200, [_subscription(s) for s in self.subscriptions.values() if s.callback == number])
            if route == "GET ens-callbacks":
                return Response(200, [_callback(c) for c in self.callbacks.values() if c.mid == session.mid])
            if name in ("DELETE ens-callbacks", "DELETE ens-subscriptions"):
                return self._delete(name, number)
            raise RestError(404, 30003, "The resource does not exist.")
        except RestError as error:
            return Response(error.status, error.body)

    def _create(self, body: Any, mid: int) -> Response:
        made = []
        for each in body if isinstance(body, list) else []:
            url, batch = str(each.get("url", "")), int(each.get("maxBatchSize", 1000))
            if not each.get("callbackName") or not 100 <= batch <= 1000:
                raise RestError(400, 10006, "callbackName and maxBatchSize (100 to 1000) are required.")
            _target(url)
            with self._lock:
                key = base64.b64encode(self.tenant.rng.randbytes(32)).decode()
                callback = Callback(self.tenant.guid(), mid, str(each["callbackName"]), url, batch, key,
                                    self.tenant.guid(), self.tenant.now())
            probe = orjson.dumps({"callbackId": callback.id, "verificationKey": callback.verification})
            if _post(url, probe, {}, PROBE_SECONDS) != 200:
                raise RestError(400, 10006, "MCMS_UWH_Runtime_GeneralFailure_probeCallbackLiveness")
            self.callbacks[callback.id] = callback
            made.append({**_callback(callback), "signatureKey": key})
        if not made:
            raise RestError(400, 10006, "The body must be an array of callbacks.")
        return Response(201, made)

    def _verify(self, body: Any, mid: int) -> Response:
        callback = self._known(body)
        late = self.tenant.now() - callback.created > VERIFY_SECONDS
        if late or callback.verified or body.get("verificationKey") != callback.verification:
            raise RestError(400, 10006, "The verification key is not valid.")
        callback.verified = True
        return Response(200, {"callbackId": callback.id, "status": "verified"})

    def _regenerate(self, body: Any, mid: int) -> Response:
        callback = self._known(body)
        with self._lock:
            callback.key = base64.b64encode(self.tenant.rng.randbytes(32)).decode()
        return Response(200, {"callbackId": callback.id, "signatureKey": callback.key})

    def _subscribe(self, body: Any, mid: int) -> Response:
        made = []
        for each in body if isinstance(body, list) else []:
            callback = self._known(each)
            types = tuple(each.get("eventCategoryTypes", ()))
            if not callback.verified or not types or not TYPES.issuperset(types):
                raise RestError(400, 10006, "The callback is not verified or an event type is not known.")
            with self._lock:
                number = self.tenant.guid()
            subscription = Subscription(number, callback.id, str(each.get("subscriptionName", "")), types,
                                        tuple(each.get("filters", ())))
            self.subscriptions[subscription.id] = subscription
            made.append(_subscription(subscription))
        if not made:
            raise RestError(400, 10006, "The body must be an array of subscriptions.")
        return Response(201, made)

    def _change(self, body: Any, mid: int) -> Response:
        changed = []
        for each in body if isinstance(body, list) else []:
            subscription = self.subscriptions.get(str(each.get("subscriptionId")))
            if subscription is None or each.get("status", "active") not in ("active", "paused"):
                raise RestError(400, 10006, "The subscription or its status is not valid.")
            subscription.status = str(each.get("status", subscription.status))
            changed.append(_subscription(subscription))
        return Response(200, changed)

    def _delete(self, name: str, number: str) -> Response:
        if name == "DELETE ens-subscriptions":
            if self.subscriptions.pop(number, None) is None:
                raise RestError(404, 30003, "The subscription does not exist.")
            return Response(200, {})
        if any(s.callback == number for s in self.subscriptions.values()):
            raise RestError(409, 30001, "The callback has subscriptions.")
        if self.callbacks.pop(number, None) is None:
            raise RestError(404, 30003, "The callback does not exist.")
        return Response(200, {})

    def _known(self, body: Any) -> Callback:
        callback = self.callbacks.get(str(body.get("callbackId"))) if isinstance(body, dict) else None
        if callback is None:
            raise RestError(400, 10006, "The callback does not exist.")
        return callback

    def adopt(self, mid: int, name: str, url: str, key: str) -> None:
        """A callback somebody made, verified and subscribed to unsubscribes earlier."""
        _target(url)
        callback = Callback(self.tenant.guid(), mid, name, url, 1000, key, "", self.tenant.now(), verified=True)
        self.callbacks[callback.id] = callback
        number = self.tenant.guid()
        self.subscriptions[number] = Subscription(number, callback.id, name, (UNSUBSCRIBE,), ())

    # ---- delivery

    def publish(self, events: list[UnsubEvent]) -> None:
        """Queue events for every active subscription; paused ones drop them for good."""
        for subscription in list(self.subscriptions.values()):
            if subscription.status != "active" or UNSUBSCRIBE not in subscription.types:
                continue
            callback = self.callbacks[subscription.callback]
            wanted = [self._shape(e) for e in events if e.mid == callback.mid]
            for start in range(0, len(wanted), callback.batch):
                self._put(_Parcel(callback, orjson.dumps(wanted[start:start + callback.batch])))

    def _shape(self, event: UnsubEvent) -> dict[str, Any]:
        subscriber = self.tenant.subscribers.get(event.key.lower())
        composite = {"jobId": str(event.job), "batchId": str(event.batch), "listId": str(event.list_id),
                     "subscriberId": str(subscriber.id) if subscriber else "", "emailId": "0"}
        return {"eventCategoryType": UNSUBSCRIBE, "timestampUTC": int(event.at * 1000),
                "compositeId": ".".join(list(composite.values())[:4]), "composite": composite, "definitionKey": "",
                "definitionId": "", "mid": event.mid, "eid": self.tenant.eid,
                "info": {"unsubscribeMethod": "link"}}

    def _put(self, parcel: _Parcel) -> None:
        with self._wake:
            self._batches += 1
            self._parcels.append(parcel)
            if self.duplicate_every and self._batches % self.duplicate_every == 0:
                self._parcels.append(_Parcel(parcel.callback, parcel.body))
            if self._thread is None:
                self._thread = threading.Thread(target=self._deliver, name="sim-ens", daemon=True)
                self._thread.start()
            self._wake.notify()

    def _deliver(self) -> None:
        while True:
            with self._wake:
                while not self._closed and (not self._parcels or self._parcels[0].due > time.monotonic()):
                    wait = self._parcels[0].due - time.monotonic() if self._parcels else None
                    self._wake.wait(wait)
                if self._closed:
                    return
                parcel = self._parcels.popleft()
            headers = {"x-sfmc-ens-signature": signature(parcel.callback.key, parcel.body)}
            status = _post(parcel.callback.url, parcel.body, headers, ANSWER_SECONDS)
            if status in (200, 201, 202, 204):
                self.delivered += 1
                continue
            parcel.attempts += 1
            if parcel.attempts < ATTEMPTS:
                parcel.due = time.monotonic() + self.retry_seconds
                with self._wake:
                    self._parcels.append(parcel)

    def close(self) -> None:
        """End the delivery thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(ANSWER_SECONDS + 1)


def signature(key: str, body: bytes) -> str:
    """base64(HMAC-SHA256) over the raw body, with the key's text as bytes."""
    return base64.b64encode(hmac.new(key.encode(), body, hashlib.sha256).digest()).decode()


def _callback(callback: Callback) -> dict[str, Any]:
    return {"callbackName": callback.name, "callbackId": callback.id, "url": callback.url,
            "maxBatchSize": callback.batch}


def _subscription(subscription: Subscription) -> dict[str, Any]:
    return {"subscriptionId": subscription.id, "subscriptionName": subscription.name,
            "callbackId": subscription.callback, "eventCategoryTypes": list(subscription.types),
            "filters": list(subscription.filters), "status": subscription.status}


def _target(url: str) -> urllib.parse.SplitResult:
    """:raises RestError: for anything but a loopback address without a query"""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or parts.hostname != "127.0.0.1" or parts.query:
        raise RestError(400, 10006, "This simulator posts only to http://127.0.0.1:PORT/path, without a query.")
    return parts


def _post(url: str, body: bytes, headers: dict[str, str], seconds: float) -> int | None:
    """The status of the answer; None when there was none in time."""
    parts = _target(url)
    connection = http.client.HTTPConnection("127.0.0.1", parts.port or 80, timeout=seconds)
    try:
        connection.request("POST", parts.path or "/", body, {"Content-Type": "application/json", **headers})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
