"""The ESP half of a world: subscribers, list statuses, audiences, events, and what the API may write to them.

The acts of recipients and of the ESP's users, and the sends, are in ``connectors.memory.sides.mailing``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson

from connectors.memory.sides.table import BadCall, Delay, Refused, Table, Time, When, checked, only_keys
from syncd.model import EventKind, FieldInfo, Micros, Origin, Status, Value

KeyedBy = Literal["key", "address"]
EventRow = tuple[Value, ...]
SendRow = tuple[Value, ...]
_SETTABLE: Mapping[str, Status] = {"subscribed": "subscribed", "unsubscribed": "unsubscribed"}


@dataclass(frozen=True, slots=True)
class State:
    """The status of one subscriber (or, with ``key`` None, of one address) in one container."""

    key: str | None
    email: str
    status: Status
    at: Micros
    origin: Origin
    evidence: str | None = None


@dataclass(slots=True)
class Audience:
    """Rows to mail, by key: the address and the values in the order of ``fields``."""

    name: str
    fields: dict[str, FieldInfo]
    through: str | None = None
    rows: Table[tuple[str, list[Value]]] = field(default_factory=Table)


def address(email: str) -> str:
    """Addresses are one and the same when they differ in case only."""
    return email.strip().casefold()


class Esp:
    """All subscribers, lists and audiences of one ESP connection. Not thread-safe: the world's lock guards it.

    :param keyed_by: "address": the subscriber key is the case-folded address
    :param unknown: what a status write for an unknown subscriber does: "reject", or "create" one with that status
    :param knows_self: our own writes come back with origin "self", else "api"
    :param visibility: how much later statuses and events can be read
    """

    def __init__(self, time: Time, *, lists: Mapping[str, str], audiences: Mapping[str, Mapping[str, Any]],
                 keyed_by: KeyedBy = "key", unknown: Literal["reject", "create"] = "reject",
                 knows_self: bool = True, visibility: Delay = Delay()) -> None:  # noqa: B008 - immutable
        self.time = time
        self._visibility = visibility
        self._late: deque[tuple[int, When]] = deque()
        self.keyed_by = keyed_by
        self.unknown = unknown
        self.own: Origin = "self" if knows_self else "api"
        self.lists = dict(lists)
        self.containers: dict[str, Table[State]] = {"": Table(), **{name: Table() for name in lists}}
        self.audiences: dict[str, Audience] = {}
        self.events: Table[EventRow] = Table()
        self.sends: Table[SendRow] = Table()
        self.bounces: dict[str, int] = {}
        self.resubscribed: list[tuple[str, str]] = []
        self._keys: dict[str, set[str]] = {}
        for name, about in audiences.items():
            only_keys(f"Audience {name}", about, "fields", "list")
            self.create_audience(name, about["fields"], about.get("list"))

    # ------------------------------------------------------------------ lookup

    def container(self, name: str) -> Table[State]:
        try:
            return self.containers[name]
        except KeyError:
            raise BadCall(f"There is no list {name}.") from None

    def audience(self, name: str) -> Audience:
        try:
            return self.audiences[name]
        except KeyError:
            raise BadCall(f"There is no audience {name}.") from None

    def key_of(self, key: str | None, email: str) -> str:
        """The subscriber key this vendor uses for a person."""
        return address(email) if self.keyed_by == "address" or key is None else key

    def keys(self, email: str) -> list[str]:
        """The keys of every subscriber with this address, sorted."""
        return sorted(self._keys.get(address(email), ()))

    def blocked(self, email: str) -> bool:
        """An address-only statement stops all marketing mail to this address."""
        block = self.containers[""].rows.get(block_key(email))
        return block is not None and block.status != "subscribed"

    def stable(self) -> int:
        """Changes of statuses and events up to this number can be read, later ones not yet."""
        while self._late and self.time.passed(self._late[0][1]):
            self._late.popleft()
        return self._late[0][0] - 1 if self._late else self.time.seq

    def _number(self) -> int:
        number = self.time.next()
        if self._visibility:
            self._late.append((number, self.time.after(self._visibility)))
        return number

    # ------------------------------------------------------------------ statuses

    def set(self, container: str, state: State) -> None:
        """Store a status as the newest change of its container; a new subscriber is added to all mail as well."""
        table = self.container(container)
        key = block_key(state.email) if state.key is None else state.key
        master = self.containers[""]
        if container and state.key is not None and key not in master.rows:
            self.set("", replace(state, status="subscribed", evidence=None))
        if not container and state.key is not None:
            old = master.rows.get(key)
            if old is not None:
                self._keys.get(address(old.email), set()).discard(key)
            self._keys.setdefault(address(state.email), set()).add(key)
        table.put(key, state, self._number())

    def change(self, container: str, key: str, status: Status, origin: Origin, evidence: str | None = None) -> bool:
        """Give a known subscriber another status in a container; False when nothing changes."""
        table = self.container(container)
        old = table.rows.get(key)
        if old is None:
            old = self.subscriber(key)
        elif old.status == status:
            return False
        self.set(container, State(key, old.email, status, self.time.now(), origin, evidence))
        return True

    def subscriber(self, key: str) -> State:
        """A subscriber's all-mail status.

        :raises Refused: there is no such subscriber
        """
        try:
            return self.containers[""].rows[key]
        except KeyError:
            raise Refused("SUBSCRIBER_NOT_FOUND: there is no such subscriber.") from None

    def forget(self, key: str) -> None:
        """Delete a subscriber with every status: the vendor keeps no trace of an opt-out."""
        old = self.containers[""].rows.get(key)
        if old is not None:
            self._keys.get(address(old.email), set()).discard(key)
        for table in self.containers.values():
            table.drop(key)

    def erase(self, key: str) -> None:
        """Delete a person for good: subscriber, statuses, rows, events."""
        self.forget(key)
        for audience in self.audiences.values():
            audience.rows.drop(key)
        for name in [name for name, event in self.events.rows.items() if event[4] == key]:
            self.events.drop(name)

    def event(self, kind: EventKind, state: State, *, container: str | None = None, send: str | None = None,
              keyed: bool = True, evidence: str | None = None) -> None:
        """Log an event; ``keyed`` False leaves only the address on it."""
        seq = self._number()
        name = f"ev-{seq}"
        self.events.put(name, (name, kind, container, send, state.key if keyed else None, state.email,
                               self.time.now(), evidence), seq)

    def sent(self, send: str, name: str | None, through: str | None, audience: str | None, classification: str) -> None:
        """Log a send; without ``audience`` the vendor does not tell whom it went to."""
        row = (send, name, None, f";{through};" if through else None, f";{audience};" if audience else None, classification,
               self.time.now())
        self.sends.put(send, row, self._number())

    # ------------------------------------------------------------------ what the API writes

    def create_audience(self, name: str, fields: Sequence[Mapping[str, Any]], through: str | None = None) -> bool:
        """Make an audience; False when one of that name exists already."""
        if name in self.audiences:
            return False
        if through is not None:
            self.container(through)
        infos = {f["name"]: FieldInfo(**{**f, "choices": tuple(f.get("choices", ()))}) for f in fields}
        self.audiences[name] = Audience(name, infos, through)
        return True

    def upsert(self, name: str, key: str, email: str | None, values: Mapping[str, Value]) -> bool:
        """Write one row; fields that are not named keep what they hold. True when it changed something."""
        audience = self.audience(name)
        for column in values:
            if column not in audience.fields:
                raise Refused("FIELD_NOT_FOUND: the audience has no such field.")
        old = audience.rows.rows.get(key)
        email = email or (old[0] if old else "")
        if "@" not in email.strip("@"):
            raise Refused("INVALID_EMAIL: the address is not one.")
        merged = dict(zip(audience.fields, old[1], strict=True)) if old else dict.fromkeys(audience.fields)
        merged.update(values)
        row = (email, [checked(info, merged[column]) for column, info in audience.fields.items()])
        if row == old:
            return False
        audience.rows.put(key, row, self.time.next())
        return True

    def remove(self, name: str, key: str) -> bool:
        """Delete one row; a row that is not there is deleted already."""
        return self.audience(name).rows.drop(key)

    def write_status(self, container: str, key: str, email: str | None, values: Mapping[str, Value]) -> bool:
        """The API's status write: ``status`` with an optional ``reason``, and ``create`` = 1 to add an unknown
        subscriber. True when it changed something.

        :raises Refused: unknown subscriber, or a status the API cannot set
        """
        status = _SETTABLE.get(str(values.get("status")))
        if status is None:
            raise Refused("INVALID_STATUS: the API sets subscribed or unsubscribed.")
        table = self.container(container)
        key = self.key_of(key, email or key)
        if key not in self.containers[""].rows:
            if not email or not (values.get("create") or self.unknown == "create"):
                raise Refused("SUBSCRIBER_NOT_FOUND: there is no such subscriber.")
            self.set(container, State(key, email, status, self.time.now(), self.own))
            return True
        before = table.rows.get(key)
        if status == "subscribed" and before is not None and before.status == "unsubscribed":
            self.resubscribed.append((container, key))
        reason = values.get("reason")
        return self.change(container, key, status, self.own, str(reason) if reason else None)

    def create_object(self, name: str, definition: str) -> bool:
        """Create an audience from the JSON of an ``AudienceDefinition``."""
        about = orjson.loads(definition)
        skip = {about["primary_key"], about["email_field"]}
        return self.create_audience(name, [f for f in about["fields"] if f["name"] not in skip])

    # ------------------------------------------------------------------ truth

    def state(self) -> dict[str, Any]:
        """Everything the ESP's screens would show, without instants, numbers or origins, sorted."""
        master = self.containers[""].rows
        subscribers = [
            {"key": key, "email": s.email, "status": s.status,
             "topics": {name: table.rows[key].status for name, table in sorted(self.containers.items())
                        if name and key in table.rows}}
            for key, s in sorted(master.items()) if s.key is not None]
        audiences = {
            name: {"list": a.through, "rows": [
                {"key": key, "email": email, **dict(zip(a.fields, values, strict=True))}
                for key, (email, values) in sorted(a.rows.rows.items())]}
            for name, a in sorted(self.audiences.items())}
        blocked = sorted(s.email for s in master.values() if s.key is None and s.status != "subscribed")
        return {"subscribers": subscribers, "audiences": audiences, "blocked": blocked}


def block_key(email: str) -> str:
    """Where an address-only statement is kept; no subscriber key begins with "@"."""
    return "@" + address(email)
