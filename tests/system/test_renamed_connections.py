"""A connection under another name is refused: its people would be taken for others, who never refused anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.base import Account
from connectors.errors import AnotherAccount
from syncd.accounts import compare
from tests.system.lab import HOUR, NEWS, ONLY_AT_THE_PROVIDER, Lab


@pytest.fixture(params=["one_person", "separate"])
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """p1 has left news at the provider; no box of the CRM says so."""
    with Lab(tmp_path, ONLY_AT_THE_PROVIDER.replace("one_person", request.param)) as made:
        made.contacts(3)
        made.link()
        made.unsubscribe("p1", "L2")
        made.settle()
        yield made


def rename(lab: Lab, before: str, after: str) -> None:
    """Another name in syncd.yaml and in the mapping, from the next start on."""
    text = (lab.directory / "mapping.yaml").read_text(encoding="utf-8")
    lab.accounts[after] = lab.accounts.pop(before, before)
    lab.roles[after] = lab.roles.pop(before)
    for words in ("{}.Contact", "connection: {}"):
        text = text.replace(words.format(before), words.format(after))
    lab.reopen(text)


def refusal(lab: Lab) -> str:
    """What the next cycle is told instead of reading."""
    try:
        failed = lab.cycle().pulled.failed
    except AnotherAccount as error:
        return str(error)
    return str(next(error for error in failed.values() if isinstance(error, AnotherAccount)))


@pytest.mark.parametrize(("before", "after"), [("sf", "salesforce"), ("mc", "marketing")])
def test_who_moves_meanwhile_is_not_mailed_as_somebody_new(lab: Lab, before: str, after: str) -> None:
    lab.edit("p1", email="moved@mail.example")
    rename(lab, before, after)
    assert f"the account that {before} was about" in refusal(lab)
    lab.advance(HOUR)
    lab.cycle(whole=False)
    assert lab.send(NEWS) == {"p0", "p2"}
    rename(lab, after, before)
    lab.settle()
    assert lab.send(NEWS) == {"p0", "p2"}
    assert lab.holds() == ()


def test_an_account_may_have_two_connections_and_another_account_another_name(lab: Lab) -> None:
    path = lab.directory / "state.db"
    compare(path, "second", Account("sf", "sf"), {*lab.roles, "second"})
    compare(path, "second", Account("new", "new"), {"second", "mc"})
    with pytest.raises(AnotherAccount, match="Call the connection sf again"):
        compare(path, "second", Account("sf", "elsewhere"), {"second", "mc"})
