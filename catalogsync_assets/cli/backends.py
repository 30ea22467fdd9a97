"""Commands about backends: register-object-backend, backends."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from catalogsync_assets.cli import output
from catalogsync_assets.core.backends import ADDRESSING_STYLES, ObjectBackend


@click.command(
    "register-object-backend",
    epilog="""\b
Examples:
  AWS S3, with the credentials that the aws command uses:
    catalogsync register-object-backend --name aws --bucket my-music --region eu-central-1
  Cloudflare R2, with R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY in the environment:
    catalogsync register-object-backend --name r2 --bucket my-music --region auto \\
      --endpoint https://ACCOUNT.r2.cloudflarestorage.com --credential-env-prefix R2""",
)
@output.db_option
@click.option("--name", required=True, help="What to call it: a-z, 0-9, _ and -.")
@click.option("--bucket", required=True, help="An existing bucket.")
@click.option("--endpoint", metavar="URL", help="The service's URL. [default: AWS]")
@click.option("--region", default="us-east-1", show_default=True)
@click.option("--base-prefix", default="", metavar="PREFIX", help="What every key begins with.")
@click.option(
    "--credential-env-prefix",
    default="AWS",
    show_default=True,
    metavar="PREFIX",
    help="Credentials come from ${PREFIX}_ACCESS_KEY_ID, ${PREFIX}_SECRET_ACCESS_KEY and, if set,"
    " ${PREFIX}_SESSION_TOKEN; with none set, from the AWS default chain.",
)
@click.option(
    "--addressing-style",
    type=click.Choice(ADDRESSING_STYLES),
    default="auto",
    show_default=True,
    help="auto is path with an endpoint, virtual without.",
)
@click.option("--public-base-url", metavar="URL", help="Where keys can be read unsigned.")
@output.json_option
def register_object_backend(db: str | None, **settings: Any) -> None:
    """Register a bucket of an S3-compatible service, or update the one of the same name.

    Nothing is sent to the service. No secret is stored: only the name of the variables that hold
    it. Makes the catalog if there is none.
    """
    from catalogsync_assets.core.catalog.backends import register
    from catalogsync_assets.core.catalog.database import Catalog

    catalog = Catalog.open_or_create(db)
    backend, is_new = register(catalog, ObjectBackend(**settings))
    catalog.close()
    if output.wants_json():
        output.print_json({"new": is_new, **dataclasses.asdict(backend)})
        return
    word = "registered" if is_new else "updated"
    click.echo(f"{word} {backend.name}: bucket {backend.bucket} at {backend.endpoint or 'AWS'}")


@click.command(
    epilog="""\b
Example:
  catalogsync backends"""
)
@output.db_option
@output.json_option
def backends(db: str | None) -> None:
    """List the registered object stores."""
    from catalogsync_assets.core.catalog.backends import object_backends
    from catalogsync_assets.core.catalog.database import Catalog

    catalog = Catalog.open(db)
    found = object_backends(catalog)
    catalog.close()
    if output.wants_json():
        output.print_json({"backends": found})
        return
    output.print_table(
        "backends",
        ("name", "bucket", "endpoint", "region", "prefix", "addressing", "credentials", "public"),
        [
            (
                b.name,
                b.bucket,
                b.endpoint or "AWS",
                b.region,
                b.base_prefix or "-",
                b.addressing_style,
                f"${b.credential_env_prefix}_*",
                b.public_base_url or "-",
            )
            for b in found
        ],
    )
