"""What ``check`` looks at: quota, rights on the opt-out flags, history, Marketing Cloud Connect."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from connectors.salesforce.settings import SalesforceSettings
from connectors.salesforce.wire.calls import Session, Usage
from connectors.salesforce.wire.describe import MASTER_FLAGS, Described, history_of
from syncd.model import Finding, Health

Describe = Callable[[str], Described | None]

CONNECT = "et4ae5__SendDefinition__c"
"""An object that the managed package of Marketing Cloud Connect brings along."""


def examine(settings: SalesforceSettings, session: Session, limits: Mapping[str, tuple[int, int]] | None,
            usage: Usage | None, describe: Describe, stale: Collection[str] = ()) -> Health:
    """The findings of one look at an org. Reads only through ``describe``; ``stale`` as in ``Reader``."""
    quota = dict(limits or {})
    if usage is not None:
        quota.setdefault("DailyApiRequests", (usage.used, usage.allowed))
    findings = [*_calls(settings, limits, quota.get("DailyApiRequests")), *_flags(describe),
                *_writers(settings, session, describe)]
    findings += [Finding("warning", f"Salesforce needs too long to find which {name} rows have a changed parent: fields "
                         "read through it may be old.", "Ask Salesforce for an index, or copy the fields by a flow.")
                 for name in sorted(stale)]
    party = describe("Individual") if settings.create_individuals else None
    if settings.create_individuals and not (party is not None and party.createable):
        findings.append(Finding("warning", "create_individuals is set, and the integration user cannot create Individuals.",
                                "Turn on Data Protection and Privacy, and give the user the right to create them."))
    account = f"org {session.org or '?'} as user {session.user or '?'} at {session.instance.partition('://')[2]}"
    return Health(account, tuple(findings), quota)


def _calls(settings: SalesforceSettings, limits: Mapping[str, tuple[int, int]] | None,
           api: tuple[int, int] | None) -> Iterator[Finding]:
    if limits is None:
        yield Finding("warning", "The quota cannot be read in advance.",
                      "Give the integration user the permission \"View Setup and Configuration\".")
    if api is not None and api[0] >= api[1] * settings.api_share:
        yield Finding("warning", f"The org has used {api[0]} of {api[1]} daily API calls; only opt-outs go through.",
                      "Raise api_share, poll less often, or ask for more API calls.")


def _flags(describe: Describe) -> Iterator[Finding]:
    """An opt-out flag we cannot see is not false: without it people would be mailed against their word."""
    readable = False
    flag = MASTER_FLAGS[0]
    for name in ("Contact", "Lead"):
        body = describe(name)
        if body is None:
            continue
        readable = True
        if flag not in body.fields:
            yield Finding("error", f"The integration user cannot see {name}.{flag}.",
                          "Give it read and edit access to the field \"Email Opt Out\".")
        elif not (body.fields[flag].writable and body.updateable):
            yield Finding("warning", f"The integration user cannot edit {name}.{flag}: opt-outs cannot be written.",
                          "Give it edit access to the object and the field.")
        if describe(history_of(name)[0]) is None:
            yield Finding("info", f"{name} keeps no field history: who set a flag, and when, is known only roughly.",
                          f"Turn on field history tracking for {name}.{flag}.")
    if not readable:
        yield Finding("error", "The integration user can read neither contacts nor leads.",
                      "Give it read access to the objects you sync.")


def _writers(settings: SalesforceSettings, session: Session, describe: Describe) -> Iterator[Finding]:
    if not session.user:
        yield Finding("warning", "Salesforce does not tell which user we are: our own changes look like an employee's.",
                      "Use an External Client App with the scope \"id\".")
    if describe(CONNECT) is None:
        return
    if settings.connect_user:
        yield Finding("info", "Marketing Cloud Connect is installed; its user's flag changes are taken as echoes.")
    else:
        yield Finding("warning", "Marketing Cloud Connect is installed, but its user is not named: its echoes "
                      "look like an employee's opt-outs.", "Set connect_user to the id of Connect's system user.")
