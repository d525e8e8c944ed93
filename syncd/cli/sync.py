"""plan, apply, once, run, resync: the commands that read and write."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from syncd.cli.common import ADDRESS, Context, call, command, say, show
from syncd.failures import AUTH, DAMAGED, HELD, LOCKED, PARTIAL, PENDING, REMOTE, USAGE, Failure

DEADLINE = click.option("--deadline", type=click.FloatRange(min=1), default=300.0, show_default=True, metavar="SECONDS",
                        help="Give up waiting for a slow destination after this long; it goes on with the next run.")
APPROVE = click.option("--approve", is_flag=False, flag_value="", default=None, metavar="[PLAN_ID]",
                       help="Approve what waits. Without a plan's id only what needs no look at it: first plans"
                            " without removals or reopenings.")


@command(PENDING, AUTH, REMOTE, LOCKED, DAMAGED)
@click.option("--out", type=click.Path(dir_okay=False), metavar="FILE",
              help="Write the plan with every operation, values before and after, to FILE. It holds personal data.")
def plan(obj: Context, out: str | None) -> int:
    """Read everything and show what would be written. Writes nothing."""
    answer = call(obj, "plan", check=True, operations=out is not None)
    if out is not None:
        _save(Path(out), answer.data)
        answer.data.pop("operations")
    show(obj, answer.data, _run_text)
    _advise(answer.data, answer.exit_code)
    if _edited(obj, answer.data["mapping"]):
        say("syncd: this is the plan of the mapping that the running service uses; the files were changed since.")
        say("  Reload it (`systemctl reload syncd`, or SIGHUP), then run `syncd plan` again: what the change would do waits"
            " for approval.")
    return answer.exit_code


def _edited(obj: Context, used: str) -> bool:
    """Whether a running service plans by another mapping than the files hold."""
    from mappings.problems import Problems
    from syncd import compose
    from syncd.desk import control

    config = obj.config()
    if not control.socket_path(config.state).exists():
        return False
    try:
        return compose.mapping_of(config).fingerprint != used
    except Problems:
        return True


def _save(path: Path, data: dict[str, Any]) -> None:
    import orjson

    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "wb") as stream:
        stream.write(orjson.dumps({"plan": data["plan"], "mapping": data["mapping"], "operations": data["operations"]},
                                  option=orjson.OPT_INDENT_2))


@command(PARTIAL, HELD, AUTH, REMOTE, LOCKED, DAMAGED)
@click.argument("plan", metavar="PLAN_ID|FILE")
@DEADLINE
def apply(obj: Context, plan: str, deadline: float) -> int:
    """Write a plan that was looked at. Refused when it no longer says what would happen."""
    answer = call(obj, "apply", check=True, plan=_plan_id(plan), deadline=deadline)
    show(obj, answer.data, _run_text)
    _advise(answer.data, answer.exit_code)
    return answer.exit_code


def _plan_id(text: str) -> str:
    """The id in a file that `syncd plan --out` wrote, or the id itself."""
    path = Path(text)
    if not path.is_file():
        return text
    import orjson

    try:
        return str(orjson.loads(path.read_bytes())["plan"]["id"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise Failure(USAGE, f"{path} is not a plan.", next="Write one with `syncd plan --out FILE`.") from None


@command(PARTIAL, HELD, AUTH, REMOTE, LOCKED, DAMAGED)
@APPROVE
@DEADLINE
def once(obj: Context, approve: str | None, deadline: float) -> int:
    """Run one cycle: read, decide, write, and wait until everything written is acknowledged."""
    answer = call(obj, "once", check=True, approve=approve, deadline=deadline)
    show(obj, answer.data, _run_text)
    _advise(answer.data, answer.exit_code)
    return answer.exit_code


@command(LOCKED, DAMAGED)
def run(obj: Context) -> int:
    """Run as a service: one cycle after another until SIGTERM. SIGHUP reads the files again."""
    from syncd.daemon import Daemon

    return Daemon(obj.path, pretty=sys.stderr.isatty(), debug=obj.debug).run()


@command(PARTIAL, PENDING, HELD, AUTH, REMOTE, LOCKED, DAMAGED)
@click.option("--all", "everything", is_flag=True, help="Every stream from its beginning, everyone decided anew.")
@click.option("--stream", metavar="NAME", help="One stream from its beginning, such as sf.Contact.")
@click.option("--person", "address", type=ADDRESS, metavar="-", help="Who has the address on standard input.")
@click.option("--crm-id", metavar="ID", help="The person of one CRM record.")
@click.option("--destination", metavar="NAME", help="Compare what this destination holds with what was acknowledged.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), metavar="DATE",
              help="With --all or --stream: decide anew, without reading again, whose records changed since (UTC).")
@click.option("--dry-run", is_flag=True, help="Read and plan; send nothing.")
@APPROVE
@DEADLINE
def resync(obj: Context, everything: bool, stream: str | None, address: str | None, crm_id: str | None,
           destination: str | None, since: Any, dry_run: bool, approve: str | None, deadline: float) -> int:
    """Read again and decide again. What that would change beyond opt-outs waits for approval."""
    chosen = sum(1 for one in (everything, stream, address, crm_id) if one)
    if chosen > 1 or not (chosen or destination):
        raise click.UsageError("say what: one of --all, --stream, --person, --crm-id, or a --destination")
    if since is not None and not (everything or stream):
        raise click.UsageError("--since goes with --all or --stream")
    answer = call(obj, "resync", check=True, everything=everything, stream=stream, address=address, crm_id=crm_id,
                  destination=destination, since=since.isoformat() if since else None, dry_run=dry_run,
                  approve=approve, deadline=deadline)
    show(obj, answer.data, _run_text)
    _advise(answer.data, answer.exit_code)
    return answer.exit_code


# --------------------------------------------------------------------------- text

OUTCOMES = {"create_done": "created", "rejected": "refused", "retry": "tried again"}
"""What became of operations, in words."""


def _run_text(data: dict[str, Any]) -> Iterator[str]:
    from syncd.desk.answers import summary

    yield summary(data)
    for found, about in data.get("resync", {}).items():
        yield f"resync: {found}: {about}"
    plan = data["plan"]
    if plan is not None:
        yield f"plan {plan['id']}" + ("" if plan["counts"] else ": nothing to do")
        for c in plan["counts"]:
            yield f"  {c['connection']} {c['object'] or 'all mail'}: {c['sort']} {c['count']}" + (
                " (held)" if c["state"] == "held" else "")
        for note in plan["notes"]:
            yield f"  {note}"
    for name, delivered in data["delivered"].items():
        counts = ", ".join(f"{OUTCOMES.get(k, k)} {v}" for k, v in delivered.items()
                           if isinstance(v, int) and v and k != "accepted")  # that is not an end
        if counts:
            yield f"{name}: {counts}"


def _together(failed: dict[str, Any]) -> dict[tuple[str, str], list[str]]:
    """Streams by connection and what is wrong: one wrong password is told once."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, error in failed.items():
        connection, _, stream = name.partition(".")
        found.setdefault((connection, error["message"]), []).extend(filter(None, [stream]))
    return found


def _advise(data: dict[str, Any], code: int) -> None:
    """What failed, what waits, and the next command."""
    for (connection, message), streams in _together(data["failed"]).items():
        told = f" ({', '.join(streams)}) could not be read" if streams else ""
        say(f"syncd: {connection}{told}: {message}")
    for name, delivered in data["delivered"].items():
        if "error" in delivered:
            say(f"syncd: {name} could not be written: {delivered['error']['message']}")
    if data["failed"] or any("error" in delivered for delivered in data["delivered"].values()):
        say("  `syncd doctor` looks at all connections.")
    if data["failed"] and data["plan"] is None:
        say("  Until that is read nothing but opt-outs is planned.")
    for name, about in data["emptied"].items():
        say(f"syncd: {name} lacks {about['missing']} of {about['known']} records; they are kept.")
    if data["plan"] is not None:
        for hold in data["plan"]["holds"]:
            say(f"syncd: hold {hold['id']} on {hold['connection']}: {hold['reason']}"
                f" ({hold['operations']} operations).")
        if code in (HELD, PENDING):
            say(f"  Look with `syncd holds list` or `syncd plan --out FILE`; write it with"
                f" `syncd apply {data['plan']['id']}`.")
    if code == PARTIAL:
        say("  Some rows were refused: `syncd quarantine list`.")
COMMANDS = (plan, apply, once, run, resync)
