"""A login shared by threads: made once, renewed once by whoever meets its end first."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from connectors.errors import Outage
from connectors.login import Login

THREADS = 8


def numbered() -> Login[str]:
    """Logins by the order in which they were made."""
    made = itertools.count(1)
    return Login(lambda: f"login {next(made)}")


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
    login = Login(lambda: f"login {next(made)}", over.__contains__)
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

    login = Login(make)
    with pytest.raises(Outage):
        login.get()
    assert login.get() == "in"
    with pytest.raises(Outage):
        login.anew()
    assert login.get() == "in again"
