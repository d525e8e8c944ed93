"""From ``syncd.yaml`` to a running application: the one place that knows which class serves which connection type.

Vendor packages are imported when a connection of their type is made, not before.
"""

from __future__ import annotations

import gc
import hashlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from connectors.base import CallCounter, Connector, Translator
from connectors.errors import Outage
from connectors.wrappers import Wrapper
from mappings.checks import check_offline
from mappings.loader import load_mapping
from mappings.model import Mapping as MappingFile
from mappings.problems import MappingProblems, Problem
from syncd import __version__
from syncd.app import App, Endpoint, Policy, open_store, wall
from syncd.config import Config, Connection, load_config
from syncd.guard import Limits
from syncd.model import Micros, Page, StreamSpec

if TYPE_CHECKING:
    from state.store import Store


def salesforce(connection: Connection) -> Connector:
    from connectors.salesforce import SalesforceConnector
    from connectors.salesforce.settings import SalesforceSettings

    return SalesforceConnector(SalesforceSettings(**connection.settings()))


def odoo(connection: Connection) -> Connector:
    from connectors.odoo import OdooConnector, OdooSettings

    return OdooConnector(OdooSettings(**connection.settings()))


def marketing_cloud(connection: Connection) -> Connector:
    from connectors.marketing_cloud import MarketingCloudConnector
    from connectors.marketing_cloud.settings import MarketingCloudSettings

    return MarketingCloudConnector(MarketingCloudSettings(**connection.settings()))


def memory(connection: Connection) -> Connector:
    from connectors.memory import MemoryConnector

    settings = connection.settings()
    return MemoryConnector(settings["socket"], settings["name"])


TYPES: Mapping[str, Callable[[Connection], Connector]] = {
    "salesforce": salesforce, "odoo": odoo, "marketing_cloud": marketing_cloud, "memory": memory}


def marketing_cloud_translator(keys: Sequence[str]) -> Translator:
    from connectors.marketing_cloud.consent.webhook import MarketingCloudTranslator

    return MarketingCloudTranslator(keys)


TRANSLATORS: Mapping[str, Callable[[Sequence[str]], Translator]] = {"marketing_cloud": marketing_cloud_translator}
"""By connection type: who reads its webhooks, given the callback's signature keys."""


def translators(config: Config) -> dict[tuple[str, str], Translator]:
    """(connection, callback) -> who reads its deliveries."""
    return {(name, callback): TRANSLATORS[connection.type]([key.reveal() for key in keys])
            for name, connection in config.connections.items() for callback, keys in connection.callbacks.items()}


class Stoppable(Wrapper):
    """A connector whose listings end between two pages once ``stop`` is set: what was read is kept, the rest waits."""

    def __init__(self, inner: Connector, stop: threading.Event) -> None:
        super().__init__(inner)
        self._stop = stop

    @property
    def counter(self) -> CallCounter:
        """The connector's own count of calls."""
        counter: CallCounter = getattr(self.inner, "counter")  # noqa: B009 - every connector has one, the contract not
        return counter

    @property
    def server_skew(self) -> float | None:
        """The vendor's clock minus ours in seconds, where it is known."""
        skew: float | None = getattr(self.inner, "server_skew", None)
        return skew

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        for page in self.inner.changes(spec, cursor):
            yield page
            if self._stop.is_set() and not page.last:
                raise Outage("syncd is stopping; the stream is read on after the next start.", code="stopping")


def load(path: Path) -> tuple[Config, MappingFile]:
    """Configuration and mapping, both checked offline.

    :raises mappings.problems.Problems: everything that is wrong with the files
    """
    config = load_config(path)
    return config, mapping_of(config)


def mapping_of(config: Config) -> MappingFile:
    """The configuration's mapping, checked offline.

    :raises mappings.problems.MappingProblems:
    """
    mapping = load_mapping([Path(p) for p in config.mappings])
    errors = [p for p in check_offline(mapping, config.types) if p.level == "error"]
    if errors:
        raise MappingProblems(errors)
    return mapping


def warnings(config: Config, mapping: MappingFile) -> list[Problem]:
    """What is odd about a mapping that can be used."""
    return [p for p in check_offline(mapping, config.types) if p.level == "warning"]


def connectors(config: Config, stop: threading.Event) -> dict[str, Stoppable]:
    """A connector for every connection."""
    return {name: Stoppable(TYPES[c.type](c), stop) for name, c in config.connections.items()}


def endpoints(config: Config, mapping: MappingFile, stop: threading.Event) -> dict[str, Endpoint]:
    """Every connection with its role: one that a destination names is an ESP, as is one whose type can be nothing else."""
    delivered = {d.connection for d in mapping.destinations.values()}
    known = config.connections
    return {name: Endpoint("esp" if name in delivered or "crm" not in known[name].roles else "crm", connector,
                           known[name].loopback, account(config, name))
            for name, connector in connectors(config, stop).items()}


def account(config: Config, connection: str) -> str:
    """Digest of a connection's settings and credentials, and of this release: keyed, so that it tells nothing of them."""
    known = [__version__, config.connections[connection].type, config.connections[connection].settings()]
    return hashlib.blake2b(orjson.dumps(known, option=orjson.OPT_SORT_KEYS, default=str), digest_size=16,
                           key=config.hash_key.reveal().encode()[:64]).hexdigest()


def policy(config: Config) -> Policy:
    """The configuration's numbers, as the application takes them."""
    limits = Limits(**config.guards.model_dump())
    return Policy(config.schedule.full_compare, config.policy.max_consent_age, limits,
                  config.hash_key.reveal().encode(), config.policy.clock_tolerance)


def store(config: Config, *, check: bool = True) -> Store:
    """The state, locked. ``check`` looks for damage first.

    :raises state.db.StateLocked, state.db.StateDamaged:
    """
    return open_store(config.state, config.journal, config.hash_key.reveal().encode(), check=check)


def app(config: Config, mapping: MappingFile, opened: Store, stop: threading.Event, *,
        clock: Callable[[], Micros] = wall) -> App:
    """The application over an opened store; it makes no call before it is asked to."""
    # Pages of rows are many short-lived tuples and no cycles: looking for cycles among them every 700 tuples would take a
    # tenth of the time of a first link.
    gc.set_threshold(100_000, 20, 20)
    # Threads that turn pages into rows take turns with the one that writes: it gives way at every statement, and would wait
    # 5 ms each time, a transaction under way.
    sys.setswitchinterval(0.001)
    return App(opened, mapping, endpoints(config, mapping, stop), policy(config), clock=clock, stop=stop)
