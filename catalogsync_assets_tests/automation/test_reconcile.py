"""The sensor `catalog_partitions` keeps Dagster's picture of the cells true to the catalog."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest

from catalogsync_assets.automation import reconcile
from catalogsync_assets.automation.reconcile import Cursor, stamp
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import batch_keys
from catalogsync_assets.core.catalog.locations import mark
from catalogsync_assets_tests.support.database import rows

from .conftest import CELLS as KEY
from .conftest import DEFS

# Dagster's own tags of a cell's partition, in its own hands: `dagster/partition/backend`.
pytestmark = pytest.mark.filterwarnings("ignore:Non-compliant tag keys:DeprecationWarning")

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=timezone.utc)
DAY = timedelta(days=1)
SWEEP = datetime(2026, 1, 6, 5, 0, 30, tzinfo=timezone.utc)


# --- what the command line has filled -----------------------------------------------------------


def test_cells_that_nobody_has_reported_are_reported_once_their_keys_are_known(
    watch, backend, library, scanned, uploaded
):
    """As after uploads without DAGSTER_HOME, or when it was deleted."""
    one, _ = backend("one"), backend("two")
    batches = []
    for folder in ("a", "b"):
        library.fill(2, folder=folder)
        batches += scanned().batches
    uploaded(one)

    first, second, third = watch.tick(), watch.tick(), watch.tick()

    assert (first.added, first.reported) == ({"backend": ["one", "two"], "batch": batches}, [])
    assert sorted(second.reported) == [f"one|{batch}" for batch in batches]
    assert second.requested == []
    assert (third.reported, third.requested) == ([], [])
    cells = watch.instance.get_materialized_partitions(KEY)
    assert cells == {f"one|{batch}" for batch in batches}
    event = watch.instance.get_latest_materialization_event(KEY)
    metadata = event.asset_materialization.metadata
    assert metadata["dagster/row_count"].value == 2
    assert "catalog_partitions" in str(metadata["reported by"].value)
    assert watch.instance.get_runs() == []


def test_a_cell_that_failed_and_is_whole_by_now_is_reported(
    watch, cloud, library, scanned, uploaded
):
    library.fill(1)
    (batch,) = scanned().batches
    watch.settle()
    watch.instance.report_run_failed(watch.started(f"cloud|{batch}"))
    assert watch.status(f"cloud|{batch}") == "FAILED"
    uploaded(cloud)

    assert watch.tick().reported == [f"cloud|{batch}"]

    assert watch.status(f"cloud|{batch}") == "MATERIALIZED"


def test_a_cell_on_its_way_is_left_alone_and_looked_at_again(
    watch, cloud, library, scanned, uploaded
):
    library.fill(1)
    (batch,) = scanned().batches
    watch.settle()
    run = watch.started(f"cloud|{batch}")
    uploaded(cloud)
    watch.rests()

    watch.instance.report_run_canceled(run)  # the catalog does not change by it

    assert watch.tick().reported == [f"cloud|{batch}"]


def test_cells_with_work_to_do_are_left_to_the_automation_condition(watch, cloud, library, scanned):
    library.fill(1)
    scanned()
    watch.tick()

    done = watch.tick()

    assert (done.reported, done.requested) == ([], [])
    assert done.skipped == "every cell that was compared matches the catalog"


# --- what is no longer there --------------------------------------------------------------------


def test_a_green_cell_that_lost_files_gets_a_run_that_brings_them_back(
    filled, cloud, lose, remote, library
):
    watch, cell = filled
    lose(cloud, 2)

    (request,) = watch.tick().requested

    assert request.partition_key == cell
    assert request.job_name in (None, "upload_batch")
    assert request.tags["dagster/partition/backend"] == "cloud"  # one run a backend at a time
    assert request.tags["dagster/partition"] == cell
    assert request.tags["catalogsync/reason"] == "2 of 3 files gone"
    assert watch.carry_out(request)
    assert remote(cloud).contents() == library.contents()
    watch.rests()


def test_a_damaged_file_counts_as_lost(filled, catalog):
    watch, cell = filled
    (location, *_) = rows(catalog, "SELECT id FROM file_locations WHERE absolute_path IS NULL")
    mark(catalog, [location], "damaged")

    assert watch.tick().runs_for == [cell]


def test_a_cell_that_cannot_be_filled_gets_one_run_and_is_red(
    filled, cloud, lose, library, scanned
):
    """Its file is gone from the library, too."""
    watch, cell = filled
    lose(cloud)
    (library.root / "album" / "0000.mp3").unlink()
    scanned()
    (request,) = watch.tick().requested or watch.tick().requested  # perhaps a new key first

    assert not watch.carry_out(request)

    assert watch.status(cell) == "FAILED"
    for _ in range(3):
        assert watch.tick().requested == []

    def swept(at, cursor=None):
        return dg.evaluate_automation_conditions(
            DEFS, watch.instance, dg.AssetSelection.assets(KEY), evaluation_time=at, cursor=cursor
        )

    before = swept(SWEEP - DAY)
    assert before.get_requested_partitions(KEY) == set()
    watch.instance.report_runless_asset_event(
        dg.AssetMaterialization("pending_uploads", partition="cloud")
    )
    found = swept(SWEEP, before.cursor).get_requested_partitions(KEY)
    assert {str(key) for key in found} == {cell}


def test_a_run_that_was_cancelled_is_not_requested_again_on_the_same_day(
    filled, catalog, cloud, lose
):
    """Dagster starts no second run for a key."""
    watch, cell = filled
    lose(cloud)

    def request(now):
        found = reconcile.reconcile(
            catalog, watch.instance, Cursor(), now_stamp=stamp(catalog.path), now=now
        )
        (request,) = found.run_requests or []
        return request

    first = request(NOW)
    watch.instance.report_run_canceled(watch.started(cell))

    assert request(NOW + timedelta(hours=11)).run_key == first.run_key
    assert request(NOW + DAY).run_key != first.run_key

    # It was filled, and has lost a file once more.
    watch.carry_out(first)
    lose(cloud)
    assert request(NOW + timedelta(hours=11)).run_key != first.run_key


def test_a_cell_that_is_being_filled_is_not_requested_again(filled, cloud, lose):
    watch, cell = filled
    lose(cloud)
    assert watch.tick().runs_for == [cell]
    watch.started(cell)

    assert watch.tick().runs_for == []


# --- how much at a time -------------------------------------------------------------------------


@pytest.fixture
def five(watch, cloud, library, scanned, uploaded):
    """Five cells that are whole, of which Dagster knows the keys alone; the newest first."""
    for folder in "abcde":
        library.fill(1, folder=folder)
        scanned()
    uploaded(cloud)
    watch.tick()
    return [f"cloud|{batch}" for batch in reversed(batch_keys(Catalog.open()))]


def test_a_tick_reports_a_bounded_number_and_the_next_goes_on_from_there(watch, five, monkeypatch):
    monkeypatch.setattr(reconcile, "_MAX_EVENTS", 2)

    ticks = [watch.tick().reported for _ in range(4)]

    assert ticks == [five[:2], five[2:4], five[4:], []]


def test_a_tick_that_has_worked_long_enough_leaves_the_rest_to_the_next(watch, five, monkeypatch):
    monkeypatch.setattr(reconcile, "_REPORTING_SECONDS", 0.0)
    monkeypatch.setattr(reconcile, "_PAGE", 2)

    ticks = [watch.tick().reported for _ in range(6)]

    assert ticks == [*([cell] for cell in five), []]


def test_a_tick_that_has_looked_long_enough_goes_on_only_if_there_is_something_to_report(
    watch, five, monkeypatch
):
    monkeypatch.setattr(reconcile, "_SECONDS", 0.0)
    monkeypatch.setattr(reconcile, "_PAGE", 1)

    assert watch.tick().reported == five
    watch.cursor = None
    assert [watch.tick().reported for _ in range(5)] == [[]] * 5
    assert Cursor.parse(watch.cursor).after is not None  # one batch a tick


def test_a_tick_requests_a_bounded_number_of_runs(watch, five, cloud, lose, monkeypatch):
    monkeypatch.setattr(reconcile, "_MAX_RUNS", 2)
    watch.settle()
    lose(cloud, 5)

    ticks = [watch.tick().runs_for for _ in range(3)]

    assert ticks == [five[:2], five[2:4], five[4:]]


def test_nothing_is_compared_while_the_catalog_is_not_written_to(filled, cloud, lose, monkeypatch):
    watch, cell = filled
    looked: list[object] = []
    read = reconcile.cells
    monkeypatch.setattr(
        reconcile, "cells", lambda *args, **more: looked.append(1) or read(*args, **more)
    )
    for _ in range(3):
        assert "nothing has changed" in (watch.tick().skipped or "")
    assert looked == []

    lose(cloud)

    assert watch.tick().runs_for == [cell]


def test_after_an_hour_all_is_compared_though_the_catalog_has_not_changed(filled):
    """Somebody may have wiped materializations in the UI."""
    watch, cell = filled
    watch.instance.wipe_assets([KEY])
    assert watch.tick().reported == []
    rested = Cursor.parse(watch.cursor)
    assert rested.rests(rested.agreed or "", datetime.now(timezone.utc))
    assert not rested.rests(rested.agreed or "", datetime.now(timezone.utc) + timedelta(hours=1))

    watch.cursor = str(Cursor(agreed=rested.agreed, agreed_at=rested.agreed_at - 3600))

    assert watch.tick().reported == [cell]


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"unknown": 1}', '{"after": "gone"}'])
def test_a_cursor_that_tells_nothing_begins_anew(watch, five, text):
    watch.cursor = text

    assert watch.tick().reported == five


def test_reading_the_catalog_leaves_its_stamp_and_writing_changes_it(catalog, library, scanned):
    library.fill(1)
    scanned()
    catalog.close()
    before = stamp(catalog.path)

    reader = Catalog.open(catalog.path)
    batch_keys(reader)
    while_open = stamp(catalog.path)
    reader.close()
    assert (while_open, stamp(catalog.path)) == (before, before)

    library.add("more.mp3")
    scanned()
    assert stamp(catalog.path) != before  # in the log alone, as it is still open
    catalog.close()
    assert stamp(catalog.path) != before
    assert stamp(catalog.path.with_name("absent.db")) == "[[0, 0], [0, 0]]"
