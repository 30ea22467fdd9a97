"""The journal of uploads in parts."""

import pytest
import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import EVERYTHING
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.upload_queue import UploadLease, UploadTask
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.upload import journal
from catalogsync_assets.core.upload.journal import SentPart, UnfinishedUpload
from catalogsync_assets_tests.support.database import change, rows


@pytest.fixture
def task(library, catalog, scanned, cloud):
    """The running task of the one file of the library."""
    library.add("a.flac")
    scanned()
    enqueue(catalog, cloud)
    return UploadLease(catalog, cloud).claim(EVERYTHING, 1)[0]


def begun(
    catalog: Catalog, backend: ObjectBackend, task: UploadTask, upload_id: str = "u"
) -> UnfinishedUpload:
    return journal.begin(
        *(catalog, backend, task.locator, task.file_asset_id, task.size_bytes),
        upload_id=upload_id,
        mtime_ns=7,
        part_bytes=100,
        checksums=True,
    )


def test_what_was_begun_is_found_with_its_parts(catalog, cloud, task):
    upload = begun(catalog, cloud, task)
    journal.note_part(catalog, upload, 2, SentPart("e2", "d2"))
    journal.note_part(catalog, upload, 1, SentPart("e1", "d1"))

    (found,) = journal.unfinished(catalog, cloud, task.locator)

    assert found.parts == {1: SentPart("e1", "d1"), 2: SentPart("e2", "d2")}
    assert (found.upload_id, found.bucket, found.locator) == ("u", cloud.bucket, task.locator)
    assert (found.file_asset_id, found.size_bytes, found.mtime_ns) == (task.file_asset_id, 300, 7)
    assert (found.id, found.part_bytes, found.checksums) == (upload.id, 100, True)
    assert journal.unfinished(catalog, cloud, "another.flac") == []


def test_a_part_that_is_sent_again_takes_its_row(catalog, cloud, task):
    upload = begun(catalog, cloud, task)
    for etag in ("first", "second"):
        journal.note_part(catalog, upload, 1, SentPart(etag, "d"))

    (found,) = journal.unfinished(catalog, cloud, task.locator)
    assert found.parts == {1: SentPart("second", "d")}


def test_forgetting_an_upload_forgets_its_parts_and_may_be_repeated(catalog, cloud, task):
    upload, other = begun(catalog, cloud, task), begun(catalog, cloud, task, "other")
    journal.note_part(catalog, upload, 1, SentPart("e", "d"))
    for _ in range(2):
        journal.forget(catalog, upload)

    assert journal.unfinished(catalog, cloud, task.locator) == [other]
    assert rows(catalog, "SELECT * FROM multipart_parts") == []


def test_a_part_that_arrives_after_its_upload_was_forgotten_leaves_no_row(catalog, cloud, task):
    upload = begun(catalog, cloud, task)
    journal.forget(catalog, upload)

    journal.note_part(catalog, upload, 1, SentPart("e", "d"))

    assert rows(catalog, "SELECT * FROM multipart_parts") == []


_ELSEWHERE = (
    "INSERT INTO file_locations (file_asset_id, backend_id, locator, status)"
    " SELECT file_asset_id, target_backend_id, 'elsewhere', 'active' FROM upload_tasks"
)


@pytest.mark.parametrize(
    ("statement", "is_abandoned"),
    [
        ("SELECT 1", False),
        ("UPDATE upload_tasks SET status = 'running'", False),
        ("UPDATE upload_tasks SET status = 'failed'", False),
        ("UPDATE upload_tasks SET status = 'succeeded'", True),
        ("DELETE FROM upload_tasks", True),
        ("UPDATE upload_tasks SET target_locator = 'another'", True),
        ("UPDATE upload_tasks SET target_container_name = 'another'", True),
        ("UPDATE file_assets SET superseded_by_id = id", True),
        ("UPDATE file_locations SET status = 'missing'", True),
        (_ELSEWHERE, True),
    ],
)
def test_an_upload_is_abandoned_once_no_task_will_complete_it(
    catalog, cloud, backend, task, statement, is_abandoned
):
    upload = begun(catalog, cloud, task)
    change(catalog, "UPDATE upload_tasks SET status = 'pending'")
    if statement.startswith("SELECT"):
        assert journal.abandoned(catalog, cloud) == []
    else:
        change(catalog, statement)

    assert journal.abandoned(catalog, cloud) == ([upload] if is_abandoned else [])
    assert journal.abandoned(catalog, backend("another")) == []


@pytest.mark.parametrize(
    "statement",
    ["UPDATE file_assets SET superseded_by_id = id", "UPDATE file_locations SET status='missing'"],
)
def test_what_a_run_is_about_is_never_abandoned(catalog, cloud, task, statement):
    begun(catalog, cloud, task)
    change(catalog, statement)

    assert journal.abandoned(catalog, cloud) == []


def test_abandoned_uploads_are_found_by_an_index(catalog, cloud):
    statements = []
    sa.event.listen(
        catalog.engine, "before_cursor_execute", lambda *given: statements.append(given[2])
    )

    assert journal.abandoned(catalog, cloud) == []

    begin, query = statements
    assert begin == "BEGIN"
    with catalog.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", (cloud.id, 100, 0))
        assert not [row for row in plan if str(row[3]).startswith("SCAN")]
