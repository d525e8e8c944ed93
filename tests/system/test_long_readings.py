"""A reading may take an hour: what somebody says meanwhile is no older than it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from syncd.desk import grants
from tests.system.lab import HOUR, NEWS, Lab

MINUTE = 60.0


def meanwhile(lab: Lab, *acts: tuple[float, Callable[[], Any]]) -> None:
    """Salesforce asks for pauses of 25 minutes together, before it tells what is new; so many minutes after the cycle began
    these things happen."""
    began, todo, advance = lab.now(), list(acts), lab.advance

    def on(seconds: float) -> None:
        advance(seconds)
        while todo and lab.now() >= began + int(todo[0][0] * MINUTE * 1e6):
            todo.pop(0)[1]()
    lab.advance = on  # type: ignore[method-assign]
    lab.reopen()
    lab.world.fault("throttle", connection="sf", verb="changes", seconds=5 * MINUTE, count=5)


def grant(lab: Lab, name: str) -> None:
    """An admin records that somebody wants news."""
    config: Any = SimpleNamespace(policy=lab.policy, hash_key=SimpleNamespace(reveal=lab.policy.hash_key.decode))
    grants.grant(lab.app.store, lab.app.mapping, config, f"{name}@mail.example", topic="news", evidence="call", by="Kim",
                 crm_id=lab.ids[name], now=lab.now())


@pytest.mark.parametrize("tracked", [(), ("no_news",)])
def test_a_refusal_made_meanwhile_is_later_than_a_word_before_it(tmp_path: Path, tracked: tuple[str, ...]) -> None:
    with Lab(tmp_path, tracked=tracked) as lab:
        lab.contacts(2)
        lab.link()
        lab.advance(HOUR)
        meanwhile(lab, (13, lambda: grant(lab, "p1")), (19, lambda: lab.edit("p1", no_news=1)))
        lab.cycle()
        lab.settle()
        assert lab.keys(NEWS) == {"p0"}
