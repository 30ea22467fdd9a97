"""The jobs, the nightly schedule and the executor."""

from __future__ import annotations

import importlib.util
from datetime import datetime, timezone
from typing import Any

import dagster as dg
import pytest

from catalogsync_assets.automation.jobs import JOBS, executor
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.definitions import defs

NIGHT = datetime(2026, 1, 6, 3, 0, tzinfo=timezone.utc)


def test_each_night_at_three_the_library_is_scanned(
    catalog: Catalog, library: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_every_asset_has_a_job_that_materializes_it_alone() -> None:
    graph = defs.resolve_asset_graph()
    selected = [job.selection.resolve(graph) for job in JOBS]

    assert all(len(keys) == 1 for keys in selected)
    assert {key for keys in selected for key in keys} == graph.get_all_asset_keys()


def test_every_module_that_is_loaded_before_the_first_step_exists() -> None:
    """One that does not is passed over in silence, and each step pays for it."""
    config = executor.apply_config_mapping({"config": {}}).value["config"]
    modules = config["start_method"]["forkserver"]["preload_modules"]

    assert "catalogsync_assets.definitions" in modules
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []
