"""The `catalogsync` command.

Each command reads its arguments, calls the core, and prints what came back; what it does is in
`core`. Modules of the core are imported inside the commands, so that `--help` costs nothing, and
Dagster only by `demo` and `dev`. Data goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import click

from catalogsync_assets import __version__
from catalogsync_assets.cli import (
    adopt,
    alerts,
    audit,
    backends,
    downloads,
    export,
    library,
    local,
    offload,
    policy,
    restore,
    status,
    uploads,
)
from catalogsync_assets.cli.output import ClearErrors


@click.group(
    cls=ClearErrors,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
A first session:
  catalogsync init
  catalogsync scan --library-root ~/Music
  catalogsync register-object-backend --name cloud --bucket my-music --credential-env-prefix CLOUD
  catalogsync backend test cloud
  catalogsync upload --backend cloud
  catalogsync status

Exit codes: 0 all done, 1 something failed and is listed, 2 wrong use.""",
)
@click.version_option(__version__, prog_name="catalogsync")
def main() -> None:
    """Keep a music library safe on S3-compatible object stores, and know which song is where."""


for _command in (
    library.init,
    library.scan,
    downloads.import_manifest,
    downloads.run,
    backends.register_object_backend,
    backends.backends,
    backends.backend,
    uploads.plan,
    uploads.upload,
    audit.verify,
    status.status,
    policy.policy,
    export.export,
    library.whereis,
    uploads.failures,
    alerts.alerts,
    restore.restore,
    offload.offload,
    adopt.adopt,
    local.demo,
    local.dev,
):
    main.add_command(_command)
