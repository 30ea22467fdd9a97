"""Jobs to launch by name, the nightly schedule, and the executor that bounds every run."""

import os
from collections.abc import Mapping
from typing import Any

import dagster as dg

from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.settings import timezone

scan_job = dg.define_asset_job(
    "scan_library",
    selection=["downloaded_files"],
    description="Scan the library roots, catalog what is new, group it into batches.",
)
plan_job = dg.define_asset_job(
    "plan_uploads",
    selection=["pending_uploads"],
    description="Queue what a backend lacks.",
)
upload_job = dg.define_asset_job(
    "upload_batch",
    selection=["remote_locations"],
    description="Bring a batch of files to a backend.",
)
presence_job = dg.define_asset_job(
    "refresh_presence",
    selection=["backend_presence"],
    description="Bring the picture of what is where in line with the catalog.",
)
audit_job = dg.define_asset_job(
    "audit_backend",
    selection=["backend_audit"],
    description="Hold what the catalog says of a backend against what its store holds.",
)
JOBS = [scan_job, plan_job, upload_job, presence_job, audit_job]

#: The first step of every night; the sensors carry on from what it finds. Dagster fixes the time
#: zone when it loads the definitions: restart it after a change.
nightly_scan = dg.ScheduleDefinition(
    name="nightly_scan",
    job=scan_job,
    cron_schedule="0 3 * * *",
    execution_timezone=timezone(),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Scan the library each night; what is new goes up by itself.",
)

# A step costs 0.23 s when forked from a server that has these loaded, 1.35 s when spawned. They
# are named, not imported: they are what Dagster's steps load, not what we use.
_PRELOAD = [
    "catalogsync_assets.definitions",
    "dagster._core.storage.sqlite_storage",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.run_coordinator",
    "dagster._core.launcher",
    "dagster._daemon",
    "sqlalchemy.dialects.sqlite",
]
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
            hint="it is the number of steps of a run at a time, 1 or more; where the launchpad"
            f" does not say, {_MAX_CONCURRENT_VARIABLE} does",
        )
    return {
        "max_concurrent": count,
        "start_method": {"forkserver": {"preload_modules": _PRELOAD}},
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
