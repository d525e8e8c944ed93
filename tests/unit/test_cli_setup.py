"""init, check, schema, doctor: everything up to a good configuration."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from syncd.cli import main
from tests.unit.cli_lab import MAPPING, Lab, lab

SECRETS = dict.fromkeys(("SF_CLIENT_ID", "SF_CLIENT_SECRET", "MC_CLIENT_ID", "MC_CLIENT_SECRET", "ODOO_API_KEY"), "x")


def run(*words: str | Path, **options: Any) -> Result:
    return CliRunner().invoke(main, [str(w) for w in words], **options)


@pytest.mark.parametrize("crm", ["salesforce", "odoo"])
def test_what_init_writes_is_good(tmp_path: Path, crm: str) -> None:
    assert run("init", tmp_path, "--crm", crm).exit_code == 0
    assert stat.S_IMODE((tmp_path / "hash_key").stat().st_mode) == 0o600
    checked = run("--config", tmp_path / "syncd.yaml", "check", env=SECRETS)
    assert (checked.exit_code, checked.stderr) == (0, "")


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "mapping.yaml").write_text("mine")
    assert run("init", tmp_path).exit_code == 2
    assert [p.name for p in tmp_path.iterdir()] == ["mapping.yaml"]


@pytest.fixture(scope="module")
def built() -> Iterator[Lab]:
    with lab() as made:
        yield made


@pytest.fixture
def good(built: Lab) -> Lab:
    built.write()
    return built


def test_check_looks_at_the_connections_where_it_is_asked_to(good: Lab) -> None:
    good.write(mapping=MAPPING.replace("publication_list: L1", "publication_list: L9"))
    assert good.run("check").exit_code == 0
    problems = good.ask("check", "--online", exit=2)["problems"]
    assert '"mc" has no list L9.' in [p["message"] for p in problems]


def test_check_names_file_line_and_column(good: Lab) -> None:
    good.config.write_text(good.config.read_text() + "polls: 3\n")
    result = good.run("check")
    assert result.exit_code == 2
    line = len(good.config.read_text().splitlines())
    assert f"{good.config}:{line}:1: Unknown key \"polls\"" in result.stderr
    told = good.ask("check", exit=2)
    assert told["problems"][0] | {"message": "", "remedy": ""} == {
        "level": "error", "file": str(good.config), "line": line, "column": 1, "message": "", "remedy": ""}


def test_check_reads_the_mapping_too(good: Lab) -> None:
    good.write(mapping=MAPPING.replace("spent > 100", "spend > 100"))
    result = good.run("check")
    assert result.exit_code == 2
    assert f"{good.directory / 'mapping.yaml'}:18:33" in result.stderr
    assert "spend" in result.stderr


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    result = run("--config", tmp_path / "none.yaml", "status")
    assert result.exit_code == 2
    assert "none.yaml" in result.stderr


def test_without_any_file_the_next_command_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SYNCD_CONFIG", raising=False)
    result = run("status")
    assert result.exit_code == 2
    assert "syncd init" in result.stderr


@pytest.mark.parametrize("which", ["config", "mapping"])
def test_schema_is_draft_7(which: str) -> None:
    assert json.loads(run("schema", which).stdout)["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_doctor_tells_what_does_not_fit(good: Lab) -> None:
    told = good.ask("doctor", exit=2)
    assert told["connections"]["sf"]["account"] == "sf"
    assert any("OFFERS" not in f["message"] and "primary key" in f["message"] for f in told["findings"])


def test_doctor_tells_which_connection_refuses(good: Lab) -> None:
    good.world.fault("unauthorised", connection="mc", count=None)
    try:
        told = good.ask("doctor", exit=6)
    finally:
        good.world.clear_faults()
    assert [f["where"] for f in told["findings"] if f["exit"] == 6] == ["mc"]


def test_doctor_names_audiences_that_the_mapping_dropped() -> None:
    with lab() as made:
        made.ask("once", "--approve")
        assert "not in the mapping" not in str(made.ask("doctor", exit=2))
        path = made.directory / "mapping.yaml"
        path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "key: TOP" not in line))
        [found] = [f for f in made.ask("doctor", exit=2)["findings"] if "not in the mapping" in f["message"]]
    assert (found["level"], found["where"]) == ("warning", "mc")
    assert "de:TOP holds 3 rows" in found["message"]


def test_doctor_finds_a_damaged_state(good: Lab) -> None:
    state = good.directory / "state" / "syncd.db"
    state.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    try:
        told = good.ask("doctor", exit=9)
    finally:
        state.unlink()
    assert any(f["exit"] == 9 for f in told["findings"])
