"""Bulk API 2.0: query jobs with CSV pages, ingest jobs with their three result files. Jobs run in simulated time."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from connectors.sim.kernel import Response

from . import ids, values
from .db import Row
from .errors import Refused, not_found
from .evaluate import Prepared, csv_renderer
from .options import INTEGRATION_USER
from .sobjects import external_field, upsert
from .web import Context, Route, route

DELIMITERS = {"COMMA": ",", "BACKQUOTE": "`", "CARET": "^", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t"}
ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete")
BIGGEST_UPLOAD = 150 * 1024 * 1024
BATCH = 10_000
KEPT = 7 * 86400.0


@dataclass(slots=True)
class Job:
    """One job of either kind. ``due`` is when it will have run; None while it is Open or once it has ended."""

    id: str
    kind: str
    operation: str
    object: str
    delimiter: str
    ending: str
    version: str
    created: float
    state: str
    due: float | None = None
    ctx: Context | None = None
    error: str | None = None
    prepared: Prepared | None = None
    rows: list[Row] = field(default_factory=list)
    external: str | None = None
    upload: bytes | None = None
    header: list[str] = field(default_factory=list)
    good: list[tuple[str, bool, list[str]]] = field(default_factory=list)
    bad: list[tuple[str, str, list[str]]] = field(default_factory=list)
    untouched: list[list[str]] = field(default_factory=list)

    def info(self) -> dict[str, Any]:
        stamp = values.rest_datetime(int(self.created))
        out: dict[str, Any] = {
            "id": self.id, "operation": self.operation, "object": self.object, "createdById": INTEGRATION_USER,
            "createdDate": stamp, "systemModstamp": stamp, "state": self.state,
            "concurrencyMode": "Parallel", "contentType": "CSV",
            "apiVersion": float(self.version[1:]), "lineEnding": self.ending, "columnDelimiter": self.delimiter}
        if self.error:
            out["errorMessage"] = self.error
        if self.kind == "query":
            return {**out, "jobType": "V2Query", "numberRecordsProcessed": len(self.rows), "retries": 0,
                    "totalProcessingTime": 0}
        content = f"services/data/{self.version}/jobs/ingest/{self.id}/batches"
        return {**out, "jobType": "V2Ingest", "contentUrl": content, "externalIdFieldName": self.external, "retries": 0,
                "totalProcessingTime": 0, "apiActiveProcessingTime": 0, "apexProcessingTime": 0,
                "numberRecordsProcessed": len(self.good) + len(self.bad),
                "numberRecordsFailed": len(self.bad)}


class Jobs:
    """All jobs, and the quota they use."""

    def __init__(self, next_id: Callable[[str], str]) -> None:
        self._next_id = next_id
        self.jobs: dict[str, Job] = {}
        self.queries = 0
        self.batches = 0

    def create(self, kind: str, **given: Any) -> Job:
        job = Job(self._next_id("750"), kind, **given)
        self.jobs[job.id] = job
        return job

    def get(self, ctx: Context, kind: str) -> Job:
        """The job of the path.

        :raises Refused: 404
        """
        job = self.jobs.get(ids.normal(ctx.args["id"]) or "")
        if job is None or job.kind != kind:
            raise not_found()
        return job

    def advance(self, now: float) -> int:
        """Run what is due, forget what is a week old; the number of rows written."""
        written = 0
        for job in [j for j in self.jobs.values() if j.due is not None or now - j.created > KEPT]:
            if now - job.created > KEPT:
                del self.jobs[job.id]
            elif job.due is not None and job.due <= now:
                job.due = None
                if job.kind == "query":
                    _run_query(job)
                else:
                    _run_ingest(job)
                    written += len(job.good)
                job.ctx = job.upload = None
        return written


def _start(ctx: Context, job: Job) -> None:
    slow = ctx.sim.kernel.faults.active(ctx.sim.side, "slow_queue", ctx.route, job.object)
    job.state = "UploadComplete"
    job.ctx = ctx
    job.due = ctx.sim.kernel.clock.now() + ctx.sim.options.bulk_seconds + (slow.seconds if slow else 0.0)


def _common(ctx: Context, body: Mapping[str, Any]) -> dict[str, Any]:
    delimiter, ending = body.get("columnDelimiter", "COMMA"), body.get("lineEnding", "LF")
    if delimiter not in DELIMITERS or ending not in ENDINGS:
        raise Refused("INVALIDJOB", "unknown columnDelimiter or lineEnding")
    return {"delimiter": delimiter, "ending": ending, "version": ctx.version, "created": ctx.sim.kernel.clock.now()}


def _body(ctx: Context) -> Mapping[str, Any]:
    body = ctx.json()
    if not isinstance(body, dict):
        raise Refused("INVALIDJOB", "an object is expected")
    return body


# --------------------------------------------------------------------------- query jobs

def _create_query(ctx: Context) -> Response:
    body = _body(ctx)
    operation = body.get("operation")
    if operation not in ("query", "queryAll"):
        raise Refused("INVALIDJOB", f"Unable to parse Job: operation {operation}")
    prepared = ctx.sim.engine.prepare(str(body.get("query", "")), deleted=operation == "queryAll")
    if prepared.query.count or prepared.query.offset:
        raise Refused("INVALIDJOB", "FunctionNotSupported: aggregate queries and OFFSET are not supported in Bulk API")
    if ctx.sim.bulk.queries >= 10_000:
        raise Refused("EXCEEDED_QUOTA", "ApiBulkQueryV2 DailyBulkV2QueryJobs limit exceeded", status=403)
    ctx.sim.bulk.queries += 1
    job = ctx.sim.bulk.create("query", operation=operation, object=prepared.object, state="UploadComplete",
                              prepared=prepared, **_common(ctx, body))
    _start(ctx, job)
    return Response(200, job.info())


def _run_query(job: Job) -> None:
    ctx, prepared = job.ctx, job.prepared
    assert ctx is not None
    assert prepared is not None
    job.rows = [] if ctx.fault("empty_list", job.object) else list(prepared.rows())
    job.state = "JobComplete"


def _poll(ctx: Context, kind: str) -> Response:
    job = ctx.sim.bulk.get(ctx, kind)
    info = job.info()
    if job.due is not None:
        job.state = "InProgress"
    return Response(200, info)


def _results(ctx: Context) -> Response:
    job = ctx.sim.bulk.get(ctx, "query")
    if job.state != "JobComplete" or job.prepared is None:
        raise Refused("INVALIDJOBSTATE", "Job must be in state JobComplete", status=400)
    locator, most = ctx.request.query.get("locator", ""), ctx.request.query.get("maxRecords", "")
    start = _offset(locator)
    if start > len(job.rows):
        raise Refused("INVALID_QUERY_LOCATOR", "invalid query locator")
    size = int(most) if most.isdigit() and int(most) > 0 else 100_000
    if ctx.sim.options.irregular_pages and size > 1000 and len(job.rows) - start > 1000:
        size -= ctx.sim.rng.randrange(size // 4)
    rows = job.rows[start:start + size]
    end = start + len(rows)
    after = _locator(end) if end < len(job.rows) else "null"
    glue = DELIMITERS[job.delimiter]
    render = csv_renderer(job.prepared.columns, glue)
    lines = [render(row) for row in rows]
    headers = {"Sforce-NumberOfRecords": str(len(rows)), "Sforce-Locator": after}
    if lines and ctx.fault("truncated_page", job.object):
        lines, headers["Sforce-Locator"] = lines[:len(lines) // 2], "null"
    if start == 0 or ctx.sim.options.bulk_header_every_page:
        lines.insert(0, glue.join(f'"{".".join(c.path)}"' for c in job.prepared.columns))
    ending = ENDINGS[job.ending]
    return Response(200, ending.join(lines) + ending, headers, content_type="text/csv")


def _locator(offset: int) -> str:
    """Opaque to clients: letters for digits."""
    return "".join("MDQxNTY3OE"[int(c)] for c in str(offset))


def _offset(locator: str) -> int:
    if not locator:
        return 0
    if not set(locator) <= set("MDQxNTY3OE"):
        raise Refused("INVALID_QUERY_LOCATOR", "invalid query locator")
    return int("".join(str("MDQxNTY3OE".index(c)) for c in locator))


# --------------------------------------------------------------------------- ingest jobs

def _create_ingest(ctx: Context) -> Response:
    body = _body(ctx)
    operation, name = body.get("operation"), str(body.get("object", ""))
    object = ctx.sim.db.objects.get(name.lower())
    if operation not in OPERATIONS or body.get("contentType", "CSV") != "CSV":
        raise Refused("INVALIDJOB", f"Unable to parse Job: operation {operation}")
    if object is None:
        raise Refused("INVALIDJOB", f"InvalidEntity : Entity '{name}' is not supported by the Bulk API.")
    external = None
    if operation == "upsert":
        external = external_field(ctx, object, str(body.get("externalIdFieldName") or ""))
    job = ctx.sim.bulk.create("ingest", operation=operation, object=object, state="Open", external=external,
                              **_common(ctx, body))
    return Response(200, job.info())


def _upload(ctx: Context) -> Response:
    job = ctx.sim.bulk.get(ctx, "ingest")
    if job.state != "Open" or job.upload is not None:
        raise Refused("INVALIDJOBSTATE", "Found multiple contents for job, or the job is closed.")
    if len(ctx.request.body) * 4 // 3 > BIGGEST_UPLOAD:
        raise Refused("INVALIDJOB", "the upload is larger than 150 MB after encoding", status=413)
    job.upload = ctx.request.body
    return Response(201)


def _patch(ctx: Context, kind: str) -> Response:
    job = ctx.sim.bulk.get(ctx, kind)
    state = _body(ctx).get("state")
    if state == "Aborted" and job.state in ("Open", "UploadComplete", "InProgress"):
        job.state, job.due, job.upload, job.ctx = "Aborted", None, None, None
    elif state == "UploadComplete" and kind == "ingest" and job.state == "Open":
        if job.upload is None:
            raise Refused("INVALIDJOBSTATE", "no data was uploaded for this job")
        ctx.sim.bulk.batches += max(1, job.upload.count(b"\n") // BATCH)
        _start(ctx, job)
    else:
        raise Refused("INVALIDJOBSTATE", f"Invalid state transition from {job.state} to {state}")
    return Response(200, job.info())


def _delete(ctx: Context, kind: str) -> Response:
    job = ctx.sim.bulk.get(ctx, kind)
    if job.state not in ("JobComplete", "Failed", "Aborted"):
        raise Refused("INVALIDJOBSTATE", "Job must be complete, failed or aborted")
    del ctx.sim.bulk.jobs[job.id]
    return Response(204)


def _run_ingest(job: Job) -> None:
    """Row by row, each its own transaction. A ``partial`` fault fails the job half-way: the rest is unprocessed."""
    ctx = job.ctx
    assert ctx is not None
    assert job.upload is not None
    try:
        table = list(csv.reader(io.StringIO(job.upload.decode("utf-8-sig")), delimiter=DELIMITERS[job.delimiter],
                                strict=True))
    except (UnicodeDecodeError, csv.Error):
        job.state, job.error = "Failed", "InvalidBatch : Failed to parse CSV"
        return
    lines = [line for line in table if line]
    spec = ctx.sim.schema[job.object]
    job.header = lines.pop(0) if lines else []
    unknown = [h for h in job.header if h.lower() not in spec.lower or h in ctx.sim.hidden(job.object)]
    if unknown or not job.header:
        job.state, job.untouched = "Failed", lines
        job.error = f"InvalidBatch : Field name not found : {unknown[0] if unknown else ''}"
        return
    broken = bool(lines) and ctx.fault("partial", job.object) is not None
    end = max(1, len(lines) // 2) if broken else len(lines)
    for line in lines[:end]:
        _ingest_line(ctx, job, line)
    job.untouched = lines[end:]
    job.state = "Failed" if broken else "JobComplete"
    if broken:
        job.error = "TooManyLockFailure : batch retried 10 times"


def _ingest_line(ctx: Context, job: Job, line: list[str]) -> None:
    record = ""
    try:
        if len(line) != len(job.header):
            raise Refused("INVALIDBATCH", "number of cells differs from the header")
        cells = {h: None if v == "#N/A" else v for h, v in zip(job.header, line, strict=True) if v != ""}
        record = str(next((v for h, v in cells.items() if h.lower() == "id"), "") or "")
        with ctx.sim.db.transaction():
            record, created = _ingest_row(ctx, job, cells)
        job.good.append((record, created, line))
    except Refused as error:
        job.bad.append((record, f"{error.code}:{error.message}:{','.join(error.fields)}--", line))


def _ingest_row(ctx: Context, job: Job, cells: Mapping[str, Any]) -> tuple[str, bool]:
    sim, actor = ctx.sim, ctx.actor
    if job.operation == "insert":
        return sim.writer.create(job.object, cells, actor), True
    if job.operation == "upsert" and job.external is not None:
        value = next((v for h, v in cells.items() if h.lower() == job.external.lower()), None)
        return upsert(ctx, job.object, job.external, value, cells, actor)
    given = next((v for h, v in cells.items() if h.lower() == "id"), None)
    record = ids.normal(given)
    if record is None or sim.db.object_of(record) != job.object:
        raise Refused("MALFORMED_ID", f"{job.object} ID: id value of incorrect type: {given}", ["Id"])
    if job.operation == "update":
        sim.writer.update(job.object, record, {h: v for h, v in cells.items() if h.lower() != "id"}, actor)
    else:
        sim.lifecycle.delete(job.object, record, actor, hard=job.operation == "hardDelete")
    return record, False


def _ingest_results(ctx: Context) -> Response:
    job = ctx.sim.bulk.get(ctx, "ingest")
    if job.state not in ("JobComplete", "Failed", "Aborted"):
        raise Refused("INVALIDJOBSTATE", "Job must be complete, failed or aborted")
    which = ctx.args["which"].lower()
    out = io.StringIO()
    writer = csv.writer(out, delimiter=DELIMITERS[job.delimiter], lineterminator=ENDINGS[job.ending],
                        quoting=csv.QUOTE_ALL)
    if which == "successfulresults":
        writer.writerow(["sf__Id", "sf__Created", *job.header])
        writer.writerows([record, "true" if created else "false", *line] for record, created, line in job.good)
    elif which == "failedresults":
        writer.writerow(["sf__Id", "sf__Error", *job.header])
        writer.writerows([record, error, *line] for record, error, line in job.bad)
    else:
        writer.writerow(job.header)
        writer.writerows(job.untouched)
    return Response(200, out.getvalue(), content_type="text/csv")


def _list(ctx: Context, kind: str) -> Response:
    jobs = [j.info() for j in ctx.sim.bulk.jobs.values() if j.kind == kind]
    return Response(200, {"done": True, "records": jobs, "nextRecordsUrl": None})


def _both(kind: str, prefix: str) -> list[Route]:
    path = f"/jobs/{kind}"
    return [route("GET", path, f"{prefix}.list", lambda ctx: _list(ctx, kind)),
            route("GET", path + "/{id}", f"{prefix}.poll", lambda ctx: _poll(ctx, kind)),
            route("PATCH", path + "/{id}", f"{prefix}.state", lambda ctx: _patch(ctx, kind), write=kind == "ingest"),
            route("DELETE", path + "/{id}", f"{prefix}.delete", lambda ctx: _delete(ctx, kind))]


ROUTES: list[Route] = [
    route("POST", "/jobs/query", "bulk_query.create", _create_query), *_both("query", "bulk_query"),
    route("GET", "/jobs/query/{id}/results", "bulk_query.results", _results),
    route("POST", "/jobs/ingest", "ingest.create", _create_ingest, write=True), *_both("ingest", "ingest"),
    route("PUT", "/jobs/ingest/{id}/batches", "ingest.upload", _upload, write=True),
    route("GET", "/jobs/ingest/{id}/(?P<which>successfulResults|failedResults|unprocessedRecords)", "ingest.results",
          _ingest_results),
]
