"""The figures that a person sees."""

from dataclasses import astuple

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.scope import EVERYTHING
from catalogsync_assets.core.catalog.status import (
    Reason,
    backend_status,
    failed_uploads,
    sample_key,
)
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.upload_queue import Failed, Uploaded, UploadLease, record
from catalogsync_assets_tests.support.database import change


def test_an_empty_catalog_has_no_figures(catalog):
    assert backend_status(catalog) == []


def test_each_backend_counts_what_is_there_and_what_is_to_do(catalog, library, scanned, backend):
    files = library.fill(5, size=100)
    scanned()
    cloud, _ = backend("cloud"), backend("attic")
    enqueue(catalog, cloud)
    lease = UploadLease(catalog, cloud)
    one, two, three, *_ = lease.claim(EVERYTHING, 4)
    results = [Failed(one, "SlowDown", "later")]
    results += [Uploaded(t, f"{t.id:064x}", None, "head", adopted=False) for t in (two, three)]
    record(catalog, cloud, lease.owner, results)
    files[4].unlink()
    scanned()

    found = backend_status(catalog)
    assert [astuple(status)[:12] for status in found] == [
        ("local", "local", None, 4, 0, 0, 4, 4, 400, 0, 0, 1),
        ("attic", "object_storage", cloud.bucket, 0, 0, 4, 4, 0, 0, 0, 0, 0),
        ("cloud", "object_storage", cloud.bucket, 2, 0, 2, 4, 2, 200, 2, 1, 0),
    ]
    assert found[2].reasons == [Reason("SlowDown", 1, "later")]
    assert found[2].last_success is not None
    assert found[1].last_success is None


def test_failed_uploads_say_why(catalog, library, scanned, backend):
    library.fill(4)
    scanned()
    cloud = backend("cloud", public_base_url="https://cdn.example")
    enqueue(catalog, cloud)
    lease = UploadLease(catalog, cloud)
    one, two, *_ = lease.claim(EVERYTHING, 2)
    done = Uploaded(two, "ab" * 32, None, "head", adopted=False)
    record(catalog, cloud, lease.owner, [Failed(one, "SlowDown", "later"), done])

    (failed,) = failed_uploads(catalog, backend_name="cloud")

    assert astuple(failed) == ("cloud", one.locator, "SlowDown", "later", 1)
    assert failed_uploads(catalog) == [failed]
    assert failed_uploads(catalog, backend_name="attic") == []
    assert sample_key(catalog, "cloud") == two.locator


def test_each_way_in_which_a_file_is_not_there_has_a_figure_of_its_own(
    catalog, library, scanned, cloud, uploaded
):
    library.fill(15)
    scanned()
    uploaded(cloud)
    away = ["missing", "damaged", "excluded", "forgotten", "offloaded"]
    for at, status in enumerate(away):
        sql = "UPDATE file_locations SET status = ? WHERE library_root IS NOT NULL AND id <= ?"
        change(catalog, f"{sql} AND status = 'active'", status, sum(range(at + 2)))
    with catalog.transaction() as connection:
        presence.refresh(connection)

    local, stored = backend_status(catalog)

    found = [getattr(local, status) for status in away]
    assert found == [1, 2, 3, 4, 5]
    # Nothing more is wanted of what is left out or forgotten; all else counts.
    assert (local.files, local.songs_total, stored.files) == (0, 8, 8)


def test_a_lost_object_of_a_file_that_nobody_wants_is_no_trouble(
    catalog, library, scanned, cloud, uploaded
):
    library.fill(4)
    scanned()
    uploaded(cloud)
    for status in ("missing", "damaged"):
        change(
            catalog,
            "UPDATE file_locations SET status = ? WHERE backend_id = ? AND file_asset_id IN"
            " (SELECT file_asset_id FROM file_locations WHERE status = 'active'"
            "  AND library_root IS NOT NULL LIMIT 2)",
            *(status, cloud.id),
        )
        assert getattr(backend_status(catalog)[1], status) == 2
        change(
            catalog,
            "UPDATE file_locations SET status = 'forgotten' WHERE library_root IS NOT NULL"
            " AND file_asset_id IN (SELECT file_asset_id FROM file_locations WHERE status = ?)",
            status,
        )
        assert getattr(backend_status(catalog)[1], status) == 0
