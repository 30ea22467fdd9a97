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
@options.flag(
    "--abort-uploads", "Before that, have the store drop the parts of large files it has."
)
def remove(name: str, yes: bool, abort_uploads: bool) -> None:
    """Take a backend out of the catalog. Its objects stay in the bucket.

    Says first what that means: how many files are on too few other backends then, and how many
    nowhere else. What is on it is not counted, shown or restored from any more, and uploads that
    wait for it are dropped. Its name is free then. Register the bucket again to come back to what
    is there: `upload` and `adopt` find it.

    Exit code 1 if it was not removed.
    """
    from catalogsync_assets.core.catalog import backend_changes
    from catalogsync_assets.core.catalog.backends import backend_by_name
    from catalogsync_assets.core.stores.client import StoreClient
    from catalogsync_assets.core.upload.journal import abort_all

    catalog = running.open_catalog()
    found = backend_by_name(catalog, name)
    loss = backend_changes.loss(catalog, found)
    _print_loss(loss, aborting=abort_uploads)
    aborted = 0
    removed = yes or _agreed(f"Take backend {name} out of the catalog?")
    if removed:
        if abort_uploads and loss.unfinished:
            aborted = abort_all(catalog, StoreClient(found))
        backend_changes.remove(catalog, found)
    else:
        output.message("stopped", "nothing was changed; --yes removes it")
    running.end(
        {**dataclasses.asdict(loss), "removed": removed, "aborted": aborted},
        lambda: (
            output.echo(f"{name} was removed; bucket {found.bucket} is as it was")
            if removed
            else None
        ),
        failed=not removed,
    )
    if removed:
        output.note(_OF_DAGSTER)


def _agreed(question: str) -> bool:
    """Whether a person says yes; no where nobody can be asked."""
    if not output.is_interactive():
        return False
    return output.ask(f"{question} [y/N]").lower() in ("y", "yes")


def _print_loss(loss: Loss, *, aborting: bool) -> None:
    held = f"{_files(loss.files, loss.companions)}, {output.size(loss.bytes)} of music"
    output.note(f"{loss.backend} holds {held}; its objects stay in bucket {loss.bucket}")
    if loss.short_files or loss.short_companions:
        of_songs = _files(loss.short_files, loss.short_companions, loss.short_songs)
        output.message("warning", f"{of_songs} will have fewer copies than the policy asks for")
    if count := loss.nowhere_files + loss.nowhere_companions:
        of_songs = _files(loss.nowhere_files, loss.nowhere_companions, loss.nowhere_songs)
        nowhere = "on no other backend, and not in the library either"
        output.message("warning", f"{of_songs} will be {nowhere}")
        output.listed(loss.nowhere_keys, count)
        output.message(
            "hint", f"bring them back first: catalogsync restore --missing --from {loss.backend}"
        )
    if loss.pending:
        output.note(f"{output.counted(loss.pending, 'upload')} to it will be dropped")
    if loss.unfinished and not aborting:
        parts = output.counted(loss.unfinished, "upload")
        output.note(
            f"{parts} of large files to it that were begun stay in the bucket as parts, which are"
            " paid for, until the service drops them; with --abort-uploads it does so now"
        )


def _files(files: int, beside: int, songs: int = 0) -> str:
    """`2 files of 1 song and 1 file beside the music`."""
    said = output.files(files) + (f" of {output.counted(songs, 'song')}" if songs else "")
    if not beside:
        return said
    also = f"{output.files(beside)} beside the music"
    return f"{said} and {also}" if files else also


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
