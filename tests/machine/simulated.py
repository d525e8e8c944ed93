"""The third depth: syncd with its real connectors against the shipped simulators, asynchronous queue and keys and all.

Plays are coarser here: one company, recipients who leave, users who tick and edit, faults of the wire, restarts. Who must
get what is the acceptance tests' own reading of the sandbox's mapping; who must not is kept here, from what people did.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

from tests.machine.play import Broken
from tests.system import acceptance_world as naive
from tests.system.acceptance_lab import MC, SIDES, Company, gaps

PEOPLE = 60
SOON = 2.0
"""Seconds of real time a hasty cycle, or one under a fault, may take."""
WIRE = ("http_429", "http_500", "reset_before", "reset_after", "partial", "token_expired", "truncated_page")
KINDS = {"leave": 6, "leave_all": 2, "complain": 1, "tick": 3, "edit": 4, "send": 6, "cycle": 8, "hasty": 3, "restart": 2,
         "fault": 3, "slow_queue": 2, "wait": 3, "calm": 2}
"""What happens, and how often compared with the others."""


class SimulatedPlay:
    """One company. ``refused``: (topic or "*", address) pairs; ``known`` are those that syncd was able to deliver."""

    def __init__(self, directory: Path, seed: int, counts: Counter[str]) -> None:
        self.company = Company(directory, PEOPLE, seed=seed)
        self.counts = counts
        self.rng = random.Random(seed)
        self.steps: list[tuple[Any, ...]] = []
        self.topics = naive.topics_of(self.company.rules)
        self.refused: set[tuple[str, str]] = set()
        self.known: set[tuple[str, str]] = set()
        self.disturbed = False
        self.company.link()
        self.do_calm()

    def play(self, steps: int) -> None:
        """So many steps, and a calm.

        :raises Broken: with the steps so far
        """
        try:
            for _ in range(steps - 1):
                kind = self.rng.choices(list(KINDS), list(KINDS.values()))[0]
                self.counts["steps"] += 1
                self.counts[kind] += 1
                getattr(self, f"do_{kind}")()
            self.counts["steps"] += 1
            self.do_calm()
        except Broken as broken:
            raise Broken(f"{broken}\nafter {self.steps}") from None

    # ------------------------------------------------------------------ recipients and users

    def _someone(self, audience: str) -> str | None:
        """An address of an audience."""
        rows = sorted(self.company.audiences().get(audience, ()))
        return self.rng.choice(rows) if rows else None

    def _refuse(self, topic: str, address: str) -> None:
        self.refused.add((topic, address))

    def do_leave(self) -> None:
        """Somebody leaves the topic of a mail they got."""
        audience = self.rng.choice(sorted(self.topics))
        address = self._someone(audience)
        if address is not None and self._mail(audience, address):
            self.company.recipient("unsubscribe", address, {"audience": audience})
            self._refuse(self.topics[audience], address)
            self.steps.append(("leave", audience, address))

    def _mail(self, audience: str, address: str) -> bool:
        return address in self._send(audience)

    def do_leave_all(self) -> None:
        """Somebody leaves everything."""
        audience = self.rng.choice(sorted(self.topics))
        address = self._someone(audience)
        if address is not None and self._mail(audience, address):
            self.company.recipient("unsubscribe", address, "all")
            self._refuse("*", address)
            self.steps.append(("leave_all", address))

    def do_complain(self) -> None:
        audience = self.rng.choice(sorted(self.topics))
        address = self._someone(audience)
        if address is not None and self._mail(audience, address):
            self.company.recipient("complain", address, {"audience": audience})
            self._refuse("*", address)
            self.steps.append(("complain", address))

    def _contact(self) -> Any:
        people = [p for p in self.company.world("salesforce")["people"]
                  if p["object"] == "Contact" and not p["deleted"] and naive.address(p["email"])]
        return self.rng.choice(people)

    def do_tick(self) -> None:
        """A CRM user ticks the box for all mail."""
        contact = self._contact()
        self.company.user("salesforce", "edit", object="Contact", id=contact["id"], set={"HasOptedOutOfEmail": True})
        if not contact["opted_out"]:
            self._refuse("*", naive.address(contact["email"]) or "")
        self.steps.append(("tick", contact["id"]))

    def do_edit(self) -> None:
        contact, country = self._contact(), self.rng.choice(("Germany", "Belgium", "France"))
        self.company.user("salesforce", "edit", object="Contact", id=contact["id"], set={"MailingCountry": country})
        self.steps.append(("edit", contact["id"], country))

    # ------------------------------------------------------------------ mails

    def _send(self, audience: str) -> set[str]:
        mailed = {naive.address(e) or e for e in self.company.send(audience)["mailed"]}
        topic = self.topics[audience]
        self.counts["mails judged"] += len(mailed)
        self.counts["addresses that had to be quiet"] += len({a for t, a in self.known if t in ("*", topic)})
        for address in mailed:
            if {("*", address), (topic, address)} & self.known:
                raise Broken(f"{audience}: {topic} reached {address} after a refusal")
        return mailed

    def do_send(self) -> None:
        audience = self.rng.choice(sorted(self.topics))
        self.steps.append(("send", audience))
        self._send(audience)

    # ------------------------------------------------------------------ faults, and syncd

    def do_fault(self) -> None:
        side, fault = self.rng.choice(SIDES), self.rng.choice(WIRE)
        self.company.fault(side, fault, count=self.rng.choice((1, 2, 3)))
        self.disturbed = True
        self.steps.append(("fault", side, fault))

    def do_slow_queue(self) -> None:
        self.company.fault(MC, "slow_queue", seconds=120, count=3)
        self.disturbed = True
        self.steps.append(("slow_queue",))

    def do_wait(self) -> None:
        self.company.advance(self.rng.choice((61, 700, 4200)))

    def do_restart(self) -> None:
        self.company.stop()
        self.steps.append(("restart",))

    def do_hasty(self) -> None:
        """A cycle that is cut short."""
        self.company.ask("once", deadline=SOON)
        self.steps.append(("hasty",))

    def do_cycle(self) -> None:
        before, disturbed = set(self.refused), self.disturbed
        self.steps.append(("cycle",))
        report = self.company.ask("once", deadline=SOON if disturbed else 60.0)
        if not disturbed and not report["failed"]:
            self.known |= before

    def do_calm(self) -> None:
        """All faults are over: everybody who wants it gets it, and nobody else."""
        self.company.clear_faults()
        self.steps.append(("calm",))
        self.company.advance(4200)  # nothing is put off for longer
        for _ in range(5):
            # syncd learns the sandbox's time from its answers. A leap within a cycle makes what was read just before it old,
            # so that nobody is added in that one.
            self.company.advance(61)
            report = self.company.ask("once", deadline=60.0)
            if not report["failed"] and not any("error" in d or d["left"] for d in report["delivered"].values()):
                break
        self.disturbed = False
        self.known = set(self.refused)
        wanted = self.company.wanted()
        self.counts["recipients that had to be reached"] += sum(map(len, wanted.rows.values()))
        if found := gaps(self.company, wanted):
            raise Broken(f"the audiences are not as they should be: {found}")

    def close(self) -> None:
        self.company.close()


def simulate(directory: Path, steps: int, seed: int, counts: Counter[str]) -> None:
    """Play so many steps against the simulators.

    :raises Broken:
    """
    play = SimulatedPlay(directory, seed, counts)
    try:
        play.play(steps)
    finally:
        play.close()
