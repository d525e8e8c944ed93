"""What every command promises before it runs: help, exit codes, --json, and an answer without loading the world."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from syncd.cli import main
from syncd.failures import EXIT_NAMES, EXITS, Failure, failure_of
from tests.unit.cli_lab import ROOT

VERBS = {"init", "check", "doctor", "plan", "apply", "once", "run", "resync", "explain", "status", "runs", "holds",
         "quarantine", "connections", "keys", "consent", "forget", "audit", "backup", "restore", "schema", "sandbox", "demo"}

HEAVY = ("pydantic", "structlog", "sqlglot", "sqlite3", "pysqlite3", "sqlite_utils", "requests", "simple_salesforce",
         "lxml", "ruamel", "rich", "orjson", "tenacity", "prometheus_client", "connectors", "mappings", "state",
         "syncd.config", "syncd.desk.verbs")


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


ALL = dict(commands(main))


def test_every_verb_is_there() -> None:
    assert set(main.commands) == VERBS


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_json_and_its_exit_codes(name: str) -> None:
    result = CliRunner().invoke(main, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert ALL[name].help
    assert "--json" in result.output
    told = result.output.partition("Exit codes:")[2]
    for code in (0, 1, 2):
        assert f"{code}  {EXITS[code]}" in told


def test_the_help_of_syncd_lists_every_exit_code() -> None:
    told = CliRunner().invoke(main, ["--help"]).output.partition("Exit codes:")[2]
    assert [line.strip() for line in told.strip().splitlines()] == [f"{n}  {text}" for n, text in EXITS.items()]


@pytest.mark.parametrize("words", [["--help"], ["once", "--help"], ["consent", "grant", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = ("import sys; from syncd.cli import main; main(sys.argv[2:], standalone_mode=False);"
            "print('LOADED', sorted(set(sys.modules) & set(sys.argv[1].split(','))))")
    done = subprocess.run([sys.executable, "-c", code, ",".join(HEAVY), *words], cwd=ROOT, capture_output=True,
                          text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


@pytest.mark.parametrize("words", [["explain", "ann@example.org"], ["consent", "show", "ann@example.org"],
                                   ["consent", "history", "ann@example.org"], ["resync", "--person", "ann@example.org"],
                                   ["consent", "grant", "ann@example.org", "--topic", "t", "--evidence", "e", "--by", "b"]])
def test_an_address_is_no_argument(words: list[str]) -> None:
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "standard input" in result.output
    assert "ann@example.org" not in result.output


# --------------------------------------------------------------------------- failures

class Outage(Exception):
    message, remedy, code = "The vendor cannot be reached.", "Wait.", "DNS"


class Misconfigured(Outage):
    pass


class StateLocked(Exception):
    pass


class OperationalError(Exception):
    pass


@pytest.mark.parametrize(("error", "exit_code", "code"), [
    (Outage("x"), 7, "DNS"), (StateLocked("held by process 1"), 8, "StateLocked"), (Misconfigured(), 2, "DNS"),
    (OperationalError("ann@example.org"), 1, "OperationalError"), (ValueError("ann@example.org"), 1, "ValueError"),
])
def test_errors_become_sentence_and_exit_code(error: Exception, exit_code: int, code: str) -> None:
    failure = failure_of(error)
    assert (failure.exit_code, failure.code) == (exit_code, code)
    assert "@" not in str(failure)
    assert failure.message


def test_every_error_of_a_connector_has_its_exit_code() -> None:
    from connectors import errors

    known = {errors.Reauthenticate: 6, errors.Misconfigured: 2, errors.AnotherAccount: 2, errors.RejectRecord: 3}
    for cls in vars(errors).values():
        if isinstance(cls, type) and issubclass(cls, errors.ConnectorError) and cls is not errors.ConnectorError:
            assert failure_of(cls("m")).exit_code == known.get(cls, 7), cls


def test_a_failure_survives_the_socket() -> None:
    failure = Failure(5, "It waits.", next="Approve it.", code="stale", data={"plan": "p1"})
    again = Failure.from_json(failure.as_json())
    assert again.as_json() == failure.as_json()
    assert set(EXIT_NAMES) == set(EXITS)


@pytest.mark.parametrize(("error", "says"), [
    (OperationalError("database or disk is full"), "no room"),
    (OSError(28, "No space left", "/j/consent.log"), "/j/"),
    (OperationalError("attempt to write a readonly database"), "may not be written")])
def test_what_is_the_machines_fault_is_said_in_words(error: Exception, says: str) -> None:
    failure = failure_of(error)
    assert failure.exit_code == 1
    assert says in failure.message
    assert failure.next
