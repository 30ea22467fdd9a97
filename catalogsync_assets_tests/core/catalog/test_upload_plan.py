"""The plan of uploads: which files are queued, under which keys, and which no more."""

from dataclasses import replace

from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.upload_queue import (
    Failed,
    UploadLease,
    count_pending,
    list_pending,
    record,
)
from catalogsync_assets_tests.support.database import bytes_of, rows
from catalogsync_assets_tests.support.uploads import done


def test_every_file_is_queued_once(catalog, library, scanned, cloud):
    library.fill(3, size=100)
    scanned()

    assert enqueue(catalog, cloud) == 3
    assert enqueue(catalog, cloud) == 0
    assert count_pending(catalog, cloud) == (3, 300)
    prefix = cloud.base_prefix
    assert rows(
        catalog, "SELECT target_container_name, target_locator, status FROM upload_tasks"
    ) == [(cloud.bucket, f"{prefix}/album/000{i}.mp3", "pending") for i in range(3)]


def test_a_second_plan_writes_nothing(catalog, cloud, planned):
    planned(3)
    before = bytes_of(catalog.path)

    enqueue(catalog, cloud)

    assert bytes_of(catalog.path) == before


def test_a_plan_leaves_what_is_running_to_its_owner(catalog, cloud, lease, statuses, planned):
    planned(3)
    lease.claim(EVERYTHING, 2)

    assert enqueue(catalog, cloud) == 0
    assert statuses() == {"running": 2, "pending": 1}


def test_only_the_songs_asked_for_are_queued(catalog, library, scanned, cloud):
    library.fill(4)
    scanned()
    songs = rows(catalog, "SELECT id FROM songs ORDER BY id")[1:3]

    assert enqueue(catalog, cloud, Scope(song_ids=songs)) == 2
    assert (
        rows(
            catalog,
            "SELECT f.song_id FROM upload_tasks t JOIN file_assets f ON f.id = t.file_asset_id"
            " ORDER BY 1",
        )
        == songs
    )


def test_only_the_batch_and_the_range_asked_for_are_queued(catalog, library, scanned, cloud):
    library.fill(6)
    _, second, _ = scanned(batch_max_files=2).batches

    assert enqueue(catalog, cloud, Scope(batch_key=second)) == 2
    assert enqueue(catalog, cloud, Scope(file_asset_ids=(1, 3))) == 2
    assert [
        file.file_asset_id for file in list_pending(catalog, cloud, Scope(batch_key=second))
    ] == [3, 4]
    assert count_pending(catalog, cloud, Scope(file_asset_ids=(1, 2)))[0] == 2


def test_a_failed_task_becomes_pending_again(catalog, cloud, lease, statuses, planned):
    planned(2)
    one, other = lease.claim(EVERYTHING, 2)
    record(catalog, cloud, lease.owner, [Failed(one, "SlowDown", "later"), done(other)])
    assert statuses() == {"failed": 1, "succeeded": 1}

    assert enqueue(catalog, cloud) == 1
    assert statuses() == {"pending": 1, "succeeded": 1}


def test_waiting_tasks_of_files_that_are_gone_or_changed_are_dropped(
    catalog, library, scanned, cloud, planned
):
    stays, gone, changed = planned(3)
    gone.unlink()
    library.add("album/0002.mp3", b"another content")
    scanned()

    assert enqueue(catalog, cloud) == 1
    sql = "SELECT file_asset_id, status FROM upload_tasks ORDER BY file_asset_id"
    assert rows(catalog, sql) == [(1, "pending"), (4, "pending")]
    assert stays.exists()
    assert changed.exists()


def test_a_file_that_comes_back_is_queued_again(
    catalog, library, scanned, cloud, statuses, planned
):
    stays, gone = planned(2)
    gone.rename(library.root / "aside")
    scanned()
    enqueue(catalog, cloud)
    assert statuses() == {"pending": 1}
    (library.root / "aside").rename(gone)
    scanned()

    assert enqueue(catalog, cloud) == 1
    assert statuses() == {"pending": 2}
    assert stays.exists()


def test_a_file_that_is_there_already_is_not_queued(catalog, cloud, lease, planned):
    planned(2)
    record(catalog, cloud, lease.owner, [done(task) for task in lease.claim(EVERYTHING, 1)])

    assert enqueue(catalog, cloud) == 0
    assert count_pending(catalog, cloud)[0] == 1


def test_backends_do_not_share_a_queue(catalog, library, scanned, backend):
    library.fill(3)
    scanned()
    one, other = backend("one"), backend("other")

    assert enqueue(catalog, one) == 3
    assert count_pending(catalog, other) == (0, 0)
    assert UploadLease(catalog, other).claim(EVERYTHING, 10) == []
    assert enqueue(catalog, other) == 3
    assert len(UploadLease(catalog, one).claim(EVERYTHING, 10)) == 3
    assert count_pending(catalog, other)[0] == 3


def test_another_base_prefix_plans_what_is_pending_anew(catalog, cloud, lease, planned):
    planned(2)
    record(catalog, cloud, lease.owner, [done(task) for task in lease.claim(EVERYTHING, 1)])

    moved, _ = register(catalog, replace(cloud, base_prefix="elsewhere"))

    assert enqueue(catalog, moved) == 1
    assert rows(catalog, "SELECT target_locator FROM upload_tasks WHERE status = 'pending'") == [
        "elsewhere/album/0001.mp3"
    ]
    assert rows(catalog, "SELECT locator FROM file_locations WHERE backend_id = ?", cloud.id) == [
        f"{cloud.base_prefix}/album/0000.mp3"
    ]
