"""`dagster.yaml` and `workspace.yaml`: the instance for one machine."""

import re
from importlib import resources
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._utils.tags import TagConcurrencyLimitsCounter

from catalogsync_assets.assets.remote_locations import UPLOAD_POOL, upload_chunk
from catalogsync_assets.demo.run import prepare_dagster_home

SHIPPED = resources.files("catalogsync_assets.automation")
PROJECT = Path(__file__).parents[2]


@pytest.fixture
def instance(tmp_path):
    (tmp_path / "dagster.yaml").write_text((SHIPPED / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


def test_runs_wait_in_a_queue_where_each_backend_has_one_at_a_time(instance):
    assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"
    queue = instance.get_concurrency_config().run_queue_config
    assert queue.max_concurrent_runs == 4
    assert queue.tag_concurrency_limits == [
        {
            "key": "dagster/partition/backend",
            "value": {"applyLimitPerUniqueValue": True},
            "limit": 1,
        }
    ]


def test_upload_steps_are_limited_over_all_runs_by_a_pool(instance):
    pools = instance.get_concurrency_config().pool_config

    assert upload_chunk.pool == UPLOAD_POOL
    assert pools.default_pool_limit == 4
    assert pools.pool_granularity.value == "op"


def test_the_pool_is_seen_and_its_limit_set_before_it_was_ever_used(tmp_path, monkeypatch):
    monkeypatch.setenv("DAGSTER_HOME", "")  # which is set by what follows
    prepare_dagster_home(tmp_path)
    with dg.DagsterInstance.get() as instance:
        storage = instance.event_log_storage

        (limit,) = storage.get_pool_limits()
        assert (limit.name, limit.limit, limit.from_default) == (UPLOAD_POOL, 4, True)

        storage.set_concurrency_slots(UPLOAD_POOL, 2)  # as the UI and the command line do
        prepare_dagster_home(tmp_path)

        (limit,) = storage.get_pool_limits()
        assert (limit.name, limit.limit, limit.from_default) == (UPLOAD_POOL, 2, False)


def test_a_backend_may_have_a_limit_of_its_own_below_that_of_all(tmp_path):
    """As the comment in the file shows, with the queue's own arithmetic."""
    text = (SHIPPED / "dagster.yaml").read_text()
    shown = re.findall(r"^ +# (- key: .*|  value: .*|  limit: .*)$", text, re.M)
    own = yaml.safe_load("\n".join(shown))
    settings = yaml.safe_load(text)
    limits = settings["concurrency"]["runs"]["tag_concurrency_limits"]
    limits[0]["limit"] = 3
    limits += own
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(settings))

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        queue = instance.get_concurrency_config().run_queue_config
        assert queue.tag_concurrency_limits == limits

    def most(backend):
        tags = {"dagster/partition/backend": backend}
        counter = TagConcurrencyLimitsCounter(limits, [])
        runs = [dg.DagsterRun(job_name="upload_batch", tags=tags) for _ in range(9)]
        started = 0
        while not counter.is_blocked(runs[started]):
            counter.update_counters_with_launched_item(runs[started])
            started += 1
        return started

    assert (most("slow-one"), most("cloud")) == (1, 3)


def test_ticks_are_not_kept_for_ever(instance):
    for kind in ("schedule", "sensor"):
        days = instance.get_settings("retention")[kind]["purge_after_days"]
        assert all(0 < d <= 90 for d in (days.values() if isinstance(days, dict) else [days]))


def test_a_run_that_was_killed_ends_and_gives_its_slots_back(instance):
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_runtime_seconds == 24 * 60 * 60
    assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 60


def test_a_run_is_started_again_only_if_its_process_died(instance):
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 2
    assert not instance.run_retries_retry_on_asset_or_op_failure


def test_nothing_is_sent_to_anyone_and_nobody_is_invited(instance):
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled


def test_the_workspace_that_is_shipped_is_that_of_the_project():
    shipped = yaml.safe_load((SHIPPED / "workspace.yaml").read_text())

    assert shipped == yaml.safe_load((PROJECT / "workspace.yaml").read_text())
