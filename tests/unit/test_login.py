"""A login shared by threads: made once, renewed once by whoever meets its end first."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from connectors.base import Account
from connectors.errors import AnotherAccount, Outage, Retry
from connectors.login import Login

THREADS = 8


def of(login: str) -> Account:
    """The account of a login; those of one word after the other lead to the same."""
    return Account(login.partition(" ")[0], "somewhere")


def numbered() -> Login[str]:
    """Logins by the order in which they were made."""
    made = itertools.count(1)
    return Login(lambda: f"login {next(made)}", account=of)


def test_threads_whose_login_was_refused_at_once_make_one_new_one() -> None:
    login = numbered()
    refused = threading.Barrier(THREADS)

    def call(held: str) -> str:
        if held == "login 1":
            refused.wait(10)  # every thread has used the old one before any of them asks for another
        return held

    with ThreadPoolExecutor(THREADS) as pool:
        answers = [pool.submit(login.used, call, lambda answer: answer == "login 1") for _ in range(THREADS)]
        assert {answer.result(10) for answer in answers} == {"login 2"}


def test_a_call_refused_with_the_new_login_too_is_the_answer() -> None:
    calls: list[str] = []

    def call(held: str) -> str:
        calls.append(held)
        return "no"

    assert numbered().used(call, lambda answer: answer == "no") == "no"
    assert calls == ["login 1", "login 2"]


def test_a_login_that_is_about_to_end_is_not_used() -> None:
    over: set[str] = set()
    made = itertools.count(1)
    login = Login(lambda: f"login {next(made)}", over.__contains__, account=of)
    assert [login.get(), login.get()] == ["login 1", "login 1"]
    over.add("login 1")
    assert [login.get(), login.anew(), login.get()] == ["login 2", "login 3", "login 3"]


def test_after_a_failure_the_next_one_tries_again() -> None:
    answers = iter([Outage("down"), "in", Outage("down again"), "in again"])

    def make() -> str:
        answer = next(answers)
        if isinstance(answer, Outage):
            raise answer
        return answer

    login = Login(make, account=of)
    with pytest.raises(Outage):
        login.get()
    assert login.get() == "in"
    with pytest.raises(Outage):
        login.anew()
    assert login.get() == "in again"


def test_nobody_is_handed_a_login_that_leads_elsewhere() -> None:
    """Also not one that is made because the one before was refused: a sandbox that is refreshed takes the same secret."""
    made = iter(["home 1", "home 2", "away 1"])
    used: list[str] = []
    login = Login(lambda: next(made), account=of)

    def judge(account: Account) -> None:
        if account.id != "home":
            raise AnotherAccount("elsewhere")

    def call(held: str) -> bool:
        used.append(held)
        return False
    login.judge = judge
    assert login.account() == Account("home", "somewhere")
    assert not login.used(call, lambda good: not good)
    with pytest.raises(AnotherAccount):
        login.used(call, lambda good: not good)
    with pytest.raises(AnotherAccount):
        login.get()
    assert used == ["home 1", "home 2", "home 2"]
    login.judge = None
    assert login.get() == "away 1"


def test_a_login_that_led_elsewhere_is_made_again_after_a_while() -> None:
    """Not with every call: vendors count logins."""
    made, now = iter(["away 1", "home 1", "never"]), [0.0]
    login = Login(lambda: next(made), account=of, clock=lambda: now[0])

    def judge(account: Account) -> None:
        if account.id != "home":
            raise AnotherAccount("elsewhere")
    login.judge = judge
    for now[0] in (0.0, 60.0, 900.0):
        with pytest.raises(AnotherAccount):
            login.get()
    now[0] = 901.0
    assert login.get() == "home 1"
    now[0] = 5_000.0
    assert login.get() == "home 1"


def test_the_account_is_asked_for_once_with_each_login_and_only_where_somebody_minds() -> None:
    asked: list[str] = []

    def account(login: str) -> Account:
        asked.append(login)
        if len(asked) == 1:
            raise Retry("busy")
        return of(login)
    made = itertools.count(1)
    login = Login(lambda: f"login {next(made)}", account=account)
    login.get()
    assert asked == []
    login.judge = lambda found: None
    with pytest.raises(Retry):
        login.get()
    assert [login.get(), login.get(), login.anew(), login.get()] == ["login 2", "login 2", "login 3", "login 3"]
    assert asked == ["login 1", "login 2", "login 3"]


@pytest.mark.parametrize(("one", "other", "same"), [
    (Account("org A", "here"), Account("org A", "there"), True),
    (Account("org A", "here"), Account("org B", "here"), False),
    (Account("org A", "here"), Account("", "here"), True),
    (Account("", "here"), Account("org A", "there"), False),
    (Account("", "here"), Account("", "here"), True)])
def test_accounts_are_compared_by_the_vendors_word_where_both_have_it(one: Account, other: Account, same: bool) -> None:
    assert one.is_same(other) is other.is_same(one) is same
