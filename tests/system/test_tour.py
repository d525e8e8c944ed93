"""The README's five minutes at the prompt, typed as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.acceptance_lab import ROOT, Company

TYPED = re.compile(r"^\$ (.+)$", re.M)
CODES = {"plan": {4}, "apply": {0, 3}}


def blocks() -> list[list[str]]:
    """What is typed in each block of the tour; the first starts the sandbox."""
    text = (ROOT / "README.md").read_text("utf-8")
    tour = text[text.index("## Five minutes at the prompt"):text.index("## A real configuration")]
    return [TYPED.findall(block) for block in re.findall(r"^```console\n(.*?)^```", tour, re.M | re.S)]


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    """A directory with a ``syncd`` to type."""
    script = tmp_path / "bin" / "syncd"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m syncd.cli "$@"\n')
    script.chmod(0o700)
    return tmp_path


def test_every_command_of_the_tour_does_what_it_says(prompt: Path) -> None:
    start, *rest = blocks()
    assert ".venv/bin/syncd sandbox serve --dir play --people 300" in start
    company = Company(prompt / "play", 300)
    environment = {"PATH": f"{prompt / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(prompt)}
    told, said = "", ""
    try:
        for line in (line for block in rest for line in block):
            if line.startswith("act() "):
                line = re.sub(r"http://127\.0\.0\.1:\d+", company.box.control_url, line)
            if line.startswith(("export ", "act() ")):
                said += line + "\n"
                continue
            if line.startswith("syncd apply"):
                line = "syncd apply " + re.findall(r"^plan (\w+)$", told, re.M)[-1]
            done = subprocess.run(["bash", "-ec", f"{said}{line}"], cwd=prompt, env=environment, capture_output=True,
                                  text=True, timeout=120, check=False)
            told = done.stdout
            assert done.returncode in CODES.get(line.split()[1], {0}), (line, done.stdout, done.stderr)
            assert '"error"' not in told, (line, told)
            if "unsubscribe" in line:
                assert '{"changed":1}' in told.replace(" ", "")
        assert "topic offers: not in - The person opted out of this topic." in told
        assert "segment spent_over_100_2020: not in" in told
    finally:
        company.stop()
        company.box.close()
