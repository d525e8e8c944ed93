"""A world as a test holds it: start it, fill it, let people act and calls fail, and ask what became true."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from connectors.memory.connector import MemoryConnector
from connectors.memory.line import Line, ShortLine
from connectors.memory.sides.table import BadCall
from syncd.model import FieldInfo, Micros, Value

_ROOT = str(Path(__file__).resolve().parents[2])


class World:
    """The control side of a world in another process.

    ``World(address)`` joins a running one; ``World.start()`` starts one that ends with ``close``, with the ``with``
    block, or with this process; ``World(line)`` is one in this process, for tests of many thousand steps. All times are
    the world's.

    >>> with World.start(seed=7) as world:
    ...     world.create_crm("sf", {"Contact": {"fields": fields("email", "first_name", opted_out="bool"),
    ...                                         "master_flag": "opted_out"}})
    ...     ids = world.people("sf", "Contact", 1000, flags={"opted_out": 0.05})
    ...     connector = world.connector("sf")

    :raises BadCall: from every method, for what makes no sense
    """

    def __init__(self, address: str | ShortLine) -> None:
        self.address = address
        self._line = Line(address) if isinstance(address, str) else address
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: str | None = None

    @classmethod
    def start(cls, *, seed: int = 0, start: Micros | None = None) -> World:
        """Start an empty world. ``start`` fixes its clock, which then moves by ``tick(seconds=…)`` only."""
        directory = tempfile.mkdtemp(prefix="world-")
        socket = os.path.join(directory, "socket")
        world = cls(socket)
        command = [sys.executable, "-m", "connectors.memory", "--socket", socket, "--seed", str(seed),
                   "--until-eof", *(["--start", str(start)] if start is not None else [])]
        world._directory = directory
        world._process = subprocess.Popen(  # noqa: S603 - our own module
            command, env={**os.environ, "PYTHONPATH": _ROOT}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert world._process.stdout is not None
        if world._process.stdout.readline() != b"ready\n":
            world.close()
            raise RuntimeError("the world did not start")
        return world

    def close(self) -> None:
        """End the world if this object started it."""
        self._line.close()
        if self._process is not None:
            self._process.communicate(timeout=10)
            self._process = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
                 ) -> None:
        self.close()

    def connector(self, name: str) -> MemoryConnector:
        """A connector of this process to one connection."""
        return MemoryConnector(self.address, name)

    # ------------------------------------------------------------------ building

    def create_crm(self, name: str, objects: Mapping[str, Mapping[str, Any]], *, blacklist: bool = False,
                   **options: Any) -> None:
        """Add a CRM.

        :param objects: name → ``fields`` (see ``fields``), ``master_flag``, ``topics`` (topic → consent field),
            ``tracked`` (fields with history), ``prefix`` of the ids
        :param blacklist: it also has an address-keyed status for all mail, as Odoo
        :param options: ``connectors.memory.account.Options``
        """
        self._ask("create_crm", name=name, objects=objects, blacklist=blacklist, **options)

    def create_esp(self, name: str, lists: Mapping[str, str] | Sequence[str] = (),
                   audiences: Mapping[str, Mapping[str, Any]] | None = None, **options: Any) -> None:
        """Add an ESP.

        :param lists: ids, or id → label
        :param audiences: object name ("de:OFFERS_ALL") → ``fields`` and the ``list`` its sends go through
        :param options: ``Options``, and of ``Esp`` and ``Mailing``: ``keyed_by``, ``unknown``, ``knows_self``,
            ``hold_after``, ``widen``, ``dedupe``, ``flip``
        """
        named = dict(lists) if isinstance(lists, Mapping) else {name: name for name in lists}
        self._ask("create_esp", name=name, lists=named, audiences=audiences or {}, **options)

    def load(self, name: str, object: str, rows: Sequence[Mapping[str, Value]]) -> list[str]:
        """Create CRM records; their ids (a row's own ``id`` when it has one)."""
        ids: list[str] = self._ask("load", name=name, object=object, rows=list(rows))
        return ids

    def people(self, name: str, object: str, count: int, *, flags: Mapping[str, float] | None = None,
               messy: bool = True) -> list[str]:
        """Invent people in the object's fields email, first_name, last_name, company, city, personas, spent, born,
        score; ``flags`` gives boolean fields their share of true. Their ids."""
        ids: list[str] = self._ask("people", name=name, object=object, count=count, flags=flags or {}, messy=messy)
        return ids

    # ------------------------------------------------------------------ acting

    def act(self, name: str, do: str, /, **args: Any) -> dict[str, Any]:
        """Somebody does something at a connection; the answer says how many things ``changed``.

        CRM: create edit mass_edit delete undelete merge convert restrict (``connectors.memory.sides.crm.Crm.do_…``).
        ESP: send unsubscribe complain bounce open resubscribe confirm import suppress remove_members
        delete_subscribers readdress write_rows delete_rows (``connectors.memory.sides.mailing.Mailing.do_…``), and
        forget_requests. Both: become another ``account``, with what is there.
        """
        answer: dict[str, Any] = self._ask("act", name=name, do=do, args=args)
        return answer

    def send(self, name: str, audience: str, through: str | None = None, classification: str = "commercial",
             ) -> dict[str, Any]:
        """Send to an audience: ``id``, ``mailed`` addresses, ``skipped`` counts by reason."""
        return self.act(name, "send", audience=audience, through=through, classification=classification)

    def fault(self, fault: str, /, **about: Any) -> None:
        """Let calls fail: names in ``connectors.memory.faults.NAMES``, parameters in ``Fault``."""
        self._ask("fault", name=fault, **about)

    def clear_faults(self, name: str | None = None) -> int:
        """End all faults or those of one name; how many there were."""
        gone: int = self._ask("clear_faults", name=name)
        return gone

    def tick(self, ticks: int = 1, seconds: float = 0.0) -> None:
        """Let time pass."""
        self._ask("tick", ticks=ticks, seconds=seconds)

    # ------------------------------------------------------------------ asking

    def now(self) -> Micros:
        """The world's instant."""
        now: Micros = self._ask("now")
        return now

    def truth(self) -> dict[str, Any]:
        """By connection: people, or subscribers, audiences, blocked and mails; ``waiting`` requests; counters."""
        truth: dict[str, Any] = self._ask("truth")
        return truth

    def counters(self, name: str, *, reset: bool = False) -> dict[str, int]:
        """calls, reads, writes and calls by verb; ``delayed`` by the fault "slow", as it begins; records_written,
        records_changed; ``resubscribed``: how often the API subscribed a member who had opted out."""
        counters: dict[str, int] = self._ask("counters", name=name, reset=reset)
        return counters

    def digest(self) -> str:
        """Equal for worlds in which the same things are so, whenever and however they came to be."""
        digest: str = self._ask("digest")
        return digest

    def _ask(self, verb: str, /, **args: Any) -> Any:
        answer, _, _ = self._line.ask({"verb": verb, "args": args})
        if "error" in answer:
            raise BadCall(answer["message"])
        return answer["ok"]


def fields(*texts: str, **typed: str | Mapping[str, Any]) -> list[dict[str, Any]]:
    """Field definitions: text fields by name, others as ``name="bool"`` or ``name={"type": "text", "length": 40}``."""
    infos = [FieldInfo(name, "text") for name in texts]
    infos += [FieldInfo(name, **({"type": about} if isinstance(about, str) else dict(about)))
              for name, about in typed.items()]
    return [asdict(info) for info in infos]
