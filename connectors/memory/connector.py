"""The connector to one connection of a world in memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import orjson

from connectors.base import Account, CallCounter, Capabilities, Judge
from connectors.errors import ConnectorError, CursorLost, Misconfigured, Outage, Reauthenticate, Retry, Throttled
from connectors.login import Login
from connectors.memory.line import Cut, Line, ShortLine, Unreached
from syncd.model import UNKNOWN, Batch, Catalogue, FieldInfo, Health, ObjectInfo, Outcome, Page, StreamSpec, Value

_NOTES = 3
"""Version of what ``learnt`` gives."""
_IDENTITY = {"record": slice(0, 1), "row": slice(0, 1), "event": slice(0, 1), "send": slice(0, 1), "status": slice(1, 3),
             "history": slice(None)}
"""Which columns of a row say that two rows of a listing are the same thing."""


@dataclass(frozen=True, slots=True)
class MemorySettings:
    """The settings of a connection of type ``memory``: the world's socket and the connection's name in it."""

    socket: str
    name: str


class MemoryConnector:
    """A ``connectors.base.Connector`` for one connection of a world.

    Cursors are change numbers. A cursor never passes a change that could still become visible below it, and an
    incremental read begins ``overlap`` numbers earlier, so rows may come twice but none is lost.

    :param address: path of the world's socket, or the line to a world in this process
    :param name: the connection
    """

    def __init__(self, address: str | ShortLine, name: str) -> None:
        self.name = name
        self.counter = CallCounter()
        self.server_skew: float | None = None
        self._line = Line(address) if isinstance(address, str) else address
        self._login = Login(lambda: self._greeting, account=lambda hello: Account(str(hello["account"]), name))
        self._told: dict[str, Any] | None = None

    @cached_property
    def capabilities(self) -> Capabilities:
        """Asked once, when first needed, so that a connector can be made while its world is away."""
        hello = self._hello
        return Capabilities(
            batch=hello["batch"], writes=4, deletes_visible=hello["deletes_visible"],
            merges_visible=hello["merges_visible"], topic_consent=hello["topic_consent"],
            flips_lists=hello["flips_lists"], keyed_by=hello["keyed_by"],
            late=hello["late"], erases=hello["erases"], silent_cuts=hello["silent_cuts"])

    @cached_property
    def _hello(self) -> dict[str, Any]:
        return self._greeting

    @cached_property
    def _greeting(self) -> dict[str, Any]:
        """What the world said to this very process."""
        hello: dict[str, Any] = self._say("hello")
        return hello

    # ------------------------------------------------------------------ looking around

    def login(self) -> Account:
        """See ``Connector.login``."""
        if self.server_skew is None:
            self._tell_the_time()
        return self._login.account()

    def watch(self, judge: Judge) -> None:
        """See ``Connector.watch``."""
        self._login.judge = judge

    def check(self) -> Health:
        """Is the world there, who is it, and what does its clock say?"""
        if self._login.judge is not None:
            self.__dict__.pop("_greeting", None)
            self._login.anew()
        self._tell_the_time()
        return Health(self.name)

    def _tell_the_time(self) -> None:
        self.server_skew = self._ask("check")["now"] / 1e6 - time.time()

    def describe(self, objects: Sequence[str] = (), fields: Mapping[str, Collection[str]] | None = None) -> Catalogue:
        """Objects, lists and audiences of the connection."""
        self._told = found = self._ask("describe")
        return _catalogue(found, objects)

    def learnt(self) -> str:
        """See ``Connector.learnt``: what the world can do, and what it described last."""
        hello = self.__dict__.get("_hello")
        return "" if hello is None else orjson.dumps([_NOTES, hello, self._told]).decode()

    def recall(self, notes: str) -> None:
        """See ``Connector.recall``."""
        self._told = None
        with contextlib.suppress(ValueError, TypeError):
            version, hello, told = orjson.loads(notes)
            if version == _NOTES:
                self.__dict__["_hello"], self._told = hello, told

    def _described(self) -> Catalogue:
        return self.describe() if self._told is None else _catalogue(self._told)

    def feeds(self, containers: Sequence[str]) -> list[StreamSpec]:
        """All mail, the lists, the events; for a CRM the history of its tracked fields."""
        batch = self.capabilities.batch
        specs = []
        if "update" in batch:
            specs += [StreamSpec(name, "history") for name, info in self._described().objects.items()
                      if info.properties.get("tracked")]
        if "status" in batch:
            specs.append(StreamSpec("subscribers", "status", container=""))
            specs += [StreamSpec(f"list:{c}", "status", container=c) for c in containers if c]
            specs += [StreamSpec("events", "event"), StreamSpec("sends", "send")]
        return specs

    # ------------------------------------------------------------------ reading

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        """Pages in the order of change, or with ``ids_only`` in the order of ids."""
        return self._ids(spec, cursor) if spec.ids_only else self._since(spec, cursor)

    def _since(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        """A listing is complete when it was read from the start, under one set of rights, and delivered at least as
        many different rows as the world counts at its end."""
        since = 0 if cursor is None else _read_cursor(cursor)["after"]
        after = max(0, since - self._hello["overlap"])
        identity = _IDENTITY[spec.kind]
        seen: set[tuple[Value, ...]] | None = set() if cursor is None else None
        rights: int | None = None
        last = False
        while not last:
            page = self._page(spec, after, None if seen is None else len(seen))
            after, last = page["after"], page["last"]
            rows = [tuple(row) for row in page["rows"]]
            if seen is not None:
                seen.update(row[identity] for row in rows)
            rights = page["rights"] if rights is None else rights
            complete = seen is not None and last and rights == page["rights"] and len(seen) >= page["total"]
            since = max(since, min(after, page["stable"]))
            yield Page(rows, _cursor(after=since), last, complete)

    def _ids(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        """A cursor from within a listing continues it; the cursor of a finished one begins the next, which is complete
        only under the same rights as the finished one."""
        place: dict[str, Any] = {"after": None, "count": 0, "rights": None, "done": False}
        if cursor is not None:
            place = _read_cursor(cursor)
            if place["done"]:
                place = {"after": None, "count": 0, "rights": place["rights"], "done": False}
        while not place["done"]:
            page = self._page(spec, place["after"], place["count"])
            same = place["rights"] in (None, page["rights"])
            count = place["count"] + len(page["rows"])
            place = {"after": page["after"], "count": count, "rights": page["rights"] if same else -1,
                     "done": page["last"]}
            complete = page["last"] and same and count >= page["total"]
            handed = place if not page["last"] else {**place, "rights": page["rights"]}
            yield Page([tuple(row) for row in page["rows"]], _cursor(**handed), page["last"], complete)

    def _page(self, spec: StreamSpec, after: int | str | None, seen: int | None) -> dict[str, Any]:
        limit = self._hello["page_size"]
        page: dict[str, Any] = self._ask("changes", spec=_spec(spec), after=after, seen=seen, limit=limit)
        return page

    def fetch(self, spec: StreamSpec, keys: Sequence[str]) -> Page:
        """These rows as they are now."""
        rows = self._ask("fetch", spec=_spec(spec), keys=list(keys))
        return Page([tuple(row) for row in rows], "", last=True)

    # ------------------------------------------------------------------ writing

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        """Carry out a batch; a broken line after sending leaves every operation unknown."""
        if not batch.ops:
            return []
        if len(batch.ops) > self.capabilities.batch.get(batch.kind, 0):
            raise ValueError(f"{len(batch.ops)} operations are more than one {batch.kind} call takes")
        wire = {"kind": batch.kind, "object": batch.object, "columns": batch.columns,
                "ops": [(op.key, op.email, op.values) for op in batch.ops]}
        try:
            results = self._ask("apply", batch=wire)
        except _Lost:
            return [UNKNOWN] * len(batch.ops)
        return [Outcome(*result) for result in results]

    def settle(self, request_id: str, batch: Batch) -> Sequence[Outcome] | None:
        """The end of an accepted request."""
        results = self._ask("settle", request_id=request_id)
        if results is None:
            return None
        if results == "forgotten":
            return [UNKNOWN] * len(batch.ops)
        return [Outcome(*result) for result in results]

    def erase(self, keys: Sequence[str]) -> Sequence[Outcome]:
        """Delete subscribers, their rows and events."""
        try:
            return [Outcome(*result) for result in self._ask("erase", keys=list(keys))]
        except _Lost:
            return [Outcome("retry")] * len(keys)

    def erased(self, request_id: str) -> Outcome | None:
        """The end of an accepted deletion."""
        results = self._ask("settle", request_id=request_id)
        return None if results is None else Outcome("done")

    def close(self) -> None:
        self._line.close()

    # ------------------------------------------------------------------ wire

    def _ask(self, verb: str, /, **args: Any) -> Any:
        """The world's answer, once it is known to be the right one where somebody minds."""
        if self._login.judge is not None:
            self._login.get()
        return self._say(verb, **args)

    def _say(self, verb: str, /, **args: Any) -> Any:
        try:
            answer, sent, received = self._line.ask({"as": self.name, "verb": verb, "args": args})
        except Unreached as error:
            raise Outage("The world cannot be reached.", remedy="Is its process running?", detail=str(error)) from None
        except Cut as error:
            self.counter.count(verb, 0, 0)
            raise _Lost("The line to the world broke.", detail=str(error)) from None
        self.counter.count(verb, sent, received)
        if "error" in answer:
            raise _error(answer)
        return answer["ok"]


def _catalogue(found: Mapping[str, Any], objects: Sequence[str] = ()) -> Catalogue:
    return Catalogue({
        name: ObjectInfo(
            name, about.get("label", ""),
            tuple(FieldInfo(**{**f, "choices": tuple(f["choices"])}) for f in about["fields"]),
            about.get("master_flag"), about["properties"])
        for name, about in found.items() if not objects or name in objects})


class _Lost(Retry):
    """The answer of a call was lost. A read may simply be repeated; ``apply`` turns it into unknown outcomes."""


def _error(answer: dict[str, Any]) -> ConnectorError:
    kind, code = answer["error"], answer["error"].upper()
    if kind == "throttle":
        return Throttled("The world asks for a pause.", retry_after=answer["seconds"], code=code)
    if kind == "bad_call":
        return Misconfigured(answer["message"], remedy="Check the mapping against describe.", code=code)
    if kind == "unauthorised":
        return Reauthenticate("The world refuses the credentials.", code=code)
    if kind == "cursor_lost":
        return CursorLost("The world no longer knows the cursor.", code=code)
    if kind == "retry":
        return Retry("The world is busy.", code=code)
    return Outage("The world answers nonsense.", code=code)


def _spec(spec: StreamSpec) -> dict[str, Any]:
    return {**asdict(spec), "fields": [f.name for f in spec.fields]}


def _cursor(**place: Any) -> str:
    return orjson.dumps({"v": 1, **place}).decode()


def _read_cursor(cursor: str) -> dict[str, Any]:
    try:
        place: dict[str, Any] = orjson.loads(cursor)
    except orjson.JSONDecodeError:
        place = {}
    if not isinstance(place, dict) or place.get("v") != 1:
        raise CursorLost("The cursor is of another version.", remedy="Read the stream from the start.")
    return place
