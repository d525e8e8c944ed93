"""Everything a simulated organisation can be told at construction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .schema import ObjectDef

INTEGRATION_USER = "0055g000000000AAAQ"
"""Who every API call is made by."""
CRM_USER = "0055g000000000BAAQ"
"""The employee at the screen."""
CONNECT_USER = "0055g000000000CAAQ"
"""Marketing Cloud Connect's user."""
GUEST_USER = "0055g000000000DAAQ"
"""Web forms are saved by the site's guest user."""
AUTOMATED_USER = "0055g000000000EAAQ"
"""Automated Process."""
ORGANIZATION = "00D5g000000000AEAQ"
PERSON_RECORD_TYPE = "0125g000000000AAAQ"


@dataclass(frozen=True, slots=True)
class TopicField:
    """How one object holds one topic's consent. ``true``/``false`` are the stored values that mean opted in and out
    (for a checkbox the Booleans); ``method`` and ``said_at`` are the companion fields a web form fills in."""

    field: str
    true: Any = True
    false: Any = False
    method: str | None = None
    said_at: str | None = None


@dataclass(slots=True)
class Options:
    """Knobs. Those below ``live`` may be changed while the simulator runs.

    organization      the org's id, of 18 characters; a refreshed sandbox has a new one
    validation_rules  [{"object", "when": SOQL condition that makes a save fail, "message", "field"?}]
    duplicate_rules   [{"object", "fields": [...], "on": ["create", "update"]?}]: equal in all fields = duplicate
    flows             [{"object", "when": condition, "set": {field: value}}]: applied before each save
    sharing           object -> condition; other rows are invisible to the API user
    topics            topic -> object -> field name, or {"field", "true", "false", "method", "said_at"}
    data_protection   there are Individuals, to which contacts and leads point
    lead_conversion   lead custom field -> contact custom field
    """

    client_id: str = "sandbox-client"
    client_secret: str = "sandbox-secret"
    organization: str = ORGANIZATION
    username: str = "integration@example.test"
    jwt_public_key: str | None = None
    instance_url: str | None = None
    person_accounts: bool = False
    data_protection: bool = False
    multi_currency: bool = False
    connect: bool = False
    custom_fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    tracked: Mapping[str, Sequence[str]] = field(
        default_factory=lambda: {"Contact": ["HasOptedOutOfEmail", "Email"], "Lead": ["HasOptedOutOfEmail", "Email"]})
    topics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    validation_rules: Sequence[Mapping[str, Any]] = ()
    duplicate_rules: Sequence[Mapping[str, Any]] = ()
    flows: Sequence[Mapping[str, Any]] = ()
    lead_conversion: Mapping[str, str] = field(default_factory=dict)
    sharing: Mapping[str, str] = field(default_factory=dict)
    # live
    hidden_fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    read_only_fields: Mapping[str, Sequence[str]] = field(default_factory=dict)
    token_lifetime: float = 7200.0
    daily_requests: int = 100_000
    irregular_pages: bool = True
    cursor_seconds: float = 2 * 86400.0
    max_cursors: int = 10
    commit_delay: float = 0.0
    replication_stall: float = 0.0
    bulk_seconds: float = 0.0
    bulk_header_every_page: bool = True
    upsert_race_seconds: float = 0.0
    bin_days: float = 15.0


def topic_fields(options: Options) -> dict[str, dict[str, TopicField]]:
    """topic -> object -> how it is held there. A plain field name is a checkbox with the usual companions."""
    out: dict[str, dict[str, TopicField]] = {}
    for topic, objects in options.topics.items():
        out[topic] = {}
        for object, given in objects.items():
            out[topic][object] = (TopicField(given, method="Opt_In_Source__c", said_at="Opt_In_Date__c")
                                  if isinstance(given, str) else TopicField(**given))
    return out


def all_custom_fields(options: Options) -> dict[str, dict[str, Any]]:
    """The custom fields asked for, and those that ``topics`` names without defining them."""
    out = {object: dict(fields) for object, fields in options.custom_fields.items()}
    for objects in topic_fields(options).values():
        for object, topic in objects.items():
            fields = out.setdefault(object, {})
            own: Any = "boolean" if topic.true is True else {
                "type": "picklist", "values": [topic.true, topic.false], "restricted": True}
            for name, spec in ((topic.field, own), (topic.method, {"type": "string", "length": 80}),
                               (topic.said_at, "datetime")):
                if name is not None and name.endswith("__c"):
                    fields.setdefault(name, spec)
    return out


def check_fields(options: Options, topics: Mapping[str, Mapping[str, TopicField]],
                 schema: Mapping[str, ObjectDef]) -> None:
    """Refuse options that name fields nobody has.

    :raises ValueError:
    """
    named = [(o, n) for o, names in (*options.tracked.items(), *options.hidden_fields.items(),
                                     *options.read_only_fields.items())
             for n in names]
    named += [(o, n) for objects in topics.values() for o, t in objects.items()
              for n in (t.field, t.method, t.said_at) if n]
    missing = [f"{o}.{n}" for o, n in named if o not in schema or n not in schema[o].fields]
    if missing:
        raise ValueError(f"options name fields that do not exist: {', '.join(missing)}")
