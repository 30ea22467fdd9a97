"""What is asked of Dagster beyond its documentation, each with the version it was tried on.

All of Dagster 1.13.27. A newer Dagster may do without notice what these lines do not expect: look
here first. What a tick of `alerts` reads from the log of events is in `alerts`; what Dagster's
command line says of unknown partitions, in `assets.partitions`.
"""

import dagster as dg

#: What the server from which steps are forked has loaded: so a step costs 0.23 s, 1.35 s when
#: spawned. Named, not imported: it is what Dagster's steps load, not what we use. A module that
#: does not exist is passed over in silence.
PRELOAD = [
    "catalogsync_assets.definitions",
    "catalogsync_assets.resources.backend_s3",
    "dagster._core.storage.sqlite_storage",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.run_coordinator",
    "dagster._core.launcher",
    "dagster._daemon",
    "sqlalchemy.dialects.sqlite",
]


def make_databases(instance: dg.DagsterInstance) -> None:
    """Make what an instance otherwise makes when it is first asked: its SQLite files.

    By one process, before any other: several at once trip over each other.
    """
    instance.get_dynamic_partitions("backend")
    instance.get_runs(limit=1)
    instance.all_instigator_state()


def make_pool(instance: dg.DagsterInstance, name: str) -> None:
    """Make a pool known, with the limit that `dagster.yaml` says, unless it is known.

    The UI shows a pool, and lets its limit be changed, once it is known, which otherwise is when
    it is first used.
    """
    storage = instance.event_log_storage
    if name not in storage.get_concurrency_keys():  # else a limit of the user's is lost
        storage.initialize_concurrency_limit_to_default(name)
