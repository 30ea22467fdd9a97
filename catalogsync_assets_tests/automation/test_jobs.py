"""The jobs, the nightly schedule and the executor."""

import importlib.util
from datetime import datetime, timezone

import dagster as dg
import pytest

from catalogsync_assets.automation.jobs import JOBS, executor
from catalogsync_assets.definitions import defs

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
    selected = [job.selection.resolve(graph) for job in JOBS]

    assert all(len(keys) == 1 for keys in selected)
    assert {key for keys in selected for key in keys} == graph.get_all_asset_keys()


@pytest.mark.parametrize(
    ("given", "variable", "steps"),
    [
        ({}, None, 2),
        ({"max_concurrent": 3}, "5", 3),
        ({}, "5", 5),
        ({"max_concurrent": None}, "", 2),
    ],
)
def test_the_launchpad_says_how_many_steps_run_at_a_time_else_the_environment(
    monkeypatch, given, variable, steps
):
    if variable is not None:
        monkeypatch.setenv("DAGSTER_MULTIPROCESS_EXECUTOR_MAX_CONCURRENT", variable)

    config = dg.validate_run_config(
        defs.resolve_job_def("upload_batch"), {"execution": {"config": given}}
    )

    ((_, settings),) = config["execution"].items()
    assert settings["max_concurrent"] == steps
    assert "forkserver" in settings["start_method"]


@pytest.mark.parametrize("given", [0, -1])
def test_a_run_of_no_steps_at_a_time_is_refused_with_what_to_say_instead(given):
    with pytest.raises(dg.DagsterError) as refused:
        dg.validate_run_config(
            defs.resolve_job_def("upload_batch"),
            {"execution": {"config": {"max_concurrent": given}}},
        )

    assert f"max_concurrent is {given}" in str(refused.value.__cause__)
    assert "1 or more" in str(refused.value.__cause__)


def test_every_module_that_is_loaded_before_the_first_step_exists():
    """One that does not is passed over in silence, and each step pays for it."""
    config = executor.apply_config_mapping({"config": {}}).value["config"]
    modules = config["start_method"]["forkserver"]["preload_modules"]

    assert "catalogsync_assets.definitions" in modules
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []
