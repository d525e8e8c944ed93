"""The pages say what is: commands, exit codes, numbers, links and the configuration shown."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from mappings.checks import check_offline
from mappings.loader import load_mapping
from syncd.cli.root import main
from syncd.config import Guards, load_config
from syncd.failures import EXITS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "deploy" / "README.md"]
OPERATING = (ROOT / "docs" / "operating.md").read_text("utf-8")


def code(page: Path) -> list[str]:
    """What stands in backquotes and in blocks of commands."""
    text = page.read_text("utf-8")
    blocks = re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.M | re.S)
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)) + [
        line for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_command_shown_exists(page: Path) -> None:
    for line in code(page):
        for words in re.findall(r"(?:^|[ /|])syncd ((?:--config \S+ )?[a-z].*)", line):
            verb, *rest = re.sub(r"^--config \S+ ", "", words).split()
            if verb in ("syncd", "syncd-journal") or "=" in verb:
                continue  # the user, a directory, an option of systemd
            command: click.Command = main.commands[verb]
            if isinstance(command, click.Group) and rest and rest[0].isalpha():
                command = command.commands[rest[0]]
            known = {name for param in command.params for name in param.opts} | {"--help"}
            assert {w.split("=")[0] for w in rest if w.startswith("--")} <= known, line


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), target


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    assert [p.name for p in (ROOT / "docs").glob("*.md") if p.name != "index.md" and f"({p.name})" not in index] == []


def test_the_tree_tells_of_every_module_beside_the_cycle_and_of_no_other() -> None:
    tree = (ROOT / "docs" / "tree.md").read_text("utf-8")
    steps = tree.partition("## The steps")[2].partition("## A vendor")[0]
    modules = {path.stem for path in (ROOT / "syncd").glob("*.py")} - {"__init__", "model"}
    assert modules - set(re.findall(r"`([a-z]+)(?:\.py)?`", steps)) == set()
    told = re.findall(r"^\| [^|]*\|([^|]*)\|[^|]*\|$", steps, re.M)
    assert set(re.findall(r"`([a-z]+)`", "".join(told))) - modules == set()


def test_exit_codes_are_those_of_the_command_line() -> None:
    rows = {int(number): meaning for number, meaning in re.findall(r"^\| (\d) \| ([^|]+) \|", OPERATING, re.M)}
    assert rows.keys() == EXITS.keys()


def test_guards_are_told_with_their_numbers() -> None:
    line, = (line for line in OPERATING.splitlines() if line.startswith("| removals |"))
    assert "| 2 %, 20, 500 |" in line
    assert set(re.findall(r"`(\w+_(?:share|count|most))`", OPERATING)) == set(Guards.model_fields)
    shares = {name: f.default for name, f in Guards.model_fields.items()}
    assert shares == {"removals_share": 0.02, "removals_count": 20, "removals_most": 500, "creations_share": 0.20,
                      "creations_count": 20, "blanking_share": 0.05, "blanking_count": 20,
                      "burst_share": 0.02, "burst_count": 20, "burst_most": 500}


def test_the_configuration_shown_is_good(tmp_path: Path) -> None:
    block, = re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    config_text, mapping_text = block.split("# mapping.yaml\n")
    (tmp_path / "syncd.yaml").write_text(config_text)
    (tmp_path / "mapping.yaml").write_text(mapping_text)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name in re.findall(r"\$\{cred:(\w+)\}", config_text):
        (credentials / name).write_text("0123456789abcdef")
    environment = {"CREDENTIALS_DIRECTORY": str(credentials), "SF_ID": "id", "MC_ID": "id"}
    config = load_config(tmp_path / "syncd.yaml", environment)
    assert [p for p in check_offline(load_mapping([Path(p) for p in config.mappings]), config.types)
            if p.level == "error"] == []
