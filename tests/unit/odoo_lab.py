"""A connector beside hands at a simulated Odoo."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from connectors.odoo import OdooConnector, OdooSettings
from connectors.sim.kernel import Fault, Kernel, serve
from connectors.sim.odoo import OdooSim
from syncd.model import Batch, Op, Outcome, Page, StreamSpec, Value


class Lab:
    """``sim`` is the server, ``connector`` reads it with small pages."""

    def __init__(self, url: str, sim: OdooSim, **settings: Any) -> None:
        self.sim = sim
        self.settings = {"database": "odoo", "user": "sync@example.test", "api_key": "key-sync", "page_size": 4,
                         **settings}
        self.connector = OdooConnector(OdooSettings(url, **self.settings), clock=sim.clock.now)

    def rows(self, spec: StreamSpec, pages: list[Page]) -> list[dict[str, Value]]:
        return [dict(zip(spec.columns, row, strict=True)) for page in pages for row in page.rows]

    def read(self, spec: StreamSpec, cursor: str | None = None) -> tuple[list[dict[str, Value]], str, bool]:
        """(rows, cursor, complete) of one call."""
        pages = list(self.connector.changes(spec, cursor))
        return self.rows(spec, pages), pages[-1].cursor, pages[-1].complete

    def status(self, container: str, status: str, *addresses: str) -> list[Outcome]:
        ops = [Op(n, address, address, (status, None)) for n, address in enumerate(addresses)]
        return list(self.connector.apply(Batch("status", container, ("status", "reason"), ops)))

    def statuses(self, container: str) -> dict[Value, tuple[Value, Value]]:
        """address -> (status, origin)."""
        [spec] = [f for f in self.connector.feeds([container]) if f.container == container]
        return {r["key"]: (r["status"], r["origin"]) for r in self.read(spec)[0]}

    def act(self, actor: str, do: str, **rest: Any) -> dict[str, Any]:
        return self.sim.act({"actor": actor, "do": do, **rest})

    def fault(self, name: str, **rest: Any) -> None:
        self.sim.kernel.faults.add(Fault("odoo", name, **rest))

    def calls(self) -> dict[str, int]:
        """Calls by route since the last time this was asked."""
        counter = self.connector.counter
        made = dict(counter.by_route)
        counter.by_route.clear()
        return made

    def load(self, **tables: list[dict[str, Any]]) -> None:
        """Rows by model (res_partner=[…]) that were written long ago."""
        self.sim.load({name.replace("_", "."): rows for name, rows in tables.items()})
        self.quiet()

    def quiet(self, seconds: float = 3600) -> None:
        """Let everything that was done become old."""
        self.sim.clock.advance(seconds)


@contextlib.contextmanager
def odoo(version: str = "18.0", settings: dict[str, Any] | None = None, **options: Any) -> Iterator[Lab]:
    sim = OdooSim(Kernel(), version=version, topics={"offers": 7, "news": 8}, **options)
    server = serve(sim.kernel, sim.side, sim.handle)
    lab = Lab(f"http://127.0.0.1:{server.server_address[1]}", sim, **(settings or {}))
    try:
        yield lab
    finally:
        lab.connector.close()
        server.shutdown()
        server.server_close()
