"""`dagster.yaml` and `workspace.yaml`: the instance for one machine."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import dagster as dg
import pytest
import yaml

from catalogsync_assets.assets.uploads import UPLOAD_POOL, upload_chunk

SHIPPED = resources.files("catalogsync_assets.automation")
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster.yaml").write_text((SHIPPED / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def test_runs_wait_in_a_queue_where_each_backend_has_one_at_a_time(
    instance: dg.DagsterInstance,
) -> None:
    assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"
    queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    assert queue.max_concurrent_runs == 4
    assert queue.tag_concurrency_limits == [
        {
            "key": "dagster/partition/backend",
            "value": {"applyLimitPerUniqueValue": True},
            "limit": 1,
        }
    ]


def test_upload_steps_are_limited_over_all_runs_by_a_pool(instance: dg.DagsterInstance) -> None:
    pools = instance.get_concurrency_config().pool_config

    assert upload_chunk.pool == UPLOAD_POOL
    assert pools.default_pool_limit == 4
    assert pools.pool_granularity is not None
    assert pools.pool_granularity.value == "op"


def test_a_run_that_was_killed_ends_and_gives_its_slots_back(instance: dg.DagsterInstance) -> None:
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_runtime_seconds == 24 * 60 * 60
    assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 60


def test_a_run_is_started_again_only_if_its_process_died(instance: dg.DagsterInstance) -> None:
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 2
    assert not instance.run_retries_retry_on_asset_or_op_failure


def test_nothing_is_sent_to_anyone_and_nobody_is_invited(instance: dg.DagsterInstance) -> None:
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled


def test_the_workspace_that_is_shipped_is_that_of_the_project() -> None:
    shipped = yaml.safe_load((SHIPPED / "workspace.yaml").read_text())

    assert shipped == yaml.safe_load((PROJECT / "workspace.yaml").read_text())
