"""What people do at the ESP, and the truth about it: the control API's ``act`` and ``world`` for Marketing Cloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from connectors.sim.kernel import BadAct
from connectors.sim.marketing_cloud import people, sends
from connectors.sim.marketing_cloud.extensions import DataExtension
from connectors.sim.marketing_cloud.model import (
    ACTIVE,
    PLAIN,
    STATUSES,
    SUPPRESSION,
    UNSUBSCRIBED,
    Classification,
    Job,
    MailList,
    Subscriber,
    Tenant,
    UnsubEvent,
)
from connectors.sim.marketing_cloud.values import CellError

Body = Mapping[str, Any]
Answer = dict[str, Any]


class Names:
    """How the control API's words map to the tenant: topics to publication lists, audiences to data extensions.

    ``topics``: topic -> list id, or {mid: list id}. ``audiences``: name -> {"de": key, "topic": T, "bu": mid}.
    """

    def __init__(self, tenant: Tenant, topics: Mapping[str, Any], audiences: Mapping[str, Mapping[str, Any]]) -> None:
        self.tenant = tenant
        self.home = next(iter(tenant.units))
        self.audiences = {name: dict(spec) for name, spec in audiences.items()}
        self.topics: dict[str, list[int]] = {}
        for topic, spec in topics.items():
            each_unit = spec if isinstance(spec, Mapping) else {self._unit(topic): spec}
            numbers = {int(m): int(n) for m, n in each_unit.items()}
            for mid, number in numbers.items():
                if number not in tenant.lists:
                    tenant.new_list(mid, topic, list_id=number, key=f"topic-{topic}")
            self.topics[topic] = list(numbers.values())
        self.by_list = {n: topic for topic, numbers in self.topics.items() for n in numbers}

    def _unit(self, topic: str) -> int:
        """The business unit of a topic whose option names none: that of its first audience."""
        spec = next((a for a in self.audiences.values() if a.get("topic") == topic), {})
        return int(spec.get("bu", self.home))

    def list_of(self, topic: Any, mid: int | None = None) -> MailList:
        """:raises BadAct: unknown topic"""
        numbers = [n for n in self.topics.get(str(topic), ()) if n in self.tenant.lists]
        found = [self.tenant.lists[n] for n in numbers if mid is None or self.tenant.lists[n].mid == mid]
        if not found:
            raise BadAct(f"There is no topic {topic} here.")
        return found[0]

    def audience(self, name: Any) -> tuple[int, str, str | None]:
        """(MID, data-extension key, topic) of an audience. :raises BadAct: unknown audience"""
        spec = self.audiences.get(str(name))
        if spec is None:
            raise BadAct(f"There is no audience {name} here.")
        return int(spec.get("bu", self.home)), str(spec["de"]), spec.get("topic")

    def extension(self, name: Any) -> DataExtension:
        """:raises BadAct: the audience's data extension does not exist"""
        mid, key, _ = self.audience(name)
        found = self.tenant.extension(mid, key)
        if found is None:
            raise BadAct(f"The data extension of audience {name} does not exist.")
        return found

    def audience_name(self, mid: int, key: str) -> str:
        return next((n for n, a in self.audiences.items()
                     if str(a["de"]).lower() == key.lower() and int(a.get("bu", self.home)) == mid), key)


class Acts:
    """Runs one act at a time, under the simulator's lock. ``posted`` gathers events for the notification service."""

    def __init__(self, tenant: Tenant, names: Names, posted: list[UnsubEvent]) -> None:
        self.tenant = tenant
        self.names = names
        self.posted = posted
        self._recipient: dict[str, Callable[[Body, list[Subscriber]], int]] = {
            "unsubscribe": self._unsubscribe, "complain": self._complain, "bounce": self._bounce,
            "confirm": self._confirm, "open": self._engage, "click": self._engage}
        self._user: dict[str, Callable[[Body], Answer]] = {
            "send": self._send, "import": self._import, "resubscribe": self._resubscribe,
            "delete_rows": self._delete_rows, "unsubscribe": self._user_unsubscribe,
            "delete_subscriber": self._delete_subscriber, "suppress": self._suppress}

    def run(self, body: Body) -> Answer:
        """:raises BadAct:"""
        actor, do = body.get("actor"), str(body.get("do"))
        if actor == "recipient" and do in self._recipient:
            email = str(body.get("email", ""))
            who = self.tenant.with_email(email)
            if body.get("key"):
                who = [s for s in who if s.key.lower() == str(body["key"]).lower()]
            return {"changed": self._recipient[do](body, who)}
        if actor == "esp_user" and do in self._user:
            return self._user[do](body)
        raise BadAct(f"Marketing Cloud knows no act {do} of {actor}.")

    # ---- recipients

    def _context(self, body: Body, who: list[Subscriber]) -> tuple[Subscriber | None, Job | None, MailList | None]:
        """Which subscriber row, mail and list a recipient's click concerns.

        A link belongs to one key: the one mailed. Without a mail it is the key that is on the list, else the first.
        """
        place = body.get("from", "all")
        keys = [s.key for s in who]
        topic = audience = job = None
        if isinstance(place, Mapping):
            topic, audience = place.get("topic"), place.get("audience")
            job = int(place["mail"]) if "mail" in place else None
        if audience is not None:
            mid, key, its_topic = self.names.audience(audience)
            target = self.names.list_of(its_topic, mid) if its_topic else None
            found = people.last_mail(self.tenant, keys, audience=key)
        elif topic is not None:
            target = self.names.list_of(topic)
            found = people.last_mail(self.tenant, keys, target.id) or people.last_mail(self.tenant, keys)
        else:
            target = None
            found = people.last_mail(self.tenant, keys, job=job)
            if job is not None and found is None:
                raise BadAct(f"Send {job} went not to this address.")
        if found is not None:
            if (audience is not None or job is not None) and found[1].list_id is not None:
                target = self.tenant.lists.get(found[1].list_id, target)
            return self.tenant.find(found[0].key), found[1], target
        member = next((s for s in who if target is not None and s.key.lower() in target.members), None)
        return member or (who[0] if who else None), None, target

    def _mid(self, body: Body, job: Job | None, target: MailList | None) -> int:
        """The business unit a click concerns: that of the mail, of the list, or the one named by "bu"."""
        return job.mid if job is not None else target.mid if target is not None else self._unit(body)

    def _unit(self, body: Body) -> int:
        mid = int(body.get("bu", self.names.home))
        if mid not in self.tenant.units:
            raise BadAct(f"There is no business unit {mid}.")
        return mid

    def _unsubscribe(self, body: Body, who: list[Subscriber]) -> int:
        subscriber, job, target = self._context(body, who)
        if subscriber is None:
            return 0
        if body.get("from", "all") == "all":
            moved, event = people.unsubscribe_all(self.tenant, subscriber, self._mid(body, job, target), job)
        elif target is None:
            mid = self._mid(body, job, target)
            moved, event = people.unsubscribe_all(self.tenant, subscriber, mid, job, flip=False)
        else:
            moved, event = people.unsubscribe_list(self.tenant, subscriber, target, job)
        if event is not None:
            self.posted.append(event)
        return int(moved)

    def _complain(self, body: Body, who: list[Subscriber]) -> int:
        subscriber, job, target = self._context(body, who)
        if subscriber is None:
            return 0
        moved, event = people.complain(self.tenant, subscriber, self._mid(body, job, target), job)
        if event is not None:
            self.posted.append(event)
        return int(moved)

    def _bounce(self, body: Body, who: list[Subscriber]) -> int:
        if body.get("kind", "hard") not in ("hard", "soft"):
            raise BadAct("kind is hard or soft.")
        subscriber, job, target = self._context(body, who)
        if subscriber is None:
            return 0
        hard = body.get("kind", "hard") == "hard"
        return int(people.bounce(self.tenant, subscriber, self._mid(body, job, target), job, hard))

    def _engage(self, body: Body, who: list[Subscriber]) -> int:
        subscriber, job, target = self._context(body, who)
        return int(subscriber is not None and people.engage(self.tenant, subscriber, self._mid(body, job, target)))

    def _confirm(self, body: Body, who: list[Subscriber]) -> int:
        """A confirmed form: whoever is not known yet becomes a subscriber keyed by the address."""
        subscriber, job, target = self._context(body, who)
        if subscriber is None:
            email = str(body.get("email", ""))
            if not email:
                raise BadAct("An email is needed.")
            subscriber = self.tenant.add_subscriber(email, email)
        return int(people.confirm(self.tenant, subscriber, self._mid(body, job, target), target))

    # ---- users of the ESP

    def _send(self, body: Body) -> Answer:
        to = body.get("to")
        if not isinstance(to, Mapping):
            raise BadAct("A send needs to.")
        source: DataExtension | MailList
        if "audience" in to:
            mid, _, topic = self.names.audience(to["audience"])
            source = self.names.extension(to["audience"])
            topic = body.get("list", topic)
            target = self.names.list_of(topic, mid) if topic is not None else None
        else:
            source = target = self.names.list_of(to.get("topic"))
            mid = source.mid
        name = str(body.get("name") or to.get("audience") or to.get("topic"))
        wish = sends.Wish(mid, name, source, target, self._classification(body, mid),
                          bool(body.get("dedupe_by_email", False)))
        how = str(body.get("how", "defined"))
        if how not in ("defined", "guided", "triggered"):
            raise BadAct("A send is defined, guided or triggered.")
        sends.started_from(self.tenant, wish, how)
        try:
            job, mailed = sends.send(self.tenant, wish)
        except sends.SendError as error:
            raise BadAct(str(error)) from None
        return {"changed": len(mailed), "id": job.id, "mailed": mailed, "skipped": dict(job.skipped)}

    def _classification(self, body: Body, mid: int) -> Classification:
        """commercial, transactional, or the CustomerKey of a send classification."""
        asked = str(body.get("classification", "commercial"))
        kinds = {"commercial": "Default Commercial", "transactional": "Default Transactional"}
        found = self.tenant.classifications.get((mid, kinds.get(asked, asked)))
        if found is None:
            raise BadAct(f"There is no classification {asked}.")
        return found

    def _emails(self, body: Body) -> list[str]:
        emails = body.get("emails")
        if not isinstance(emails, list):
            raise BadAct("emails must be a list.")
        return [str(e) for e in emails]

    def _import(self, body: Body) -> Answer:
        """A file without a status adds new members Active and leaves the status of known ones; with one it sets it."""
        emails, status = self._emails(body), body.get("status")
        if status is not None and status not in STATUSES:
            raise BadAct(f"status is one of {', '.join(STATUSES)}.")
        if "audience" in body:
            return {"changed": self._import_rows(self.names.extension(body["audience"]), emails)}
        target = self.names.list_of(body.get("topic"))
        changed = 0
        for email in emails:
            for subscriber in self.tenant.with_email(email) or [self.tenant.add_subscriber(email, email)]:
                member = target.members.get(subscriber.key.lower())
                if status is not None or member is None:
                    changed += people.set_list(self.tenant, subscriber, target, status or ACTIVE, "Imported")
        return {"changed": changed}

    def _import_rows(self, extension: DataExtension, emails: list[str]) -> int:
        key, address = extension.key_column(), extension.email_column()
        if key is None or address is None:
            raise BadAct("The data extension is not sendable.")
        added = 0
        for email in emails:
            known = self.tenant.with_email(email)
            name = known[0].key if known else email
            row = {extension.columns[key].name: name, extension.columns[address].name: email}
            try:
                extension.write(row, "upsert" if extension.primary else "insert", self.tenant.now(), self.tenant.tz)
                added += 1
            except CellError as error:
                raise BadAct(f"The import was refused: {error.code}.") from None
        return added

    def _resubscribe(self, body: Body) -> Answer:
        """A user edits the status by hand: no event anywhere but the status change itself."""
        return {"changed": self._edit(body, ACTIVE, "Subscribed by user")}

    def _user_unsubscribe(self, body: Body) -> Answer:
        return {"changed": self._edit(body, UNSUBSCRIBED, people.BY_USER)}

    def _edit(self, body: Body, status: str, reason: str) -> int:
        topic = body.get("topic")
        if "audience" in body:
            topic = self.names.audience(body["audience"])[2]
        changed = 0
        for email in self._emails(body):
            for subscriber in self.tenant.with_email(email):
                if topic is not None:
                    target = self.names.list_of(topic)
                    changed += people.set_list(self.tenant, subscriber, target, status, "WebApplication")
                else:
                    changed += people.set_master(self.tenant, subscriber, status, self._unit(body), reason)
        return changed

    def _delete_rows(self, body: Body) -> Answer:
        """Rows of an audience, or members of a topic's list: their status goes with them."""
        emails = {e.lower() for e in self._emails(body)}
        if "audience" not in body:
            target = self.names.list_of(body.get("topic"))
            return {"changed": sum(people.remove_member(target, s) for e in emails for s in self.tenant.with_email(e))}
        extension = self.names.extension(body["audience"])
        column = extension.email_column()
        if column is None:
            raise BadAct("The data extension has no EmailAddress field.")
        gone = [k for k, row in extension.rows.items() if (row[column] or "").lower() in emails]
        return {"changed": sum(extension.drop(k, self.tenant.now()) for k in gone)}

    def _delete_subscriber(self, body: Body) -> Answer:
        found = [s for e in self._emails(body) for s in self.tenant.with_email(e)]
        for subscriber in found:
            self.tenant.remove_subscriber(subscriber)
        return {"changed": len(found)}

    def _suppress(self, body: Body) -> Answer:
        """Auto-suppression, or with "list": "global" the platform-wide list; neither shows in any status."""
        emails = {e.lower() for e in self._emails(body)}
        held = (self.tenant.globally_unsubscribed if body.get("list") == "global"
                else self.tenant.suppressed.setdefault(self._unit(body), set()))
        before = len(held)
        held |= emails
        return {"changed": len(held) - before}


def world(tenant: Tenant, names: Names, after: str | None, limit: int | None, mails: bool) -> Answer:
    """Subscribers of every business unit, sorted by key and unit; audiences and mails come with the first page."""
    lists = {mid: [(names.by_list.get(n, each.name), each) for n, each in tenant.lists.items()
                   if each.mid == mid and each.type != "Master" and each.classification not in (SUPPRESSION, PLAIN)]
             for mid in tenant.units}
    keys = sorted(k for k in tenant.subscribers if k not in tenant.deleting and (after is None or k > after.lower()))
    out = []
    for key in keys[:limit]:
        subscriber = tenant.subscribers[key]
        for mid in sorted(tenant.units):
            topics = {topic: each.members[key].status for topic, each in lists[mid] if key in each.members}
            out.append({"key": subscriber.key, "email": subscriber.email, "bu": mid,
                        "status": tenant.status_in(subscriber, mid), "topics": topics})
    answer: Answer = {"subscribers": out}
    if after is None:
        answer["audiences"] = {n: _audience(names, n) for n in names.audiences}
        answer["mails"] = [_mail(tenant, names, m) for m in tenant.mails] if mails else []
    return answer


def _audience(names: Names, name: str) -> Answer:
    mid, key, topic = names.audience(name)
    extension = names.tenant.extension(mid, key)
    rows: list[dict[str, str | None]] = []
    if extension is not None:
        key_column, email_column = extension.key_column(), extension.email_column()
        if key_column is None and extension.primary:
            key_column = extension.primary[0]
        columns = [c.name for c in extension.columns]
        rows = [{**dict(zip(columns, row, strict=True)),
                 "key": row[key_column] if key_column is not None else None,
                 "email": row[email_column] if email_column is not None else None} for row in extension.rows.values()]
        rows.sort(key=lambda r: r["key"] or "")
    return {"topic": topic, "bu": mid, "exists": extension is not None, "rows": rows}


def _mail(tenant: Tenant, names: Names, mail: Any) -> Answer:
    job = tenant.jobs[mail.job]
    return {"send": job.id, "key": mail.key, "email": mail.email,
            "audience": names.audience_name(job.mid, job.audience),
            "topic": names.by_list.get(job.list_id) if job.list_id is not None else None, "bu": job.mid,
            "classification": "commercial" if job.classification == "Marketing" else "transactional", "at": mail.at}
