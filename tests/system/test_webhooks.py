"""Webhooks at a real ``syncd run``: what is refused changes nothing, what is acknowledged reaches every side at once."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator

import pytest
import requests

from tests.system.web_lab import Post, Running, unsubscribes

PEOPLE = 150
TIPS = "4713"
DAY = 86_400.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with Running(tmp_path_factory.mktemp("webhooks"), PEOPLE) as found:
        found.start()
        yield found
        found.stop()
        assert "@" not in found.log.read_text()


@pytest.fixture
def untouched(running: Running) -> Iterator[Running]:
    """What the test does must leave ledger, inbox and outbox as they were."""
    def held() -> list[tuple[int, ...]]:
        return running.state("SELECT (SELECT count(*) FROM inbox), (SELECT count(*) FROM entry), (SELECT count(*) FROM"
                             " operation), (SELECT count(*) FROM dirty)")
    before = held()
    yield running
    assert held() == before


def body_of(running: Running) -> bytes:
    return unsubscribes([running.numbers[running.couples(1)[0]]], TIPS)


def test_forged(untouched: Running) -> None:
    post, body = untouched.post, body_of(untouched)
    assert post.send(body, signature=None) == 403
    assert post.send(body, signature=post.sign(body + b" ")) == 403
    assert post.send(json.dumps({"callbackId": "a", "verificationKey": "b"}).encode(), signature=None) == 403
    assert {e["reason"] for e in untouched.events("webhook_refused")} == {"forged"}


def test_malformed(untouched: Running) -> None:
    post = untouched.post
    assert post.send(b"[{") == 400
    assert post.send(b'[{"eventCategoryType": "EngagementEvents.EmailUnsubscribe"}]') == 400
    assert post.send(body_of(untouched), content_type="text/plain") == 415
    assert post.raw(b"nonsense\r\n\r\n").startswith(b"HTTP/1.0 400")


def test_unknown_addresses_and_methods(untouched: Running) -> None:
    post, body = untouched.post, body_of(untouched)
    assert post.send(body, path="/hooks/mc_main/other") == 404
    assert post.send(body, path="/hooks/sf/unsubs") == 404
    assert post.send(body, path="/") == 404
    assert post.send(b"", method="GET") == 405


def test_oversized(untouched: Running) -> None:
    post = untouched.post
    head = f"POST {post.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 20001\r\n\r\n"
    assert post.raw(head.encode()).split(b"\r\n")[0].endswith(b"413 Request Entity Too Large")
    chunked = head.replace("Content-Length: 20001", "Transfer-Encoding: chunked")
    assert b" 413 " in post.raw(chunked.encode(), b"4e21\r\n", b"x" * 20_001, b"\r\n").split(b"\r\n")[0]
    assert b" 431 " in post.raw(b"GET /livez HTTP/1.1\r\nX: " + b"x" * 20_000).split(b"\r\n")[0]


def test_slow(untouched: Running) -> None:
    """Whoever drips gets 408, whoever stops is cut, and both cost nobody anything: health is answered meanwhile."""
    post = untouched.post
    head = f"POST {post.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
    assert b" 408 " in post.raw(head.encode(), *[b"x"] * 12, pause=0.2).split(b"\r\n")[0]
    assert b" 408 " in post.raw(*[b"P"] * 12, pause=0.2).split(b"\r\n")[0]
    assert post.raw(head.encode()) == b""
    assert post.get("/livez") == (200, "ok\n")


def test_stale(untouched: Running) -> None:
    number = untouched.numbers[untouched.couples(1)[0]]
    assert untouched.post.send(unsubscribes([number], TIPS, at=time.time() - 9 * DAY)) == 403


def test_an_unsubscribe_reaches_every_side_without_a_cycle_and_counts_once(running: Running) -> None:
    """The vendor itself posts it. A repetition, another batch with it, and the next poll change nothing."""
    leaver, other = running.couples(2)
    cycles, before = len(running.events("cycle_ended")), running.state("SELECT count(*) FROM entry")[0][0]
    sent = running.company.send("tips")
    running.company.recipient("unsubscribe", leaver, {"mail": sent["id"]})
    running.until(lambda: running.carried({leaver}))
    assert other not in running.refusing("salesforce") | running.refusing("odoo")
    assert len(running.events("cycle_ended")) == cycles
    assert running.state("SELECT count(*) FROM entry")[0][0] == before + 1
    assert running.state("SELECT count(*), count(notices) FROM inbox") == [(1, 0)]  # nothing personal is kept

    body = unsubscribes([running.numbers[leaver]], TIPS, job=77)
    assert [running.post.send(body) for _ in range(3)] == [204, 204, 204]
    assert running.post.send(body[:-1] + b", " + body[1:]) == 204  # the same event, grouped in another way
    running.until(lambda: running.state("SELECT count(*) FROM inbox WHERE resolved_at IS NULL") == [(0,)])
    assert running.state("SELECT count(*) FROM entry")[0][0] == before + 2
    with_polling = running.ask("once")
    assert with_polling["rows"]["mc_main.events"] > 0
    said = running.state("SELECT count(*) FROM entry e JOIN utterance u ON u.id = e.utterance WHERE u.method = 'unsubscribe'"
                         f" AND e.position > {before}")
    assert said == [(2,)]


def test_metrics_tell_counts_and_nothing_about_anybody(running: Running) -> None:
    status, text = running.post.get("/metrics")
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert status == 200
    assert float(figures["syncd_ledger_head"]) == running.state("SELECT max(position) FROM entry")[0][0]
    assert float(figures['syncd_webhook_deliveries_total{callback="unsubs",connection="mc_main",result="stored"}']) >= 3
    assert float(figures['syncd_webhook_deliveries_total{callback="unsubs",connection="mc_main",result="forged"}']) == 3
    assert float(figures['syncd_opt_outs_waiting{connection="sf"}']) == 0
    assert float(figures['syncd_write_seconds_bucket{le="+Inf",write="inbox.receive"}']) >= 3
    assert 0 < float(figures['syncd_write_longest_seconds{write="inbox.receive"}']) < 60
    assert "@" not in text
    assert running.post.get("/readyz") == (200, "ok\n")


def test_a_new_callback_is_answered_for_and_its_key_taken_in_by_a_reload(running: Running) -> None:
    """As an admin does it: the callback is named without a key, made at the vendor, and the key named then."""
    settings = running.config.connections["mc_main"].settings()
    url = running.company.box.urls["marketing_cloud"]
    grant = {"grant_type": "client_credentials", "client_id": settings["client_id"],
             "client_secret": settings["client_secret"], "account_id": settings["mid"]}
    token = requests.post(f"{url}/v2/token", json=grant, timeout=30).json()["access_token"]
    hook = running.company.box.hooks["mc_main"].replace("unsubs", "fresh")
    made = requests.post(f"{url}/platform/v1/ens-callbacks", timeout=30, headers={"Authorization": f"Bearer {token}"},
                         json=[{"callbackName": "fresh", "url": hook, "maxBatchSize": 100}])
    assert made.status_code == 201, made.text
    [callback] = made.json()
    running.until(lambda: bool(running.events("webhook_asked")))
    assert running.events("webhook_asked")[0]["verified"] is True
    assert running.company.box.marketing_cloud.ens.callbacks[callback["callbackId"]].verified

    [leaver] = running.couples(1)
    post = Post(hook, callback["signatureKey"])
    body = unsubscribes([running.numbers[leaver]], TIPS)
    assert post.send(body) == 403
    (running.config_path.parent / "secrets" / "fresh").write_text(callback["signatureKey"])
    text = running.config_path.read_text().replace("fresh: {}", 'fresh: {key: "${file:secrets/fresh}"}', 1)
    running.config_path.write_text(text)
    assert running.process is not None
    running.process.send_signal(signal.SIGHUP)
    running.until(lambda: bool(running.events("config_reloaded")))
    assert post.send(body) == 204
    running.until(lambda: running.carried({leaver}))
