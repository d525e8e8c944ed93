"""``syncd sandbox``: every simulator in one process on 127.0.0.1, over one seeded, messy world, with a control API.

Profiles: ``full`` is the messy world of three vendors; ``bench`` only Salesforce contacts and one business unit, plain
and lean, for a million people.
"""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

import orjson

from connectors.sim import files
from connectors.sim.control import Control
from connectors.sim.kernel import Kernel, Simulator, serve
from connectors.sim.marketing_cloud import MarketingCloudSim
from connectors.sim.odoo import ApiKey, OdooSim
from connectors.sim.odoo.access import default_users
from connectors.sim.salesforce import SalesforceSim
from connectors.sim.world import Human, Population, layout
from connectors.sim.world.marketing_cloud import MarketingCloudRows
from connectors.sim.world.odoo import OdooRows
from connectors.sim.world.people import DAY
from connectors.sim.world.salesforce import SalesforceRows, bench_contacts

Profile = Literal["full", "bench"]

CHUNK = 5_000
"""People whose rows are made at a time."""
PORTS = range(20_000, 30_000)
FILLED, TIDIED = 30, 2
"""Days ago on which the world was made, and on which employees deleted and merged records. Rows without a date of their
own would else be news to every reader that looks back some hours."""


class Sandbox:
    """A running sandbox; close it, or use it as a context manager.

    ``salesforce``, ``odoo`` (None in the bench profile) and ``marketing_cloud`` are the simulators, ``kernel`` is what
    they share, ``urls`` where each answers, ``hooks`` where Marketing Cloud posts its notifications, by connection.
    """

    def __init__(self, population: Population, profile: Profile, queue_seconds: float) -> None:
        secret = files.secrets(population.seed)
        self.kernel = Kernel(seed=population.seed)
        self.kernel.clock.advance(-FILLED * DAY)
        self.population = population
        self.profile = profile
        self.control_url = ""
        self.config_path = Path()
        self.urls: dict[str, str] = {}
        self.hooks: dict[str, str] = {}
        self._closing = ExitStack()
        self._secrets = secret
        self.salesforce = SalesforceSim(self.kernel, client_secret=secret[files.SALESFORCE_SECRET],
                                        **layout.salesforce_options())
        self.odoo = _odoo(self.kernel, secret[files.ODOO_KEY]) if profile == "full" else None
        self.marketing_cloud = MarketingCloudSim(
            self.kernel, queue_seconds=queue_seconds, echo_sink=self._echo,
            clients={layout.MC_CLIENT: {"secret": secret[files.MC_SECRET]}}, **layout.marketing_cloud_options())
        self._closing.callback(self.marketing_cloud.close)

    @property
    def simulators(self) -> dict[str, Simulator]:
        """The simulators by side."""
        found: list[Simulator] = [self.salesforce, self.marketing_cloud]
        if self.odoo is not None:
            found.insert(1, self.odoo)
        return {simulator.side: simulator for simulator in found}

    # ------------------------------------------------------------------ filling

    def fill(self) -> None:
        """Load the world, let employees tidy it, and let the time since go by."""
        clock, rows = self.kernel.clock, MarketingCloudRows(self.population)
        self.marketing_cloud.load(rows.furniture())
        if self.odoo is None:
            self.salesforce.load({"Contact": bench_contacts(self.population)})
            clock.advance(FILLED * DAY)
            return
        salesforce, odoo = SalesforceRows(self.population), OdooRows(self.population)
        self.salesforce.load(salesforce.furniture())
        self.odoo.load(odoo.furniture())
        for people in _chunks(self.population):
            self.salesforce.load(salesforce.tables(people))
            self.odoo.load(odoo.tables(people))
            self.marketing_cloud.load(rows.tables(people))
        clock.advance((FILLED - TIDIED) * DAY)
        self._tidy(salesforce, odoo, self.odoo)
        clock.advance(TIDIED * DAY)

    def _tidy(self, salesforce: SalesforceRows, odoo: OdooRows, server: OdooSim) -> None:
        employee = {"actor": "crm_user", "crm": "salesforce"}
        for loser, winner in salesforce.merged:
            self.salesforce.act({**employee, "do": "merge", "object": "Contact", "id": loser, "into": winner})
        for record in salesforce.deleted:
            self.salesforce.act({**employee, "do": "delete", "id": record})
        for partner in odoo.deleted:
            server.act({"actor": "crm_user", "crm": "odoo", "do": "delete", "object": "res.partner", "id": partner})

    def _echo(self, key: str, email: str) -> bool:
        """What Marketing Cloud Connect does with an unsubscribe: it knows CRM records by the subscriber key only."""
        return bool(self.salesforce.act({"actor": "connect", "do": "echo", "keys": [key]})["changed"])

    # ------------------------------------------------------------------ serving

    def serve(self, port: int, directory: Path | None) -> None:
        """Open the ports and write the files."""
        if directory is None:
            directory = Path(self._closing.enter_context(tempfile.TemporaryDirectory(prefix="syncd-sandbox-")))
        for side, simulator in self.simulators.items():
            self.urls[side] = self._open(serve(self.kernel, side, simulator.handle))
        web = self._reserve()
        self.config_path = files.write(directory, self.profile, self._secrets, self.urls, web)
        self.hooks = {name: f"http://127.0.0.1:{web}/hooks/{name}/{files.CALLBACK}" for name in files.units(self.urls)}
        for name, mid in files.units(self.urls).items():
            self.marketing_cloud.ens.adopt(mid, files.CALLBACK, self.hooks[name], self._secrets[files.ENS])
        self.control_url = self._open(Control(self.kernel, self.simulators).serve(port))
        self.kernel.journal.reset()

    def _reserve(self) -> int:
        """A port that syncd can listen on and nobody else is given: bound here, but never listened on. Not one of those
        that the system gives to whoever asks for any."""
        for port in random.sample(PORTS, 100):
            held = self._closing.enter_context(socket.socket())
            with suppress(OSError), socket.socket() as probe:
                probe.bind(("127.0.0.1", port))  # fails also where only another sandbox holds it
                probe.close()
                held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                held.bind(("127.0.0.1", port))
                return port
        raise OSError("No free port was found on 127.0.0.1.")

    def _open(self, server: ThreadingHTTPServer) -> str:
        self._closing.callback(server.server_close)
        self._closing.callback(server.shutdown)
        return f"http://127.0.0.1:{server.server_address[1]}"

    def close(self) -> None:
        """Close all ports, end all threads, remove a directory that was made here. May be called twice."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def start(people: int, seed: int, port: int = 0, directory: Path | None = None, queue_seconds: float = 0.2, *,
          profile: Profile = "full") -> Sandbox:
    """Make the world and serve it; when this returns, everything answers.

    The world depends on ``people``, ``seed``, ``profile`` and the day (UTC). ``port`` is the control API's, 0 = any
    free one; ``queue_seconds`` how long Marketing Cloud's asynchronous requests take; the files go to ``directory``,
    None = a temporary one that ``close`` removes.

    :raises ValueError: nobody is to live there
    :raises OSError: the port is taken, the directory cannot be written
    """
    if people < 1:
        raise ValueError("A world needs people.")
    sandbox = Sandbox(Population(seed, people, int(time.time()) // DAY * DAY), profile, queue_seconds)
    try:
        sandbox.fill()
        sandbox.serve(port, directory)
    except BaseException:
        sandbox.close()
        raise
    return sandbox


def _odoo(kernel: Kernel, key: str) -> OdooSim:
    users = [replace(user, keys=(ApiKey(key),)) if user.login == layout.ODOO_USER else user for user in default_users()]
    return OdooSim(kernel, database=layout.ODOO_DATABASE, users=users, topics=layout.odoo_topics())


def _chunks(people: Iterable[Human]) -> Iterator[list[Human]]:
    rest = iter(people)
    while chunk := list(itertools.islice(rest, CHUNK)):
        yield chunk


# --------------------------------------------------------------------------- command line

def main(argv: Sequence[str] | None = None) -> int:
    """``[serve] --dir DIR --people N --seed S [--port P]``: prints {"ready": true, "control": URL, "config": PATH} as
    one line when everything answers, and serves until SIGTERM or SIGINT; the exit code."""
    options = _parser().parse_args(argv)
    # Both signals interrupt whatever the main thread is doing, filling a big world included.
    before = {s: signal.signal(s, signal.default_int_handler) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        with start(options.people, options.seed, options.port, options.dir.absolute(), options.queue_seconds,
                   profile=options.profile) as sandbox:
            ready = {"ready": True, "control": sandbox.control_url, "config": str(sandbox.config_path)}
            print(orjson.dumps(ready).decode(), flush=True)
            threading.Event().wait()
    except KeyboardInterrupt:
        return 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="syncd sandbox", description="Serve a simulated world on 127.0.0.1.")
    parser.add_argument("command", nargs="?", choices=("serve",), default="serve", help="may be left out")
    parser.add_argument("--dir", type=Path, required=True, help="where syncd.yaml and mapping.yaml are written")
    parser.add_argument("--people", type=_people, default=1_000, help="size of the world (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same world (default 1)")
    parser.add_argument("--port", type=int, default=0, help="port of the control API (default: any free one)")
    parser.add_argument("--profile", choices=get_args(Profile), default="full")
    parser.add_argument("--queue-seconds", type=float, default=0.2,
                        help="how long Marketing Cloud's asynchronous requests take (default 0.2)")
    return parser


def _people(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("a world needs people")
    return number


if __name__ == "__main__":
    raise SystemExit(main())
