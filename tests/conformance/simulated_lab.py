"""Hands at a simulated vendor: its time passes, and it breaks, as its kernel is told."""

from __future__ import annotations

from typing import Any

from connectors.sim.kernel import Fault, Kernel
from tests.conformance.lab import Lab


class SimulatedLab(Lab):
    """``side`` is the simulator's name for faults, ``pages`` the part of a route that pages are read by (None = any),
    ``lag`` the seconds after which what was done is readable."""

    kernel: Kernel
    side: str
    pages: str | None = None
    lag = 1.0

    def fault(self, name: str, **about: Any) -> None:
        """Break the next call, or the next one of a route."""
        self.kernel.faults.add(Fault(self.side, name, count=1, **about))

    def settle(self) -> None:
        self.kernel.clock.advance(self.lag)

    def throttle(self, seconds: int) -> None:
        self.fault("http_429", seconds=seconds)

    def break_read(self) -> None:
        self.fault("http_500", route=self.pages)
