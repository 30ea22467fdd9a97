"""The upload queue: leases, and what a finished upload leaves."""

import time
from dataclasses import replace
from typing import Any

import pytest

from catalogsync_assets.core.catalog import leases
from catalogsync_assets.core.catalog.scope import EVERYTHING
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.upload_queue import Failed, UploadLease, record
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.uploads import DIGEST, done
from catalogsync_assets_tests.support.waiting import Task

# --- leases -------------------------------------------------------------------------------------


@pytest.fixture
def queued(planned):
    """Forty files that wait to be uploaded."""
    return planned(40)


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

    for task in [Task(claim_all) for _ in range(4)]:
        task.end()

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
    return [int(word) for word in process.line().split()]


@pytest.mark.usefixtures("queued")
def test_processes_never_claim_the_same_task(catalog, start_python):
    processes = [start_python(CLAIM, catalog.path, 1000, "go") for _ in range(2)]
    assert [process.line() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.go_on()
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
        assert process.line() == "ready\n"
        process.go_on()
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
    library, scanned, catalog, cloud, planned_again, planned, monkeypatch
):
    """Deleted, changed and left out: none of them is sent, or fails, in the next run."""
    monkeypatch.setenv("CATALOGSYNC_COMPANIONS", "none")
    paths = planned(4)
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
