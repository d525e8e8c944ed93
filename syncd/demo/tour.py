"""The tour itself, from an empty machine to the table of stories. Read this first; every step is one method."""

from __future__ import annotations

import math
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import orjson

from syncd.demo.judge import Check, Outcome, everyone_else, judge, nobody_refused, nothing_written
from syncd.demo.processes import IN_ORDER, Json, Product, Sandbox
from syncd.demo.stories import STORIES, Acts, Person, Story, cast
from syncd.demo.teller import Teller, teller
from syncd.demo.truth import MAILINGS, Mailed, Truth, letters, send_all
from syncd.failures import FAILED, HELD, OK, PARTIAL, PENDING, Failure

SIDES = {"salesforce": "Salesforce", "odoo": "Odoo", "marketing_cloud": "Marketing Cloud"}
SHOWN = ("salesforce", "odoo", "mc_main", "mc_second")


def run(people: int, seed: int, keep: str | None, as_json: bool) -> int:
    """Run the demonstration; the exit code: 0 only if the truth on all sides agrees.

    :param people: how many live in the sandbox
    :param keep: a directory for its files, which stay; None = a temporary one
    :raises Failure: something of the environment is missing or broken
    """
    began = time.monotonic()
    with _directory(keep) as directory, _terminable(), Sandbox(directory, people, seed) as sandbox:
        tour = Tour(sandbox, Product(sandbox.config), teller(as_json), people, seed, began)
        tour.run()
        if keep is not None:
            tour.tell.say(f"Configuration, mapping and state are in {directory}.")
    if as_json:
        sys.stdout.write(orjson.dumps(tour.as_json(), option=orjson.OPT_INDENT_2).decode() + "\n")
    return OK if tour.ok else FAILED


@contextmanager
def _directory(keep: str | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="syncd-demo-") as name:
            yield Path(name)
        return
    path = Path(keep).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(FAILED, f"{path} cannot be made: {error.strerror}.", next="Name another directory.") from None
    if any(path.iterdir()):
        raise Failure(FAILED, f"{path} is not empty.", next="Name a new directory: a state belongs to one world.")
    yield path


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the tour as Ctrl-C does, so that the sandbox's process ends, too."""
    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(slots=True)
class Phase:
    """One command, or one round of mails: what it took."""

    name: str
    seconds: float
    calls: Mapping[str, Json]

    def as_json(self) -> Json:
        return {"phase": self.name, "seconds": round(self.seconds, 1), "calls": self.calls}


@dataclass(slots=True)
class Tour:
    """Goes through everything once, and remembers what it saw."""

    sandbox: Sandbox
    product: Product
    tell: Teller
    people: int
    seed: int
    began: float
    phases: list[Phase] = field(default_factory=list)
    rounds: list[Mailed] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    lacking: list[Story] = field(default_factory=list)
    _changed: float = -math.inf
    """When people changed their minds last, of ``time.monotonic``."""

    @property
    def ok(self) -> bool:
        return not self.lacking and all(o.ok for o in self.outcomes) and not any(c.against for c in self.checks)

    def as_json(self) -> Json:
        """Everything the table shows, as data. The addresses are the sandbox's inventions."""
        return {"ok": self.ok, "people": self.people, "seed": self.seed,
                "seconds": round(time.monotonic() - self.began, 1),
                "mailed": [{name: len(emails) for name, emails in mailed.items()} for mailed in self.rounds],
                "stories": [o.as_json() for o in self.outcomes],
                "nobody_fits": [story.title for story in self.lacking],
                "checks": [c.as_json() for c in self.checks], "phases": [p.as_json() for p in self.phases]}

    def run(self) -> None:
        """All of it.

        :raises Failure: syncd or the sandbox failed, which is not a story that went wrong
        """
        say = self.tell.say
        say(f"{self.people} people of Salesforce, Odoo and two business units of Marketing Cloud; all three are simulators"
            f" on this machine, and every name and address is invented. Seed {self.seed}.")
        say()
        say("First sync: read everything, look at the plan, approve it by its name.")
        self.first_sync()
        self.send("before")
        people = cast(Truth.read(self.sandbox), self.rounds[0])
        self.lacking = [story for story in STORIES if people[story.title] is None]
        say()
        say("People change their minds, in their mails, on web pages and in the CRMs. One cycle, then the same mails again.")
        self.change(people, lambda story: story.first)
        self.once("syncd once")
        self.send("between")
        say()
        say("And once more: a box is unticked, contacts are merged, deleted and entered again, a form is filled in.")
        self.change(people, lambda story: story.second)
        self.once("syncd once")
        self.send("after")
        self.once("syncd once  (nothing has happened)")
        self.verdict(people)

    # ------------------------------------------------------------------ steps

    def first_sync(self) -> None:
        self._phase("syncd check", lambda: self.product.call("check"), lambda data: "the files are good")
        plan = self._phase("syncd plan", lambda: self.product.call("plan", fine=(PENDING,)), _plan_text)
        name, total = plan["plan"]["id"], sum(c["count"] for c in plan["plan"]["counts"])
        self._plan(plan["plan"]["counts"])
        with self.tell.watching(f"syncd apply {name}", total) as watch:
            self._phase(f"syncd apply {name}",
                        lambda: self.product.call("apply", name, fine=(OK, PARTIAL), watch=watch), _done_text)
        self.once("syncd once")

    def _plan(self, counts: Sequence[Json]) -> None:
        sorts = sorted({c["sort"] for c in counts})
        connections = sorted({c["connection"] for c in counts})
        self.tell.table(("      the plan:", *sorts), [("      " + name, *(
            str(sum(c["count"] for c in counts if (c["connection"], c["sort"]) == (name, sort))) for sort in sorts))
            for name in connections])

    def once(self, title: str) -> None:
        self._phase(title, lambda: self.product.call("once", fine=(OK, PARTIAL, HELD)), _done_text)

    def send(self, when: str) -> None:
        """Every mail to whom the vendor lets have it."""
        began = time.monotonic()
        mailed = send_all(self.sandbox)
        self.rounds.append(mailed)
        found = f"{sum(map(len, mailed.values()))} mails to {len(frozenset().union(*mailed.values()))} addresses"
        self.tell.step(f"{len(MAILINGS)} mails go out, {when}", found, time.monotonic() - began)
        self.sandbox.calls()

    def change(self, people: Mapping[str, Person | None], acts: Callable[[Story], Acts]) -> None:
        """Let the stories happen, surely later than what happened before: a fast machine would leave no time in between."""
        time.sleep(max(0.0, self._changed + IN_ORDER - time.monotonic()))
        began, truth, count = time.monotonic(), Truth.read(self.sandbox), 0
        for story in STORIES:
            if (person := people[story.title]) is not None:
                for act in acts(story)(person, truth):
                    self.sandbox.act(act)
                    count += 1
        self._changed = time.monotonic()
        self.tell.step(f"{count} things happen", "", self._changed - began)

    def _phase(self, title: str, call: Callable[[], tuple[Json, float]], text: Callable[[Json], str]) -> Json:
        data, seconds = call()
        self.phases.append(Phase(title, seconds, self.sandbox.calls()))
        self.tell.step(f"$ {title}", text(data), seconds)
        return data

    # ------------------------------------------------------------------ the verdict

    def verdict(self, people: Mapping[str, Person | None]) -> None:
        """Compare every side's truth with what must be true, and show it."""
        truth = Truth.read(self.sandbox)
        self.outcomes = [judge(story, person, truth, self.rounds) for story in STORIES
                         if (person := people[story.title]) is not None]
        self.checks = [nobody_refused(people, truth, self.rounds[-1]),
                       everyone_else(people, self.rounds[0], self.rounds[-1]), nothing_written(self.phases[-1].calls)]
        self._stories()
        self._explain()
        self._costs()
        say = self.tell.say
        for story in self.lacking:
            say(f'Nobody of this world fits "{story.title}": take more --people, or another --seed.')
        for check in self.checks:
            say(f"{check.text}: {f'NO, {check.against} against it' if check.against else 'yes'} (of {check.looked_at})")
        say(f"{'Everything agrees' if self.ok else 'NOT EVERYTHING AGREES'}, after"
            f" {time.monotonic() - self.began:.0f} seconds.")

    def _stories(self) -> None:
        say = self.tell.say
        say()
        say("What each side holds at the end: in or out of what the story is about, and how many rows in Marketing Cloud's"
            " audiences. Mailed: " + ", ".join(f"{m.letter} = {m.audience}" for m in MAILINGS) + ".")
        say()
        head = ("story", "made at", "about", "Salesforce", "Odoo", "MC main", "MC second", "before", "between", "after", "")
        self.tell.table(head, [(
            o.story.title, o.story.place, o.story.focus, *(o.sides[side] for side in SHOWN), *map(letters, o.mailed),
            "ok" if o.ok else "NOT OK") for o in self.outcomes])
        say()
        for outcome in self.outcomes:
            for wrong in outcome.wrong:
                say(f"NOT OK: {outcome.story.title}: {wrong}.")

    def _explain(self) -> None:
        """Ask syncd why the first story's person gets no more of its topic."""
        outcome = self.outcomes[0]
        data, seconds = self.product.call("explain", "-", stdin=outcome.person.email + "\n")
        about = data["people"][0]["topics"].get(outcome.story.focus)
        self.tell.step(f"$ syncd explain -   # {outcome.person.email}",
                       f"{outcome.story.focus}: " + "; ".join(about["why"]) if about else "", seconds)

    def _costs(self) -> None:
        say = self.tell.say
        say()
        say("Calls made to each vendor, and records written:")
        say()
        head = ("command", "seconds", *SIDES.values(), "records written")
        self.tell.table(head, [(
            p.name, f"{p.seconds:.1f}", *(str(p.calls[side]["calls"]) for side in SIDES),
            str(sum(p.calls[side]["records_written"] for side in SIDES))) for p in self.phases])
        say()


def _plan_text(data: Json) -> str:
    counts: dict[str, int] = {}
    for c in data["plan"]["counts"]:
        counts[c["sort"]] = counts.get(c["sort"], 0) + c["count"]
    return "would " + ", ".join(f"{sort} {count}" for sort, count in sorted(counts.items()))


def _done_text(data: Json) -> str:
    done = sum(d.get("done", 0) for d in data["delivered"].values())
    refused = sum(d.get("rejected", 0) for d in data["delivered"].values())
    held = sum(c["count"] for c in data["plan"]["counts"] if c["state"] == "held") if data["plan"] else 0
    more = [f"{number} {what}" for number, what in ((refused, "refused"), (held, "held")) if number]
    return ", ".join([f"{done} operations done", *more])
