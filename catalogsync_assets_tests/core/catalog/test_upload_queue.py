"""The upload queue: planning, leases, and what a finished upload leaves."""

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from catalogsync_assets.core.catalog import leases
from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.catalog.upload_queue import (
    Failed,
    Uploaded,
    UploadLease,
    UploadTask,
    count_pending,
    enqueue,
    list_pending,
    record,
)
from catalogsync_assets_tests.support.database import bytes_of, change, rows

DIGEST = "ab" * 32


@pytest.fixture
def lease(catalog, cloud):
    return UploadLease(catalog, cloud)


def done(task: UploadTask, sha256: str = DIGEST) -> Uploaded:
    return Uploaded(task, sha256, '"etag"', "server-digest", adopted=False)


# --- planning -----------------------------------------------------------------------------------


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


def test_a_second_plan_writes_nothing(catalog, library, scanned, cloud):
    library.fill(3)
    scanned()
    enqueue(catalog, cloud)
    before = bytes_of(catalog.path)

    enqueue(catalog, cloud)

    assert bytes_of(catalog.path) == before


def test_a_plan_leaves_what_is_running_to_its_owner(
    catalog, library, scanned, cloud, lease, statuses
):
    library.fill(3)
    scanned()
    enqueue(catalog, cloud)
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


def test_a_failed_task_becomes_pending_again(catalog, library, scanned, cloud, lease, statuses):
    library.fill(2)
    scanned()
    enqueue(catalog, cloud)
    one, other = lease.claim(EVERYTHING, 2)
    record(catalog, cloud, lease.owner, [Failed(one, "SlowDown", "later"), done(other)])
    assert statuses() == {"failed": 1, "succeeded": 1}

    assert enqueue(catalog, cloud) == 1
    assert statuses() == {"pending": 1, "succeeded": 1}


def test_waiting_tasks_of_files_that_are_gone_or_changed_are_dropped(
    catalog, library, scanned, cloud
):
    stays, gone, changed = library.fill(3)
    scanned()
    enqueue(catalog, cloud)
    gone.unlink()
    library.add("album/0002.mp3", b"another content")
    scanned()

    assert enqueue(catalog, cloud) == 1
    sql = "SELECT file_asset_id, status FROM upload_tasks ORDER BY file_asset_id"
    assert rows(catalog, sql) == [
        (1, "pending"),
        (4, "pending"),
    ]
    assert stays.exists()
    assert changed.exists()


def test_a_file_that_comes_back_is_queued_again(catalog, library, scanned, cloud, statuses):
    stays, gone = library.fill(2)
    scanned()
    enqueue(catalog, cloud)
    gone.rename(library.root / "aside")
    scanned()
    enqueue(catalog, cloud)
    assert statuses() == {"pending": 1}
    (library.root / "aside").rename(gone)
    scanned()

    assert enqueue(catalog, cloud) == 1
    assert statuses() == {"pending": 2}
    assert stays.exists()


def test_a_file_that_is_there_already_is_not_queued(catalog, library, scanned, cloud, lease):
    library.fill(2)
    scanned()
    enqueue(catalog, cloud)
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


def test_another_base_prefix_plans_what_is_pending_anew(catalog, library, scanned, cloud, lease):
    library.fill(2)
    scanned()
    enqueue(catalog, cloud)
    record(catalog, cloud, lease.owner, [done(task) for task in lease.claim(EVERYTHING, 1)])

    moved, _ = register(catalog, replace(cloud, base_prefix="elsewhere"))

    assert enqueue(catalog, moved) == 1
    assert rows(catalog, "SELECT target_locator FROM upload_tasks WHERE status = 'pending'") == [
        "elsewhere/album/0001.mp3"
    ]
    assert rows(catalog, "SELECT locator FROM file_locations WHERE backend_id = ?", cloud.id) == [
        f"{cloud.base_prefix}/album/0000.mp3"
    ]


# --- leases -------------------------------------------------------------------------------------


@pytest.fixture
def queued(catalog, library, scanned, cloud):
    """Forty files that wait to be uploaded."""
    files = library.fill(40)
    scanned()
    enqueue(catalog, cloud)
    return files


def test_a_claimed_task_has_all_that_is_needed(lease, queued, cloud):
    (task,) = lease.claim(EVERYTHING, 1)

    stat = queued[0].stat()
    assert (task.path, task.size_bytes, task.mtime_ns) == (
        str(queued[0]),
        stat.st_size,
        stat.st_mtime_ns,
    )
    assert task.locator == f"{cloud.base_prefix}/album/0000.mp3"
    assert task.sha256 is None
    assert task.known_sha256 == frozenset()


@pytest.mark.usefixtures("queued")
def test_threads_never_claim_the_same_task(catalog, cloud):
    claimed = []

    def claim_all():
        lease = UploadLease(catalog, cloud)
        while len(claimed) <= 40 and (tasks := lease.claim(EVERYTHING, 3)):
            claimed.extend(task.id for task in tasks)

    threads = [threading.Thread(target=claim_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(claimed) == 40
    assert len(set(claimed)) == 40


CLAIM = """
import sys
from catalogsync_assets.core.catalog.backends import backend_by_name
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.upload_queue import UploadLease
from catalogsync_assets.core.catalog.scope import EVERYTHING
catalog = Catalog.open(sys.argv[1])
lease = UploadLease(catalog, backend_by_name(catalog, "cloud"))
print("ready", flush=True)
sys.stdin.readline()
ids = []
while len(ids) < int(sys.argv[2]) and (tasks := lease.claim(EVERYTHING, 2)):
    ids += [task.id for task in tasks]
print(*ids, flush=True)
if sys.argv[3] == "stay":
    sys.stdin.readline()
"""


def claims(process: Any) -> list[int]:
    """Let the process claim, and return what it got."""
    return [int(word) for word in process.stdout.readline().split()]


def let_go(process: Any) -> None:
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.mark.usefixtures("queued")
def test_processes_never_claim_the_same_task(catalog, start_python):
    processes = [start_python(CLAIM, catalog.path, 1000, "go") for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        let_go(process)
    claimed = [task for process in processes for task in claims(process)]

    assert len(claimed) == 40
    assert len(set(claimed)) == 40


@pytest.mark.usefixtures("queued")
def test_what_a_dead_process_held_is_free_at_once_and_what_a_living_one_holds_is_not(
    catalog, lease, start_python
):
    living, dying = (start_python(CLAIM, catalog.path, 4, word) for word in ("stay", "go"))
    held = []
    for process in (living, dying):
        assert process.stdout.readline() == "ready\n"
        let_go(process)
        held.append(claims(process))
    dying.wait()

    assert lease.take_over_abandoned() == len(held[1]) == 4
    free = {task.id for task in lease.claim(EVERYTHING, 100)}

    assert set(held[1]) <= free
    assert not set(held[0]) & free


@pytest.mark.usefixtures("queued")
def test_an_expired_lease_is_taken_over_even_of_another_machine(catalog, lease):
    first, second, *_ = (task.id for task in lease.claim(EVERYTHING, 3))
    sql = "UPDATE upload_tasks SET lease_owner = ?, lease_expires_at = ? WHERE id = ?"
    change(catalog, sql, "elsewhere|1|2.00|ab", time.time() - 1, first)
    change(catalog, sql, "nowhere|1|2.00|ab", time.time() + 100, second)

    assert lease.take_over_abandoned() == 1
    assert rows(catalog, "SELECT status FROM upload_tasks WHERE id < 4") == [
        "pending",
        "running",
        "running",
    ]


@pytest.mark.usefixtures("queued")
def test_a_task_that_runs_without_any_lease_is_taken_over(catalog, lease):
    change(catalog, "UPDATE upload_tasks SET status = 'running' WHERE id = 7")

    assert lease.take_over_abandoned() == 1


@pytest.mark.usefixtures("queued")
def test_another_run_of_this_very_process_is_not_robbed(catalog, cloud, lease):
    lease.claim(EVERYTHING, 5)

    assert UploadLease(catalog, cloud).take_over_abandoned() == 0


@pytest.mark.usefixtures("queued")
def test_a_lease_is_renewed_before_it_expires(catalog, lease, monkeypatch):
    lease.claim(EVERYTHING, 2)
    expiry = "SELECT DISTINCT lease_expires_at FROM upload_tasks WHERE status = 'running'"
    before = rows(catalog, expiry)
    lease.renew()
    assert rows(catalog, expiry) == before

    later = time.monotonic() + leases.LEASE_SECONDS / 2
    monkeypatch.setattr(leases.time, "monotonic", lambda: later)
    monkeypatch.setattr(leases.time, "time", lambda: before[0])
    lease.renew()

    assert rows(catalog, expiry) == [before[0] + leases.LEASE_SECONDS]


@pytest.mark.usefixtures("queued")
def test_release_frees_what_this_lease_holds_and_nothing_else(catalog, cloud, lease, statuses):
    lease.claim(EVERYTHING, 5)
    UploadLease(catalog, cloud).claim(EVERYTHING, 3)

    lease.release()
    lease.release()

    assert statuses() == {"running": 3, "pending": 37}


@pytest.mark.usefixtures("queued")
def test_a_failure_reported_too_late_does_not_undo_the_work_of_the_next_lease(
    catalog, cloud, lease
):
    (task,) = lease.claim(EVERYTHING, 1)
    change(catalog, "UPDATE upload_tasks SET lease_expires_at = 1 WHERE id = ?", task.id)
    successor = UploadLease(catalog, cloud)
    successor.take_over_abandoned()
    (again,) = successor.claim(EVERYTHING, 1)
    assert again.id == task.id

    record(catalog, cloud, lease.owner, [Failed(task, "NoAnswer", "late")])

    sql = "SELECT status, lease_owner FROM upload_tasks WHERE id = ?"
    assert rows(catalog, sql, task.id) == [("running", successor.owner)]


@pytest.mark.parametrize("planned_again", [True, False])
def test_what_a_killed_run_held_is_not_tried_once_a_scan_has_settled_it(
    library, scanned, catalog, cloud, planned_again
):
    """Deleted, changed and left out: none of them is sent, or fails, in the next run."""
    paths = library.fill(4)
    scanned()
    enqueue(catalog, cloud)
    assert len(UploadLease(catalog, cloud).claim(EVERYTHING, 10)) == 4
    change(catalog, "UPDATE upload_tasks SET lease_expires_at = 1")
    paths[0].unlink()
    paths[1].write_bytes(b"another")
    library.add(".catalogsyncignore", f"{paths[2].name}\n".encode())
    scanned()

    if planned_again:
        enqueue(catalog, cloud)
    lease = UploadLease(catalog, cloud)
    lease.take_over_abandoned()
    claimed = {(task.path, task.size_bytes) for task in lease.claim(EVERYTHING, 10)}

    expected = {(str(paths[3]), 300)}
    if planned_again:
        expected.add((str(paths[1]), 7))
        assert len(rows(catalog, "SELECT id FROM upload_tasks")) == 2
    assert claimed == expected


# --- results ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("queued")
def test_a_result_is_recorded_in_location_file_task_and_presence(catalog, cloud, lease):
    (task,) = lease.claim(EVERYTHING, 1)

    record(catalog, cloud, lease.owner, [done(task)])

    assert rows(
        catalog,
        "SELECT locator, container_name, status, size_bytes, etag, verified_by,"
        " verified_at IS NOT NULL FROM file_locations WHERE backend_id = ?",
        cloud.id,
    ) == [(task.locator, cloud.bucket, "active", 300, '"etag"', "server-digest", 1)]
    assert rows(catalog, "SELECT sha256 FROM file_assets WHERE id = ?", task.file_asset_id) == [
        DIGEST
    ]
    assert rows(
        catalog, "SELECT status, lease_owner, attempts FROM upload_tasks WHERE id = ?", task.id
    ) == [("succeeded", None, 1)]
    assert rows(
        catalog,
        "SELECT files_present, files_total FROM song_backend_presence"
        " WHERE song_id = ? AND backend_id = ?",
        task.song_id,
        cloud.id,
    ) == [(1, 1)]


@pytest.mark.usefixtures("queued")
def test_a_result_recorded_twice_is_one_location(catalog, cloud, lease):
    tasks = lease.claim(EVERYTHING, 2)
    for _ in range(2):
        record(catalog, cloud, lease.owner, [done(task) for task in tasks])

    sql = "SELECT COUNT(*) FROM file_locations WHERE backend_id = ?"
    assert rows(catalog, sql, cloud.id) == [2]


@pytest.mark.usefixtures("queued")
def test_results_are_recorded_all_or_none(catalog, cloud, lease, statuses):
    good, bad = lease.claim(EVERYTHING, 2)
    untrue = replace(bad, file_asset_id=4711)

    with pytest.raises(Exception, match="FOREIGN KEY"):
        record(catalog, cloud, lease.owner, [done(good), done(untrue)])

    assert rows(catalog, "SELECT COUNT(*) FROM file_locations WHERE backend_id = ?", cloud.id) == [
        0
    ]
    assert statuses() == {"running": 2, "pending": 38}


@pytest.mark.usefixtures("queued")
def test_a_public_url_is_recorded_with_the_location(catalog, cloud, lease):
    public = replace(cloud, public_base_url="https://cdn.example/m")
    record(catalog, public, lease.owner, [done(t) for t in lease.claim(EVERYTHING, 1)])

    sql = "SELECT public_url FROM file_locations WHERE backend_id = ?"
    assert rows(catalog, sql, cloud.id) == [
        f"https://cdn.example/m/{cloud.base_prefix}/album/0000.mp3"
    ]
