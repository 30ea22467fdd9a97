"""A backend that has failed for long does not keep starting runs."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest

from catalogsync_assets.automation.retries import try_again
from catalogsync_assets.automation.schedules import weekly_audit
from catalogsync_assets.core.catalog.failing import failing
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.definitions import build_defs
from catalogsync_assets.resources import CatalogResource
from catalogsync_assets_tests.support.database import change, move_backend

from .conftest import cell_key
from .test_conditions import NEXT_SWEEP, SWEEP, Night

# Dagster's own tags of a cell's partition, in its own hands: `dagster/partition/backend`.
pytestmark = pytest.mark.filterwarnings("ignore:Non-compliant tag keys:DeprecationWarning")


def fails_since(catalog, moment):
    """The backend `cloud` has failed since a moment; None: it works."""
    since = moment and f"{moment.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S}"
    change(catalog, "UPDATE storage_backends SET failing_since = ? WHERE name = 'cloud'", since)


def hours(count):
    return timedelta(hours=count)


@pytest.fixture
def broken(watch, catalog, cloud, library, scanned, unused_endpoint):
    """`cloud` cannot be reached, and has failed for twelve hours; one batch waits for it."""
    library.fill(1)
    (batch,) = scanned().batches
    enqueue(catalog, cloud)
    watch.settle()
    move_backend(catalog, cloud, unused_endpoint)
    fails_since(catalog, datetime.now(timezone.utc) - hours(12))
    return f"cloud|{batch}"


# --- what the conditions request ----------------------------------------------------------------


@pytest.fixture
def night(catalog, cloud, monkeypatch):
    """Two batches, of which one cell has failed, on `cloud` and on `other`."""
    monkeypatch.setenv("CATALOGSYNC_DB", str(catalog.path))
    with dg.DagsterInstance.ephemeral() as instance:
        night = Night(instance)
        night.register("batch", "b1")
        night.materialized("downloaded_files")
        for backend in ("cloud", "other"):
            night.plan_for(backend)
            night.materialized("backend_presence", backend)
        night.tick()
        yield night


def test_the_sweep_leaves_out_a_backend_that_has_failed_for_long(night, catalog):
    both = {"cloud|b1", "other|b1"}
    for sweep, since, requested in (
        (SWEEP, SWEEP - hours(5), both),
        (NEXT_SWEEP, NEXT_SWEEP - hours(7), {"other|b1"}),
        (NEXT_SWEEP + hours(24), None, both),
    ):
        fails_since(catalog, since)
        assert night.tick(sweep)["remote_locations"] == requested


def test_a_backend_that_is_gone_is_no_trouble(night):
    night.instance.delete_dynamic_partition("backend", "cloud")

    assert night.tick(SWEEP)["remote_locations"] == {"other|b1"}


def test_a_new_batch_waits_until_the_backend_is_back(night, catalog):
    fails_since(catalog, night.now - hours(7))
    night.register("batch", "b2")
    assert night.tick()["remote_locations"] == {"other|b2"}
    assert night.tick() == {}

    fails_since(catalog, None)
    assert night.tick()["remote_locations"] == {"cloud|b2"}


# --- the tries ----------------------------------------------------------------------------------


def test_it_is_tried_by_one_cell_and_then_rests(watch, broken):
    (request,) = watch.tick().requested
    assert str(request.partition_key) == broken
    assert "to see whether it is back: it has failed since" in request.tags["catalogsync/reason"]

    watch.instance.report_run_failed(watch.started(broken))

    done = watch.tick()
    assert done.requested == []
    assert "cloud has failed since" in (done.skipped or "")
    assert "is tried once every hour by itself" in (done.skipped or "")


def test_it_is_not_tried_while_a_run_of_it_is_under_way(watch, catalog, broken):
    watch.started(broken)
    (found,) = failing(catalog)

    later = datetime.now(timezone.utc) + hours(12)
    assert try_again(catalog, watch.instance, found, later) is None


def test_pauses_between_two_tries(watch, catalog, broken):
    watch.instance.report_run_failed(watch.started(broken))
    (found,) = failing(catalog)
    now = datetime.now(timezone.utc)

    def is_tried_after(pause):
        return try_again(catalog, watch.instance, found, now + pause) is not None

    assert [is_tried_after(hours(h)) for h in (0.9, 1.1)] == [False, True]
    fails_since(catalog, now - hours(30))
    (found,) = failing(catalog)
    assert [is_tried_after(hours(h)) for h in (5.9, 6.1)] == [False, True]


def test_once_it_is_back_it_is_a_backend_like_others(watch, catalog, cloud, broken, store):
    move_backend(catalog, cloud, store.endpoint)

    assert watch.carry_out(watch.tick().requested[0])

    assert failing(catalog) == []
    watch.settle()
    assert watch.status(broken) == "MATERIALIZED"


def test_with_nothing_to_bring_there_it_is_not_tried(watch, catalog, broken):
    change(catalog, "DELETE FROM upload_tasks")

    assert watch.tick().requested == []


def test_cells_that_have_lost_files_wait_as_well(watch, catalog, broken):
    key = cell_key(broken)
    watch.instance.report_runless_asset_event(
        dg.AssetMaterialization("remote_locations", partition=key)
    )
    change(catalog, "DELETE FROM upload_tasks")
    assert watch.tick().requested == []

    fails_since(catalog, None)
    assert watch.tick().runs_for == [key]


def test_the_weekly_audit_leaves_it_out(tmp_path, catalog, backend):
    sunday = datetime(2026, 11, 22, 4, tzinfo=timezone.utc)
    backend("cloud")
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        instance.add_dynamic_partitions("backend", ["cloud", "attic"])

        def tick():
            with dg.build_schedule_context(
                instance=instance,
                scheduled_execution_time=sunday,
                repository_def=build_defs().get_repository_def(),
                resources={"catalog": CatalogResource(location=str(catalog.path))},
            ) as context:
                return weekly_audit.evaluate_tick(context)

        fails_since(catalog, sunday - hours(30))
        assert tick().skip_message == (
            "cloud has failed since 2026-11-20 22:00 UTC, and is tried once every 6 hours by itself"
        )
        backend("attic")
        assert [r.partition_key for r in tick().run_requests or []] == ["attic"]
