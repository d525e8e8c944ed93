"""What happens to a subscriber: statuses at three levels, unsubscribes, bounces, confirmations, list membership.

Levels, widest first: global list (by address), All Subscribers of the enterprise, All Subscribers of a business unit,
list. Nothing here decides who is mailed; ``sends`` does, from these tables.
"""

from __future__ import annotations

from connectors.sim.marketing_cloud.model import (
    ACTIVE,
    BOUNCED,
    BUSINESS_UNIT_ONLY,
    HELD,
    SUPPRESSION,
    UNSUBSCRIBED,
    BounceEvent,
    Job,
    Mail,
    MailList,
    Member,
    StatusEvent,
    Subscriber,
    Tenant,
    UnsubEvent,
)
from connectors.sim.marketing_cloud.values import MAX_SUBSCRIBER_EMAIL, valid_email

BY_API = "Unsubscribed by subscriber edit API call."
BY_IMPORT = "Unsubscribed via Import"
BY_CENTRE = "Unsubscribed from the Subscription Center"
BY_USER = "Unsubscribed from list details on subscriber properties dialog."
BY_LOG_EVENT = "Unsubscribed via Log Unsub Event Execute call"

HELD_AFTER = 3
"""Hard bounces until Held; any bounces count when they are spread over ``HELD_DAYS``."""
HELD_DAYS = 15

_WORDS = {ACTIVE: "Normal", BOUNCED: "Normal", HELD: "Held", UNSUBSCRIBED: "Unsub"}


class SubscriberError(ValueError):
    """A refused subscriber write; ``code`` is the SOAP ErrorCode."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_email(tenant: Tenant, email: str) -> None:
    """:raises SubscriberError: 12000 for a bad address, 12003 for one on the global unsubscribe list"""
    if len(email) >= MAX_SUBSCRIBER_EMAIL or not valid_email(email):
        raise SubscriberError(12000, "InvalidEmailAddress")
    if email.lower() in tenant.globally_unsubscribed:
        raise SubscriberError(12003, "OnGlobalUnsubList")


# --------------------------------------------------------------------------- All Subscribers

def set_master(tenant: Tenant, subscriber: Subscriber, status: str, mid: int, reason: str) -> bool:
    """Set the All Subscribers status as business unit ``mid`` would; True when a status moved.

    Active written in a business unit has no effect while the enterprise row is Unsubscribed, and Active written at the
    enterprise leaves the units' rows alone.
    """
    now = tenant.now()
    before = {unit: tenant.status_in(subscriber, unit) for unit in {mid, tenant.eid}}
    if status == UNSUBSCRIBED:
        if mid != tenant.eid:
            subscriber.units = {**(subscriber.units or {}), mid: now}
        if mid == tenant.eid or tenant.units[mid].behavior != BUSINESS_UNIT_ONLY:
            subscriber.status = UNSUBSCRIBED
            subscriber.unsubscribed = now
    elif status == ACTIVE:
        _activate(tenant, subscriber, mid)
    else:
        subscriber.status = status
    moved = False
    for unit, old in before.items():
        new = tenant.status_in(subscriber, unit)
        moved |= new != old
        if _WORDS[new] != _WORDS[old]:
            tenant.changes.append(
                StatusEvent(unit, subscriber.id, subscriber.key, _WORDS[old], _WORDS[new], reason, now))
    return moved


def _activate(tenant: Tenant, subscriber: Subscriber, mid: int) -> None:
    if mid != tenant.eid:
        if subscriber.status == UNSUBSCRIBED:
            return
        subscriber.units = {k: v for k, v in (subscriber.units or {}).items() if k != mid} or None
    subscriber.status = ACTIVE
    subscriber.unsubscribed = None
    subscriber.bounces, subscriber.hard = (), 0


# --------------------------------------------------------------------------- lists

def set_list(tenant: Tenant, subscriber: Subscriber, target: MailList, status: str, method: str) -> bool:
    """Set the status on one list, adding the member where needed; True when something moved."""
    now = tenant.now()
    member = target.members.get(subscriber.key.lower())
    if member is None:
        target.members[subscriber.key.lower()] = Member(status, now, now, method)
        return True
    moved = member.status != status
    member.status = status
    member.modified = now
    return moved


def remove_member(target: MailList, subscriber: Subscriber) -> bool:
    """The row goes, and with it the memory of an unsubscribe."""
    return target.members.pop(subscriber.key.lower(), None) is not None


# --------------------------------------------------------------------------- the recipient

def last_mail(tenant: Tenant, keys: list[str], list_id: int | None = None, audience: str | None = None,
              job: int | None = None) -> tuple[Mail, Job] | None:
    """The latest mail to one of these keys that came over the list, the audience or the job named."""
    found: tuple[Mail, Job] | None = None
    for key in keys:
        for position in reversed(tenant.latest.get(key.lower(), ())):
            mail = tenant.mails[position]
            sent = tenant.jobs[mail.job]
            if ((list_id is None or sent.list_id == list_id) and (audience is None or sent.audience == audience)
                    and (job is None or sent.id == job)):
                if found is None or mail.at >= found[0].at:
                    found = mail, sent
                break
    return found


def post_unsub(tenant: Tenant, subscriber: Subscriber, mid: int, job: Job, list_id: int, master: bool,
               reason: str) -> UnsubEvent:
    """Write the tracking event of an unsubscribe that came from a mail."""
    event = UnsubEvent(mid, subscriber.key, tenant.now(), job.id, 1, list_id, master, reason, job.triggered)
    tenant.unsubs.append(event)
    job.unsubscribes += 1
    return event


def unsubscribe_list(tenant: Tenant, subscriber: Subscriber, target: MailList, job: Job | None,
                     reason: str = BY_CENTRE) -> tuple[bool, UnsubEvent | None]:
    """Leave one list. Without a job there is no tracking event: only the list's status tells."""
    if target.id == tenant.units[target.mid].all_subscribers:
        return unsubscribe_all(tenant, subscriber, target.mid, job, reason, flip=False)
    moved = set_list(tenant, subscriber, target, UNSUBSCRIBED, "WebApplication")
    event = None if job is None else post_unsub(tenant, subscriber, target.mid, job, target.id, False, reason)
    tenant.echoes.append((subscriber.key, subscriber.email))
    return moved, event


def unsubscribe_all(tenant: Tenant, subscriber: Subscriber, mid: int, job: Job | None, reason: str = BY_CENTRE,
                    flip: bool = True) -> tuple[bool, UnsubEvent | None]:
    """Leave everything. "Unsubscribe from all" in the centre also flips every list row of the business unit, yet only
    one event is written, naming whichever list the job had."""
    moved = set_master(tenant, subscriber, UNSUBSCRIBED, mid, reason)
    if flip:
        for each in tenant.lists.values():
            member = each.members.get(subscriber.key.lower())
            if each.mid == mid and member is not None and each.classification != SUPPRESSION:
                moved |= set_list(tenant, subscriber, each, UNSUBSCRIBED, member.method)
    event = None
    if job is not None:
        list_id = job.list_id or tenant.units[mid].all_subscribers
        event = post_unsub(tenant, subscriber, mid, job, list_id, True, reason)
    tenant.echoes.append((subscriber.key, subscriber.email))
    return moved, event


def complain(tenant: Tenant, subscriber: Subscriber, mid: int, job: Job | None) -> tuple[bool, UnsubEvent | None]:
    """A complaint moves All Subscribers while its event still names the job's publication list."""
    domain = subscriber.email.rpartition("@")[2]
    return unsubscribe_all(tenant, subscriber, mid, job, f"Spam complaint from {domain}", flip=False)


def bounce(tenant: Tenant, subscriber: Subscriber, mid: int, job: Job | None, hard: bool) -> bool:
    """One bounce. Active turns Bounced (still mailed), and Held after repeated ones; who left stays so."""
    now = tenant.now()
    tenant.bounces.append(BounceEvent(mid, subscriber.key, now, job.id if job else 0, 1 if job else 0, hard))
    if job is not None:
        job.hard += hard
        job.soft += not hard
    subscriber.bounces = (*subscriber.bounces, now)
    subscriber.hard += hard
    if subscriber.status not in (ACTIVE, BOUNCED):
        return True
    spread = len(subscriber.bounces) >= HELD_AFTER and now - subscriber.bounces[0] >= HELD_DAYS * 86_400
    held = subscriber.hard >= HELD_AFTER or spread
    set_master(tenant, subscriber, HELD if held else BOUNCED, mid, "Bounced")
    return True


def engage(tenant: Tenant, subscriber: Subscriber, mid: int) -> bool:
    """An open or click: a bounced or held subscriber is Active again."""
    if subscriber.status not in (BOUNCED, HELD):
        return False
    return set_master(tenant, subscriber, ACTIVE, mid, "Engaged")


def confirm(tenant: Tenant, subscriber: Subscriber, mid: int, target: MailList | None) -> bool:
    """The person asks for mail herself: her list row, and All Subscribers where it stood in the way."""
    moved = False
    if tenant.status_in(subscriber, mid) == UNSUBSCRIBED:
        if mid != tenant.eid:
            moved |= set_master(tenant, subscriber, ACTIVE, tenant.eid, "Subscribed")
        moved |= set_master(tenant, subscriber, ACTIVE, mid, "Subscribed")
    if target is not None:
        moved |= set_list(tenant, subscriber, target, ACTIVE, "WebApplication")
    return moved
