"""What a backend holds of a batch and of everything, and when that was verified."""

import pytest

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import batch_keys
from catalogsync_assets.core.catalog.holdings import (
    Absence,
    Verification,
    absence,
    batch_formats,
    formats,
    sample_object,
    verification,
)
from catalogsync_assets.core.stores.backend import LOCAL, ObjectBackend
from catalogsync_assets_tests.support.database import change


@pytest.fixture
def batches(catalog, library, scanned):
    """Two batches of two files, 1 to 4, in the library alone."""
    library.fill(4)
    scanned(batch_max_files=2)
    first, second = batch_keys(catalog)
    return first, second


def put(catalog: Catalog, backend: ObjectBackend, asset: int, **more: str) -> None:
    """A row that says that the backend has a file."""
    change(
        catalog,
        "INSERT INTO file_locations"
        " (file_asset_id, backend_id, locator, public_url, status, verified_at, verified_by)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        asset,
        backend.id,
        f"key-{asset}",
        more.get("url"),
        more.get("status", "active"),
        more.get("at"),
        more.get("by"),
    )


def test_a_batch_is_absent_until_every_file_of_it_is_there(catalog, cloud, batches):
    first, second = batches
    assert absence(catalog, cloud, first) == Absence(2, 0)

    put(catalog, cloud, 1)
    put(catalog, cloud, 2, status="missing")
    assert absence(catalog, cloud, first) == Absence(1, 0)

    change(catalog, "UPDATE file_locations SET status = 'active'")
    assert absence(catalog, cloud, first) == Absence(0, 0)
    assert absence(catalog, cloud, second) == Absence(2, 0)


def test_what_another_backend_has_is_absent_and_what_is_lost_is_nowhere(catalog, backend, batches):
    one, two = backend("one"), backend("two")
    put(catalog, one, 1)
    change(catalog, "UPDATE file_locations SET status = 'missing' WHERE absolute_path IS NOT NULL")

    assert absence(catalog, two, batches[0]) == Absence(files=1, nowhere=0)
    assert absence(catalog, one, batches[0]) == Absence(files=0, nowhere=0)
    change(catalog, f"UPDATE file_locations SET status = 'damaged' WHERE backend_id = {one.id}")

    assert absence(catalog, two, batches[0]) == Absence(files=1, nowhere=1)


def test_newer_content_takes_the_place_of_the_old(catalog, cloud, batches):
    for asset in (1, 2):
        put(catalog, cloud, asset, at="2026-01-01 00:00:00", by="head")
    change(catalog, "UPDATE file_assets SET superseded_by_id = 4 WHERE id = 1")

    assert verification(catalog, cloud, batches[0]).files == {"head": 1}
    assert [f.files for f in batch_formats(catalog, cloud, batches[0])] == [1]
    found = sample_object(catalog, cloud, batches[0])
    assert found is not None
    assert found.locator == "key-2"
    assert [f.files for f in formats(catalog)] == [3]


def test_verification_is_of_one_batch_or_of_the_whole_backend(catalog, cloud, batches):
    put(catalog, cloud, 1, at="2026-01-01 00:00:00", by="head")
    put(catalog, cloud, 2, at="2026-03-03 00:00:00", by="read")
    put(catalog, cloud, 3)
    put(catalog, cloud, 4, at="2026-02-02 00:00:00", by="head")

    assert verification(catalog, cloud, batches[0]) == Verification(
        "2026-01-01 00:00:00", "2026-03-03 00:00:00", {"head": 1, "read": 1}
    )
    assert verification(catalog, cloud) == Verification(
        "2026-01-01 00:00:00", "2026-03-03 00:00:00", {"head": 2, "never": 1, "read": 1}
    )
    assert verification(catalog, cloud, "unknown") == Verification()


def test_formats_are_of_what_exists_anywhere_or_in_the_library(catalog, cloud, batches):
    put(catalog, cloud, 1)
    change(catalog, "UPDATE file_assets SET format = 'flac', size_bytes = 5000 WHERE id = 1")
    change(
        catalog,
        "UPDATE file_locations SET status = 'missing'"
        " WHERE absolute_path IS NOT NULL AND file_asset_id IN (1, 2)",
    )

    assert [(f.format, f.files, f.bytes) for f in formats(catalog)] == [
        ("flac", 1, 5000),
        ("mp3", 2, 600),
    ]
    assert [(f.format, f.files) for f in formats(catalog, LOCAL)] == [("mp3", 2)]


def test_a_cell_is_looked_up_from_its_batch_and_not_from_all_that_a_backend_holds(
    catalog, cloud, batches, monkeypatch
):
    seen = []
    ask = catalog.rows

    def noting(statement, /, **values):
        seen.append((statement, values))
        return ask(statement, **values)

    monkeypatch.setattr(catalog, "rows", noting)
    verification(catalog, cloud, batches[0])
    batch_formats(catalog, cloud, batches[0])
    absence(catalog, cloud, batches[0])
    sample_object(catalog, cloud, batches[0])

    assert len(seen) == 4
    for statement, values in seen:
        plan = [row[3] for row in ask(f"EXPLAIN QUERY PLAN {statement}", **values)]
        assert plan[0].startswith("SEARCH f USING INDEX ix_file_assets_batch"), plan
