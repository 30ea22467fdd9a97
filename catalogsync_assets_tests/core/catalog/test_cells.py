"""Which cells are whole, and which an upload can make so.

The truth is worked out here in Python from the rows, by another way than the product's SQL.
"""

import random
import time

import pytest

from catalogsync_assets.core.catalog.cells import Cell, cells, failures, waiting_batches
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.upload_queue import Failed, Uploaded, UploadLease, record
from catalogsync_assets_tests.support.database import rows


@pytest.fixture
def tangled(catalog, backend, scanned, library):
    """Three batches of files on two backends, in every state that a location can have."""
    dice = random.Random(7)  # noqa: S311
    stores = [backend("one"), backend("two")]
    for folder in ("a", "b", "c"):
        library.fill(12, folder=folder)
        scanned()
    with catalog.transaction() as connection:
        sql = connection.exec_driver_sql
        for asset in sql("SELECT id FROM file_assets").scalars().all():
            for store in stores:
                for copy in range(dice.choice((0, 1, 1, 1, 2))):
                    status = dice.choice(("active",) * 4 + ("missing", "damaged", "superseded"))
                    sql(
                        "INSERT INTO file_locations (file_asset_id, backend_id, locator, status)"
                        " VALUES (?, ?, ?, ?)",
                        (asset, store.id, f"{asset}-{copy}", status),
                    )
            if dice.random() < 0.3:
                sql(
                    "UPDATE file_locations SET status = 'missing'"
                    " WHERE file_asset_id = ? AND absolute_path IS NOT NULL",
                    (asset,),
                )
            if dice.random() < 0.2:
                sql("UPDATE file_assets SET superseded_by_id = 1 WHERE id = ? AND id > 1", (asset,))
        sql("UPDATE file_assets SET superseded_by_id = 1 WHERE batch_id = 3")
    return catalog


def truth(catalog: Catalog) -> list[Cell]:
    stores = rows(catalog, "SELECT id, name FROM storage_backends WHERE backend_type <> 'local'")
    places = rows(catalog, "SELECT file_asset_id, backend_id, status FROM file_locations")
    remote = {store for store, _ in stores}
    files = rows(catalog, "SELECT id, batch_id FROM file_assets WHERE superseded_by_id IS NULL")
    found = []
    for batch_id, batch in rows(catalog, "SELECT id, key FROM batches ORDER BY id"):
        counted = {
            asset
            for asset, place, status in places
            if (asset, batch_id) in files
            and (status in ("active", "damaged") or (status == "missing" and place in remote))
        }
        for store, name in sorted(stores, key=lambda row: str(row[1])):
            here = {a for a, place, status in places if place == store and status == "active"}
            found.append(Cell(name, batch, len(counted), len(counted & here)))
    return found


def test_a_cell_counts_files_as_presence_does(tangled):
    found = cells(tangled)

    assert found == truth(tangled)
    assert {cell.present < cell.files for cell in found} == {True, False}


def test_cells_of_some_batches_and_of_one_backend_are_the_same(tangled, backend):
    two = backend("two")
    every = cells(tangled)
    first, _, third = dict.fromkeys(cell.batch for cell in every)

    assert cells(tangled, batches=[third, first, "unknown"]) == [
        cell for cell in every if cell.batch in (first, third)
    ]
    assert cells(tangled, batches=[first], backend=two) == [
        cell for cell in every if (cell.batch, cell.backend) == (first, "two")
    ]
    assert cells(tangled, batches=[]) == []


def test_a_batch_of_which_nothing_is_left_is_whole(tangled):
    *_, last = cells(tangled)

    assert (last.files, last.present, last.whole) == (0, 0, True)


def test_only_batches_with_work_waiting_can_become_whole(catalog, cloud, library, scanned):
    batches = []
    for folder in ("a", "b", "c"):
        library.fill(2, folder=folder)
        batches += scanned().batches
    assert waiting_batches(catalog, cloud) == []
    enqueue(catalog, cloud)
    assert waiting_batches(catalog, cloud) == batches
    assert waiting_batches(catalog, cloud, Scope(batch_key=batches[1])) == [batches[1]]

    lease = UploadLease(catalog, cloud)
    tasks = lease.claim(EVERYTHING, 5)  # held: their process may have died
    assert waiting_batches(catalog, cloud) == batches

    results = [Failed(tasks[2], "SlowDown", "later")]
    results += [
        Uploaded(t, f"{t.id:064x}", None, "head", adopted=False) for t in (*tasks[:2], tasks[3])
    ]
    record(catalog, cloud, lease.owner, results)
    assert waiting_batches(catalog, cloud) == [batches[2]]


def test_the_failures_of_a_cell_are_its_own_and_new(catalog, backend, library, scanned):
    cloud, began = backend("cloud"), time.time()
    backend("attic")
    library.fill(4, folder="a")
    (batch,) = scanned().batches
    library.fill(1, folder="b")
    scanned()
    enqueue(catalog, cloud)
    lease = UploadLease(catalog, cloud)
    one, two, three, _, other = lease.claim(EVERYTHING, 5)
    failed = [
        Failed(one, "KeyTooLong", "refused"),
        Failed(two, "Gone", "not there", requeue=True, source_changed=True),
        Failed(three, "NoSuchBucket", "the run could not go on", requeue=True),
        Failed(other, "SlowDown", "later"),
    ]
    record(catalog, cloud, lease.owner, failed)

    assert failures(catalog, "cloud", batch, since=began) == [
        (one.locator, "KeyTooLong", "refused"),
        (two.locator, "Gone", "not there"),
    ]
    assert failures(catalog, "attic", batch, since=began) == []
    assert failures(catalog, "cloud", batch, since=time.time() + 2) == []
