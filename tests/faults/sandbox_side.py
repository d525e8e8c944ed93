"""One of two companies that live through the same events: a served sandbox, its syncd, and who refused what.

What is compared and asserted comes from the control API: the truth about every side, and who would get a mail.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from syncd.config import load_config
from tests.bench.world import serve
from tests.conformance.sandbox_lab import Client
from tests.faults.killing import Driver
from tests.system import acceptance_world as naive
from tests.system.acceptance_world import Json

CRMS = ("salesforce", "odoo")
MC = "marketing_cloud"
QUEUE = 400.0
"""Seconds Marketing Cloud takes for what is queued there."""
PASSED = 700.0
"""Seconds after which a queue is empty, and a lost reply can be read back (``late_seconds``)."""
CYCLES = 8
"""Within which everything must have settled when nobody kills any more."""
FINE = (0, 3, 7)
"""Exit codes of a cycle: done; done and rows refused (the world is messy); a queue was slower than the deadline."""
WHEN = frozenset((
    "SystemModstamp", "LastModifiedDate", "LastModifiedById", "CreatedDate", "write_date", "write_uid", "create_date",
    "Opt_In_Date__c", "News_Date__c", "Academy_Date__c"))
"""Fields that may differ between two companies: when a record was changed and by whom last, when a form was filled in."""


class Side:
    """A sandbox with a syncd. ``refused`` is what was refused and must be silent: (audience, address)."""

    def __init__(self, config: Path, control: str, driver: Driver, people: int) -> None:
        self.config = config
        self.people = people
        self.briefly = ("--deadline", str(max(1, people // 4_000)))
        """For a cycle that does not wait for a queue, but comes to its end on a busy machine."""
        self.control = Client(control)
        self._driver = driver
        mapping = config.with_name("mapping.yaml")
        # Everyone who refuses gets a status there, so that the end does not depend on how far her row had come.
        mapping.write_text(mapping.read_text("utf-8").replace("unknown_subscriber: skip",
                                                              "unknown_subscriber: create_unsubscribed"), "utf-8")
        self.rules = naive.mapping(mapping)
        self.topics = naive.topics_of(self.rules)
        self.refused: set[tuple[str, str]] = set()
        self.said: set[tuple[str, str]] = set()
        """What was refused since and may not have arrived everywhere."""
        self._silent: set[tuple[str, str]] = set()
        """Of that, what was once seen to be silent."""

    # ------------------------------------------------------------------ syncd

    def start(self, *words: str, fine: tuple[int, ...] = FINE, **how: Any) -> Json:
        """Start a command; ``failpoint`` or ``after`` may kill it."""
        return self._driver.run(words=["--config", str(self.config), *words, "--json"], fine=fine,
                                log=str(self.config.with_name("messages.log")), **how)

    def cycle(self, **how: Any) -> Json:
        return self.start("once", *self.briefly, **how)

    def settle(self) -> None:
        """The queue is fast again; cycles until everything is done and nothing is left to do but what a vendor refuses: an
        opt-out it has no room for is tried for ever, and whatever waits behind it is left, too."""
        self.control.good("DELETE", "faults")
        answer: Json = {}
        for _ in range(CYCLES):
            left = {name: d["left"] for name, d in answer.get("delivered", {}).items()}
            self.advance(PASSED)
            answer = self.start("once", "--deadline", "300")
            assert not answer["failed"], answer["failed"]
            assert answer["plan"]["holds"] == [], answer["plan"]
            if not any(d.get(word) for d in answer["delivered"].values() for word in ("done", "accepted", "retry")) and all(
                    d["left"] in (0, left.get(name)) for name, d in answer["delivered"].items()):
                return
        raise AssertionError(f"cycle {CYCLES} in a row still wrote something: {answer['delivered']}")

    # ------------------------------------------------------------------ the world

    def act(self, act: Json) -> Json:
        done: Json = self.control.act(**act)
        assert done["changed"], act
        return done

    def now(self) -> float:
        return float(self.control.good("GET", "clock")["now"])

    def advance(self, seconds: float) -> None:
        self.control.good("POST", "clock", {"advance": seconds})

    def slow_queue(self) -> None:
        self.control.good("POST", "faults", {"target": MC, "fault": "slow_queue", "seconds": QUEUE})

    def world(self, side: str) -> Json:
        found: Json = self.control.world(side, mails="no")
        return found

    def refused_before(self) -> None:
        """Read what was refused anywhere before syncd came: from the end of its first synchronisation it counts."""
        truth = naive.Truth(*(self.world(name) for name in (*CRMS, MC)), [], [], [], {}, self.now())
        people = naive.people(truth, self.rules)
        for topic in set(self.topics.values()):
            self.refuse(naive.Wanted({}, {}, people).blocked(topic), [topic])

    def refuse(self, addresses: Iterable[str], topics: Iterable[str]) -> None:
        """Somebody said no, and is silent from the next cycle that comes to its end."""
        audiences = [audience for audience, topic in self.topics.items() if topic in topics]
        self.said |= {(audience, address) for audience in audiences for address in addresses}

    def comes_back(self, address: str, topic: str) -> None:
        self.refused -= {(audience, address) for audience, its in self.topics.items() if its == topic}

    # ------------------------------------------------------------------ who would be mailed

    def mail(self, audience: str, *, tied: bool = True) -> set[str]:
        """A commercial mail to an audience, ``tied`` to its topic's list or to none: the addresses it went to. One that
        syncd has not created yet can be sent to nobody."""
        status, sent = self.control.call("POST", "act", {
            "actor": "esp_user", "do": "send", "to": {"audience": audience},
            "list": self.topics[audience] if tied else None, "classification": "commercial"})
        assert status == 200 or "does not exist" in sent["error"], sent
        return {naive.address(email) or email for email in sent.get("mailed", ())}

    def check(self, audiences: Iterable[str]) -> None:
        """At any moment: who refused in an earlier round is mailed by no send; who did just now is not mailed again
        through her topic's list once that knew it."""
        for audience in audiences:
            mailed = {(audience, address) for address in self.mail(audience)}
            assert not mailed & self.refused
            assert not mailed & self._silent
            self._silent |= {one for one in self.said - mailed if one[0] == audience}
            assert not {(audience, address) for address in self.mail(audience, tied=False)} & self.refused

    def end_of_round(self) -> dict[str, set[str]]:
        """Everything was carried out: mail everyone; who got what."""
        self.refused |= self.said
        self.said, self._silent = set(), set()
        return self.mail_everyone()

    def mail_everyone(self) -> dict[str, set[str]]:
        """Every mail, in both ways. Sending makes subscribers and members of who had a row only: afterwards the next send
        makes none, so that it does not matter how often one was sent."""
        found: dict[str, set[str]] = {}
        for audience in self.topics:
            found[audience] = self.mail(audience)
            found[f"{audience}, to no list"] = self.mail(audience, tied=False)
            for mailed in (found[audience], found[f"{audience}, to no list"]):
                assert not {(audience, address) for address in mailed} & self.refused
        return found

    def truth(self) -> dict[str, dict[Any, Any]]:
        """All sides by what names a thing, without the times of ``WHEN``. Odoo's mailing contacts are named by their
        address: syncd makes some to hold a refusal, and in which order it does is its own business. Under the key of a
        record merged away counts what is refused: whether rows went out under it between the merge and the change of
        keys, which tell an address and make the subscriber active on a list, depends on when syncd looked."""
        mc, salesforce = self.world(MC), self.world("salesforce")
        given_up = {person["id"] for person in salesforce["people"] if person.get("merged_into")}
        found: dict[str, dict[Any, Any]] = {
            name: {row["key"]: row for row in audience["rows"]} for name, audience in mc["audiences"].items()}
        found["subscribers"] = {(s["key"], s["bu"]): (s["email"], s["status"], s["topics"]) for s in mc["subscribers"]}
        for key, bu in found["subscribers"]:
            if key in given_up:
                _, status, topics = found["subscribers"][key, bu]
                found["subscribers"][key, bu] = status, {topic: said for topic, said in topics.items() if said != "Active"}
        for crm in CRMS:
            found[crm] = defaultdict(list)
            for person in self.world(crm)["people"]:
                made = person["object"] == "mailing.contact"
                name = person["object"], person["email"] if made else person.pop("id")
                person["fields"] = {k: v for k, v in person["fields"].items() if k not in WHEN | {"id"}}
                found[crm][str(name)].append({k: v for k, v in person.items() if k != "id"})
        return found


@contextmanager
def side(directory: Path, people: int, driver: Driver) -> Iterator[Side]:
    """A company in ``directory``, gone when the block ends."""
    directory.mkdir()
    with serve(directory, people, "full") as served:
        yield Side(served.config, served.control, driver, people)


def differences(calm: Side, other: Side) -> list[str]:
    """What differs between two companies, a line each: table, name, and both values of what is not the same."""
    one, two = calm.truth(), other.truth()
    return [f"{table} {name}: {_unlike(one[table].get(name), two[table].get(name))}"
            for table in one for name in sorted(one[table].keys() | two[table].keys())
            if one[table].get(name) != two[table].get(name)]


def _unlike(there: Any, here: Any) -> str:
    """Both, without the fields that are the same."""
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here) == 1:
        return _unlike(there[0], here[0])
    if isinstance(there, dict) and isinstance(here, dict):
        return ", ".join(f"{name}: {_unlike(there.get(name), here.get(name))}" for name in sorted(there.keys() | here.keys())
                         if there.get(name) != here.get(name))
    return f"{there} != {here}"


def hash_key(side: Side) -> bytes:
    return load_config(side.config).hash_key.reveal().encode()
