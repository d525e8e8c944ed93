"""Marketing Cloud's notifications: what is taken, what is refused, and as which events."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import orjson
import pytest

from connectors.base import RefusalReason, Refused
from connectors.marketing_cloud.consent.webhook import MarketingCloudTranslator
from syncd.model import Notice

KEY, OTHER = "c2lnbmF0dXJlIGtleQ==", "YW5vdGhlciBrZXk="
NOW = 1_800_000_000_000_000
DAY = 86_400_000


def event(**other: Any) -> dict[str, Any]:
    """An unsubscribe as the platform posts it, a minute old."""
    return {"eventCategoryType": "EngagementEvents.EmailUnsubscribe", "timestampUTC": NOW // 1000 - 60_000,
            "compositeId": "118.1.4711.7", "definitionKey": "", "definitionId": "", "mid": 12345, "eid": 12345,
            "composite": {"jobId": "118", "batchId": "1", "listId": "4711", "subscriberId": "7", "emailId": "0"},
            "info": {"unsubscribeMethod": "link"}, **other}


def signed(body: bytes, key: str = KEY) -> dict[str, str]:
    digest = hmac.new(key.encode(), body, hashlib.sha256).digest()
    return {"x-sfmc-ens-signature": base64.b64encode(digest).decode()}


def refused(body: bytes, headers: dict[str, str], *keys: str) -> RefusalReason:
    with pytest.raises(Refused) as error:
        MarketingCloudTranslator(keys or (KEY,)).receive(headers, body, NOW)
    return error.value.reason


def test_a_signed_delivery_becomes_notices_and_other_events_are_passed_over() -> None:
    body = orjson.dumps([event(), event(eventCategoryType="EngagementEvents.EmailOpen", composite={}),
                         event(composite={"jobId": 119, "listId": "", "subscriberId": 8})])
    received = MarketingCloudTranslator([KEY]).receive(signed(body), body, NOW)
    assert received.notices == (
        Notice("unsubscribe", NOW - 60_000_000, "4711", "118", "7", evidence="ens_unsubscribe"),
        Notice("unsubscribe", NOW - 60_000_000, None, "119", "8", evidence="ens_unsubscribe"))
    assert received.handshake is None
    assert "4711" not in repr(received)


@pytest.mark.parametrize("given", [OTHER, KEY])
def test_while_keys_are_exchanged_both_count(given: str) -> None:
    body = orjson.dumps([event()])
    assert MarketingCloudTranslator([KEY, OTHER]).receive(signed(body, given), body, NOW).notices


def test_forged() -> None:
    body = orjson.dumps([event()])
    changed = body.replace(b'"7"', b'"9"')
    assert refused(changed, signed(body)) == "forged"
    assert refused(body, signed(body, OTHER)) == "forged"
    assert refused(body, {}) == "forged"
    assert refused(body, {"x-sfmc-ens-signature": "\xe9 no signature"}) == "forged"
    decoded = base64.b64encode(hmac.new(base64.b64decode(KEY), body, hashlib.sha256).digest()).decode()
    assert refused(body, {"x-sfmc-ens-signature": decoded}) == "forged"  # the key is its text, not what the text encodes


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"{}", b"[1]", b"null", b'[{"eventCategoryType": 1}]', orjson.dumps([event(composite=None)]),
    orjson.dumps([event(timestampUTC="now")]), orjson.dumps([event(timestampUTC=True)]),
    orjson.dumps([event(timestampUTC=-1)]), orjson.dumps([event(composite={"subscriberId": "x"})]),
    orjson.dumps([event(composite={"subscriberId": "7" * 200})]), orjson.dumps([event(), {}])])
def test_malformed_though_signed(content: bytes) -> None:
    assert refused(content, signed(content)) == "malformed"


def test_what_is_older_than_the_vendor_repeats_is_stale_and_the_rest_of_a_batch_counts() -> None:
    old, fresh = event(timestampUTC=NOW // 1000 - 9 * DAY), event(timestampUTC=NOW // 1000 - 6 * DAY)
    body = orjson.dumps([old])
    assert refused(body, signed(body)) == "stale"
    body = orjson.dumps([old, fresh])
    assert len(MarketingCloudTranslator([KEY]).receive(signed(body), body, NOW).notices) == 1


def test_the_question_whether_the_address_is_ours_is_answered_until_there_is_a_key() -> None:
    asked = {"callbackId": "0e5c", "verificationKey": "f00d"}
    body = orjson.dumps(asked)
    received = MarketingCloudTranslator([]).receive({}, body, NOW)
    assert received.handshake == asked
    assert "f00d" not in repr(received)
    assert refused(body, {}) == "forged"
    with pytest.raises(Refused, match="malformed"):
        MarketingCloudTranslator([]).receive({}, b'{"callbackId": "0e5c"}', NOW)
    with pytest.raises(Refused, match="forged"):
        MarketingCloudTranslator([]).receive(signed(body), orjson.dumps([event()]), NOW)
