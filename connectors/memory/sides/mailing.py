"""What recipients and the ESP's own users do, and who is mailed by a send.

Sends behave as Marketing Cloud's: the all-mail status beats the list's, held addresses are never mailed, a
transactional send passes every opt-out, and a member missing on the list is added as subscribed by the send itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from connectors.memory.sides.esp import Esp, State, address
from connectors.memory.sides.table import BadCall
from syncd.model import EventKind, Origin, Status, Value

ALL = ""


class Mailing:
    """The people around one ESP connection.

    :param hold_after: so many hard bounces make an address held
    :param widen: an unsubscribe from one list also stops all mail, though its event names the list only
    :param flip: a recipient's stop of all mail also unsubscribes from every list the person is on
    :param dedupe: a send mails an address once even when two keys hold it
    """

    def __init__(self, esp: Esp, *, hold_after: int = 3, widen: bool = False, dedupe: bool = False,
                 flip: bool = False) -> None:
        self.esp = esp
        self.hold_after = hold_after
        self.widen = widen
        self.flip = flip
        self.dedupe = dedupe
        self.mails: list[dict[str, Any]] = []
        self.sends = 0

    # ------------------------------------------------------------------ sends

    def do_send(self, audience: str, through: str | None = None,
                classification: Literal["commercial", "transactional"] = "commercial", name: str | None = None,
                traced: bool = True) -> dict[str, Any]:
        """Mail an audience ``through`` a list (default: the audience's own; "" = none). Who was mailed, who was not.

        :param name: what the send is called
        :param traced: whether the vendor tells to whom it went
        """
        if classification not in ("commercial", "transactional"):
            raise BadCall("A send is commercial or transactional.")
        target = self.esp.audience(audience)
        through = target.through if through is None else through
        self.esp.container(through or ALL)
        self.sends += 1
        send = f"send-{self.sends}"
        self.esp.sent(send, name or audience, through, audience if traced else None, classification)
        mailed: list[str] = []
        seen: set[str] = set()
        skipped: dict[str, int] = {}
        for key, (email, _) in [*target.rows.rows.items()]:
            key = self.esp.key_of(key, email)
            reason = self._refusal(key, email, through, classification)
            if reason is None and self.dedupe and address(email) in seen:
                reason = "duplicate"
            if reason is not None:
                skipped[reason] = skipped.get(reason, 0) + 1
                continue
            self._join(key, email, through)
            mailed.append(email)
            seen.add(address(email))
            self.mails.append({"send": send, "key": key, "email": email, "audience": audience, "list": through,
                               "classification": classification, "at": self.esp.time.now()})
        return {"id": send, "mailed": mailed, "skipped": skipped, "changed": len(mailed)}

    def _refusal(self, key: str, email: str, through: str | None, classification: str) -> str | None:
        master = self.esp.containers[ALL].rows.get(key)
        if master is not None and master.status == "held":
            return "held"
        if classification == "transactional":
            return None
        if self.esp.blocked(email):
            return "address_blocked"
        if master is not None and master.status in ("unsubscribed", "pending"):
            return f"master_{master.status}"
        member = self.esp.containers[through].rows.get(key) if through else None
        if member is not None and member.status in ("unsubscribed", "pending", "held"):
            return f"list_{member.status}"
        return None

    def _join(self, key: str, email: str, through: str | None) -> None:
        for container in (ALL, through):
            if container is not None and key not in self.esp.containers[container].rows:
                self.esp.set(container, State(key, email, "subscribed", self.esp.time.now(), "send"))

    # ------------------------------------------------------------------ recipients

    def do_unsubscribe(self, email: str, list: str = ALL, send: str | None = None, key: str | None = None,
                       keyed: bool = True) -> dict[str, Any]:
        """A recipient opts out of a list or ("") of all mail, perhaps by the link of a send, which knows its key.

        ``keyed`` False: the vendor only learns the address and blocks it, and the event names no key.
        """
        if send is not None:
            mail = self._mail(send, email)
            key, list = mail["key"], list or mail["list"] or ALL
        kind: EventKind = "unsubscribe" if list else "master_unsubscribe"
        if not keyed:
            return self._block(email, kind, send)
        return self._each(email, key, lambda k: self._opt_out(k, list, kind, "person", send))

    def do_complain(self, email: str, send: str | None = None) -> dict[str, Any]:
        """A recipient presses "this is spam": all mail stops."""
        return self._each(email, None, lambda k: self._opt_out(k, ALL, "complaint", "complaint", send))

    def do_bounce(self, email: str, kind: Literal["hard", "soft"] = "hard", send: str | None = None) -> dict[str, Any]:
        """A mail came back. The status becomes bounced, and held after enough hard ones; an opt-out stays."""
        def bounce(key: str) -> bool:
            state = self.esp.subscriber(key)
            count = self.esp.bounces[key] = self.esp.bounces.get(key, 0) + (kind == "hard")
            status: Status = "held" if count >= self.hold_after else "bounced"
            self.esp.event("hard_bounce" if kind == "hard" else "soft_bounce", state, send=send, evidence=kind)
            return state.status != "unsubscribed" and self.esp.change(ALL, key, status, "bounce", kind)
        return self._each(email, None, bounce)

    def do_open(self, email: str) -> dict[str, Any]:
        """A bounced or held recipient opens a mail and is active again."""
        def revive(key: str) -> bool:
            self.esp.bounces.pop(key, None)
            return (self.esp.subscriber(key).status in ("bounced", "held")
                    and self.esp.change(ALL, key, "subscribed", "bounce", "opened"))
        return self._each(email, None, revive)

    def do_resubscribe(self, email: str, list: str = ALL, origin: Origin = "person") -> dict[str, Any]:
        """The recipient comes back (or, by ``origin`` user, an employee sets the status)."""
        def back(key: str) -> bool:
            changed = self.esp.change(list, key, "subscribed", origin)
            if changed and origin == "person":
                self.esp.event("resubscribe", self.esp.subscriber(key), container=list or None)
            return changed
        if not list and origin == "person" and self.esp.blocked(email):
            self.esp.set(ALL, State(None, email, "subscribed", self.esp.time.now(), origin))
            if not self.esp.keys(email):
                return {"changed": 1, "keys": []}
        return self._each(email, None, back)

    def do_confirm(self, email: str, list: str) -> dict[str, Any]:
        """A pending member presses the link of the confirmation mail."""
        table = self.esp.container(list)
        pending = [k for k in self.esp.keys(email) if k in table.rows and table.rows[k].status == "pending"]
        for key in pending:
            self.esp.change(list, key, "subscribed", "person", "double_opt_in")
            self.esp.event("resubscribe", self.esp.subscriber(key), container=list, evidence="double_opt_in")
        return {"changed": len(pending)}

    # ------------------------------------------------------------------ the ESP's users

    def do_import(self, list: str, members: dict[str, str], status: Status = "subscribed", origin: Origin = "import",
                  ) -> dict[str, Any]:
        """Set a status for ``members`` (key → address), whatever it was; unknown subscribers are added."""
        for key, email in members.items():
            key = self.esp.key_of(key, email)
            self.esp.set(list, State(key, email, status, self.esp.time.now(), origin))
        return {"changed": len(members)}

    def do_suppress(self, email: str) -> dict[str, Any]:
        """An address-only stop, as of a suppression list: a status row without a key."""
        return self._block(email, None, None, origin="user")

    def do_remove_members(self, list: str, keys: list[str]) -> dict[str, Any]:
        """Take members off a list: their rows vanish, and with them their opt-outs."""
        if not list:
            raise BadCall("Members are removed from a list.")
        table = self.esp.container(list)
        return {"changed": sum(table.drop(key) for key in keys)}

    def do_delete_subscribers(self, keys: list[str]) -> dict[str, Any]:
        for key in keys:
            self.esp.forget(key)
        return {"changed": len(keys)}

    def do_readdress(self, key: str, email: str) -> dict[str, Any]:
        """A subscriber gets another address, in every container."""
        for name, table in self.esp.containers.items():
            old = table.rows.get(key)
            if old is not None:
                self.esp.set(name, State(key, email, old.status, self.esp.time.now(), "user", old.evidence))
        return {"changed": 1}

    def do_write_rows(self, audience: str, rows: dict[str, dict[str, Value]]) -> dict[str, Any]:
        """An employee adds or edits rows: key → fields, with the address as ``email``."""
        changed = 0
        for key, row in rows.items():
            email = row.pop("email", None)
            changed += self.esp.upsert(audience, key, str(email) if email else None, row)
        return {"changed": changed}

    def do_delete_rows(self, audience: str, keys: list[str]) -> dict[str, Any]:
        return {"changed": sum(self.esp.remove(audience, key) for key in keys)}

    # ------------------------------------------------------------------ helpers

    def _each(self, email: str, key: str | None, act: Callable[[str], bool]) -> dict[str, Any]:
        keys = [key] if key is not None else self.esp.keys(email)
        if not keys:
            if self.esp.keyed_by != "address":
                raise BadCall("No subscriber has this address.")
            keys = [address(email)]
            self._join(keys[0], email, None)
        return {"changed": sum(act(k) for k in keys), "keys": keys}

    def _opt_out(self, key: str, container: str, kind: EventKind, origin: Origin, send: str | None) -> bool:
        changed = self.esp.change(container, key, "unsubscribed", origin, kind)
        if container and self.widen:
            changed = self.esp.change(ALL, key, "unsubscribed", origin, kind) or changed
        if not container and self.flip and kind == "master_unsubscribe":
            for name in self.esp.lists:
                if key in self.esp.containers[name].rows:
                    self.esp.change(name, key, "unsubscribed", "unknown")
        self.esp.event(kind, self.esp.subscriber(key), container=container or None, send=send)
        return changed

    def _block(self, email: str, kind: EventKind | None, send: str | None, origin: Origin = "person",
               ) -> dict[str, Any]:
        new = not self.esp.blocked(email)
        state = State(None, email, "unsubscribed", self.esp.time.now(), origin, kind)
        self.esp.set(ALL, state)
        if kind is not None:
            self.esp.event(kind, state, send=send, keyed=False)
        return {"changed": int(new)}

    def _mail(self, send: str, email: str) -> dict[str, Any]:
        for mail in self.mails[::-1]:
            if mail["send"] == send and address(mail["email"]) == address(email):
                return mail
        raise BadCall("That send did not mail this address.")
