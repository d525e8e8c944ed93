"""deploy/: the unit is as closed as promised, unit, container and sample configuration agree, and CI stays portable."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

import syncd
from mappings.checks import check_offline
from mappings.loader import load_mapping
from syncd.config import Config, load_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "syncd.service"


def unit() -> dict[str, list[str]]:
    """Option -> its values, in order."""
    options: dict[str, list[str]] = defaultdict(list)
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            options[name].append(value)
    return options


def seconds(span: str) -> int:
    """``90s``, ``5min`` as systemd and compose write them."""
    match = re.fullmatch(r"(\d+)(s|min)", span)
    assert match, span
    return int(match[1]) * (60 if match[2] == "min" else 1)


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load((DEPLOY / "compose.yaml").read_text())
    return loaded


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The sample configuration, with a file for each credential it names."""
    for name in credentials():
        (tmp_path / name).write_text("0123456789abcdef0123456789abcdef\n")
    return load_config(DEPLOY / "syncd.yaml", {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def credentials() -> set[str]:
    """What the sample configuration reads as ``${cred:NAME}``; comments do not count."""
    lines = (line.partition("#")[0] for line in (DEPLOY / "syncd.yaml").read_text().splitlines())
    return set(re.findall(r"\$\{cred:([^}]+)\}", "\n".join(lines)))


# --------------------------------------------------------------------------- systemd

@pytest.mark.systemd
def test_the_unit_is_exposed_by_no_more_than_one_and_a_half_of_ten(tmp_path: Path) -> None:
    def exposed(path: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([systemd_analyze(), "security", "--offline=true", "--no-pager", "--threshold=15",
                               str(path)], capture_output=True, text=True, timeout=60, check=False)

    judged = exposed(UNIT)
    assert judged.returncode == 0, judged.stdout[-500:] + judged.stderr
    open_unit = tmp_path / "open.service"
    open_unit.write_text(UNIT.read_text().replace("SystemCallFilter=", "#").replace("ProtectSystem=strict", ""))
    assert exposed(open_unit).returncode != 0  # the threshold is one that can be missed


@pytest.mark.systemd
def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / "syncd.service"
    copy.write_text(UNIT.read_text().replace("/opt/syncd/bin/syncd", "/bin/true"))
    said = subprocess.run([systemd_analyze(), "verify", "--man=no", "--recursive-errors=no", str(copy)],
                          capture_output=True, text=True, timeout=60, check=False)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def systemd_analyze() -> str:
    found = shutil.which("systemd-analyze")
    if found is None:
        pytest.skip("systemd-analyze is not installed")
    return found


def test_the_unit_runs_the_installed_command_and_keeps_secrets_and_state_to_itself() -> None:
    options = unit()
    assert options["Type"] == ["notify"]
    assert options["ExecStart"] == ["/opt/syncd/bin/syncd --config /etc/syncd/syncd.yaml run"]
    assert options["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert "PYTHONSAFEPATH=1" in options["Environment"][0].split()
    assert (options["DynamicUser"], options["StateDirectoryMode"], options["UMask"]) == (["yes"], ["0700"], ["0077"])
    assert options["RestartPreventExitStatus"] == ["2 9"]
    assert options["WatchdogSec"]
    assert {line.partition(":")[0] for line in options["LoadCredential"]} == credentials()


def test_the_service_can_write_exactly_where_its_state_and_journal_are(config: Config) -> None:
    writable = {Path("/var/lib") / name for name in unit()["StateDirectory"][0].split()}
    assert {Path(config.state).parent, Path(config.journal).parent} == writable
    assert {Path(volume.split(":")[1]) for volume in compose()["services"]["syncd"]["volumes"]
            if not volume.endswith(":ro")} == writable
    assert set(instructions()["VOLUME"][0]) == {str(path) for path in writable}


# --------------------------------------------------------------------------- sample configuration

def test_the_sample_configuration_has_no_problems(config: Config) -> None:
    mapping = load_mapping([Path(path) for path in config.mappings])
    assert check_offline(mapping, config.types) == []
    assert {destination.connection for destination in mapping.destinations.values()} <= set(config.connections)


def test_the_sample_guards_are_the_defaults_as_they_say(config: Config) -> None:
    assert config.guards == type(config.guards)()
    assert config.policy == type(config.policy)()
    assert config.schedule == type(config.schedule)()


# --------------------------------------------------------------------------- container

def instructions() -> dict[str, list[Any]]:
    """Instruction of the last stage -> its arguments; those in JSON form as lists."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Containerfile").read_text())
    last = re.split(r"^FROM ", text, flags=re.MULTILINE)[-1]
    found: dict[str, list[Any]] = defaultdict(list)
    for line in last.splitlines()[1:]:
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            command = re.search(r"\[.*\]", rest) if name in ("CMD", "ENTRYPOINT", "VOLUME", "HEALTHCHECK") else None
            found[name].append(YAML(typ="safe").load(command[0]) if command else rest)
    return found


@pytest.mark.hadolint
def test_the_container_file_has_no_findings() -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed")
    found = subprocess.run([linter, str(DEPLOY / "Containerfile")], capture_output=True, text=True, timeout=60,
                           check=False)
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_the_image_runs_as_nobody_and_asks_the_daemon_for_its_health() -> None:
    image = instructions()
    (user,) = image["USER"]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    command = image["ENTRYPOINT"][0]
    assert command == ["syncd", "--config", "/etc/syncd/syncd.yaml"]
    assert image["CMD"] == [["run"]]
    assert image["HEALTHCHECK"] == [[*command, "status", "--json"]]
    assert "PYTHONSAFEPATH=1" in image["ENV"][0]
    assert "CREDENTIALS_DIRECTORY=/run/secrets" in image["ENV"][0]


def test_the_image_is_built_from_locks_and_from_nothing_that_is_ignored() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    installs = re.findall(r"pip [^&\n]*install ([^&\n]*)", text)
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    copied = {name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for name in line.split()}
    allowed = {line[1:] for line in (DEPLOY / "Containerfile.dockerignore").read_text().splitlines()
               if line.startswith("!")}
    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)


def test_compose_gives_the_container_nothing_it_does_not_need() -> None:
    service = compose()["services"]["syncd"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "ports", "network_mode", "user", "environment"} & set(service)
    assert set(service["secrets"]) == set(compose()["secrets"]) == credentials()
    assert service["image"] == f"syncd:{syncd.__version__}"
    assert seconds(service["stop_grace_period"]) == seconds(unit()["TimeoutStopSec"][0])
    for mounted in (volume.split(":")[0] for volume in service["volumes"] if volume.startswith(".")):
        assert (DEPLOY / mounted).is_file()


# --------------------------------------------------------------------------- make and CI

def make(*arguments: str, path: str = "/usr/bin:/bin") -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/usr/bin/env", "-i", f"PATH={path}", shutil.which("make") or "make", *arguments], cwd=ROOT,
                          capture_output=True, text=True, timeout=60, check=False)


def test_make_help_names_every_target() -> None:
    told = re.findall(r"^make (\w+)", make("help").stdout, re.MULTILINE)
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert told == phony.split()


@pytest.mark.parametrize(("answers", "remedy"), [
    ({"version_info": 1}, "3.11 or newer is needed. Name one: make PYTHON="),
    ({"ensurepip": 1}, "sudo apt-get install python3.99-venv"),
])
def test_make_says_which_command_installs_what_is_missing(tmp_path: Path, answers: dict[str, int], remedy: str) -> None:
    python = tmp_path / "python3"
    python.write_text("#!/bin/sh\ncase \"$*\" in\n"
                      f"*'sys.version_info < '*) exit {answers.get('version_info', 0)};;\n"
                      f"*ensurepip*) exit {answers.get('ensurepip', 0)};;\n"
                      "*print*) echo 3.99;;\n-V) echo Python 3.8;;\nesac\n")
    python.chmod(0o755)
    ran = make("test", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    assert ran.returncode != 0
    assert remedy in ran.stderr


def test_make_says_which_command_installs_python(tmp_path: Path) -> None:
    ran = make("demo", "PYTHON=no-such-python", f"VENV={tmp_path / 'venv'}")
    assert ran.returncode != 0
    assert "sudo apt-get install python3 python3-venv" in ran.stderr


def test_only_ci_installs_system_packages() -> None:
    quoted = re.compile(r'echo >&2 "[^"]*"')  # what the reader may run
    assert "apt" not in quoted.sub("", (ROOT / "Makefile").read_text())
    assert "apt-get install" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize(("required", "code"), [("", 0), ("1", 1)])
def test_a_skipped_test_fails_where_its_tool_is_required(tmp_path: Path, required: str, code: int) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    node: needs node\n")
    (tmp_path / "test_tool.py").write_text(
        "import pytest\n\n\n@pytest.mark.node\ndef test_it():\n    pytest.skip('node is not installed')\n\n\n"
        "def test_other():\n    pytest.skip('for another reason')\n")
    ran = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"],
                         cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
                         env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "SYNCD_REQUIRE_NODE": required})
    assert ran.returncode == code, ran.stdout
    assert ("SYNCD_REQUIRE_NODE is set, and the test was skipped" in ran.stdout) is bool(required)
    assert ("1 failed, 1 skipped" if required else "2 skipped") in ran.stdout
