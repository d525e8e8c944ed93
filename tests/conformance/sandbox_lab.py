"""What the tests of the sandbox share: a client of its control API, and real connectors for its configuration."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from connectors.base import Connector
from connectors.marketing_cloud import MarketingCloudConnector, MarketingCloudSettings
from connectors.odoo import OdooConnector, OdooSettings
from connectors.salesforce import SalesforceConnector, SalesforceSettings
from mappings.fields import record_fields
from mappings.loader import load_mapping
from mappings.model import Mapping, StreamName
from syncd.config import Config
from syncd.model import Catalogue

PATIENCE = 300.0
"""Seconds an answer may take: one about everybody takes its time on a busy machine."""


class Client:
    """Speaks to a control API."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def call(self, method: str, path: str, body: Any = None, raw: bytes | None = None, **query: Any) -> tuple[int, Any]:
        """(status, answer)."""
        data = raw if body is None else json.dumps(body).encode()
        url = f"{self._url}/sandbox/{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            with self._open(urllib.request.Request(url, data, method=method), timeout=PATIENCE) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def good(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        status, answer = self.call(method, path, body, **query)
        assert status == 200, answer
        return answer

    def world(self, side: str, **query: Any) -> Any:
        return self.good("GET", "world", side=side, **query)

    def act(self, **body: Any) -> Any:
        return self.good("POST", "act", {k.rstrip("_"): v for k, v in body.items()})


def mapping_of(config: Config) -> Mapping:
    """The mapping the configuration names."""
    return load_mapping([Path(path) for path in config.mappings])


def connect(config: Config, name: str) -> Connector:
    """A real connector for one connection of the written configuration."""
    settings = config.connections[name].settings()
    kind = config.types[name]
    if kind == "salesforce":
        return SalesforceConnector(SalesforceSettings(**settings))
    if kind == "odoo":
        return OdooConnector(OdooSettings(**settings))
    return MarketingCloudConnector(MarketingCloudSettings(**settings))


def described(config: Config, mapping: Mapping) -> dict[str, Catalogue]:
    """What the connectors say about everything the mapping names."""
    wanted: dict[str, set[str]] = {name: set() for name in config.connections}
    for stream in map(StreamName.parse, record_fields(mapping)):
        wanted[stream.connection].add(stream.object)
    for topic in mapping.topics.values():
        for held in topic.lists.values():
            wanted[held.connection].add(f"list:{held.container}")
    for destination in mapping.destinations.values():
        wanted[destination.connection] |= {audience.object for _, audience in destination.audiences}
        wanted[destination.connection] |= {f"list:{t.publication_list}" for t in destination.topics.values()}
    found = {}
    for name, objects in wanted.items():
        connector = connect(config, name)
        found[name] = connector.describe(sorted(objects))
        assert connector.check().ok
        connector.close()
    return found
