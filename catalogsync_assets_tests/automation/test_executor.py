"""The executor: how many steps at a time, and what they find loaded."""

import importlib.util

import dagster as dg
import pytest

from catalogsync_assets.automation.executor import executor
from catalogsync_assets.definitions import defs


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
