"""What is requested by itself, and when: the automation conditions, tick by tick."""

from __future__ import annotations

import functools
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest

from catalogsync_assets.core.settings import timezone as local_timezone

from .conftest import DEFS, cell_key, started_run

HERE = ZoneInfo(local_timezone())
EVENING = datetime(2026, 1, 5, 20, 0, tzinfo=HERE)
BEFORE_THE_SWEEP = datetime(2026, 1, 6, 4, 59, tzinfo=HERE)
SWEEP = datetime(2026, 1, 6, 5, 0, 30, tzinfo=HERE)
NEXT_SWEEP = SWEEP + timedelta(days=1)


class Night:
    """A Dagster instance, and the automation sensors as their daemon would tick them.

    Each sensor has its own cursor, and nothing that it requests is launched: that is for the test.
    """

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.now = EVENING
        self._cursors: dict[str, Any] = {}
        self.tick()  # the sensors have been running for a while

    def tick(self, at: datetime | None = None) -> dict[str, set[str]]:
        """What is requested by the next tick: partitions by asset."""
        self.now = at or self.now + timedelta(seconds=30)
        requested = {}
        with pytest.MonkeyPatch.context() as patch:
            # No key comes or goes meanwhile, and Dagster asks a hundred times.
            once = functools.cache(self.instance.get_dynamic_partitions)
            patch.setattr(self.instance, "get_dynamic_partitions", once)
            for name in ("pending_uploads", "remote_locations", "backend_presence"):
                result = dg.evaluate_automation_conditions(
                    DEFS,
                    self.instance,
                    dg.AssetSelection.assets(name),
                    evaluation_time=self.now,
                    cursor=self._cursors.get(name),
                )
                self._cursors[name] = result.cursor
                keys = {str(key) for key in result.get_requested_partitions(dg.AssetKey(name))}
                if keys:
                    requested[name] = keys
        return requested

    def register(self, dimension: str, *keys: str) -> None:
        self.instance.add_dynamic_partitions(dimension, list(keys))

    def plan_for(self, backend: str) -> None:
        """A new backend is there, and planned for."""
        self.register("backend", backend)
        self.tick()
        self.materialized("pending_uploads", backend)
        self.tick()

    def materialized(self, asset: str, partition: str | None = None) -> None:
        key = cell_key(partition) if partition and "|" in partition else partition
        self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key))

    def uploading(self, cell: str) -> dg.DagsterRun:
        return started_run(self.instance, "upload_batch", "remote_locations", cell)


@pytest.fixture
def night(monkeypatch, tmp_path):
    monkeypatch.setenv("CATALOGSYNC_DB", str(tmp_path / "absent.db"))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Night(instance)


@pytest.fixture
def filled(night):
    """One backend with two batches: one cell is materialized, the other was requested once."""
    night.register("batch", "b1", "b2")
    night.materialized("downloaded_files")
    night.plan_for("cloud")
    night.materialized("remote_locations", "cloud|b1")
    night.tick()
    night.materialized("backend_presence", "cloud")
    assert night.tick() == {}
    return night


# --- pending_uploads ----------------------------------------------------------------------------


def test_a_backend_is_not_planned_for_before_the_first_scan(night):
    night.register("backend", "cloud")

    assert night.tick() == {}

    night.materialized("downloaded_files")
    assert night.tick() == {"pending_uploads": {"cloud"}}


def test_a_new_backend_is_planned_for_once(filled):
    filled.register("backend", "second")

    assert filled.tick() == {"pending_uploads": {"second"}}
    assert filled.tick() == {}


def test_a_scan_is_followed_by_a_plan_for_every_backend(filled):
    filled.plan_for("second")

    filled.materialized("downloaded_files")

    assert filled.tick() == {"pending_uploads": {"cloud", "second"}}
    assert filled.tick() == {}


def test_a_scan_that_ends_while_a_plan_runs_is_planned_for_afterwards(filled):
    running = started_run(filled.instance, "plan_uploads", "pending_uploads", "cloud")
    filled.materialized("downloaded_files")
    assert filled.tick() == {}

    filled.instance.report_run_failed(running)

    assert filled.tick() == {"pending_uploads": {"cloud"}}


# --- remote_locations ---------------------------------------------------------------------------


def test_no_cell_is_requested_before_its_backend_is_planned_for(night):
    night.register("backend", "cloud")
    night.register("batch", "b1")
    night.materialized("downloaded_files")

    assert "remote_locations" not in night.tick()
    assert "remote_locations" not in night.tick(SWEEP)


def test_every_missing_cell_of_a_planned_backend_is_requested_once(night):
    night.register("backend", "cloud", "second")
    night.register("batch", "b1", "b2")
    night.materialized("downloaded_files")
    night.tick()

    night.materialized("pending_uploads", "cloud")

    assert night.tick() == {
        "remote_locations": {"cloud|b1", "cloud|b2"},
        "backend_presence": {"cloud"},  # what is planned is absent, and that is seen at once
    }
    assert night.tick() == {}


def test_a_new_batch_is_requested_for_every_backend(filled):
    filled.plan_for("second")

    filled.register("batch", "b3")

    assert filled.tick() == {"remote_locations": {"cloud|b3", "second|b3"}}
    assert filled.tick() == {}


def test_a_new_backend_gets_every_batch_there_is(filled):
    filled.register("backend", "second")
    filled.tick()

    filled.materialized("pending_uploads", "second")

    assert filled.tick() == {
        "remote_locations": {"second|b1", "second|b2"},
        "backend_presence": {"second"},
    }


def test_materialized_cells_are_not_requested_again_when_the_library_was_scanned(filled):
    filled.materialized("downloaded_files")
    filled.tick()
    filled.materialized("pending_uploads", "cloud")

    assert "remote_locations" not in filled.tick()
    assert filled.tick(SWEEP) == {"remote_locations": {"cloud|b2"}}  # which was missing before


def test_a_failed_cell_is_requested_again_by_the_morning_s_sweep_and_not_before(filled):
    run = DEFS.resolve_job_def("upload_batch").execute_in_process(
        instance=filled.instance, partition_key="cloud|b2", raise_on_error=False
    )
    assert not run.success  # there is no catalog

    assert filled.tick() == {}
    assert filled.tick(BEFORE_THE_SWEEP) == {}
    assert filled.tick(SWEEP) == {"remote_locations": {"cloud|b2"}}
    assert filled.tick() == {}
    assert filled.tick(NEXT_SWEEP) == {"remote_locations": {"cloud|b2"}}


def test_a_cell_that_was_whole_once_and_failed_since_is_swept_too(filled):
    """It has lost files, and the run that should have brought them back failed."""
    filled.materialized("remote_locations", "cloud|b2")
    filled.instance.report_run_failed(filled.uploading("cloud|b1"))

    assert "remote_locations" not in filled.tick()
    assert filled.tick(SWEEP)["remote_locations"] == {"cloud|b1"}

    filled.materialized("remote_locations", "cloud|b1")
    assert "remote_locations" not in filled.tick(NEXT_SWEEP)


def test_a_cell_that_is_reported_without_a_run_is_not_requested(filled):
    """As the command line does it, before anything was requested."""
    filled.register("batch", "b3")
    filled.materialized("remote_locations", "cloud|b3")

    assert "remote_locations" not in filled.tick()
    assert filled.tick(SWEEP)["remote_locations"] == {"cloud|b2"}


def test_a_requested_cell_is_not_requested_again_while_it_waits_or_runs(filled):
    filled.register("batch", "b3")
    assert filled.tick() == {"remote_locations": {"cloud|b3"}}
    run = filled.uploading("cloud|b3")

    assert filled.tick() == {}
    assert filled.tick(SWEEP) == {"remote_locations": {"cloud|b2"}}

    filled.instance.report_run_canceled(run)
    assert filled.tick() == {}
    assert filled.tick(NEXT_SWEEP) == {"remote_locations": {"cloud|b2", "cloud|b3"}}


def test_the_sweep_leaves_cells_alone_that_are_on_their_way(filled):
    running = filled.uploading("cloud|b2")

    assert filled.tick(SWEEP) == {}

    filled.instance.report_run_failed(running)
    assert filled.tick(NEXT_SWEEP) == {"remote_locations": {"cloud|b2"}}


def test_the_sweep_finds_cells_that_are_older_than_the_sensor(filled):
    started_today = Night(filled.instance)

    assert started_today.tick() == {}
    assert started_today.tick(SWEEP) == {"remote_locations": {"cloud|b2"}}


# --- backend_presence ---------------------------------------------------------------------------


def test_presence_follows_a_cell_on_its_backend(filled):
    filled.register("backend", "second")
    filled.tick()

    filled.materialized("remote_locations", "cloud|b2")

    assert filled.tick() == {"backend_presence": {"cloud"}}
    assert filled.tick() == {}


def test_presence_waits_for_the_cells_of_its_backend_that_are_on_their_way(filled):
    running = filled.uploading("cloud|b2")
    filled.materialized("remote_locations", "cloud|b1")
    assert filled.tick() == {}

    filled.materialized("remote_locations", "cloud|b2")
    filled.instance.report_run_failed(running)

    assert filled.tick() == {"backend_presence": {"cloud"}}


def test_presence_follows_although_the_last_cell_of_its_backend_failed(filled):
    running = filled.uploading("cloud|b2")
    filled.materialized("remote_locations", "cloud|b1")
    assert filled.tick() == {}

    filled.instance.report_run_failed(running)

    assert filled.tick() == {"backend_presence": {"cloud"}}
    assert filled.tick() == {}
