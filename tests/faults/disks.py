"""Disks that fill up: a small file system of our own that nobody else sees, and the shell that lives with it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

END = "@@end@@"
PATIENCE = 60.0
"""Seconds a command may take."""


class Disk:
    """A directory that is a disk of its own for whatever ``do`` starts, and an empty one for everybody else."""

    def __init__(self, shell: subprocess.Popen[str], path: Path) -> None:
        self._shell = shell
        self.path = path

    def do(self, command: str) -> tuple[int, str]:
        """A shell command; its exit code and all it printed. One that takes too long is the shell's end."""
        guard = threading.Timer(PATIENCE, self._shell.kill)
        guard.start()
        try:
            return self._do(command)
        finally:
            guard.cancel()

    def _do(self, command: str) -> tuple[int, str]:
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{{ {command}\n}} 2>&1; echo {END} $?\n")
        self._shell.stdin.flush()
        lines = []
        for line in self._shell.stdout:
            before, mark, code = line.partition(END)
            lines.append(before)
            if mark:
                return int(code), "".join(lines)
        raise AssertionError(f"the shell ended: {''.join(lines)}")

    def good(self, command: str) -> str:
        """The output of a command that must end well."""
        code, told = self.do(command)
        assert code == 0, (command, code, told)
        return told

    def fill(self, leave: int = 0) -> None:
        """Fill it but for so many KiB."""
        self.do(f"dd if=/dev/zero of={self.path}/ballast bs=1k")
        if leave:
            self.good(f"truncate -s -{leave}K {self.path}/ballast")

    def empty(self) -> None:
        """Make room again."""
        self.good(f"rm {self.path}/ballast")


@contextmanager
def disk(path: Path, kib: int) -> Iterator[Disk]:
    """A disk of so many KiB at ``path``, which is made; what is in there is taken over. Gone at the end, as is whoever still
    has a file open there. Skips where this system lets nobody mount anything."""
    path.mkdir(exist_ok=True)
    try:
        shell = subprocess.Popen(["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child",
                                  "sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                 text=True)
    except FileNotFoundError:
        pytest.skip("unshare is missing")
    try:
        made = Disk(shell, path)
        assert shell.stdin is not None
        shell.stdin.write(f"mkdir {path}.then && cp -a {path}/. {path}.then && mount -t tmpfs -o size={kib}k none {path}"
                          f" && cp -a {path}.then/. {path} && rm -r {path}.then && echo mounted\n")
        try:
            shell.stdin.flush()
        except BrokenPipeError:
            pytest.skip("no namespaces for users here")
        assert shell.stdout is not None
        if shell.stdout.readline() != "mounted\n":
            pytest.skip("nobody may mount a file system here")
        yield made
    finally:
        shell.kill()
        shell.communicate()
