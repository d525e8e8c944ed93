"""Fixtures of the whole-cycle tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """The default company, empty and not yet linked."""
    with Lab(tmp_path) as found:
        yield found
