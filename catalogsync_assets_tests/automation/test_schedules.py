"""The jobs, and what runs by the clock: the scan and the backup of each night, the weekly audit."""

from datetime import datetime, timezone

import dagster as dg
import pytest

from catalogsync_assets.automation.schedules import JOBS, nightly_backup, weekly_audit
from catalogsync_assets.definitions import build_defs, defs
from catalogsync_assets.resources import CatalogResource

NIGHT = datetime(2026, 1, 6, 3, 0, tzinfo=timezone.utc)


def test_each_night_at_three_the_library_is_scanned(catalog, library, monkeypatch):
    monkeypatch.setenv("CATALOGSYNC_DB", str(catalog.path))
    monkeypatch.setenv("CATALOGSYNC_LIBRARY_ROOTS", str(library.root))
    library.fill(2)
    schedule = defs.resolve_schedule_def("nightly_scan")
    assert schedule.cron_schedule == "0 3 * * *"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING

    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_schedule_context(instance, scheduled_execution_time=NIGHT)
        (request,) = schedule.evaluate_tick(context).run_requests or []
        result = defs.resolve_job_def(request.job_name or schedule.job_name).execute_in_process(
            instance=instance, run_config=request.run_config, tags=request.tags
        )

        assert result.success
        (event,) = result.get_asset_materialization_events()
        assert event.asset_key == dg.AssetKey("downloaded_files")
        assert event.materialization.metadata["new"].value == 2
        assert len(instance.get_dynamic_partitions("batch")) == 1


def test_the_schedule_and_the_sweep_go_by_the_clock_on_the_wall(run_python):
    """Dagster asks for the zone when the definitions are loaded, so it takes a process."""
    done = run_python(
        "from catalogsync_assets.definitions import defs\n"
        "print(defs.resolve_schedule_def('nightly_scan').execution_timezone)\n"
        "(spec,) = [s for s in defs.resolve_all_asset_specs()"
        " if s.key.to_user_string() == 'remote_locations']\n"
        "print(spec.automation_condition)",
        CATALOGSYNC_TIMEZONE="Asia/Tokyo",
    )

    assert done.code == 0, done.err
    schedule, condition = done.out.splitlines()
    assert schedule == "Asia/Tokyo"
    assert "cron_timezone='Asia/Tokyo'" in condition


def test_every_asset_has_a_job_that_materializes_it_alone():
    graph = defs.resolve_asset_graph()
    selected = [job.selection.resolve(graph) for job in JOBS.values()]

    assert all(len(keys) == 1 for keys in selected)
    assert {key for keys in selected for key in keys} == graph.get_all_asset_keys()


@pytest.mark.parametrize(
    ("schedule", "cron"), [(weekly_audit, "0 4 * * 0"), (nightly_backup, "30 5 * * *")]
)
def test_every_backend_is_audited_each_week_and_backed_up_to_each_night(
    tmp_path, catalog, backend, schedule, cron
):
    assert schedule.cron_schedule == cron
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:

        def tick():
            with dg.build_schedule_context(
                instance=instance,
                scheduled_execution_time=datetime(2026, 11, 22, 4, tzinfo=timezone.utc),
                repository_def=build_defs().get_repository_def(),
                resources={"catalog": CatalogResource(location=str(catalog.path))},
            ) as context:
                return schedule.evaluate_tick(context)

        assert tick().skip_message == "no backend is registered"
        backend("cloud")
        backend("attic")
        instance.add_dynamic_partitions("backend", ["cloud", "attic"])

        asked = tick().run_requests

    assert sorted(request.partition_key for request in asked) == ["attic", "cloud"]
