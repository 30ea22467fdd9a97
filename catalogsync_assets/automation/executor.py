"""The executor that bounds every run: how many of its steps at a time, and how they start."""

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from catalogsync_assets.automation.instance import PRELOAD
from catalogsync_assets.core.errors import ConfigurationError

#: Steps of a run at a time: each has its own workers, and two keep a slow file from holding up a
#: run. What the launchpad says comes first, then Dagster's own variable.
MAX_CONCURRENT = 2
_MAX_CONCURRENT_VARIABLE = "DAGSTER_MULTIPROCESS_EXECUTOR_MAX_CONCURRENT"


def _with_preload(config: Mapping[str, Any]) -> dict[str, Any]:
    given = config.get("max_concurrent")
    if given is None:
        given = os.environ.get(_MAX_CONCURRENT_VARIABLE) or MAX_CONCURRENT
    count = int(given) if str(given).isdecimal() else 0
    if count < 1:
        raise ConfigurationError(
            f"max_concurrent is {given!r}",
            hint="set it to the number of steps at a time, 1 or more, in the launchpad or in"
            f" {_MAX_CONCURRENT_VARIABLE}",
        )
    return {
        "max_concurrent": count,
        "start_method": {"forkserver": {"preload_modules": PRELOAD}},
    }


executor = dg.multiprocess_executor.configured(
    _with_preload,
    config_schema={
        "max_concurrent": dg.Field(
            dg.Noneable(int),
            default_value=None,
            description="Steps of this run at a time. By default"
            f" ${_MAX_CONCURRENT_VARIABLE}, else {MAX_CONCURRENT}.",
        )
    },
)
