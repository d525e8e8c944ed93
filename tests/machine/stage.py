"""The scene of a play: a company, its oracle, and how both are told of what somebody did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from connectors.memory.sides.table import BadCall
from tests.machine.company import Company
from tests.machine.oracle import Oracle
from tests.machine.said import BACKOFF, Record, Refusal
from tests.machine.scenes import ALL, MAPPINGS, MINUTE, OBJECTS, ROLES, SCENES, TOPIC_OF, TOPICS, Change, Scene
from tests.machine.steps import Step

ESPS = tuple(name for name, role in ROLES.items() if role == "esp")
LISTS = {topic.id: topic.lists for topic in TOPICS}
FIELD_TOPICS = {"opted_out": ALL, "no_news": frozenset({"news"}), "offers": frozenset({"offers"})}

Rows = dict[tuple[str, str, str], str]
"""(ESP, audience, key) of rows, with the address of each."""


class Stage:
    """Who there is, and what they did so far. ``counts`` tells what was really exercised."""

    def __init__(self, counts: Counter[str] | None = None) -> None:
        self.counts: Counter[str] = Counter() if counts is None else counts
        self.steps: list[Step] = []
        self.oracle = Oracle(ESPS)
        self._company: Company | None = None
        self.site_ahead = 0
        self.approved = False
        self._ran = False
        """Whether syncd was at work in the step before."""
        self._backups: list[bool] = []
        self._struck = dict.fromkeys(ROLES, -BACKOFF)
        self._down: set[str] = set()
        self._restored = False
        """The state may not know the rows it wrote."""
        self._lost = False
        """It may have given people other keys since: what it wrote before is somebody else's."""
        self._kept: set[tuple[str, str, str]] = set()
        """(ESP, audience, address) of rows that stood there before: they are as those of before a first link then, and stay
        (``existing_members: keep``)."""
        self._silent: dict[str, int] = {}
        """Connections that cannot be reached at all, since when."""
        self._unticked: set[str] = set()
        """Records whose flags a user turned towards mail: syncd sets them once more, and then leaves it to people."""
        self._unlisted: set[str] = set()
        """Addresses that a user took off the blacklist: the same."""
        self._lifted: set[str] = set()
        """Those of them that nobody may have read yet."""
        self._bursts: dict[int, int] = {}
        """So many refusals were made before a burst ended at the latest."""
        self._retracted: set[int] = set()
        """Bursts that were declared a mistake."""
        self._by_address = False
        """An ESP's subscriber keys may be addresses."""
        self._forms: list[tuple[int, str, dict[str, Any]]] = []
        """What people filled in on the web site and the CRM does not have yet: when it arrives, whose record, the fields."""

    def close(self) -> None:
        if self._company is not None:
            self._company.close()

    # ------------------------------------------------------------------ who is who

    @property
    def company(self) -> Company:
        assert self._company is not None
        return self._company

    def do_begin(self, host: int, site: int, linked: int, scene: int = 0) -> bool:
        if self._company is not None:
            return False
        self._company = (Company.linked if linked else Company.unlinked)(SCENES[scene % len(SCENES)])
        self._company.host_ahead, self.site_ahead = host * MINUTE, site * MINUTE
        self.approved = bool(linked)
        self._by_address, self.oracle.separate = self.scene.by_email, self.scene.separate
        self._map()
        for crm in OBJECTS:
            for row in self.world.truth()[crm]["people"]:
                self._meet(crm, row["id"])
                for flag in ("opted_out", "no_news"):
                    if row["fields"][flag]:
                        self.oracle.refuse(row["id"], row["email"], FIELD_TOPICS[flag], crm, 0, made=False, flag=flag)
                if row["fields"].get("offers"):
                    self.oracle.come_back(row["id"], row["email"], frozenset({"offers"}), 1)
        if linked:
            self.oracle.cycled(frozenset(ROLES), self.company.now(), full=True)
        return True

    @property
    def scene(self) -> Scene:
        return self.company.scene

    @property
    def _change(self) -> Change:
        """What is different in the mapping in force."""
        return MAPPINGS[self.company.mapping]

    def _map(self) -> None:
        """Tell the oracle which boxes are read with the mapping in force."""
        if self.scene.unread is not None:
            crm, flag, _ = self.scene.unread
            self.oracle.map(crm, flag, FIELD_TOPICS[flag], read=self._change.reads)

    @property
    def world(self) -> Any:
        return self.company.world

    def _meet(self, crm: str, rid: str) -> Record:
        """Tell the oracle how a record is now."""
        found = self.world.account(crm).crm.find(OBJECTS[crm], rid)
        email = found.values["email"]
        record = Record(rid, crm, email.casefold() if email else None,
                        f"{found.values['first_name']} {found.values['last_name']}", not found.deleted, found.merged_into,
                        dict(found.values), self.company.now())
        self.oracle.put(record)
        return record

    def _look(self) -> None:
        """See the CRMs' fields as their users see them: syncd may have written some."""
        for record in self.oracle.records.values():
            values = self.world.account(record.connection).crm.find(OBJECTS[record.connection], record.id).values
            record.fields = dict(values)

    def _post(self) -> None:
        """Forms reach the CRM."""
        due = [form for form in self._forms if form[0] <= self.company.now()]
        self._forms = [form for form in self._forms if form not in due]
        for _, rid, values in due:
            record = self.oracle.records[rid]
            if record.live:
                self._edit(record, by="person", **values)

    def _bursting(self) -> None:
        """What was read by now may be part of the bursts that nobody has decided about."""
        for (hold,) in self.company.app.store.rows("SELECT id FROM hold WHERE class = 'burst' AND closed_at IS NULL"):
            self._bursts[hold] = self.oracle.glimpses

    @property
    def bursts(self) -> bool:
        """Whether there is a burst that may be a mistake."""
        return bool(self._bursts.keys() - self._retracted)

    def _healthy(self) -> frozenset[str]:
        """Connections that can be reached, and to which nothing is put off any more."""
        now = self.company.now()
        return frozenset(c for c in ROLES if c not in self._down and now - self._struck[c] >= BACKOFF)

    def _who(self, n: int, crm: str | None = None, fits: Callable[[Record], object] = lambda record: True) -> Record:
        """Record no. n, or the next after it that fits: so one number mostly means one person all through a play."""
        order = list(self.oracle.records.values())
        turn = n % len(order)
        for record in order[turn:] + order[:turn]:
            if crm in (None, record.connection) and fits(record):
                return record
        raise BadCall("There is no such record.")

    def _living(self, n: int, crm: str | None = None, fits: Callable[[Record], object] = lambda record: True) -> Record:
        return self._who(n, crm, lambda r: r.live and fits(r))

    def _address(self, n: int, fits: Callable[[str], object] | None = None) -> str:
        """The address of record no. n, or of the next whose address fits."""
        record = self._who(n) if fits is None else self._who(n, fits=lambda r: r.address is not None and fits(r.address))
        if record.address is None:
            raise BadCall("This record has no address.")
        return record.address

    def _act(self, connection: str, do: str, **args: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.world.act(connection, do, args)
        return answer

    def _emails(self, esp: str, keys: Iterable[str]) -> dict[str, str]:
        rows = self.world.account(esp).esp.containers[""].rows
        return {key: rows[key].email.casefold() for key in keys if key in rows}

    def _edit(self, record: Record, by: str = "user", **values: Any) -> Record:
        self._act(record.connection, "edit", object=OBJECTS[record.connection], id=record.id, set=values, by=by)
        return self._meet(record.connection, record.id)

    def _set_flag(self, record: Record, flag: str, value: int, by: str = "user") -> None:
        record = self._edit(record, by, **{flag: value})
        if not value:
            self._unticked.add(record.id)
        if value and record.address is not None:
            self.oracle.refuse(record.id, record.address, FIELD_TOPICS[flag], record.connection, self.company.now(),
                               made=False, flag=flag)

    def _is_key(self, esp: str, address: str) -> bool:
        """Whether an address is a subscriber's key; the vendor has one status of it then, whoever sets that."""
        return address in self.world.account(esp).esp.containers[""].rows

    def _shut(self, esp: str, refusal: Refusal, key: str | None) -> None:
        """A refusal was made at an ESP under a key, or under its address alone: it mails nobody there any more."""
        if key is None or self.world.account(esp).esp.keyed_by == "address":
            self.oracle.shut(esp, refusal, address=refusal.address)
        else:
            self.oracle.shut(esp, refusal, key=key)

    def _stopped(self, esp: str, key: str) -> bool:
        state = self.world.account(esp).esp.containers[""].rows.get(key)
        return state is not None and state.status == "unsubscribed"

    def _owner(self, esp: str, key: str) -> str | None:
        """The record a subscriber key stands for. One that is nothing but an address is nobody's who has it no more."""
        owner = self.oracle.owner(key)
        if owner is not None and self.world.account(esp).esp.keyed_by == "address":
            record = self.oracle.records[owner]
            return owner if record.live and record.address == key else None
        return owner

    def _rows(self) -> Rows:
        """(ESP, audience, key) of every row, with its address."""
        return {(esp, audience, key): email.casefold() for esp, audience in TOPIC_OF
                for key, (email, _) in self.world.account(esp).esp.audience(audience).rows.rows.items()}

    def _accepted(self) -> dict[tuple[str, str, str], str | None]:
        """(ESP, audience, key) of every row that a vendor has accepted and not written yet, with its address there."""
        return {(esp, queued.batch["object"], op[0]): op[1] and op[1].casefold() for esp in ESPS
                for queued in self.world.account(esp).queue.values()
                if queued.results is None and queued.batch["kind"] == "upsert" for op in queued.batch["ops"]}

    def _key(self, esp: str, address: str) -> str:
        keys: list[str] = self.world.account(esp).esp.keys(address)
        if not keys:
            raise BadCall("No subscriber has this address.")
        return keys[0]
