"""What recipients, employees and admins do, and what goes wrong: each act is done to the company and told to the oracle."""

from __future__ import annotations

from syncd.desk import grants
from syncd.failures import Failure
from tests.machine.said import HERE
from tests.machine.scenes import ALL, MAPPINGS, MINUTE, NAMES, OBJECTS, TOPIC_OF, contact, partner
from tests.machine.stage import LISTS, Stage


class Acts(Stage):
    """Every ``do_NAME`` is a kind of step; False says that it came to nothing."""

    # ------------------------------------------------------------------ recipients

    def do_unsubscribe(self, who: int, esp: str, scope: str) -> None:
        self._leave(self._address(who), esp, scope, self._link(who, esp))

    def _link(self, who: int, esp: str) -> str | None:
        """The subscriber key that the link in somebody's mails names; None where it is all the same who of an address that
        is."""
        key = self._who(who).id
        return key if self.scene.separate and key in self.world.account(esp).esp.keys(self._address(who)) else None

    def _leave(self, address: str, esp: str, scope: str, key: str | None = None) -> frozenset[str]:
        """Somebody leaves at an ESP, by a link that names a key or everybody of an address; which topics."""
        name, topics = ("", ALL) if scope == "all" else (LISTS[scope][esp], frozenset({scope}))
        self._refused_at(esp, self._act(esp, "unsubscribe", email=address, list=name, key=key)["keys"], topics)
        return topics

    def do_complain(self, who: int, esp: str) -> None:
        self._refused_at(esp, self._act(esp, "complain", email=self._address(who))["keys"], ALL)

    def _refused_at(self, esp: str, keys: list[str], topics: frozenset[str]) -> None:
        for key, email in self._emails(esp, keys).items():
            refusal = self.oracle.refuse(self._owner(esp, key), email, topics, esp, self.company.now(), made=True,
                                         inferred=key not in self.oracle.records)
            self._shut(esp, refusal, key)

    def do_block(self, who: int, esp: str) -> None:
        """The vendor learns no more than the address; where that is the key, it is all the same to it."""
        address = self._address(who)
        if self._is_key(esp, address):
            self._leave(address, esp, "all")
            return
        self._act(esp, "unsubscribe", email=address, keyed=False)
        refusal = self.oracle.refuse(None, address, ALL, esp, self.company.now(), made=True)
        self._shut(esp, refusal, None)

    def do_resubscribe(self, who: int, esp: str, scope: str) -> bool:
        address, name = self._address(who), "" if scope == "all" else LISTS[scope][esp]
        side = self.world.account(esp).esp
        if any("@" in key and self._owner(esp, key) is None
               for key in (*side.keys(address), *([address] if side.keyed_by == "address" else []))):
            return False  # nobody could say who that was
        done = self._act(esp, "resubscribe", email=address, list=name)
        for key, email in self._emails(esp, done["keys"]).items():
            self.oracle.come_back(self._owner(esp, key), email, ALL if scope == "all" else frozenset({scope}),
                                  self.company.now())
        if scope == "all":
            self.oracle.come_back(self.oracle.holder(address), address, ALL, self.company.now())
        self.oracle.doubt(address)
        return bool(done["changed"])

    def do_web(self, who: int, minutes: int = 0) -> None:
        """The person asks for offers on the company's web site, whose clock may be off, and which tells the CRM so many
        minutes later."""
        record, now = self._living(who, "sf"), self.company.now()
        self._forms.append((now + minutes * MINUTE, record.id,
                            {"offers": 1, "offers_how": "web", "offers_at": now + self.site_ahead}))
        self._post()
        if record.address is not None:
            self.oracle.come_back(record.id, record.address, frozenset({"offers"}), now, arrives=now + minutes * MINUTE)

    def do_blacklist(self, who: int, made: int) -> bool:
        """The recipient, or an employee, stops all mail on Odoo's own page. One stop of an address is enough."""
        if not self.scene.blacklist:
            return False
        address = self._address(who, lambda a: made or not (self._stopped("odoo", a) or a in self._lifted))
        if made:
            self._act("odoo", "unsubscribe", email=address)
        else:
            self._act("odoo", "import", list="", members={address: address}, status="unsubscribed", origin="user")
        self.oracle.refuse(None, address, ALL, "odoo", self.company.now(), made=bool(made))
        return True

    def do_unblacklist(self, who: int) -> bool:
        """An employee takes an address off the blacklist: towards mail, without evidence."""
        if not self.scene.blacklist:
            return False
        address = self._address(who, lambda a: self._stopped("odoo", a))
        self._act("odoo", "resubscribe", email=address, list="", origin="user")
        self.oracle.unsaid(address, "odoo")
        self._unlisted.add(address)
        self._lifted.add(address)
        return True

    def do_bounce(self, who: int, esp: str) -> None:
        address = self._address(who)
        self._act(esp, "bounce", email=address)
        self.oracle.doubt(address)

    # ------------------------------------------------------------------ the CRMs' users

    def do_tick(self, who: int, flag: str) -> None:
        self._set_flag(self._living(who, fits=lambda r: not r.fields[flag]), flag, 1)

    def do_untick(self, who: int, flag: str) -> None:
        """Towards mail, without evidence: it counts for nothing."""
        self._set_flag(self._living(who, fits=lambda r: r.fields[flag]), flag, 0)

    def do_connect(self, who: int) -> bool:
        """Marketing Cloud Connect's user ticks the box for all mail, as the CRM's field history shows: nobody's word."""
        record = self._living(who, "sf", lambda r: not r.fields["opted_out"])
        if not self.scene.tracked:
            return False
        self._edit(record, by="connect", opted_out=1)
        if record.address is not None:
            self.oracle.doubt(record.address)
        return True

    def do_untick_offers(self, who: int) -> None:
        """Towards no mail. A box that was ticked only since the last reading says nothing to who never saw it ticked."""
        record = self._edit(self._living(who, "sf", lambda r: r.fields["offers"]), offers=0)
        if record.address is not None:
            self.oracle.doubt(record.address)

    def do_tick_offers(self, who: int) -> None:
        """Towards mail, and nobody says who wanted it."""
        self._edit(self._living(who, "sf", lambda r: not r.fields["offers"]), offers=1)

    def do_rename(self, who: int, other: int) -> None:
        record = self._living(who)
        self._edit(record, last_name="Roe" if other else "Doe")

    def do_move(self, who: int, to: int | None) -> None:
        """The address changes: to a fresh one, or to that of somebody else."""
        record = self._living(who)
        address = f"new{len(self.steps)}@mail.example" if to is None else self._address(to)
        if self._by_address and record.address is not None:
            self.oracle.doubt(record.address)  # the key stays with who moves: whoever else has this address has none
        self._edit(record, email=address)

    def do_create(self, crm: str, like: int | None, opted_out: int) -> None:
        """A new record: of somebody new, or of somebody who has one already."""
        n = len(self.oracle.records)
        values = contact(n) if crm == "sf" else partner(n)
        if like is not None:
            old = self._who(like)
            values |= {"email": old.address, "first_name": old.fields["first_name"], "last_name": old.fields["last_name"]}
        else:
            values["email"] = f"{NAMES[n % len(NAMES)]}{n}@mail.example"
        values["opted_out"] = opted_out
        if "offers_at" in values:
            values["offers_at"] = self.company.now() + self.site_ahead
        rid = self._act(crm, "create", object=OBJECTS[crm], set=values)["id"]
        record = self._meet(crm, rid)
        if record.address is None:
            return
        if "offers" in values:
            now = self.company.now()
            self.oracle.come_back(rid, record.address, frozenset({"offers"}), now, arrives=now)
        if opted_out:
            self.oracle.refuse(rid, record.address, ALL, crm, self.company.now(), made=False, flag="opted_out")

    def do_delete(self, who: int) -> None:
        record = self._living(who)
        self._act(record.connection, "delete", object=OBJECTS[record.connection], id=record.id)
        self._meet(record.connection, record.id)

    def do_undelete(self, who: int) -> None:
        record = self._who(who, fits=lambda r: not r.live)
        self._act(record.connection, "undelete", object=OBJECTS[record.connection], id=record.id)
        self._meet(record.connection, record.id)

    def do_merge(self, who: int, into: int) -> None:
        loser = self._living(who)
        winner = self._living(into, loser.connection, lambda r: r.id != loser.id)
        self._act(loser.connection, "merge", object=OBJECTS[loser.connection], id=loser.id, into=winner.id)
        self.oracle.relate(loser.id, winner.id)
        self._meet(loser.connection, winner.id)
        self._meet(loser.connection, loser.id)

    def do_import_flags(self, crm: str, flag: str, value: int) -> bool:
        """A file sets a flag on everybody."""
        others = [r for r in self.oracle.records.values() if r.connection == crm and r.live and r.fields[flag] != value]
        for record in others:
            self._set_flag(record, flag, value, "import")
        return bool(others)

    def do_spend(self, who: int, amount: int) -> None:
        missed = {row: address for row, address in self.oracle.undone.items() if row in self.oracle.missed}
        self._edit(self._living(who, "sf"), spent=f"{amount}.00")
        self.oracle.undone |= missed  # no reason to write a row again that is known to have been taken out

    # ------------------------------------------------------------------ the ESPs' users

    def do_suppress(self, who: int, esp: str) -> bool:
        """An employee puts an address on a suppression list, if it is not there; where that is a key, there is only its
        status."""
        address = self._address(who)
        keyed = self._is_key(esp, address)
        if self._stopped(esp, address) if keyed else self.world.account(esp).esp.blocked(address):
            return False
        if not keyed:
            self._act(esp, "suppress", email=address)
        else:
            self._act(esp, "import", list="", members={address: address}, status="unsubscribed", origin="user")
        refusal = self.oracle.refuse(None, address, ALL, esp, self.company.now(), made=False)
        self._shut(esp, refusal, address if keyed else None)
        return True

    def do_import_members(self, who: int, esp: str, scope: str) -> None:
        """A file of subscribers, opted out ones and all."""
        address = self._address(who)
        name = "" if scope == "all" else LISTS[scope][esp]
        self._act(esp, "import", list=name, members={self._key(esp, address): address})
        self.oracle.touch(esp, address)

    def do_remove_member(self, who: int, esp: str, scope: str) -> bool:
        address = self._address(who)
        done = False
        for topic in (ALL if scope == "all" else (scope,)):
            done |= bool(self._act(esp, "remove_members", list=LISTS[topic][esp], keys=[self._key(esp, address)])["changed"])
        self.oracle.touch(esp, address)
        return done

    def do_delete_subscriber(self, who: int, esp: str) -> None:
        address = self._address(who)
        self._act(esp, "delete_subscribers", keys=[self._key(esp, address)])
        self.oracle.touch(esp, address)

    def do_add_row(self, who: int, esp: str, topic: str, own: int) -> None:
        """An employee adds somebody to an audience, under the key syncd uses or under another."""
        address = self._address(who)
        key = self._who(who).id if own else f"manual-{who}"
        audience = next(a for (e, a), t in TOPIC_OF.items() if (e, t) == (esp, topic))
        self._act(esp, "write_rows", audience=audience, rows={key: {"email": address}})
        self.oracle.undone.pop((esp, audience, key), None)
        self.oracle.touch(esp, address)

    def do_delete_row(self, who: int, esp: str, topic: str) -> bool:
        address = self._address(who)
        audience = next(a for (e, a), t in TOPIC_OF.items() if (e, t) == (esp, topic))
        rows = self.world.account(esp).esp.audience(audience).rows.rows
        keys = [key for key, (email, _) in rows.items() if email.casefold() == address]
        self._act(esp, "delete_rows", audience=audience, keys=keys)
        self.oracle.doubt(address)
        moving = any(key not in keys and self.oracle.related(email.casefold(), address) for key, (email, _) in rows.items())
        if not self._restored and not moving and not self.oracle.stirring(address):
            self.oracle.undone |= {(esp, audience, key): address for key in keys}
            self.oracle.missed -= {(esp, audience, key) for key in keys}
        return bool(keys)

    # ------------------------------------------------------------------ admins

    def do_grant(self, who: int, scope: str) -> bool:
        """An admin writes down what somebody told them."""
        record = self._living(who)
        seen = self.oracle.seen.get(record.id)
        if record.address is None or seen is None or (seen.address, seen.live) != (record.address, True):
            return False
        try:
            grants.grant(self.company.app.store, self.company.rules, self.company.config(), record.address,
                         topic=None if scope == "all" else self._change.ids.get(scope, scope), evidence="letter", by="admin",
                         crm_id=record.id, now=self.company.host_now())
        except Failure:
            return False
        self.oracle.come_back(record.id, record.address, ALL if scope == "all" else frozenset({scope}), self.company.now())
        return True

    def do_retract(self, who: int) -> bool:
        """An admin declares the newest statement about somebody, that no person made, a mistake."""
        record = self._who(who)
        rows = self.company.app.store.rows(
            "SELECT max(e.position) FROM entry e CROSS JOIN utterance u ON u.id = e.utterance CROSS JOIN record r"
            " ON r.id = e.record WHERE r.rid = ? AND u.person_made = 0 AND u.said LIKE '%opt_out%'", (record.id,))
        if rows[0][0] is None:
            return False
        try:
            grants.retract(self.company.app.store, rows[0][0], evidence="file was wrong", by="admin",
                           now=self.company.host_now())
        except Failure:
            return False
        self.oracle.retract(record.id, record.address)
        return True

    def do_retract_burst(self) -> bool:
        """An admin declares the newest burst a mistake, unless somebody has."""
        store = self.company.app.store
        rows = store.rows("SELECT b.hold, c.name FROM burst b JOIN connection c ON c.id = b.connection ORDER BY b.hold DESC")
        hold, connection = next((row for row in rows if row[0] not in self._retracted), (None, ""))
        if hold is None:
            return False
        answer = grants.retract_burst(store, hold, evidence="file was wrong", by="admin", now=self.company.host_now())
        self._retracted.add(hold)
        self.oracle.retract_burst(connection, self._bursts.get(hold, self.oracle.glimpses))
        return bool(answer["retracted"])

    def do_approve(self) -> bool:
        """After a restore also that rows found missing are added again: the state does not know what syncd took out itself
        since the backup."""
        done = self.company.approve(vanished=self._lost)
        if self._lost:
            self.oracle.undone.clear()
        self.approved = self.approved or done
        return done

    def do_remap(self, number: int) -> bool:
        if number % len(MAPPINGS) == self.company.mapping:
            return False
        self.company.remap(number)
        self._map()
        self.oracle.undone.clear()
        self._by_address |= self._change.rekeyed
        return True

    def do_migrate(self) -> bool:
        """An admin lets everybody move to the subscriber key that the mapping gives."""
        if not self.company.migrate():
            return False
        self.approved = True
        self.oracle.undone.clear()
        return True

    def do_forget(self, who: int) -> bool:
        """An admin erases somebody: what stays is that the address gets nothing, whoever has it, until they come back."""
        record = self._who(who, fits=lambda r: r.address is not None)
        healthy, address = self._healthy(), record.address or ""
        blocked = self.company.forget(address, record.id)
        if blocked is None:
            return False
        self.oracle.forget(record.id, address, blocked=blocked)
        if blocked:
            block = self.oracle.refuse(None, address, ALL, HERE, self.company.now(), made=True)
            self.oracle.told([block], healthy | {HERE})
        return True

    def do_backup(self) -> None:
        self.company.backup()
        self._backups.append(self.approved)

    def do_restore(self, number: int | None) -> bool:
        """A backup, or the journal alone, becomes the state."""
        if not self.company.restore(number):
            return False
        self._restored = self._lost = True
        self._kept |= {(esp, audience, address) for (esp, audience, _), address in self._rows().items()}
        self.oracle.restored(alone=number is None)
        self._map()
        self.oracle.undone.clear()
        self.approved = number is not None and self._backups[number % len(self._backups)]
        return True

    # ------------------------------------------------------------------ faults, and time

    def do_fault(self, connection: str, fault: str, count: int, skip: int) -> None:
        """So many calls fail, after some that go well."""
        self.world.faults.add(fault, connection=connection, count=count, skip=skip, rows=1)
        self._down.add(connection)

    def do_down(self, connection: str) -> None:
        """A vendor cannot be reached until further notice."""
        self.world.faults.add("outage", connection=connection, count=None)
        self._down.add(connection)
        self._silent.setdefault(connection, self.company.now())

    def do_forget_requests(self) -> None:
        """The vendor loses what it had accepted."""
        self._act("late", "forget_requests")
        self._struck["late"] = self.company.now()

    def do_heal(self) -> bool:
        """Every fault is over."""
        self.world.faults.clear()
        for connection in self._down:
            self._struck[connection] = self.company.now()
        healed = bool(self._down)
        self._down.clear()
        self._silent.clear()
        return healed

    def do_wait(self, minutes: int) -> None:
        self.company.advance(minutes * 60.0)
