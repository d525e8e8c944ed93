"""A sandbox, a ``syncd run`` of it as a process, and a sender of notifications that owes nothing to the product."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from syncd.config import load_config
from syncd.desk import control
from tests.system.acceptance_lab import MC, Company

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0

CRMS = ("salesforce", "odoo")
Json = dict[str, Any]


class Post:
    """Sends notifications of the main business unit to a callback."""

    def __init__(self, hook: str, key: str) -> None:
        parts = urlsplit(hook)
        self.host, self.port, self.path = str(parts.hostname), int(parts.port or 0), parts.path
        self.key = key

    def sign(self, body: bytes) -> str:
        return base64.b64encode(hmac.new(self.key.encode(), body, hashlib.sha256).digest()).decode()

    def send(self, body: bytes, *, signature: str | None = "", path: str | None = None, method: str = "POST",
             content_type: str = "application/json", timeout: float = PATIENCE) -> int | None:
        """The answer's status, None when there was none. ``signature`` "" = the right one, None = no header."""
        headers = {"Content-Type": content_type}
        if signature is not None:
            headers["X-SFMC-ENS-Signature"] = signature or self.sign(body)
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request(method, path or self.path, body, headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def raw(self, *parts: bytes, pause: float = 0.0) -> bytes:
        """Write to the socket piece by piece; what comes back until the other side closes."""
        with socket.create_connection((self.host, self.port), timeout=PATIENCE) as line:
            found = b""
            try:
                for part in parts:
                    line.sendall(part)
                    time.sleep(pause)
            except OSError:
                pass  # closed while sending: what it said before is read below
            while piece := _receive(line):
                found += piece
            return found


def _receive(line: socket.socket) -> bytes:
    try:
        return line.recv(65536)
    except OSError:
        return b""


def unsubscribes(numbers: list[int], list_id: str, *, at: float | None = None, job: int = 900_001) -> bytes:
    """The body of a delivery: these subscribers left a list, each in an event of its own."""
    moment = int((time.time() if at is None else at) * 1000)
    return json.dumps([{
        "eventCategoryType": "EngagementEvents.EmailUnsubscribe", "timestampUTC": moment,
        "compositeId": f"{job}.1.{list_id}.{number}",
        "composite": {"jobId": str(job), "batchId": "1", "listId": list_id, "subscriberId": str(number), "emailId": "0"},
        "definitionKey": "", "definitionId": "", "mid": 12345, "eid": 12345, "info": {"unsubscribeMethod": "link"},
    } for number in numbers]).encode()


def _refuses(record: tuple[str, Json]) -> bool:
    """Whether a record holds a refusal of tips, or of everything."""
    _, person = record
    return person["topics"].get("tips") is False or bool(person["opted_out"])


class Running:
    """A linked company and the service that runs it, whose schedule is so slow that webhooks are all that wakes it."""

    def __init__(self, directory: Path, people: int, *, poll: str = "3600s", slow: str = "1s") -> None:
        self.company = Company(directory, people)
        self.config_path = self.company.box.config_path
        text = self.config_path.read_text().replace("poll: 5s", f"poll: {poll}")
        text = text.replace("webhooks: {unsubs:", "webhooks: {fresh: {}, unsubs:")  # one whose key nobody knows yet
        self.config_path.write_text(text.replace('web: {listen: "', f'web: {{max_body: 20000, slow: {slow}, listen: "'))
        self.config = load_config(self.config_path)
        self.post = Post(self.company.box.hooks["mc_main"], (directory / "secrets" / "ens").read_text().strip())
        self.log = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None
        self.company.link()
        self.company.cycle()
        self.company.stop()

    def start(self, failpoint: str = "", *, cycles: int = 1) -> None:
        """Start the service; when this returns, webhooks are answered and so many cycles have ended, or it was killed."""
        seen = len(self.events("cycle_ended"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "syncd.cli", "--config", str(self.config_path), "run"], cwd=ROOT, stderr=log,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={**os.environ, "SYNCD_FAILPOINT": failpoint})
        self.until(lambda: self.died() or len(self.events("cycle_ended")) >= seen + cycles)

    def stop(self) -> None:
        """End the service in order."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(PATIENCE) == 0, self.log.read_text()[-3000:]
        self.process = None

    def died(self) -> bool:
        """Whether a failpoint, or ``kill``, killed it; the next ``start`` is a restart."""
        return self.process is not None and self.process.poll() == -signal.SIGKILL

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def events(self, name: str | None = None) -> list[Json]:
        text = self.log.read_text() if self.log.exists() else ""
        found = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
        return [e for e in found if name in (None, e["event"])]

    def until(self, condition: Callable[[], bool], *, every: float = 0.05) -> None:
        """:param every: seconds between two looks; a look at the whole world is dear"""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, self.log.read_text()[-3000:]
            ended = self.process.poll() if self.process else None  # asked once: it may be killed between two questions
            assert ended in (None, -signal.SIGKILL), (ended, self.log.read_text()[-3000:])
            time.sleep(every)

    def ask(self, verb: str, **parameters: Any) -> Json:
        """A verb of the running service."""
        found: Json = control.ask(control.socket_path(self.config.state), verb, parameters, PATIENCE).data
        return found

    def quiet_after(self, cycle: Callable[[], object]) -> bool:
        """Whether a cycle leaves nobody to be looked at again. The express way looks again at whoever had something in
        flight and leaves her to a cycle: where that is just over, to another one."""
        cycle()
        return self.state("SELECT count(*) FROM dirty") == [(0,)]

    # ------------------------------------------------------------------ the world

    def couples(self, count: int) -> list[str]:
        """Addresses in the audience of tips with one living record in each CRM, none of which refuses anything."""
        records = self.records()
        rows = {row["email"].lower() for row in self.company.world(MC)["audiences"]["tips"]["rows"]}
        good = [e for e, found in sorted(records.items()) if e in rows and e in self.numbers
                and sorted(side for side, _ in found) == ["odoo", "salesforce"]]
        assert len(good) >= count, len(good)
        return good[:count]

    def stayers(self, count: int) -> list[str]:
        """Addresses that Marketing Cloud knows, with records in either CRM none of which refuses anything that matters."""
        numbers = self.numbers
        good = [e for e, found in sorted(self.records().items()) if e in numbers and not any(map(_refuses, found))]
        assert len(good) >= count, len(good)
        return good[:count]

    def records(self) -> dict[str, list[tuple[str, Json]]]:
        """Living records of people, with their side, by address."""
        found: dict[str, list[tuple[str, Json]]] = {}
        for side in CRMS:
            for person in self.company.world(side)["people"]:
                if person["email"] and not person["deleted"] and person["object"] in ("Contact", "Lead", "res.partner"):
                    found.setdefault(person["email"].strip().lower(), []).append((side, person))
        for email, records in found.items():
            if any(person["object"] == "Contact" for _, person in records):  # a converted lead can be written no more
                found[email] = [each for each in records if each[1]["object"] != "Lead"]
        return found

    @property
    def numbers(self) -> dict[str, int]:
        """Address -> the subscriber's number at Marketing Cloud."""
        subscribers = self.company.box.marketing_cloud.tenant.subscribers.values()
        return {s.email.lower(): s.id for s in subscribers}

    def refusing(self, side: str) -> set[str]:
        """Addresses of the records on which a CRM holds a refusal of tips."""
        return {p["email"].strip().lower() for p in self.company.world(side)["people"]
                if p["email"] and p["topics"].get("tips") is False}

    def lacking(self, addresses: set[str]) -> set[tuple[str, str]]:
        """(side, address) of every living record that should hold a refusal of tips and does not, and of every row left."""
        found = {(side, e) for e, records in self.records().items() if e in addresses
                 for side, person in records if not _refuses((side, person))}
        rows = self.company.world(MC)["audiences"]["tips"]["rows"]
        return found | {(MC, row["email"].lower()) for row in rows if row["email"].lower() in addresses}

    def carried(self, addresses: set[str]) -> bool:
        """Whether both CRMs hold these refusals, and no row is left."""
        return not self.lacking(addresses)

    def state(self, sql: str) -> list[tuple[Any, ...]]:
        """Look into the state while it runs."""
        from state import db

        conn = db.connect(self.config.state, read_only=True)
        try:
            return conn.execute(sql).fetchall()
        finally:
            conn.close()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.company.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
