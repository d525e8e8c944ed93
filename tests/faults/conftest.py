"""The company of the whole-cycle tests, for faults of the state below it."""

from __future__ import annotations

from tests.system.conftest import lab

__all__ = ["lab"]
