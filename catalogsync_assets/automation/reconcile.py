"""Where Dagster's picture of the cells differs from the catalog, and what to do about it.

The catalog is the source of truth:

| In the catalog | In Dagster | So |
|---|---|---|
| whole | missing or failed | it is reported as materialized, without a run |
| not whole | materialized | a run is requested: it fills the cell, or fails and says why |
| not whole | missing or failed | nothing: that is for the condition of `remote_locations` |
| either | in progress | nothing yet; it is checked again |
| not whole, of a backend that has failed for long | materialized | nothing; see `retries` |

Of a backend whose objects follow their files, a cell in which files have moved is not whole here,
although all of them are there.

It walks over the batches, the newest first, a few seconds at a time, and rests while the catalog's
files are as they were when both agreed.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg

from catalogsync_assets.assets import partitions
from catalogsync_assets.assets.filled_cells import ASSET, materialization
from catalogsync_assets.assets.remote_locations import REASON
from catalogsync_assets.assets.ui.metadata import count_of
from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.catalog.cells import Cell, cells
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.failing import resting
from catalogsync_assets.core.catalog.files import batch_keys

#: Seconds after which a tick begins no further batch, and where it has cells to report: as after a
#: first upload of thousands. Dagster gives a sensor 60.
_SECONDS, _REPORTING_SECONDS = 3.0, 15.0
#: Events of a tick: 1.7 ms each to make. Dagster's daemon then writes each in 11 to 14 ms: there is
#: no public way to write many at once.
_MAX_EVENTS = 2_000
_MAX_RUNS = 20
#: Batches that are read in one query: 0.15 s at the default size.
_PAGE = 10
#: Seconds after which all is compared again though the catalog has not changed: somebody may have
#: wiped materializations in the UI, or cancelled a run.
_REST = 3600.0


def stamp(path: Path) -> str:
    """Differs once anything was written to the catalog. Opens nothing."""

    def of(file: Path) -> tuple[int, int]:
        try:
            found = file.stat()
        except OSError:
            return 0, 0
        # An empty log comes and goes with those who only read.
        return (found.st_size, found.st_mtime_ns) if found.st_size else (0, 0)

    return json.dumps([of(path), of(path.with_name(path.name + "-wal"))])


@dataclass(frozen=True)
class Cursor:
    """How far it has come, from tick to tick."""

    #: The catalog's stamp when both last agreed, and when that was, in seconds since the epoch.
    agreed: str | None = None
    agreed_at: float = 0.0
    #: The stamp when the walk that is under way began; None once it has met something that must be
    #: looked at again.
    began: str | None = None
    after: str | None = None  #: the batch that it has come to; None when no walk is under way

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """What `str` gave; a walk from the start for anything else."""
        try:
            return cls(**json.loads(text or "{}"))
        except (ValueError, TypeError):
            return cls()

    def __str__(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    def rests(self, now_stamp: str, now: datetime) -> bool:
        """Whether nothing has changed since they agreed."""
        fresh = 0 <= now.timestamp() - self.agreed_at < _REST
        return self.after is None and self.agreed == now_stamp and fresh


def reconcile(
    catalog: Catalog,
    instance: dg.DagsterInstance,
    cursor: Cursor,
    *,
    now_stamp: str,
    now: datetime,
    said: str = "",
) -> dg.SensorResult:
    """Go on where the cursor says, for some seconds.

    Every key of the catalog must be a partition already.

    Args:
        now_stamp: of the catalog, taken before it was opened.
        said: what else there is to say where there is nothing to do.

    Returns:
        What was found, and the cursor from which the next tick goes on.
    """
    begun = time.monotonic()
    if cursor.after is None:
        cursor = dataclasses.replace(cursor, began=now_stamp)
    events: list[dg.AssetMaterialization] = []
    requests: list[dg.RunRequest] = []
    backends = {backend.name: backend for backend in object_backends(catalog)}
    batches = batch_keys(catalog)[::-1]
    if cursor.after in batches:
        batches = batches[batches.index(cursor.after) + 1 :]
    known = [f"{backend}|{batch}" for batch in batches for backend in backends]
    broken = {found.backend for found in resting(catalog, now)}
    statuses = instance.get_status_by_partition(ASSET, known, partitions.cells) or {}
    for batch, of_batch in _walk(catalog, batches):
        for cell in of_batch:
            status = statuses.get(cell.key)
            if status == dg.AssetPartitionStatus.IN_PROGRESS:
                cursor = dataclasses.replace(cursor, began=None)
            elif _is_in_order(cell) and status in (None, dg.AssetPartitionStatus.FAILED):
                by = "catalog_partitions, as the catalog has it whole"
                events.append(materialization(catalog, backends[cell.backend], batch, by=by))
            elif cell.backend in broken:
                pass  # that it has recovered is written to the catalog, and seen by that
            elif not _is_in_order(cell) and status == dg.AssetPartitionStatus.MATERIALIZED:
                requests.append(_request(instance, cell, now))
        cursor = dataclasses.replace(cursor, after=batch)
        enough = len(events) >= _MAX_EVENTS or len(requests) >= _MAX_RUNS
        if enough or time.monotonic() - begun >= (_REPORTING_SECONDS if events else _SECONDS):
            break
    else:
        cursor = Cursor(agreed=cursor.began, agreed_at=now.timestamp())
    nothing = f"every cell that was compared matches the catalog{said}"
    return dg.SensorResult(
        asset_events=events,
        run_requests=requests,
        skip_reason=None if events or requests else nothing,
        cursor=str(cursor),
    )


def _walk(catalog: Catalog, batches: list[str]) -> Iterator[tuple[str, list[Cell]]]:
    for start in range(0, len(batches), _PAGE):
        page = batches[start : start + _PAGE]
        found = cells(catalog, batches=page)
        for batch in page:
            yield batch, [cell for cell in found if cell.batch == batch]


def _is_in_order(cell: Cell) -> bool:
    """Whether there is nothing for a run to do."""
    return cell.whole and not cell.moved


def _request(instance: dg.DagsterInstance, cell: Cell, now: datetime) -> dg.RunRequest:
    """A run for a cell that has lost files, or in which files have moved.

    Of what was lost, at most one a day for each time it was materialized. Of moves, at most one a
    day for the same ones: a run that could not do anything about them materializes the cell again.
    One that fails makes the cell red, and the morning's sweep retries it. One that somebody
    cancels is not requested again at once.
    """
    reasons = []
    since = f"moved {cell.moves}"
    if not cell.whole:
        latest = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=ASSET, asset_partitions=[cell.key]), limit=1
        )
        since = str(max((record.storage_id for record in latest.records), default=0))
        reasons.append(f"{cell.files - cell.present:,} of {cell.files:,} files gone")
    if cell.moved:
        reasons.append(f"{count_of(cell.moved)} {'has' if cell.moved == 1 else 'have'} moved")
    return dg.RunRequest(
        run_key=f"{cell.key} {since} {now:%Y-%m-%d}",
        partition_key=dg.MultiPartitionKey({"backend": cell.backend, "batch": cell.batch}),
        tags={REASON: "; ".join(reasons)},
    )
