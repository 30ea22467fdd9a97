"""`remote_locations`: the files of a batch on a backend, brought there in chunks."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import dagster as dg

from catalogsync_assets.assets.backend_audit import audit_cell
from catalogsync_assets.assets.config import UploadConfig, for_all
from catalogsync_assets.assets.partitions import by_backend, cells
from catalogsync_assets.assets.pending_uploads import observe, preview
from catalogsync_assets.assets.resting import BackendRests
from catalogsync_assets.assets.ui import plots
from catalogsync_assets.assets.ui.cells import cell_metadata
from catalogsync_assets.assets.ui.metadata import (
    Metadata,
    clear_failures,
    count_of,
    mebibytes,
    table,
)
from catalogsync_assets.assets.ui.progress import Progress, Sample, rates
from catalogsync_assets.assets.ui.tables import details
from catalogsync_assets.core.catalog.backends import backend_by_name
from catalogsync_assets.core.catalog.batches import group
from catalogsync_assets.core.catalog.files import require_batch
from catalogsync_assets.core.catalog.holdings import absence
from catalogsync_assets.core.catalog.scope import Scope
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.upload_queue import list_pending
from catalogsync_assets.core.errors import RunAborted
from catalogsync_assets.core.settings import timezone
from catalogsync_assets.core.upload.upload import UploadReport, upload
from catalogsync_assets.resources import CatalogResource, ObjectStoreResource

#: Steps of all runs that may upload at a time; its limit is set in the UI or `dagster.yaml`.
UPLOAD_POOL = "catalogsync_upload"
#: The tag of a run that was not asked for by a person: why it was requested.
REASON = "catalogsync/reason"
#: When cells that are still missing are requested again, by the clock of `settings.timezone`.
SWEEP_CRON = "0 5 * * *"


class Chunk(NamedTuple):
    """A part of a cell's work."""

    scope: Scope  #: the pending files from one id to another
    limit: int | None  #: it uploads no more files


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
    context: dg.OpExecutionContext, config: UploadConfig, catalog: CatalogResource
) -> Iterator[dg.DynamicOutput[Chunk]]:
    """Queue what the backend lacks of the batch, and cut it into chunks; a dry run ends here."""
    backend_name, batch = _cell(context)
    with clear_failures(), catalog.open() as database:
        backend = backend_by_name(database, backend_name)
        require_batch(database, batch)
        scope = Scope(batch_key=batch, selections=config.selections(database))
        if config.dry_run:
            observe(context, config, preview(database, backend, scope, config.limit), "uploaded")
            return
        enqueue(database, backend, scope)
        sent: dict[int, int] = {}  # by file; one that the store copies twice, too
        copied = 0
        # Those that wait for others, too: this run may bring them to their turn.
        waiting = config.limit is None
        for file in list_pending(database, backend, scope, waiting=waiting):
            if file.file_asset_id not in sent:
                sent[file.file_asset_id] = 0 if file.is_copy else file.size_bytes
                copied += file.is_copy
            if len(sent) == config.limit:
                break
    context.log.info(
        f"{count_of(len(sent) - copied)} of batch {batch}, {mebibytes(sum(sent.values())):,.1f}"
        f" MiB, to upload to {backend_name}"
        + (f"; {count_of(copied)} that moved, to be copied by its store" if copied else "")
    )
    for g in group(
        sent.items(), max_files=config.chunk_max_files, max_bytes=config.chunk_max_bytes
    ):
        yield dg.DynamicOutput(
            Chunk(
                replace(scope, file_asset_ids=(g.first_id, g.last_id)),
                None if config.limit is None else g.files,
            ),
            mapping_key=f"from_{g.first_id}",
        )


class ChunkResult(NamedTuple):
    """What became of a chunk."""

    report: UploadReport
    #: How it went, from its start to its end; at most `progress.MAX_SAMPLES` of them.
    samples: tuple[Sample, ...]


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
    config: UploadConfig,
    chunk: Chunk,
    catalog: CatalogResource,
    object_stores: ObjectStoreResource,
) -> ChunkResult:
    """Upload a chunk's files, verified, then recorded. A try again does only what is left.

    Fails if any of them failed: a cell that is materialized is whole.
    """
    progress = Progress(context.log.info)
    with clear_failures(details=_of_aborted), catalog.open() as database:
        backend = backend_by_name(database, _cell(context)[0])
        enqueue(database, backend, chunk.scope)  # a try before may have left failures
        report = upload(
            database,
            backend,
            scope=chunk.scope,
            limits=object_stores.limits(backend, workers=config.workers),
            limit=chunk.limit,
            connect=object_stores.connect,
            progress=progress,
        )
    if report.failed:
        reasons = ", ".join(
            f"{files} {code}" for code, files in Counter(report.reasons).most_common()
        )
        raise dg.Failure(
            allow_retries=report.retryable,
            description=f"{report.failed} of {report.queued} files could not be uploaded"
            f" ({reasons}); the first: {report.failures[0].reason}",
            metadata=_of_failures(report),
        )
    return ChunkResult(report, progress.finish(report))


def _of_failures(report: UploadReport) -> Metadata:
    """Why files could not be uploaded: in groups, then one by one."""
    examples = {f.code: f.reason for f in reversed(report.failures)}
    return {
        "failed": report.failed,
        "uploaded": report.succeeded,
        "reasons": table(
            ("code", "files", "for example"),
            [
                (code, files, examples.get(code, ""))
                for code, files in Counter(report.reasons).most_common()
            ],
        ),
        "failures": table(
            ("file", "code", "reason"), [(f.file, f.code, f.reason) for f in report.failures]
        ),
    }


def _of_aborted(error: Exception) -> Metadata:
    """What had been done of an upload that could not go on."""
    return _of_failures(error.report) if isinstance(error, RunAborted) else {}


@dg.op(out=dg.Out(dg.Nothing, is_required=False), tags={"dagster/kind": "python"})
def finish_batch(
    context: dg.OpExecutionContext,
    config: UploadConfig,
    results: list[ChunkResult],
    catalog: CatalogResource,
    object_stores: ObjectStoreResource,
) -> Iterator[dg.MaterializeResult]:
    """Sum up, and materialize the cell if all its files are on the backend.

    No step of this run has failed, but the run may have been told to leave out files, or another
    program may hold one that is not there yet.
    """
    if config.dry_run:
        return
    backend_name, batch = _cell(context)
    with clear_failures(), catalog.open() as database:
        backend = backend_by_name(database, backend_name)
        if config.audit_level != "none":
            audit_cell(context, database, backend, batch, config.audit_level, object_stores)
        absent = absence(database, backend, batch)
        if absent.files and not config.restrictions:
            raise _incomplete(backend_name, batch, absent.files, absent.nowhere)
        metadata = {**cell_metadata(database, backend, batch), **_of_results(results)}
        if reason := context.run.tags.get(REASON):
            metadata["requested because"] = reason
    if absent.files:
        observe(context, config, metadata, "uploaded")
        return
    yield dg.MaterializeResult(metadata=metadata)


def _incomplete(backend: str, batch: str, files: int, nowhere: int) -> dg.Failure:
    """Why a cell is not whole though no upload of it has failed."""
    if nowhere == files:
        reason = "neither the library nor another backend has it"
        hint = "bring it back to the library; the cell is tried again each night"
    else:
        reason = "another program is uploading it, or has failed"
        hint = "materialize the cell again later"
    return dg.Failure(
        f"batch {batch} is not complete on {backend}: {count_of(files)} missing; {reason}"
        f" (hint: {hint})",
        metadata={"files missing": files, "of these nowhere": nowhere, "hint": hint},
        allow_retries=False,
    )


def _of_results(results: list[ChunkResult]) -> Metadata:
    """What the steps of this run did together, and how fast."""
    reports = [r.report for r in results]
    size = sum(r.bytes for r in reports)
    files = sum(r.succeeded for r in reports)
    times = [sample.at for r in results for sample in r.samples] or [0.0]
    wall = max(times) - min(times)
    return {
        "uploaded": files,
        "uploaded (MiB)": mebibytes(size),
        "adopted": sum(r.adopted for r in reports),
        "copied": sum(r.copied for r in reports),
        "lost": sum(r.lost for r in reports),
        "retries": sum(r.retries for r in reports),
        "seconds": round(wall, 3),
        "rate (MiB/s)": round(mebibytes(size) / wall, 3) if wall else 0.0,
        "rate (files/s)": round(files / wall, 3) if wall else 0.0,
        "failures": table(("file", "code", "reason"), []),
        "throughput": plots.throughput(rates(r.samples for r in results)),
    }


@dg.graph_asset(
    partitions_def=cells,
    ins={"pending_uploads": dg.AssetIn(dagster_type=dg.Nothing, partition_mapping=by_backend)},
    config=for_all(UploadConfig, "plan_batch", "upload_chunk", "finish_batch"),
    automation_condition=(
        dg.AutomationCondition.on_missing()
        # What failed, or was there before the sensor was started, is still missing each morning;
        # a cell that was whole once is not, although its last run failed.
        | (
            dg.AutomationCondition.cron_tick_passed(SWEEP_CRON, timezone())
            & (dg.AutomationCondition.missing() | dg.AutomationCondition.execution_failed())
            & ~dg.AutomationCondition.any_deps_missing()
        )
    )
    & ~dg.AutomationCondition.in_progress()
    & ~BackendRests(),
    **details("uploads", "3-upload", "file_locations", "s3", "sqlite"),
)
def remote_locations(pending_uploads):  # type: ignore[no-untyped-def]
    """The files of a batch on a backend.

    Materialized means: each of them is there, whole, verified and recorded. A cell with a
    file that could not be uploaded fails: its run, step `upload_chunk`, has a table of the
    reasons. A dry run, or one with a limit or filter that leaves out files, is an observation.

    More: `docs/pipeline.md`, *Partitions*, *Inside a cell* and *Run configuration*.
    """
    return finish_batch(plan_batch(pending_uploads).map(upload_chunk).collect())
