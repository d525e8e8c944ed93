"""init, check, doctor, schema: getting a configuration right, without and with the connections."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import click

from syncd.cli.common import Context, command, emit, say, show
from syncd.failures import AUTH, DAMAGED, FAILED, OK, REMOTE, USAGE, Failure


@command()
@click.argument("directory", type=click.Path(file_okay=False), default=".")
@click.option("--crm", type=click.Choice(["salesforce", "odoo"]), default="salesforce", show_default=True)
def init(obj: Context, directory: str, crm: str) -> None:
    """Write a first syncd.yaml, mapping.yaml and hash key into DIRECTORY, and make the directories they name."""
    base = Path(directory)
    base.mkdir(parents=True, exist_ok=True)
    wanted = {"syncd.yaml": f"{crm}.yaml", "mapping.yaml": f"{crm}_mapping.yaml"}
    for name in (*wanted, "hash_key"):
        if (base / name).exists():
            raise Failure(USAGE, f"{base / name} is there already; nothing was written.",
                          next="Choose another directory.")
    samples = files("syncd.cli") / "samples"
    for name, sample in wanted.items():
        (base / name).write_text((samples / sample).read_text("utf-8"), "utf-8")
    fd = os.open(base / "hash_key", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as stream:
        stream.write(secrets.token_hex(32) + "\n")
    for name in ("state", "journal"):
        (base / name).mkdir(mode=0o700, exist_ok=True)
    made = [str(base / name) for name in (*wanted, "hash_key")]
    show(obj, {"written": made}, lambda data: iter(data["written"]))
    say("  Keep a copy of hash_key: without it the state cannot be opened. Then edit both files and run `syncd check`.")


@command(AUTH, REMOTE)
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@click.option("--online", is_flag=True, help="Also against the connections: objects, fields, lists, definitions of sends.")
def check(obj: Context, file: str | None, online: bool) -> int:
    """Check syncd.yaml and the mapping, without any connection. Every problem with file, line and column."""
    from mappings.problems import Problems
    from syncd import compose
    from syncd.desk import doctor

    path = Path(file) if file is not None else obj.path
    try:
        config, mapping = compose.load(path)
        problems = [*compose.warnings(config, mapping), *(doctor.online(config, mapping) if online else ())]
    except Problems as error:
        problems = error.problems
    wrong = any(p.level == "error" for p in problems)
    if obj.json:
        emit({"ok": not wrong, "problems": [
            {"level": p.level, "file": p.file, "line": p.line, "column": p.column, "message": p.message,
             "remedy": p.remedy} for p in problems]})
    else:
        for p in problems:
            say(str(p))
        if not wrong:
            click.echo(f"{path}: good")
    return USAGE if wrong else OK


@command()
@click.argument("which", type=click.Choice(["config", "mapping"]))
def schema(obj: Context, which: str) -> None:
    """Print the JSON Schema of syncd.yaml or of a mapping file, for editors."""
    if which == "config":
        from syncd.config import config_schema

        emit(config_schema())
    else:
        from mappings.schema import mapping_schema

        emit(mapping_schema())


@command(AUTH, REMOTE, DAMAGED)
def doctor(obj: Context) -> int:
    """Log in everywhere and look: rights, fields, quota, clocks, the state, the disk."""
    from syncd import compose
    from syncd.desk import doctor

    config, mapping = compose.load(obj.path)
    data = doctor.examine(config, mapping)
    show(obj, data, _doctor_text)
    codes = {f["exit"] for f in data["findings"] if f["level"] == "error"}
    return next((code for code in (DAMAGED, AUTH, USAGE, REMOTE, FAILED) if code in codes), OK)


def _doctor_text(data: dict[str, Any]) -> Iterator[str]:
    for name, about in data["connections"].items():
        yield f"{name}: {about['account'] or 'not reached'}" + "".join(
            f", {quota} {used} of {allowed} used" for quota, (used, allowed) in about["quota"].items())
    yield f"state: SQLite {data['sqlite']}, {data['free_bytes'] // 2**20} MiB free"
    for f in data["findings"]:
        yield f"{f['level']}: {f['where']}: {f['message']} {f['remedy']}".rstrip()
    if not data["findings"]:
        yield "all good"


COMMANDS = (init, check, doctor, schema)
