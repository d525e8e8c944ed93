"""The control socket, the desk behind it, and the log: what one process says to another, and what it never says."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from syncd import logs
from syncd.desk import control
from syncd.desk.answers import Answer
from syncd.failures import Failure
from syncd.notify import notify, watchdog_seconds


def handler(verb: str, parameters: Mapping[str, Any]) -> Answer:
    if verb == "echo":
        return Answer({"with": dict(parameters)}, 4)
    if verb == "wrong":
        raise ValueError("ann@example.org")
    raise Failure(5, "It waits.", next="Approve it.", data={"plan": "p1"})


@contextmanager
def serving(path: Path) -> Iterator[Path]:
    with control.Server(path, handler):
        yield path


def test_a_question_is_answered_with_data_and_exit_code(tmp_path: Path) -> None:
    with serving(tmp_path / "s") as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert control.ask(path, "echo", {"a": ["é", None]}) == Answer({"with": {"a": ["é", None]}}, 4)
    assert not path.exists()


def test_a_failure_comes_back_as_it_was(tmp_path: Path) -> None:
    with serving(tmp_path / "s") as path:
        with pytest.raises(Failure, match="It waits") as caught:
            control.ask(path, "hold", {})
        assert caught.value.as_json() == {"exit": 5, "code": "held", "message": "It waits.", "next": "Approve it.",
                                          "plan": "p1"}
        with pytest.raises(Failure) as unexpected:
            control.ask(path, "wrong", {})
    assert "ann@" not in str(unexpected.value.as_json())


def test_nobody_there_is_told_apart_from_nobody_answering(tmp_path: Path) -> None:
    with pytest.raises(control.NotRunning):
        control.ask(tmp_path / "none", "echo", {})
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "dead"))
    dead.close()
    with pytest.raises(control.NotRunning):
        control.ask(tmp_path / "dead", "echo", {})
    with serving(tmp_path / "dead") as path:  # what a dead one left is replaced
        assert control.ask(path, "echo", {}).exit_code == 4


def test_one_that_ends_before_it_answers(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    thread = threading.Thread(target=lambda: listener.accept()[0].close())
    thread.start()
    with pytest.raises(control.Broken):
        control.ask(tmp_path / "s", "echo", {})
    thread.join()
    listener.close()


def test_a_deep_directory_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with serving(deep / "syncd.db.sock") as path:
        assert control.ask(path, "echo", {}).exit_code == 4


@pytest.mark.parametrize("sent", [b"not json\n", b"[]\n", b'{"verb": "echo"}\n', b"half a line"])
def test_nonsense_does_not_end_the_server(tmp_path: Path, sent: bytes) -> None:
    with serving(tmp_path / "s") as path:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(path))
            line.sendall(sent)
            line.shutdown(socket.SHUT_WR)
            text = line.recv(1 << 16)
        assert text == b"" or "error" in json.loads(text)
        assert control.ask(path, "echo", {}).exit_code == 4


def test_questions_are_answered_side_by_side(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=10)

    def meet(verb: str, parameters: Mapping[str, Any]) -> Answer:
        both.wait()
        return Answer({})
    with control.Server(tmp_path / "s", meet):
        threads = [threading.Thread(target=control.ask, args=(tmp_path / "s", "x", {})) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    assert not both.broken


# --------------------------------------------------------------------------- logs

def lines(monkeypatch: pytest.MonkeyPatch, *, journal: bool = False, pretty: bool = False, **fields: Any) -> str:
    monkeypatch.setenv("JOURNAL_STREAM", "1:2") if journal else monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    out = io.StringIO()
    log = logs.logger(pretty=pretty, stream=out)
    log.warning(logs.CONNECTION_FAILED, **fields)
    log.debug(logs.CYCLE_ENDED)
    return out.getvalue()


@pytest.mark.parametrize("pretty", [False, True])
def test_no_address_and_no_secret_reaches_the_log(monkeypatch: pytest.MonkeyPatch, pretty: bool) -> None:
    text = lines(monkeypatch, pretty=pretty, message="refused <Ann+x@Exämple.org>; key=bob@example.org",
                 client_secret="hush-1", nested={"token": "hush-2", "who": ["éva@example.org"], "c@d.example": 1})
    assert "@" not in text
    assert "hush" not in text
    assert text.count("<address>") == 4
    assert text.count("\n") == 1


def test_one_event_is_one_json_line(monkeypatch: pytest.MonkeyPatch) -> None:
    event = json.loads(lines(monkeypatch, what="mc", count=3))
    assert (event["event"], event["level"], event["count"]) == ("connection_failed", "warning", 3)
    assert event["timestamp"].endswith("Z")


def test_journald_reads_the_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines(monkeypatch, journal=True).startswith('<4>{"')


def test_every_event_is_described() -> None:
    names = {v for k, v in vars(logs).items() if k.isupper() and isinstance(v, str)}
    assert names == set(logs.EVENTS)


# --------------------------------------------------------------------------- sd_notify

def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        notify("READY=1", "STATUS=x")
        assert manager.recv(100) == b"READY=1\nSTATUS=x"
    notify("READY=1")  # nobody listens any more
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify("READY=1")


def test_the_watchdog_is_only_for_its_own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert watchdog_seconds() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert watchdog_seconds() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_seconds() is None
