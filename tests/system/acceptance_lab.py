"""Drives a whole syncd against the sandbox: its command line and its service's verbs here, the control API there.

What is asserted comes from the control API's world and from the naive reading in ``acceptance_world``; of syncd only its
commands and their printed reports are used.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from click.testing import CliRunner

from connectors.sim import sandbox
from syncd import compose
from syncd.cli import main
from syncd.config import load_config
from syncd.desk.verbs import Desk
from tests.conformance.sandbox_lab import Client
from tests.system import acceptance_world as naive
from tests.system.acceptance_world import Json, Person, Wanted

MC = "marketing_cloud"
SIDES = ("salesforce", "odoo", MC)
ROOT = Path(__file__).resolve().parents[2]
DISTURBED = [
    ("http_429", {"count": 2, "seconds": 1}), ("http_429", {"count": 2}), ("http_500", {"count": 3}),
    ("reset_before", {"count": 3}), ("reset_after", {"count": 3}), ("partial", {"count": 2}),
    ("token_expired", {"count": 1}), ("truncated_page", {"count": 2})]
"""What goes wrong at a vendor, (fault, parameters): nothing that time does not heal."""


class Company:
    """A sandbox and the syncd that serves it. ``rules`` is the mapping as the file says it."""

    def __init__(self, directory: Path, people: int, seed: int = 1) -> None:
        self.box = sandbox.start(people=people, seed=seed, directory=directory)
        self.control = Client(self.box.control_url)
        self.rules = naive.mapping(directory / "mapping.yaml")
        self._desk: Desk | None = None

    # ------------------------------------------------------------------ syncd

    def cli(self, *words: str, exits: Iterable[int] = (0,)) -> Json:
        """One command in a process of its own, as far as the state is concerned: opened, used, closed."""
        self.stop()
        result = CliRunner().invoke(main, ["--config", str(self.box.config_path), *words, "--json"])
        assert result.exit_code in set(exits), (words, result.exit_code, result.stderr, result.exception)
        found: Json = json.loads(result.stdout)
        return found

    def process(self, *words: str) -> Json:
        """One command in a process of its own."""
        self.stop()
        command = [sys.executable, "-m", "syncd.cli", "--config", str(self.box.config_path), *words, "--json"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, (words, done.returncode, done.stderr)
        found: Json = json.loads(done.stdout)
        return found

    def ask(self, verb: str, **parameters: Any) -> Json:
        """A verb of the running service. Its own counters of calls are compared with the vendors' elsewhere."""
        if self._desk is None:
            config = load_config(self.box.config_path)
            self._desk = Desk(config, compose.store(config, check=False))
        return self._desk.call(verb, parameters).data

    def cycle(self, *, good: bool = True, deadline: float = 600.0) -> Json:
        """One cycle of the service; ``good``: everything was read and everything due is done."""
        report = self.ask("once", deadline=deadline)
        if good:
            assert not report["failed"], report
            assert not report["emptied"], report
            assert not any("error" in d or d["left"] for d in report["delivered"].values()), report["delivered"]
            assert report["plan"]["holds"] == [], report["plan"]
        return report

    def link(self) -> Json:
        """The first synchronisation: a plan, looked at, and approved by its id."""
        plan = self.cli("plan", exits=(4,))
        assert not any(self.written().values()), "a plan writes nothing"
        return self.cli("apply", plan["plan"]["id"], exits=(0, 3))

    def stop(self) -> None:
        """End the service; the next verb starts another on the same state."""
        if self._desk is not None:
            self._desk.close()
            self._desk.store.close()
            self._desk = None

    # ------------------------------------------------------------------ the world

    def world(self, side: str) -> Json:
        found: Json = self.control.world(side)
        return found

    def truth(self) -> naive.Truth:
        return naive.read(self.box, self.world)

    def wanted(self) -> Wanted:
        """Who should be where, as the world is now."""
        return naive.wanted(self.truth(), self.rules)

    def audiences(self) -> dict[str, dict[str, list[Json]]]:
        """Audience -> address -> rows; rows that somebody at the ESP put there by hand left out."""
        found: dict[str, dict[str, list[Json]]] = {}
        for name, audience in self.world(MC)["audiences"].items():
            rows = found[name] = {}
            for row in audience["rows"]:
                if not row["key"].startswith("EXT-"):
                    rows.setdefault(naive.address(row["email"]) or row["email"], []).append(row)
        return found

    def record(self, side: str, record: str) -> Json:
        """One person's record as the world shows it."""
        return next(p for p in self.world(side)["people"] if p["id"] == record
                    and p["object"] in ("Contact", "Lead", "res.partner"))

    def written(self) -> dict[str, int]:
        """Records written per side since the journal was cleared."""
        totals = self.control.good("GET", "journal")["totals"]
        return {side: totals[side]["records_written"] for side in SIDES}

    def calls(self) -> dict[str, int]:
        totals = self.control.good("GET", "journal")["totals"]
        return {side: totals[side]["calls"] for side in SIDES}

    def forget_journal(self) -> None:
        self.control.good("DELETE", "journal")

    # ------------------------------------------------------------------ acting

    def recipient(self, do: str, email: str, source: Any) -> int:
        changed: int = self.control.act(actor="recipient", esp=MC, do=do, email=email, from_=source)["changed"]
        return changed

    def user(self, crm: str, do: str, **what: Any) -> Json:
        found: Json = self.control.act(actor="crm_user", crm=crm, do=do, **what)
        return found

    def send(self, audience: str, *, tied: bool = True) -> Json:
        """A commercial mail to an audience; ``tied`` to its topic's publication list, else to none."""
        topic = naive.topics_of(self.rules)[audience]
        found: Json = self.control.act(actor="esp_user", do="send", to={"audience": audience},
                                       list=topic if tied else None, classification="commercial")
        return found

    def fault(self, target: str, fault: str, **more: Any) -> None:
        self.control.good("POST", "faults", {"target": target, "fault": fault, **more})

    def clear_faults(self) -> None:
        self.control.good("DELETE", "faults")

    def advance(self, seconds: float) -> None:
        self.control.good("POST", "clock", {"advance": seconds})

    def close(self) -> None:
        self.stop()
        self.box.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


# --------------------------------------------------------------------------- what is compared

def gaps(company: Company, wanted: Wanted) -> dict[str, dict[str, list[str]]]:
    """Where the audiences differ from what is wanted: audience -> "missing", "foreign" or "twice" -> addresses."""
    found: dict[str, dict[str, list[str]]] = {}
    for audience, have in company.audiences().items():
        want, unsure = wanted.rows[audience], wanted.unsure[audience]
        kinds = {"missing": [e for e in want if e not in have and not _too_long(want[e])],
                 "foreign": [e for e in have if e not in want and e not in unsure],
                 "twice": [e for e, rows in have.items() if len(rows) > 1]}
        if bad := {kind: addresses for kind, addresses in kinds.items() if addresses}:
            found[audience] = bad
    return found


def _too_long(person: Person) -> bool:
    """Whose name no data extension of the sandbox has room for: the row is refused and waits in quarantine."""
    return len(person.first("first_name") or "") > 80


def mails(company: Company) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Send every audience a mail tied to its topic's list and one tied to none: who was mailed, by audience."""
    tied, loose = {}, {}
    for audience in naive.topics_of(company.rules):
        tied[audience] = {naive.address(e) or e for e in company.send(audience)["mailed"]}
        loose[audience] = {naive.address(e) or e for e in company.send(audience, tied=False)["mailed"]}
    return tied, loose
