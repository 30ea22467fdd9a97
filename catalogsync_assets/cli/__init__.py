"""The `catalogsync` command.

Each command reads its arguments, calls the core, and prints what came back; what it does is in
`core`. Modules of the core are imported inside the commands, so that `--help` costs nothing, and
Dagster only by `demo` and `dev`. Data goes to stdout, everything else to stderr.
"""

# Each of the modules adds its commands to `main`.
from catalogsync_assets.cli import (  # noqa: F401
    adopt,
    alerts,
    audit,
    backend_changes,
    backends,
    catalog,
    downloads,
    export,
    forget,
    library,
    local,
    offload,
    policy,
    prune,
    rebuild,
    restore,
    roots,
    songs,
    status,
    uploads,
)
from catalogsync_assets.cli.options import main

__all__ = ["main"]
