"""``syncd.yaml``: connections, schedule, policy and guards, read and checked at once.

Secrets are never in the file, only where they are: ``${NAME}`` (environment), ``${file:path}``, ``${cred:name}``
(systemd's $CREDENTIALS_DIRECTORY). They are held in ``Secret``, which shows itself to nobody. Knows no connector: a
connection's ``settings()`` are the keyword arguments of its connector's settings.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from mappings.document import Doc, Name, Share
from mappings.problems import ConfigProblems, Problem
from mappings.validation import validate
from mappings.yamlfile import Source, Unreadable, read
from syncd.references import Reference, Secret, resolve

__all__ = ["Config", "ConfigProblems", "Connection", "Secret", "config_schema", "load_config"]

_UNITS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


def _secret(value: Any) -> Any:
    if isinstance(value, Reference):
        return Secret(str(value))
    if isinstance(value, Secret):
        return value
    raise PydanticCustomError("secret", "a secret is never written into the file. Write ${NAME}, ${file:path} or "
                                        "${cred:name} instead.")


def _duration(value: Any) -> Any:
    match = re.fullmatch(r"(\d{1,9})(ms|s|m|h|d)", value.strip()) if isinstance(value, str) else None
    if match is None or not int(match[1]):
        raise PydanticCustomError("duration", "a duration is a number with a unit: 90s, 15m, 1h, 1d.")
    return int(match[1]) * _UNITS[match[2]]


def _number(value: Any) -> Any:
    """Numbers that come from the environment are text."""
    return int(value) if isinstance(value, Reference) and value.isascii() and value.isdecimal() else value


def _decimal(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _path(value: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str) or not value:
        raise PydanticCustomError("path", "this must be the path of a file.")
    return (Path((info.context or {}).get("base", ".")) / Path(value).expanduser()).absolute()


def is_loopback(host: str) -> bool:
    """True for this machine itself: the only place that is spoken to without TLS."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url(value: str) -> str:
    try:
        url = urlsplit(value)
        host, _ = url.hostname or "", url.port
    except ValueError:
        raise PydanticCustomError("url", "this is not a URL.") from None
    if url.scheme not in ("https", "http") or not host:
        raise PydanticCustomError("url", "a URL begins with https:// and names a host.")
    if url.username or url.password or url.query or url.fragment:
        raise PydanticCustomError("url", "a URL here holds no user, password, query or fragment.")
    if url.scheme == "http" and not is_loopback(host):
        raise PydanticCustomError("url", "http:// is allowed on this machine's loopback address only. Use https://.")
    return value.rstrip("/")


Duration = Annotated[int, BeforeValidator(_duration),
                     WithJsonSchema({"type": "string", "pattern": r"^\d{1,9}(ms|s|m|h|d)$"})]
"""Microseconds."""
Number = Annotated[int, BeforeValidator(_number), WithJsonSchema({"type": ["integer", "string"]})]
Decimal = Annotated[float, BeforeValidator(_decimal)]
SecretText = Annotated[Secret, BeforeValidator(_secret),
                       WithJsonSchema({"type": "string", "pattern": r"^\$\{((file|cred):)?[^}]+\}$"})]
FilePath = Annotated[Path, BeforeValidator(_path), WithJsonSchema({"type": "string", "minLength": 1})]
Url = Annotated[str, AfterValidator(_url)]
Text = Annotated[str, Field(min_length=1)]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$")]


class _Doc(Doc):
    model_config = ConfigDict(arbitrary_types_allowed=True)


# --------------------------------------------------------------------------- connections

class Connection(_Doc):
    """What every connection has. ``roles`` are what its type can be."""

    roles: ClassVar[frozenset[str]] = frozenset()

    ca_file: Annotated[FilePath | None, Field(description="A certificate authority of your own, PEM.")] = None

    def settings(self) -> dict[str, Any]:
        """Keyword arguments for the connector's settings, secrets in the clear: only what the file says, so that
        defaults are the connector's."""
        return {name: str(value) if isinstance(value, Path) else _plain(value)
                for name in self.model_fields_set if name != "type" and (value := getattr(self, name)) is not None}

    @property
    def callbacks(self) -> Mapping[str, tuple[Secret, ...]]:
        """Webhooks of this connection: name -> signature keys, none before the vendor has told one."""
        return {}

    @property
    def loopback(self) -> bool:
        """It speaks to this machine only (a sandbox)."""
        urls = [url for name in ("endpoint", "url", "rest_url") if isinstance(url := getattr(self, name, None), str)]
        return bool(urls) and all(is_loopback(urlsplit(url).hostname or "") for url in urls)


def _plain(value: Any) -> Any:
    return value.reveal() if isinstance(value, Secret) else value


def _seconds(arguments: dict[str, Any], **names: str) -> dict[str, Any]:
    """Durations as the connectors take them: whole seconds under another name."""
    for name, theirs in names.items():
        if name in arguments:
            arguments[theirs] = arguments.pop(name) // 1_000_000
    return arguments


def _one_of(connection: Connection, *names: str) -> None:
    if sum(getattr(connection, name) is not None for name in names) != 1:
        raise PydanticCustomError("one_of", "this needs exactly one of {names}.", {"names": " and ".join(names)})


class ClientCredentials(_Doc):
    flow: Literal["client_credentials"]
    client_id: Text
    client_secret: SecretText


class JwtBearer(_Doc):
    flow: Literal["jwt_bearer"]
    client_id: Text
    username: Text
    private_key: Annotated[SecretText, Field(description="PEM text, best as ${file:...} or ${cred:...}.")]


class Salesforce(Connection):
    roles: ClassVar[frozenset[str]] = frozenset(("crm",))

    type: Literal["salesforce"]
    domain: Annotated[Host | None, Field(description='The host before ".salesforce.com", such as "acme.my".')] = None
    endpoint: Annotated[Url | None, Field(description="A base URL instead of the domain (a sandbox).")] = None
    auth: Annotated[ClientCredentials | JwtBearer, Field(discriminator="flow")]
    api_version: Annotated[str | None, Field(pattern=r"^\d{2}\.0$", description="Such as 66.0.")] = None
    page_size: Annotated[int | None, Field(ge=200, le=2000, description="Records of one call.")] = None
    bulk_threshold: Annotated[int | None, Field(ge=0, description="Rows from which a first reading uses Bulk API.")] = None
    lag: Annotated[Duration | None, Field(description="How old a change must be to be read: others commit late.")] = None
    overlap: Annotated[Duration | None, Field(description="How far each reading reaches back into the one before.")] = None
    api_share: Annotated[Share | None, Field(
        description="Part of the daily quota (all programs count) at which ordinary calls stop.")] = None
    opt_out_reserve: Annotated[Share | None, Field(description="The further part that opt-outs may use.")] = None
    connect_user: Annotated[Text | None, Field(description="User id of Marketing Cloud Connect.")] = None
    create_individuals: Annotated[bool | None, Field(description="Make an Individual where a refusal needs one.")] = None

    @model_validator(mode="after")
    def _where(self) -> Salesforce:
        _one_of(self, "domain", "endpoint")
        return self

    def settings(self) -> dict[str, Any]:
        arguments = _seconds(super().settings(), lag="lag_seconds", overlap="overlap_seconds")
        auth = arguments.pop("auth")
        return arguments | {name: _plain(getattr(auth, name)) for name in type(auth).model_fields}


class Odoo(Connection):
    roles: ClassVar[frozenset[str]] = frozenset(("crm", "esp"))

    type: Literal["odoo"]
    url: Annotated[Url, Field(description="Its address: https://odoo.acme.example.")]
    database: Annotated[Text, Field(description="The name of the database.")]
    user: Annotated[Text, Field(description="The login of the integration user.")]
    api_key: Annotated[SecretText, Field(description="That user's key.")]
    api: Annotated[Literal["auto", "jsonrpc", "json2"] | None, Field(description="auto: whichever there is.")] = None
    lang: Annotated[Text | None, Field(description="In which language texts are read, such as en_US.")] = None
    overlap: Annotated[Duration | None, Field(description="How far each reading reaches back into the one before.")] = None
    page_size: Annotated[int | None, Field(ge=1, description="Records of one call.")] = None
    opt_out_reason: Annotated[int | None, Field(ge=1, description="Id of the reason noted with our opt-outs.")] = None

    def settings(self) -> dict[str, Any]:
        return _seconds(super().settings(), overlap="overlap_seconds")


def _keys(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class Callback(_Doc):
    """One callback of the Event Notification Service; its address is ``/hooks/CONNECTION/NAME``."""

    key: Annotated[list[SecretText], BeforeValidator(_keys), WithJsonSchema({
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}), Field(
        description="Its signature key, or several while they are exchanged; left out until the vendor has told it.",
    )] = []  # noqa: RUF012 - pydantic copies defaults


class MarketingCloud(Connection):
    """One business unit."""

    roles: ClassVar[frozenset[str]] = frozenset(("esp",))

    type: Literal["marketing_cloud"]
    subdomain: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9-]+$", description="The tenant's, from the package.")] = None
    endpoint: Annotated[Url | None, Field(description="One base URL for everything (a sandbox).")] = None
    auth_url: Annotated[Url | None, Field(description="One of the three addresses, where it is another.")] = None
    rest_url: Annotated[Url | None, Field(description="The same.")] = None
    soap_url: Annotated[Url | None, Field(description="The same.")] = None
    mid: Annotated[Number | None, Field(description="The business unit; the package's own when left out.")] = None
    client_id: Annotated[Text, Field(description="Of the installed package: server-to-server.")]
    client_secret: Annotated[SecretText, Field(description="Of the installed package.")]
    server_utc_offset: Annotated[Decimal | None, Field(ge=-12, le=14, description="Hours of the stack's clock: -6.")] = None
    yearly_calls: Annotated[int | None, Field(gt=0, description="Calls that the edition allows.")] = None
    max_async_rows: Annotated[int | None, Field(gt=0, description="Rows of one request to the queue.")] = None
    overlap: Annotated[Duration | None, Field(description="How far each reading reaches back into the one before.")] = None
    event_days: Annotated[int | None, Field(gt=0, le=730, description="How far back the first reading goes.")] = None
    webhooks: Annotated[dict[Name, Callback] | None, Field(description="Callbacks by name; set `web`, too.")] = None

    @model_validator(mode="after")
    def _where(self) -> MarketingCloud:
        _one_of(self, "subdomain", "endpoint")
        return self

    def settings(self) -> dict[str, Any]:
        arguments = _seconds(super().settings(), overlap="overlap_seconds")
        arguments.pop("webhooks", None)
        return arguments

    @property
    def callbacks(self) -> Mapping[str, tuple[Secret, ...]]:
        return {name: tuple(callback.key) for name, callback in (self.webhooks or {}).items()}


class Memory(Connection):
    """A connection of a world in memory, for tests and demonstrations."""

    roles: ClassVar[frozenset[str]] = frozenset(("crm", "esp"))

    type: Literal["memory"]
    socket: FilePath
    name: Text

    @property
    def loopback(self) -> bool:
        return True


AnyConnection = Annotated[Salesforce | Odoo | MarketingCloud | Memory, Field(discriminator="type")]


# --------------------------------------------------------------------------- the rest

def _listen(value: Any) -> Any:
    host, _, port = str(value).rpartition(":")
    if not isinstance(value, str) or not port.isdecimal() or not 0 < int(port) < 65536:
        raise PydanticCustomError("listen", "this must be an address and a port: 127.0.0.1:8080.")
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        raise PydanticCustomError("listen", "the address before the port must be a number: 127.0.0.1:8080, [::1]:8080.",
                                  ) from None
    return value


class Web(_Doc):
    """The listener for webhooks, health and metrics. It speaks plain HTTP: TLS is the reverse proxy's."""

    listen: Annotated[str, BeforeValidator(_listen), Field(description="Address and port, such as 127.0.0.1:8080.")]
    max_body: Annotated[int, Field(ge=10_000, le=100_000_000, description="Bytes of the largest delivery.")] = 2_000_000
    slow: Annotated[Duration, Field(description="How long a request may take to arrive.")] = 10_000_000

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to bind to."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)


class Schedule(_Doc):
    poll: Annotated[Duration, Field(description="Time between two cycles.")] = 60_000_000
    full_compare: Annotated[Duration, Field(description="Time between two full listings of what has no feed.")] = \
        86_400_000_000
    audit: Annotated[Duration, Field(
        description="Time between two audits of a part of the people; everyone is audited once in 168 of them.")] = \
        3_600_000_000


class Policy(_Doc):
    max_consent_age: Annotated[Duration, Field(
        description="How long a consent feed may be down before nobody new is made mailable.")] = 3_600_000_000
    clock_tolerance: Annotated[Duration, Field(
        description="How much two systems' clocks may differ before an order in time means anything.")] = 600_000_000
    max_erasure_age: Annotated[Duration, Field(description="How long a side may take to erase somebody.")] = 604_800_000_000


class Guards(_Doc):
    """When changes wait for a person. Only the numbers can be changed."""

    removals_share: Share = 0.02
    removals_count: Annotated[int, Field(ge=0)] = 20
    removals_most: Annotated[int, Field(ge=0)] = 500
    creations_share: Share = 0.20
    creations_count: Annotated[int, Field(ge=0)] = 20
    blanking_share: Share = 0.05
    blanking_count: Annotated[int, Field(ge=0)] = 20
    burst_share: Share = 0.02
    burst_count: Annotated[int, Field(ge=0)] = 20
    burst_most: Annotated[int, Field(ge=0)] = 500


class Config(_Doc):
    """The whole of ``syncd.yaml``. Paths are absolute, relative ones counted from the file; durations are µs."""

    state: Annotated[FilePath, Field(description="The SQLite file that remembers everything.")]
    journal: Annotated[FilePath, Field(description="The consent journal; best on another disk than the state.")]
    hash_key: Annotated[SecretText, Field(description="At least 16 characters that addresses are hashed with.")]
    mappings: Annotated[list[FilePath], Field(min_length=1, description="Mapping files; together they are one mapping.")]
    connections: Annotated[dict[Name, AnyConnection], Field(min_length=1, description="Accounts, by names of your choice.")]
    schedule: Annotated[Schedule, Field(description="What happens how often.")] = Schedule()
    policy: Annotated[Policy, Field(description="How long is too long.")] = Policy()
    guards: Annotated[Guards, Field(description="When changes wait for a person (docs/operating.md).")] = Guards()
    web: Annotated[Web | None, Field(description="Off unless given.")] = None

    @property
    def types(self) -> Mapping[str, str]:
        """Connection name -> type, as the checks of a mapping want it."""
        return MappingProxyType({name: connection.type for name, connection in self.connections.items()})


def load_config(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read and check ``syncd.yaml``; ``environment`` stands in for ``os.environ``.

    :raises ConfigProblems: everything that is wrong with it; no value of a secret is ever in the text
    """
    try:
        source = read(path)
    except Unreadable as error:
        raise ConfigProblems([error.problem]) from None
    if isinstance(source.data, dict) and "people" in source.data and "connections" not in source.data:
        remedy = 'Name the syncd.yaml that lists it under "mappings".'
        raise ConfigProblems([Problem.at(source.key(("people",)), "This is a mapping, not a configuration.", remedy)])
    problems = resolve(source, path.absolute().parent, environment)
    config, found = validate(Config, source, {"base": path.absolute().parent})
    problems += [problem for problem in found if problem.place not in {p.place for p in problems}]
    if config is None or problems or (problems := _sense(config, source)):
        raise ConfigProblems(problems)
    return config


def _sense(config: Config, source: Source) -> list[Problem]:
    found = []
    if len(config.hash_key.reveal()) < 16:
        found.append(Problem.at(source.place(("hash_key",)), "The hash key is shorter than 16 characters.",
                                "Make one with: openssl rand -hex 32"))
    if config.journal == config.state:
        found.append(Problem.at(source.place(("journal",)), "The journal and the state are one file.",
                                "Keep the journal elsewhere, best on another disk."))
    for name, connection in config.connections.items():
        if connection.callbacks and config.web is None:
            found.append(Problem.at(source.place(("connections", name, "webhooks")),
                                    "Webhooks are configured, and nothing listens for them.",
                                    "Add: web: {listen: 127.0.0.1:8080}"))
    return found


def config_schema() -> dict[str, Any]:
    """The JSON Schema (draft 7) of ``syncd.yaml``."""
    from mappings.schema import draft7

    return draft7(Config, "syncd.yaml")
