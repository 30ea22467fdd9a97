"""`pending_uploads` and `remote_locations`: what a backend lacks, and bringing it there."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dagster as dg
from pydantic import Field

from catalogsync_assets.assets.cells import cell_metadata
from catalogsync_assets.assets.metadata import OWNERS, clear_failures, mebibytes, table
from catalogsync_assets.assets.partitions import backends, by_backend, cells
from catalogsync_assets.core.catalog.backends import backend_by_name
from catalogsync_assets.core.catalog.holdings import absence
from catalogsync_assets.core.catalog.library import require_batch
from catalogsync_assets.core.catalog.scope import Scope
from catalogsync_assets.core.catalog.uploads import (
    count_pending,
    count_unfinished,
    enqueue,
    list_pending,
)
from catalogsync_assets.core.plan.batches import CHUNK_MAX_BYTES, CHUNK_MAX_FILES, group
from catalogsync_assets.core.transfer.engine import UploadReport, upload
from catalogsync_assets.resources import CatalogResource, ObjectStoreResource

#: Steps of all runs that may upload at a time; its limit is set in the UI or `dagster.yaml`.
UPLOAD_POOL = "catalogsync_upload"
#: Seconds between lines of progress: an event costs about 4 ms, so never one per file.
_PROGRESS_SECONDS = 5.0
#: When cells that are still missing are requested again.
SWEEP_CRON = "0 5 * * *"


@dg.asset(
    partitions_def=backends,
    deps=["downloaded_files"],
    group_name="library",
    kinds={"sqlite"},
    owners=OWNERS,
    code_version="1",
    tags={"catalogsync/stage": "2-plan"},
    automation_condition=(
        dg.AutomationCondition.any_deps_updated().since_last_handled()
        | dg.AutomationCondition.on_missing()
    )
    & ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.in_progress(),
)
def pending_uploads(
    context: dg.AssetExecutionContext, catalog: CatalogResource
) -> dg.MaterializeResult:
    """The upload tasks of a backend: every current file that it lacks, in one SQL statement.

    What failed before is queued again; what is no longer wanted there is cancelled.
    """
    with clear_failures(), catalog.open() as database:
        backend = backend_by_name(database, context.partition_key)
        queued = enqueue(database, backend)
        files, size = count_pending(database, backend)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": files,
            "newly queued": queued,
            "size (MiB)": mebibytes(size),
            "bucket": backend.bucket,
            "endpoint": backend.endpoint or "AWS",
        }
    )


@dataclass(frozen=True)
class Chunk:
    """A part of a cell's work: the pending files from one id to another, both included."""

    backend: str
    batch: str
    first_id: int
    last_id: int
    files: int

    @property
    def scope(self) -> Scope:
        return Scope(batch_key=self.batch, file_asset_ids=(self.first_id, self.last_id))


class ChunkConfig(dg.Config):
    """How to cut a cell into steps. A step is what a retry repeats."""

    chunk_max_files: int = Field(default=CHUNK_MAX_FILES, ge=1)
    chunk_max_bytes: int = Field(default=CHUNK_MAX_BYTES, ge=1)


def _cell(context: dg.OpExecutionContext) -> tuple[str, str]:
    """The backend and the batch of this run."""
    key = context.partition_key
    assert isinstance(key, dg.MultiPartitionKey)
    return key.keys_by_dimension["backend"], key.keys_by_dimension["batch"]


@dg.op(
    ins={"pending_uploads": dg.In(dg.Nothing)},
    out=dg.DynamicOut(dg.Any),
    tags={"dagster/kind": "sqlite"},
)
def plan_batch(
    context: dg.OpExecutionContext, config: ChunkConfig, catalog: CatalogResource
) -> Iterator[dg.DynamicOutput[Chunk]]:
    """Queue what the backend lacks of the batch, and cut it into chunks."""
    backend_name, batch = _cell(context)
    with clear_failures(), catalog.open() as database:
        backend = backend_by_name(database, backend_name)
        require_batch(database, batch)
        enqueue(database, backend, Scope(batch_key=batch))
        waiting = list_pending(database, backend, Scope(batch_key=batch))
        chunks = list(
            group(
                ((file.file_asset_id, file.size_bytes) for file in waiting),
                max_files=config.chunk_max_files,
                max_bytes=config.chunk_max_bytes,
            )
        )
    files = sum(g.files for g in chunks)
    context.log.info(f"{files:,} files of batch {batch} to upload to {backend_name}")
    for g in chunks:
        yield dg.DynamicOutput(
            Chunk(backend_name, batch, g.first_id, g.last_id, g.files),
            mapping_key=f"from_{g.first_id}",
        )


@dataclass(frozen=True)
class ChunkResult:
    """What became of a chunk, and when: seconds since the epoch."""

    report: UploadReport
    started: float
    ended: float


@dg.op(
    out=dg.Out(dg.Any),
    pool=UPLOAD_POOL,
    retry_policy=dg.RetryPolicy(
        max_retries=3, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
    ),
    tags={"dagster/kind": "s3"},
)
def upload_chunk(
    context: dg.OpExecutionContext,
    chunk: Chunk,
    catalog: CatalogResource,
    object_stores: ObjectStoreResource,
) -> ChunkResult:
    """Upload a chunk's files, verified, then recorded. A try again does only what is left.

    Fails if any of them failed: a cell that is materialized is whole.
    """
    started = time.time()
    with clear_failures(), catalog.open() as database:
        backend = backend_by_name(database, chunk.backend)
        enqueue(database, backend, chunk.scope)  # a try before may have left failures
        report = upload(
            database,
            backend,
            scope=chunk.scope,
            limits=object_stores.limits(backend),
            connect=object_stores.connect,
            progress=_log_progress(context),
        )
    if report.failed:
        failures = [(f.file, f.code, f.reason) for f in report.failures]
        raise dg.Failure(
            allow_retries=report.retryable,
            description=f"{report.failed} of {report.queued} files could not be uploaded;"
            f" the first: {report.failures[0].reason}",
            metadata={
                "failed": report.failed,
                "uploaded": report.succeeded,
                "failures": table(("file", "code", "reason"), failures),
            },
        )
    return ChunkResult(report, started, time.time())


def _log_progress(context: dg.OpExecutionContext) -> Callable[[UploadReport], None]:
    """Says every few seconds how far the upload is; a log line is seen at once, metadata later."""
    next_line = time.monotonic() + _PROGRESS_SECONDS

    def log(report: UploadReport) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + _PROGRESS_SECONDS
            done = report.succeeded + report.adopted
            sent = mebibytes(report.bytes + report.bytes_in_parts)
            context.log.info(
                f"{done:,} of {report.queued:,} files, {sent:,.1f} MiB,"
                f" {report.failed} failed, {report.retries} retries"
            )

    return log


@dg.op(out=dg.Out(dg.Nothing), tags={"dagster/kind": "python"})
def finish_batch(
    context: dg.OpExecutionContext, results: list[ChunkResult], catalog: CatalogResource
) -> dg.MaterializeResult:
    """Sum up, if every file of the cell is where it belongs.

    No step of this run has failed, but another program may hold a file that is not there yet.
    """
    backend_name, batch = _cell(context)
    with clear_failures(), catalog.open() as database:
        backend = backend_by_name(database, backend_name)
        if unfinished := count_unfinished(database, backend, Scope(batch_key=batch)):
            raise dg.Failure(
                f"{unfinished} files of batch {batch} are not on {backend_name} yet; another"
                " program is at work on them, or has failed. Materialize the cell again later.",
                allow_retries=False,
            )
        if absent := absence(database, backend, batch).files:
            raise dg.Failure(
                f"{absent} files of batch {batch} are not on {backend_name}, and the library has"
                " them no more. Bring them back to the library, then materialize the cell again.",
                allow_retries=False,
            )
        there = cell_metadata(database, backend, batch)
    reports = [r.report for r in results]
    size = sum(r.bytes for r in reports)
    wall = max((r.ended for r in results), default=0) - min((r.started for r in results), default=0)
    metadata: dict[str, dg.MetadataValue | float | int] = {
        **there,
        "uploaded": sum(r.succeeded for r in reports),
        "uploaded (MiB)": mebibytes(size),
        "adopted": sum(r.adopted for r in reports),
        "retries": sum(r.retries for r in reports),
        "seconds": round(float(wall), 3),
        "rate (MiB/s)": round(mebibytes(size) / wall, 3) if wall else 0.0,
        "failures": table(("file", "code", "reason"), []),
    }
    return dg.MaterializeResult(metadata=metadata)


@dg.graph_asset(
    partitions_def=cells,
    ins={"pending_uploads": dg.AssetIn(dagster_type=dg.Nothing, partition_mapping=by_backend)},
    group_name="backends",
    kinds={"s3", "sqlite"},
    owners=OWNERS,
    code_version="1",
    tags={"catalogsync/stage": "3-upload"},
    automation_condition=(
        dg.AutomationCondition.on_missing()
        # What failed, or was there before the sensor was started, is still missing each morning;
        # a cell that was whole once is not, although its last run failed.
        | (
            dg.AutomationCondition.cron_tick_passed(SWEEP_CRON)
            & (dg.AutomationCondition.missing() | dg.AutomationCondition.execution_failed())
            & ~dg.AutomationCondition.any_deps_missing()
        )
    )
    & ~dg.AutomationCondition.in_progress(),
)
def remote_locations(pending_uploads):  # type: ignore[no-untyped-def]
    """The files of a batch on a backend.

    Materialized means: every one of them is there, whole, verified and recorded. A cell with a
    file that could not be uploaded fails, and says why.
    """
    return finish_batch(plan_batch(pending_uploads).map(upload_chunk).collect())
