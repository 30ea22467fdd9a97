"""Claims on download tasks, and databases of other programs."""

import os
import sqlite3
from contextlib import closing

import psutil
import pytest

from catalogsync_assets.core.catalog import download_queue
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.download_queue import (
    EVERY_DOWNLOAD,
    DownloadLease,
    NotDownloaded,
    count_waiting,
    record,
    requeue_failed,
    unfinished,
)
from catalogsync_assets.core.catalog.leases import LEASE_SECONDS
from catalogsync_assets.core.download.disks import Disks
from catalogsync_assets.core.download.download import download
from catalogsync_assets.core.download.importing import import_manifest
from catalogsync_assets_tests.support.database import change, rows


@pytest.fixture
def queued(catalog, queue_downloads):
    """A catalog with ten tasks."""
    queue_downloads(*(f"http://a.example/{i}" for i in range(10)))
    return catalog


def ids(tasks: list[download_queue.DownloadTask]) -> list[int]:
    return [task.id for task in tasks]


def test_no_two_leases_hold_the_same_task(queued):
    first, second = DownloadLease(queued), DownloadLease(queued)

    claimed = ids(first.claim(EVERY_DOWNLOAD, 4)) + ids(second.claim(EVERY_DOWNLOAD, 9))

    assert sorted(claimed) == list(range(1, 11))
    assert first.claim(EVERY_DOWNLOAD, 1) == []


def test_what_is_released_can_be_claimed_again_and_was_no_try(queued):
    lease = DownloadLease(queued)
    lease.claim(EVERY_DOWNLOAD, 4)

    lease.release()
    lease.release()

    assert rows(queued, "SELECT DISTINCT status, attempts, lease_owner FROM download_tasks") == [
        ("pending", 0, None)
    ]


def test_what_has_been_tried_least_goes_first(queued):
    change(queued, "UPDATE download_tasks SET attempts = 3 WHERE id < 8")

    assert ids(DownloadLease(queued).claim(EVERY_DOWNLOAD, 4)) == [8, 9, 10, 1]


def test_claims_of_a_process_that_is_gone_are_taken_over_at_once(queued):
    lease = DownloadLease(queued)
    lease.claim(EVERY_DOWNLOAD, 4)
    host, _, _, token = lease.owner.split("|")
    change(queued, "UPDATE download_tasks SET lease_owner = ?", f"{host}|4194304|1.00|{token}")
    change(queued, "UPDATE download_tasks SET lease_owner = NULL WHERE status = 'pending'")

    assert DownloadLease(queued).take_over_abandoned() == 4
    assert count_waiting(queued)[0] == 10


def test_claims_of_a_process_that_lives_are_its_own_until_they_expire(queued):
    lease = DownloadLease(queued)
    lease.claim(EVERY_DOWNLOAD, 4)
    assert DownloadLease(queued).take_over_abandoned() == 0

    change(queued, "UPDATE download_tasks SET lease_expires_at = 1 WHERE lease_owner IS NOT NULL")

    assert DownloadLease(queued).take_over_abandoned() == 4


def test_renewing_puts_off_the_expiry(queued, monkeypatch):
    lease = DownloadLease(queued)
    lease.claim(EVERY_DOWNLOAD, 4)
    change(queued, "UPDATE download_tasks SET lease_expires_at = 1 WHERE lease_owner IS NOT NULL")

    lease.renew()
    assert DownloadLease(queued).take_over_abandoned() == 4  # it was too soon to do anything

    lease.claim(EVERY_DOWNLOAD, 4)
    change(queued, "UPDATE download_tasks SET lease_expires_at = 1 WHERE lease_owner IS NOT NULL")
    lease._renewed -= LEASE_SECONDS
    lease.renew()
    assert DownloadLease(queued).take_over_abandoned() == 0


def test_a_failure_of_a_task_that_was_taken_over_is_not_written(queued):
    late, now = DownloadLease(queued), DownloadLease(queued)
    (task,) = late.claim(EVERY_DOWNLOAD, 1)
    change(queued, "UPDATE download_tasks SET lease_owner = ? WHERE id = ?", now.owner, task.id)

    record(queued, late.owner, [NotDownloaded(task, "Timeout", "too late")])

    assert rows(queued, "SELECT status, error_code FROM download_tasks WHERE id = ?", task.id) == [
        ("running", None)
    ]


def test_only_failures_of_ours_are_queued_again(queued):
    change(queued, "UPDATE download_tasks SET status = 'failed' WHERE id < 4")
    change(queued, "UPDATE download_tasks SET error_code = 'Http503' WHERE id = 1")

    assert requeue_failed(queued) == 1
    assert unfinished(queued, range(1, 100)) == set(range(1, 11))
    assert rows(queued, "SELECT id FROM download_tasks WHERE status = 'failed'") == [2, 3]


def test_this_process_lives(queued):
    owner = DownloadLease(queued).owner

    assert str(os.getpid()) in owner
    assert f"{psutil.Process().create_time():.2f}" in owner


# --- databases of other programs ----------------------------------------------------------------

# Columns of ours by name, but not by kind; some that must be filled; states of its own.
OLD = """
CREATE TABLE songs (id INTEGER PRIMARY KEY, title TEXT NOT NULL, mood TEXT NOT NULL);
CREATE TABLE playlists (id INTEGER PRIMARY KEY, name TEXT NOT NULL, owner TEXT NOT NULL);
CREATE TABLE playlist_songs (playlist_id INTEGER, song_id INTEGER, added_by TEXT NOT NULL);
CREATE TABLE download_tasks (id INTEGER PRIMARY KEY, song_id INTEGER, source TEXT NOT NULL,
    url TEXT, status TEXT NOT NULL DEFAULT 'queued', last_error TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL, sha256 TEXT NOT NULL, Error_Code TEXT NOT NULL,
    lease_owner TEXT NOT NULL, size_bytes TEXT, quality TEXT NOT NULL, updated_at TIMESTAMP);
INSERT INTO songs VALUES (1, 'Waves', 'calm');
INSERT INTO download_tasks VALUES
    (1, 1, 'tape', 'x', 'queued', '', 2, '', '', '', '12', 'high', NULL),
    (2, 1, 'tape', 'y', 'running', '', 1, '', '', 'somebody', NULL, 'high', NULL),
    (3, 1, 'tape', 'y', 'done', '', 1, 'abc', '', '', NULL, 'low', NULL),
    (4, 1, 'tape', NULL, 'pending', '', 0, '', '', '', NULL, 'low', NULL),
    (5, 1, 'http', 'http://127.0.0.1:1/x', 'failed', 'no', 9, '', '', '', NULL, 'low', NULL);
"""


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(OLD)
    return path


def test_a_queue_with_columns_of_the_same_names_is_adopted_and_kept(old):
    before = rows(old, "SELECT * FROM download_tasks")

    Catalog.initialise(old)[0].close()

    width = len(before[0])
    assert [row[:width] for row in rows(old, "SELECT * FROM download_tasks")] == before


def test_an_adopted_queue_takes_manifests_and_drains(old, tmp_path, web, library):
    """Also failures, take-overs and releases, where other columns may not be empty."""
    catalog, _ = Catalog.initialise(old)
    others = "SELECT id, source, url, status, last_error, attempts FROM download_tasks WHERE id < 6"
    before = rows(old, others)
    manifest = tmp_path / "m.csv"
    manifest.write_text(
        f"url,playlist\n{web.add('/a.flac')},P\n{web.url}/404,P\n{web.add('/c.flac')},Q\n"
    )
    assert import_manifest(catalog, manifest).tasks == 3
    assert import_manifest(catalog, manifest).tasks == 0
    lease = DownloadLease(catalog)
    assert len(lease.claim(EVERY_DOWNLOAD, 9)) == 3
    lease.release()

    report = download(catalog, Disks(catalog, [library.root], reserve_bytes=0))

    assert (report.succeeded, report.failed) == (2, 1), report.failures
    assert rows(old, others) == before
    assert rows(old, "SELECT status, error_code, quality FROM download_tasks WHERE id > 5") == [
        ("succeeded", "", ""),
        ("failed", "NotFound", ""),
        ("succeeded", "", ""),
    ]
    catalog.close()
