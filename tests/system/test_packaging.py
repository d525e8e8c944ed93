"""What is shipped: the locks, the wheel, the source archive, and whose the four top-level names are."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import syncd

ROOT = Path(__file__).parents[2]
PACKAGES = ("connectors", "mappings", "state", "syncd")
LOCKS = ("requirements.lock", "requirements-build.lock", "requirements-dev.lock")
PART_OF = {"pydantic_core": "pydantic"}
"""Imports whose distribution another pins to one exact version: declaring both would only contradict."""

DECLARED: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Standard output of a command that succeeds."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, env={"PATH": "/usr/bin:/bin", **environment},
                          capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def shipped_sources() -> Iterator[str]:
    """Every file of the four packages that is not a by-product, relative to the tree."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                yield path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the source archive, and the wheel made from it alone."""
    directory = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", directory, cwd=ROOT)
    run("tar", "-xzf", next(directory.glob("*.tar.gz")), cwd=directory)  # tarfile warns or cannot filter, by version
    unpacked = directory / f"syncd-{syncd.__version__}"
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", directory, cwd=unpacked)
    return directory


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed by itself."""
    directory = tmp_path_factory.mktemp("site")
    run(sys.executable, "-m", "pip", "--isolated", "--quiet", "--disable-pip-version-check", "install", "--no-deps",
        "--no-index", "--no-compile", "--target", directory, wheel, cwd=directory)
    return directory


def test_the_wheel_holds_every_file_of_the_four_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.startswith(f"syncd-{syncd.__version__}.dist-info/")}
    assert names == set(shipped_sources())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert {"state/sql/schema.sql", "state/sql/plan.sql"} <= names


def test_the_source_archive_has_what_a_packager_needs_and_no_private_file(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "CHANGELOG.md", "Makefile", "pyproject.toml", *LOCKS, "deploy/syncd.service",
            "tests/system/test_packaging.py"} <= names
    assert not [name for name in names if re.search(r"(^|/)(\.venv|\.ci|node_modules|__pycache__)/|\.db$", name)]


def test_only_our_distribution_owns_the_four_names(site: Path) -> None:
    script = "import importlib.metadata as m, json; print(json.dumps(m.packages_distributions()))"
    owners = json.loads(run(sys.executable, "-P", "-c", script, cwd=site, PYTHONPATH=str(site)))
    assert {name: set(owners[name]) for name in PACKAGES} == {name: {"syncd"} for name in PACKAGES}
    assert {name for name, distributions in owners.items() if "syncd" in distributions} == set(PACKAGES)


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    (distribution,) = importlib.metadata.distributions(path=[str(wheel)])
    assert (distribution.metadata["Name"], distribution.version) == ("syncd", syncd.__version__)
    assert distribution.metadata["License-Expression"] == "Apache-2.0"
    assert distribution.metadata["Requires-Python"] == ">=3.11"
    assert [(e.group, e.name, e.value) for e in distribution.entry_points] == [
        ("console_scripts", "syncd", "syncd.cli:main")]
    assert any(path.name == "LICENSE" for path in distribution.files or ())


def test_what_is_installed_finds_its_own_files(site: Path) -> None:
    script = "import state.queries as q; print(len(q.load('plan')), q.__file__)"
    count, _, where = run(sys.executable, "-P", "-c", script, cwd=site.parent, PYTHONPATH=str(site)).partition(" ")
    assert int(count) > 0
    assert Path(where.strip()).is_relative_to(site)


# --------------------------------------------------------------------------- dependencies and locks

def locked(name: str) -> dict[str, list[Requirement]]:
    """Package -> its pins: one, or one for each environment marker."""
    pins: dict[str, list[Requirement]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if line and not line.startswith(("#", " ")):
            requirement = Requirement(line.rstrip("\\").strip())
            pins.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return pins


def version(requirement: Requirement) -> str:
    (pin,) = requirement.specifier
    assert pin.operator == "==", f"{requirement} is not pinned"
    return pin.version


def satisfied(needs: list[str], pins: dict[str, list[Requirement]]) -> list[str]:
    """What is needed and not pinned to a version that will do."""
    return [need for need in needs for wanted in [Requirement(need)]
            if not any(wanted.specifier.contains(version(pin), prereleases=True)
                       for pin in pins.get(canonicalize_name(wanted.name), ()))]


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes_and_no_lock_names_a_place(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|^-", text, re.MULTILINE)
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) >= 5
    for block in blocks:
        hashes = re.findall(r"--hash=sha256:[0-9a-f]{64}\b", block)
        assert hashes, f"no hash: {block.splitlines()[0]}"
        assert len(hashes) == block.count("--hash=")


def test_the_locks_satisfy_what_is_declared() -> None:
    groups = DECLARED["dependency-groups"]
    runtime, build, dev = (locked(name) for name in LOCKS)
    assert satisfied(DECLARED["project"]["dependencies"], runtime) == []
    assert satisfied([*DECLARED["build-system"]["requires"], *groups["build"]], build) == []
    assert satisfied([need for need in groups["dev"] if isinstance(need, str)], dev) == []
    for name, pins in [*runtime.items(), *build.items()]:
        assert sorted(map(version, pins)) == sorted(map(version, dev[name])), f"{name}: run make lock"


def test_what_is_installed_here_is_what_is_locked() -> None:
    outdated = [f"{name} {installed}" for name, pins in locked("requirements.lock").items()
                if (pin := next((p for p in pins if p.marker is None or p.marker.evaluate()), None)) is not None
                and (installed := importlib.metadata.version(name)) != version(pin)]
    assert outdated == []


def test_what_is_imported_is_declared() -> None:
    declared = {canonicalize_name(Requirement(need).name) for need in DECLARED["project"]["dependencies"]}
    owners = importlib.metadata.packages_distributions()
    undeclared = {f"{path}: {name}" for path in shipped_sources() if path.endswith(".py")
                  for name in imported(ROOT / path) - set(PACKAGES) - sys.stdlib_module_names
                  if not {canonicalize_name(o) for o in owners.get(PART_OF.get(name, name), ())} & declared}
    assert undeclared == set()


def imported(path: Path) -> set[str]:
    """The top-level modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
