"""A wire that holds rows and breaks off as told, for the tests of reading Salesforce."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from connectors.errors import CursorLost, Retry
from connectors.salesforce.records.reading import Reader
from connectors.salesforce.records.source import record_source
from connectors.salesforce.settings import SalesforceSettings
from connectors.salesforce.wire.calls import QueryJob
from connectors.salesforce.wire.values import micros, soql_instant
from syncd.model import Field, FieldInfo, Page, StreamSpec

NOW = 1_800_000_000
FIELDS = {n: FieldInfo(n, t) for n, t in {
    "Id": "id", "SystemModstamp": "instant", "IsDeleted": "bool", "MasterRecordId": "id", "Email": "text"}.items()}
SPEC = StreamSpec("Contact", fields=(Field("Email"),))
OPTIONS = SalesforceSettings(client_id="c", endpoint="http://127.0.0.1:1", lag_seconds=10, overlap_seconds=60,
                             bulk_threshold=10**9, bulk_page=7)

Event = str | None


@dataclass
class FakeWire:
    """Rows and a list of faults, consumed one per page: "locator", "cut", "slow", None = nothing happens."""

    rows: dict[str, tuple[int, str]]  # id -> (stamp, email)
    page: int = 5
    faults: Iterator[Event] = field(default_factory=lambda: iter(()))
    now: int = NOW
    queries: list[str] = field(default_factory=list)
    jobs: dict[str, list[str]] = field(default_factory=dict)
    header_on_every_page: bool = False
    slow_above: int | None = None  # the span of seconds a query can bear

    def count(self, object: str, *, deleted: bool) -> int:
        return len(self.rows)

    def _select(self, soql: str) -> list[str]:
        """Evaluate the statements that ``Source.after`` writes."""
        ids = sorted(self.rows, key=lambda i: (self.rows[i][0], i) if "ORDER BY System" in soql else (0, i))
        where = soql.partition(" WHERE ")[2]
        tie = re.search(r"\(SystemModstamp = (\S+) AND Id > '(\w+)'\)", where)
        lower = re.search(r"SystemModstamp >= (\S+)", where)
        upper = re.search(r"SystemModstamp < (\S+)", where)
        after = re.search(r"^Id > '(\w+)'", where)

        def at(text: str) -> int:
            return micros(text) // 1_000_000
        if tie:
            ids = [i for i in ids if (self.rows[i][0], i) > (at(tie[1]), tie[2])]
        if lower:
            ids = [i for i in ids if self.rows[i][0] >= at(lower[1])]
        if upper:
            ids = [i for i in ids if self.rows[i][0] < at(upper[1])]
        if after:
            ids = [i for i in ids if i > after[1]]
        return ids

    def query(self, soql: str, *, deleted: bool, names: Collection[str] = (),
              urgent: bool = False) -> Iterator[tuple[list[Any], bool]]:
        self.queries.append(soql)
        ids = self._select(soql)
        limit = re.search(r" LIMIT (\d+)$", soql)
        ids = ids[:int(limit[1])] if limit else ids
        if self.slow_above is not None and self._span(soql) > self.slow_above:
            raise Retry("slow", code="QUERY_TIMEOUT")
        pages = [ids[i:i + self.page] for i in range(0, len(ids), self.page)]
        for number, some in enumerate(pages or [[]]):
            fault = next(self.faults, None)
            if fault == "locator":
                raise CursorLost("gone", code="INVALID_QUERY_LOCATOR")
            if fault == "cut":
                raise CursorLost("cut", code="CUT")
            if fault == "slow":
                raise Retry("slow", code="QUERY_TIMEOUT")
            yield [{"Id": i, "SystemModstamp": soql_instant(self.rows[i][0]).replace("Z", ".000+0000"),
                    "IsDeleted": False, "MasterRecordId": None, "Email": self.rows[i][1]}
                   for i in some], number >= len(pages) - 1

    def _span(self, soql: str) -> int:
        stamps = [self.rows[i][0] for i in self._select(soql.partition(" ORDER")[0])]
        return max(stamps, default=0) - min(stamps, default=0)

    def start_job(self, soql: str, *, deleted: bool, names: Collection[str] = ()) -> str:
        self.queries.append(soql)
        job = f"750{len(self.jobs)}"
        self.jobs[job] = sorted(self.rows, key=hash)
        return job

    def job(self, job: str) -> QueryJob:
        if job not in self.jobs:
            raise CursorLost("no job")
        return QueryJob("JobComplete", len(self.jobs[job]), "")

    def job_rows(self, job: str, locator: str, size: int) -> tuple[str, str, int | None]:
        if job not in self.jobs:
            raise CursorLost("no job")
        start = int(locator or 0)
        some = self.jobs[job][start:start + size]
        fault = next(self.faults, None)
        if fault == "locator":
            del self.jobs[job]
            raise CursorLost("gone")
        out = io.StringIO()
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        if not start or self.header_on_every_page:
            writer.writerow(["Id"] if "SELECT Id FROM" in self.queries[-1] else
                            ["Id", "SystemModstamp", "IsDeleted", "MasterRecordId", "Email"])
        if fault == "cut":
            some = some[:-1]
        for i in some:
            full = [i, soql_instant(self.rows[i][0]).replace("Z", ".000Z"), "false", "", self.rows[i][1]]
            writer.writerow(full[:1] if "SELECT Id FROM" in self.queries[-1] else full)
        following = start + size
        return out.getvalue(), str(following) if following < len(self.jobs[job]) else "", None


def reader(wire: FakeWire, **options: Any) -> Reader:
    opts = SalesforceSettings(**{**{f: getattr(OPTIONS, f) for f in OPTIONS.__slots__}, **options})
    return Reader(wire, opts, lambda: float(wire.now), lambda seconds: None)  # type: ignore[arg-type]


def sid(number: int) -> str:
    return f"003{number:012d}AAA"


def contacts(*stamps: int) -> dict[str, tuple[int, str]]:
    return {sid(i): (stamp, f"u{i}@x.example") for i, stamp in enumerate(stamps)}


def ids(pages: list[Page]) -> list[Any]:
    return [row[0] for page in pages for row in page.rows]


def everything(read: Reader, cursor: str | None = None) -> list[Page]:
    return list(read.changes(record_source(SPEC, FIELDS), cursor))
