"""A world: any number of named CRM and ESP connections in one process, with one clock, one seed and one list of faults.

Every method here runs under the server's lock. Answers are plain JSON values; a call that the vendor would not answer
well raises ``Broken``, which the server turns into what the connector sees.
"""

from __future__ import annotations

import hashlib
import inspect
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from connectors.memory.account import BATCH, Account, Options, Queued, Result
from connectors.memory.faults import Fault, Faults
from connectors.memory.reading import Hidden, read, read_keys
from connectors.memory.sides.crm import Crm
from connectors.memory.sides.esp import Esp
from connectors.memory.sides.mailing import Mailing
from connectors.memory.sides.people import invent
from connectors.memory.sides.table import BadCall, Delay, Refused, Time
from connectors.memory.writing import validate, write
from syncd.model import Micros

_VENDOR = ("keyed_by", "unknown", "knows_self", "hold_after", "widen", "dedupe", "flip")
DONE: Result = ["done", None, None, None, None]


class Broken(Exception):
    """The call fails as a whole. ``kind`` is the fault's name, ``seconds`` the pause it asks for."""

    def __init__(self, kind: str, seconds: float | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.seconds = seconds


class World:
    """The truth of a test: see ``connectors.memory.client.World`` for the same methods seen from outside.

    :param start: fixes the clock at this instant; None = the host's clock
    """

    def __init__(self, seed: int = 0, start: Micros | None = None) -> None:
        self.seed = seed
        self.time = Time(start)
        self.rng = random.Random(seed)  # noqa: S311 - reproducible chaos, no secret
        self.faults = Faults(random.Random(f"{seed}/faults"))  # noqa: S311
        self.accounts: dict[str, Account] = {}

    # ------------------------------------------------------------------ building

    def create_crm(self, name: str, objects: Mapping[str, Any], blacklist: bool = False, **options: Any) -> None:
        """Add a CRM; ``blacklist``: it also holds an address-keyed status for all mail, as Odoo's mail.blacklist."""
        account = self._create(name, options)
        visible = Delay(account.options.visible_after_ticks, account.options.visible_after_seconds)
        account.crm = Crm(self.time, objects, visibility=visible)
        if blacklist:
            self._esp(account, {"keyed_by": "address", "unknown": "create"}, visible)

    def create_esp(self, name: str, lists: Mapping[str, str], audiences: Mapping[str, Any], **options: Any) -> None:
        """Add an ESP with ``lists`` (id → label) and ``audiences`` (name → fields, list)."""
        vendor: dict[str, Any] = {k: options.pop(k) for k in _VENDOR if k in options}
        account = self._create(name, options)
        visible = Delay(account.options.visible_after_ticks, account.options.visible_after_seconds)
        self._esp(account, {"lists": lists, "audiences": audiences, **vendor}, visible)

    def _create(self, name: str, options: dict[str, Any]) -> Account:
        if name in self.accounts:
            raise BadCall(f"There is a connection {name} already.")
        try:
            options["batch"] = BATCH | options.get("batch", {})
            account = self.accounts[name] = Account(Options(**options))
        except TypeError as error:
            raise BadCall(f"Connection {name}: {error}") from None
        return account

    def _esp(self, account: Account, about: dict[str, Any], visible: Delay) -> None:
        mailing = {k: about.pop(k) for k in ("hold_after", "widen", "dedupe", "flip") if k in about}
        account.esp = Esp(self.time, **{"lists": {}, "audiences": {}, **about}, visibility=visible)
        account.mailing = Mailing(account.esp, **mailing)

    def account(self, name: str) -> Account:
        try:
            return self.accounts[name]
        except KeyError:
            raise BadCall(f"There is no connection {name}.") from None

    def load(self, name: str, object: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Create CRM records; their ids."""
        crm = self.account(name).crm
        if crm is None:
            raise BadCall(f"Connection {name} is no CRM.")
        return crm.load(object, rows)

    def people(self, name: str, object: str, count: int, flags: Mapping[str, float], messy: bool) -> list[str]:
        """Create ``count`` invented people; see ``connectors.memory.sides.people``."""
        crm = self.account(name).crm
        if crm is None:
            raise BadCall(f"Connection {name} is no CRM.")
        about = crm.object(object)
        rng = random.Random(f"{self.seed}/{name}/{object}/{about.made}")  # noqa: S311
        return crm.load(object, invent(rng, about.made, count, about.fields, flags, messy=messy))

    # ------------------------------------------------------------------ people act, time passes

    def act(self, name: str, do: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Somebody does something. The answer says at least how many things ``changed``."""
        account = self.account(name)
        if do == "become":
            account.options.account = args["account"]
            return {"changed": 1}
        if do == "forget_requests":
            return {"changed": _forget(account)}
        if do == "restrict" and account.crm is not None:
            account.crm.hidden = frozenset(args["ids"])
            account.rights += 1
            return {"changed": len(account.crm.hidden)}
        for half in (account.crm, account.mailing):
            method = getattr(half, f"do_{do}", None)
            if method is not None:
                return self._acted(method, args)
        raise BadCall(f"Nobody can {do} at {name}.")

    def _acted(self, method: Callable[..., dict[str, Any]], args: Mapping[str, Any]) -> dict[str, Any]:
        try:
            inspect.signature(method).bind(**args)
        except TypeError as error:
            raise BadCall(str(error)) from None
        try:
            return method(**args)
        except Refused as error:
            raise BadCall(str(error)) from None

    def now(self) -> Micros:
        """The world's instant."""
        return self.time.now()

    def tick(self, ticks: int = 1, seconds: float = 0.0) -> None:
        """Let time pass: commits become visible and accepted requests are carried out."""
        self.time.advance(ticks, seconds)
        for account in self.accounts.values():
            self._catch_up(account)

    def _catch_up(self, account: Account) -> None:
        if account.crm is not None:
            account.crm.commit()
        due = [q for q in account.queue.values() if q.results is None and q.polls <= 0 and self.time.passed(q.due)]
        if account.options.reorder:
            self.rng.shuffle(due)
        for queued in due:
            queued.results = self._carry_out(account, queued.batch)

    # ------------------------------------------------------------------ calls of a connector

    def delay(self, name: str, verb: str, args: Mapping[str, Any]) -> float:
        """Seconds to wait before ``call`` is made."""
        seconds = sum(f.seconds or 0.0 for f in self.faults.firing(name, verb, _target(args), slow=True))
        if seconds:
            self.account(name).counts["delayed"] += 1
        return seconds

    def call(self, name: str, verb: str, args: Mapping[str, Any]) -> Any:
        """Answer one call of a connector.

        :raises Broken: the call fails; BadCall: it makes no sense
        """
        account = self.account(name)
        if verb == "hello":
            return {"account": account.options.account or name, **self._hello(account)}
        account.counts["calls"] += 1
        account.counts["writes" if verb == "apply" else "reads"] += 1
        account.counts[verb] += 1
        self._catch_up(account)
        faults = list(self.faults.firing(name, verb, _target(args)))
        for fault in faults:
            if fault.name in ("lose_request", "outage", "throttle", "unauthorised", "retry"):
                raise Broken(fault.name, fault.seconds)
            if fault.name == "cursor_lost" and args.get("after"):
                raise Broken(fault.name)
        answer = self._answer(account, verb, args, faults, self.faults.hidden(name))
        for fault in faults:
            for act in fault.acts:
                rest = {k: v for k, v in act.items() if k not in ("connection", "do")}
                self.act(act["connection"], act["do"], rest)
        if any(fault.name == "lose_reply" for fault in faults):
            raise Broken("lose_reply")
        return answer

    def _answer(self, account: Account, verb: str, args: Mapping[str, Any], faults: list[Fault], hidden: Hidden) -> Any:
        if verb == "check":
            return {"now": self.time.now()}
        if verb == "describe":
            return self._describe(account, hidden)
        if verb == "changes":
            return read(account, self.time.seq, args, hidden, next((f for f in faults if f.name == "truncate"), None))
        if verb == "fetch":
            return read_keys(account, args["spec"], args["keys"], hidden)
        if verb == "apply":
            return self._apply(account, args["batch"], faults)
        if verb == "erase":
            return self._erase(account, args["keys"])
        if verb == "settle":
            return self._settle(account, args["request_id"])
        raise BadCall(f"There is no verb {verb}.")

    def _hello(self, account: Account) -> dict[str, Any]:
        """What other connectors know by heart: neither counted nor struck by faults."""
        kinds = [*(["update"] if account.crm else []),
                 *(["upsert", "remove", "status", "create_object"] if account.esp else [])]
        return {"batch": {k: account.options.batch[k] for k in kinds}, "page_size": account.options.page_size,
                "overlap": account.options.overlap, "deletes_visible": account.options.deletes_visible,
                "merges_visible": account.options.merges_visible,
                "topic_consent": bool(account.esp and account.esp.lists),
                "silent_cuts": account.options.silent_cuts,
                "flips_lists": bool(account.mailing and account.mailing.flip),
                "keyed_by": account.esp.keyed_by if account.esp else "key",
                "erases": account.esp is not None and account.esp.keyed_by == "key",
                "late": account.options.late_seconds if account.options.asynchronous else 0.0}

    def _describe(self, account: Account, hidden: Hidden) -> dict[str, Any]:
        """Objects by name: fields, master flag, properties."""
        found: dict[str, Any] = {}
        if account.crm is not None:
            for name, about in account.crm.objects.items():
                fields = [asdict(f) for f in about.info.fields if (name, f.name) not in hidden]
                found[name] = {"fields": fields, "master_flag": about.info.master_flag,
                               "properties": {"type": "object", "tracked": bool(about.tracked)}}
        if account.esp is not None:
            for name, label in account.esp.lists.items():
                found[f"list:{name}"] = {"label": label, "fields": [], "properties": {"type": "list"}}
            for name, audience in account.esp.audiences.items():
                found[name] = {"fields": [asdict(f) for f in audience.fields.values() if (name, f.name) not in hidden],
                               "properties": {"type": "audience", "sendable": True, "list": audience.through}}
        return found

    # ------------------------------------------------------------------ writing

    def _apply(self, account: Account, batch: dict[str, Any], faults: list[Fault]) -> list[Result]:
        refused: dict[int, Result] = {}
        for fault in faults:
            for at, (key, email, _) in enumerate(batch["ops"]):
                if fault.name in ("reject", "retry_rows") and (key in fault.keys or email in fault.keys):
                    refused[at] = (["rejected", fault.reason, None, None, None] if fault.name == "reject"
                                   else ["retry", "busy", None, fault.seconds, fault.max_batch])
        batch = {**batch, "refused": refused}
        validate(account, batch)
        if batch["kind"] not in account.options.asynchronous:
            return self._carry_out(account, batch)
        accepted = self._accept(account, batch)
        return [accepted for _ in batch["ops"]]

    def _erase(self, account: Account, keys: Sequence[str]) -> list[Result]:
        batch = {"kind": "erase", "keys": list(keys)}
        if "erase" not in account.options.asynchronous:
            return self._carry_out(account, batch)
        accepted = self._accept(account, batch)
        return [accepted for _ in keys]

    def _accept(self, account: Account, batch: dict[str, Any]) -> Result:
        account.requests += 1
        request = f"req-{account.requests:06d}"
        late = Delay(account.options.late_ticks, account.options.late_seconds)
        account.queue[request] = Queued(self.time.after(late), account.options.late_polls, batch)
        return ["accepted", None, request, None, None]

    def _carry_out(self, account: Account, batch: dict[str, Any]) -> list[Result]:
        if batch["kind"] == "erase":
            if account.esp is None:
                raise BadCall("Only an ESP deletes subscribers.")
            for key in batch["keys"]:
                account.esp.erase(key)
            return [DONE for _ in batch["keys"]]
        columns, results = batch["columns"], []
        for at, (key, email, values) in enumerate(batch["ops"]):
            if at in batch["refused"]:
                results.append(batch["refused"][at])
                continue
            try:
                changed = write(account, batch["kind"], batch["object"], key, email,
                                 dict(zip(columns, values, strict=True)))
            except Refused as error:
                results.append(["rejected", str(error), None, None, None])
                continue
            account.counts["records_written"] += 1
            account.counts["records_changed"] += changed
            results.append(DONE)
        return results

    def _settle(self, account: Account, request: str) -> list[Result] | str | None:
        queued = account.queue.get(request)
        if queued is None:
            return "forgotten"
        queued.polls -= 1
        self._catch_up(account)
        return queued.results

    # ------------------------------------------------------------------ truth

    def truth(self) -> dict[str, Any]:
        """Everything, by connection: people, subscribers, audiences, mails, waiting requests, counters."""
        return {name: {**_state(account), "mails": list(account.mailing.mails) if account.mailing else [],
                       "waiting": sum(q.results is None for q in account.queue.values()),
                       "counters": self.counters(name)}
                for name, account in self.accounts.items()}

    def counters(self, name: str, reset: bool = False) -> dict[str, int]:
        """calls, reads, writes, calls by verb, calls delayed, records_written, records_changed, resubscribed."""
        account = self.account(name)
        zero = dict.fromkeys(("calls", "reads", "writes", "delayed", "records_written", "records_changed"), 0)
        counts = zero | dict(account.counts)
        counts["resubscribed"] = len(account.esp.resubscribed) if account.esp else 0
        if reset:
            account.counts.clear()
            if account.esp is not None:
                account.esp.resubscribed.clear()
        return counts

    def digest(self) -> str:
        """Equal for two worlds in which the same things are so, however and whenever they came to be."""
        state = {name: _state(account) for name, account in self.accounts.items()}
        return hashlib.sha256(orjson.dumps(state, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _target(args: Mapping[str, Any]) -> str | None:
    """The object a call is about, if it is about one."""
    about = args.get("spec") or args.get("batch") or {}
    return about.get("object")


def _forget(account: Account) -> int:
    """The vendor restarts and loses every request it had accepted."""
    gone = len(account.queue)
    account.queue.clear()
    return gone


def _state(account: Account) -> dict[str, Any]:
    return (account.crm.state() if account.crm else {}) | (account.esp.state() if account.esp else {})
