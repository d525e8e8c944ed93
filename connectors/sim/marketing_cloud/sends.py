"""A send: who gets the mail, who is skipped and why, and what sending itself changes.

Sending to a data extension creates missing subscribers as Active and, for a commercial mail tied to a publication
list, adds missing list members as Active. Neither is consent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from connectors.sim.marketing_cloud.extensions import DataExtension
from connectors.sim.marketing_cloud.model import (
    ACTIVE,
    HELD,
    PLAIN,
    PUBLICATION,
    SUPPRESSION,
    UNSUBSCRIBED,
    Classification,
    Job,
    Mail,
    MailList,
    Member,
    SendDefinition,
    Subscriber,
    Tenant,
    TriggeredDefinition,
)
from connectors.sim.marketing_cloud.values import valid_email


def started_from(tenant: Tenant, wish: Wish, how: str) -> None:
    """Note on a wish what the send is started from: "defined" = a user-initiated send of this audience, list and
    classification, "triggered" = a journey mail; "guided" = nothing that is kept."""
    number = wish.target.id if wish.target is not None else tenant.units[wish.mid].all_subscribers
    about = (wish.mid, number, wish.classification.key)
    if how == "triggered":
        known = next((t for t in tenant.triggered.values()
                      if (t.mid, t.list_id, t.classification, t.name) == (*about, wish.name)), None)
        if known is None:
            key = f"journey-{len(tenant.triggered) + 1}"
            known = TriggeredDefinition(wish.mid, key, wish.name, tenant.guid(), number, wish.classification.key)
            tenant.triggered[wish.mid, key] = known
        wish.triggered = known.object_id
    elif how == "defined" and isinstance(wish.source, DataExtension):
        source = wish.source
        definition = next((d for d in tenant.definitions.values()
                           if (d.mid, d.list_id, d.classification, d.extension) == (*about, source.key)), None)
        if definition is None:
            key = f"send-{source.key}-{len(tenant.definitions) + 1}"
            definition = SendDefinition(wish.mid, key, wish.name, tenant.guid(), source.key, source.object_id, number,
                                        wish.classification.key)
            tenant.definitions[wish.mid, key] = definition
        wish.definition = definition.key


class SendError(ValueError):
    """A send that the platform refuses to start."""


@dataclass(slots=True)
class Wish:
    """What is to be sent: ``target`` is the publication list (None = All Subscribers), ``source`` the audience."""

    mid: int
    name: str
    source: DataExtension | MailList
    target: MailList | None
    classification: Classification
    dedupe_by_email: bool = False
    definition: str | None = None
    triggered: str | None = None


def send(tenant: Tenant, wish: Wish) -> tuple[Job, list[str]]:
    """Run the send and return the job and the addresses mailed, in order.

    :raises SendError: the data extension is not sendable or has no address
    """
    source = wish.source
    audience = source.key if isinstance(source, DataExtension) else f"list:{source.id}"
    rows = _rows_of_extension(source) if isinstance(source, DataExtension) else _rows_of_list(tenant, source)
    job = Job(tenant.number("job"), wish.mid, wish.name, audience, wish.target.id if wish.target else None,
              wish.classification.type, tenant.now(), definition=wish.definition, triggered=wish.triggered)
    tenant.jobs[job.id] = job
    mailed: list[str] = []
    seen_keys: set[str] = set()
    seen_emails: set[str] = set()
    for key, email in rows:
        reason, subscriber = _verdict(tenant, wish, key, email, seen_keys)
        if reason is None and wish.dedupe_by_email and email.lower() in seen_emails:
            reason = "duplicate_email"
        if reason is not None or subscriber is None:
            job.skipped[reason or "unknown"] = job.skipped.get(reason or "unknown", 0) + 1
            continue
        seen_emails.add(email.lower())
        _join(tenant, wish, subscriber)
        if email != subscriber.email:
            tenant.set_email(subscriber, email)
        tenant.latest.setdefault(key.lower(), []).append(len(tenant.mails))
        tenant.mails.append(Mail(job.id, subscriber.key, email, job.at))
        mailed.append(email)
    job.sent = len(mailed)
    return job, mailed


def _rows_of_extension(source: DataExtension) -> Iterator[tuple[str, str]]:
    key_column, email_column = source.key_column(), source.email_column()
    if key_column is None:
        raise SendError("The data extension is not sendable.")
    by_email = source.subscriber_field == "Email Address"
    if email_column is None and not by_email:
        raise SendError("The data extension has no EmailAddress field.")
    column = key_column if email_column is None else email_column
    return ((row[key_column] or "", row[column] or "") for row in list(source.rows.values()))


def _rows_of_list(tenant: Tenant, source: MailList) -> Iterator[tuple[str, str]]:
    if source.id == tenant.units[source.mid].all_subscribers:
        return ((s.key, s.email) for s in list(tenant.live()))
    found = (tenant.find(key) for key in list(source.members))
    return ((s.key, s.email) for s in found if s is not None)


def _verdict(tenant: Tenant, wish: Wish, key: str, email: str, seen: set[str]) -> tuple[str | None, Subscriber | None]:
    """Why this row is not mailed (None = it is), and its subscriber, created where the send creates it."""
    low = key.lower()
    if not key:
        return "missing_key", None
    if low in seen:
        return "duplicate", None
    seen.add(low)
    if low in tenant.deleting:
        return "contact_deleted", None
    if not email:
        return "missing_address", None
    if not valid_email(email):
        return "invalid_address", None
    subscriber = tenant.subscribers.get(low)
    blocked = _blocked(tenant, wish, low, email, subscriber)
    if blocked is None and subscriber is None:
        subscriber = tenant.add_subscriber(key, email)
    return blocked, subscriber


def _blocked(tenant: Tenant, wish: Wish, low: str, email: str, subscriber: Subscriber | None) -> str | None:
    """The first level that stops the mail. Suppression goes by address, everything else by key."""
    address = email.lower()
    if address in tenant.globally_unsubscribed:
        return "global_unsubscribe"
    if any(address in tenant.suppressed.get(mid, ()) for mid in (wish.mid, tenant.eid)):
        return "auto_suppressed"
    if any(each.classification == SUPPRESSION and each.mid in (wish.mid, tenant.eid) and low in each.members
           for each in tenant.lists.values()):
        return "suppression_list"
    if subscriber is None:
        return _list_says(wish, low)
    if subscriber.status == HELD:
        return "held"
    if wish.classification.type == "Marketing" and tenant.status_in(subscriber, wish.mid) == UNSUBSCRIBED:
        return "unsubscribed"
    return _list_says(wish, low)


def _list_says(wish: Wish, low: str) -> str | None:
    if wish.classification.type != "Marketing" and not wish.classification.honor:
        return None
    for consulted in (wish.target, wish.source):
        if isinstance(consulted, MailList):
            member = consulted.members.get(low)
            if member is not None and member.status == UNSUBSCRIBED:
                return "unsubscribed_list"
    return None


def _join(tenant: Tenant, wish: Wish, subscriber: Subscriber) -> None:
    if wish.target is None or wish.classification.type != "Marketing" or not isinstance(wish.source, DataExtension):
        return
    if wish.target.classification not in (PUBLICATION, PLAIN):
        return
    low = subscriber.key.lower()
    if low not in wish.target.members:
        now = tenant.now()
        wish.target.members[low] = Member(ACTIVE, now, now, "DataExtensionSend")
