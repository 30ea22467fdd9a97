"""Commands about one backend: backend show, rename, remove, make-bucket."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import options, output, running
from catalogsync_assets.cli.backends import backend
from catalogsync_assets.core.stores.profile import provider_of

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.backend_changes import Loss
    from catalogsync_assets.core.catalog.failing import Failing
    from catalogsync_assets.core.catalog.status import BackendStatus
    from catalogsync_assets.core.stores.backend import ObjectBackend

#: What follows in Dagster, for a person.
_OF_DAGSTER = "Dagster's partitions follow within a minute, where its daemon runs"


@options.command("catalogsync backend show cloud", of=backend)
@click.argument("name")
def show(name: str) -> None:
    """Show all that is known of a backend. Its store is not asked.

    Its settings, what it holds, when something last came to it, and since when it fails, if it
    does.
    """
    from catalogsync_assets.core.catalog.backends import backend_by_name
    from catalogsync_assets.core.catalog.failing import failing
    from catalogsync_assets.core.catalog.status import backend_status

    catalog = running.open_catalog()
    found = backend_by_name(catalog, name)
    figures = next(b for b in backend_status(catalog) if b.name == found.name)
    broken = failing(catalog, found)
    told: dict[str, Any] = {
        **dataclasses.asdict(found),
        "profile": found.profile.known(),
        "status": figures,
    }
    running.end(told, lambda: _print(found, figures, broken))


def _print(found: ObjectBackend, figures: BackendStatus, broken: list[Failing]) -> None:
    audit = figures.last_audit
    rows = [
        ("bucket", found.bucket),
        ("endpoint", found.endpoint or "AWS"),
        ("provider", found.provider or provider_of(found.endpoint)),
        ("region", found.region),
        ("prefix", found.base_prefix or "-"),
        ("credentials", f"${found.credential_env_prefix}_*"),
        ("layout", found.layout),
        ("public at", found.public_base_url or "-"),
        ("tested", found.tested.tested_at or ("partly" if found.tested.known() else "no")),
        ("files", f"{figures.files:,}, {output.size(figures.bytes)}"),
        ("songs complete", f"{figures.songs:,} of {figures.songs_total:,}"),
        ("pending", figures.pending),
        ("failed", figures.failed),
        ("last upload", figures.last_success or "never"),
        ("last audit", f"{audit.finished_at} ({audit.level})" if audit else "never"),
    ]
    output.print_table(found.name, ("what", "is"), rows)
    for each in broken:
        words = each.in_words(datetime.now(timezone.utc))
        output.message("failing", f"{found.name} {words}; ask it: backend test {found.name}")


@options.command("catalogsync backend rename cloud attic", of=backend)
@click.argument("name")
@click.argument("new_name")
def rename(name: str, new_name: str) -> None:
    """Give a backend another name. Its bucket, and all that is known of it, stay as they are.

    In Dagster, where partitions are called by the name, those of the new name take the place of
    the old ones, and are filled from the catalog without a run; the runs of the old name stay in
    the list of runs.
    """
    from catalogsync_assets.core.catalog.backend_changes import rename as core

    renamed = core(running.open_catalog(), name, new_name)
    running.end(
        {"old": name, "name": renamed.name},
        lambda: output.echo(f"{name} is called {renamed.name} now"),
    )
    output.note(f"{_OF_DAGSTER}: cells {renamed.name}|… without the history of {name}|…")


@options.command(
    "catalogsync backend remove attic", "catalogsync backend remove attic --yes", of=backend
)
@click.argument("name")
@options.flag("--yes", "Do not ask; without a terminal, nothing is removed without it.")
def remove(name: str, yes: bool) -> None:
    """Take a backend out of the catalog. Its objects stay in the bucket.

    Says first what that means: how many files are on too few other backends then, and how many
    nowhere else. What is on it is not counted, shown or restored from any more, and uploads that
    wait for it are dropped. Its name is free then. Register the bucket again to come back to what
    is there: `upload` and `adopt` find it.

    Exit code 1 if it was not removed.
    """
    from catalogsync_assets.core.catalog import backend_changes
    from catalogsync_assets.core.catalog.backends import backend_by_name

    catalog = running.open_catalog()
    found = backend_by_name(catalog, name)
    loss = backend_changes.loss(catalog, found)
    _print_loss(loss)
    removed = yes or _agreed(f"Take backend {name} out of the catalog?")
    if removed:
        backend_changes.remove(catalog, found)
    else:
        output.message("stopped", "nothing was changed; --yes removes it")
    running.end(
        {**dataclasses.asdict(loss), "removed": removed},
        lambda: (
            output.echo(f"{name} was removed; bucket {found.bucket} is as it was")
            if removed
            else None
        ),
        failed=not removed,
    )
    output.note(_OF_DAGSTER)


def _agreed(question: str) -> bool:
    """Whether a person says yes; no where nobody can be asked."""
    if not output.is_interactive():
        return False
    return output.ask(f"{question} [y/N]").lower() in ("y", "yes")


def _print_loss(loss: Loss) -> None:
    held = f"{loss.backend} holds {output.files(loss.files)}, {output.size(loss.bytes)}"
    output.note(f"{held}; its objects stay in bucket {loss.bucket}")
    if loss.short_files:
        of_songs = f"{output.files(loss.short_files)} of {output.counted(loss.short_songs, 'song')}"
        output.message("warning", f"{of_songs} will have fewer copies than the policy asks for")
    if loss.nowhere_files:
        files = output.files(loss.nowhere_files)
        of_songs = f"{files} of {output.counted(loss.nowhere_songs, 'song')}"
        nowhere = "on no other backend, and not in the library either"
        output.message("warning", f"{of_songs} will be {nowhere}")
        output.listed(loss.nowhere_keys, loss.nowhere_files)
        output.message(
            "hint", f"bring them back first: catalogsync restore --missing --from {loss.backend}"
        )
    if loss.pending:
        output.note(f"{output.counted(loss.pending, 'upload')} to it will be dropped")
    if loss.unfinished:
        parts = output.counted(loss.unfinished, "upload")
        output.note(
            f"{parts} of large files to it that were begun stay in the bucket as parts, until the"
            " service drops them"
        )


@options.command("catalogsync backend make-bucket cloud", name="make-bucket", of=backend)
@click.argument("name")
def make_bucket(name: str) -> None:
    """Make the bucket of a registered backend, where its credentials may.

    In the region that the backend names, and private: nobody else is given access. A bucket that
    is there is left as it is.
    """
    from catalogsync_assets.core.catalog.backends import backend_by_name
    from catalogsync_assets.core.stores.buckets import make_bucket as core
    from catalogsync_assets.core.stores.client import StoreClient

    found = backend_by_name(running.open_catalog(), name)
    made = core(StoreClient(found))
    word = "made" if made else "is there already:"
    running.end(
        {"backend": name, "bucket": found.bucket, "made": made},
        lambda: output.echo(f"{word} bucket {found.bucket} at {found.endpoint or 'AWS'}"),
    )
