"""The sandbox's directory: ``syncd.yaml``, ``mapping.yaml``, and the files its secrets are in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from connectors.sim.salesforce import CONNECT_USER
from connectors.sim.world import layout

HASH_KEY, SALESFORCE_SECRET, ODOO_KEY, MC_SECRET = "hash_key", "salesforce", "odoo", "marketing_cloud"
ENS = "ens"
"""The signature key of every callback."""
CALLBACK = "unsubs"

_CONFIG = """\
# Written by the sandbox, anew each time it starts: the ports differ.
state: state/syncd.db
journal: journal/consent.log
hash_key: ${{file:secrets/{hash_key}}}
mappings: [mapping.yaml]
connections:
  sf:
    type: salesforce
    endpoint: {salesforce}
    auth: {{flow: client_credentials, client_id: {sf_client}, client_secret: "${{file:secrets/{sf_secret}}}"}}
    connect_user: {connect_user}
    lag: 1s                         # nothing commits late here unless it is told to
"""
_ODOO = """\
  odoo: {{type: odoo, url: {odoo}, database: {database}, user: {user}, api_key: "${{file:secrets/{odoo_key}}}"}}
"""
_UNIT = """\
  {name}:
    type: marketing_cloud
    endpoint: {marketing_cloud}
    mid: {mid}
    client_id: {mc_client}
    client_secret: "${{file:secrets/{mc_secret}}}"
    webhooks: {{{callback}: {{key: "${{file:secrets/{ens}}}"}}}}
"""
_REST = """\
web: {{listen: "127.0.0.1:{port}"}}     # /hooks/CONNECTION/{callback}, /livez, /readyz, /metrics
schedule: {{poll: 5s, full_compare: 1d}}
"""


def secrets(seed: int) -> dict[str, str]:
    """The sandbox's secrets by file name. They follow from the seed, so that a state made with one sandbox can be
    opened beside the next: they protect nothing."""
    return {name: hashlib.sha256(f"sandbox/{seed}/{name}".encode()).hexdigest()
            for name in (HASH_KEY, SALESFORCE_SECRET, ODOO_KEY, MC_SECRET, ENS)}


def units(urls: Mapping[str, str]) -> dict[str, int]:
    """Marketing Cloud's connections: name -> business unit."""
    return {"mc_main": layout.MAIN, "mc_second": layout.SECOND} if "odoo" in urls else {"mc_main": layout.MAIN}


def write(directory: Path, profile: str, secret: Mapping[str, str], urls: Mapping[str, str], port: int) -> Path:
    """Write (or rewrite) all files; the path of ``syncd.yaml``. ``urls``: side -> base URL of its simulator; ``port``:
    where syncd is to listen."""
    for name in ("state", "journal", "secrets"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    for name, text in secret.items():
        path = directory / "secrets" / name
        path.touch(0o600)
        path.write_text(text + "\n")
    mapping = resources.files("connectors.sim.samples").joinpath(f"{profile}.yaml").read_text()
    (directory / "mapping.yaml").write_text(mapping)
    config = directory / "syncd.yaml"
    config.write_text(_config(urls, port))
    return config


def _config(urls: Mapping[str, str], port: int) -> str:
    names = {"hash_key": HASH_KEY, "sf_client": layout.SALESFORCE_CLIENT, "sf_secret": SALESFORCE_SECRET,
             "connect_user": CONNECT_USER, "database": layout.ODOO_DATABASE, "user": layout.ODOO_USER,
             "odoo_key": ODOO_KEY, "mc_client": layout.MC_CLIENT, "mc_secret": MC_SECRET, "ens": ENS, "callback": CALLBACK,
             **urls}
    parts = [_CONFIG.format(**names)]
    if "odoo" in urls:
        parts.append(_ODOO.format(**names))
    parts += [_UNIT.format(name=name, mid=mid, **names) for name, mid in units(urls).items()]
    return "".join([*parts, _REST.format(port=port, callback=CALLBACK)])
