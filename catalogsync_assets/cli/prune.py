"""The command that deletes old weight from a backend: prune."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import options, output, running, types

if TYPE_CHECKING:
    from catalogsync_assets.core.prune.report import PruneReport

#: Objects that are shown; --json has up to a thousand.
_LISTED = 5


@options.command(
    "catalogsync prune --backend cloud",
    "catalogsync prune --backend cloud --superseded --older-than 90d --delete",
    "catalogsync prune --backend cloud --forgotten --keep-copies 1 --delete",
)
@options.backend("The backend to delete objects from.", required=True)
@options.flag("--superseded", "Only what files have moved away from, and their earlier contents.")
@options.flag("--forgotten", "Only objects of files that were forgotten. [default: both]")
@click.option(
    "--older-than",
    "older_than_seconds",
    metavar="AGE",
    type=types.age,
    help="Only what has been so for so long, such as 90d, 8w or 12h. [default: 30d]",
)
@options.number(
    "--keep-copies",
    "Delete an object only if N stores are proven to hold its content besides.",
    metavar="N",
    least=0,
    default=0,
)
@click.option("--dry-run/--delete", default=True, show_default=True, help="Only show, or delete.")
@options.flag(
    "--unconditional",
    "Delete even where the store cannot be told which version is meant: what another program puts"
    " at a key between the look and the delete is lost.",
)
@options.flag(
    "--adopted", "Also objects that another tool has put: adopted ones, and those it put again."
)
@options.workers("Objects")
def prune(backend_name: str, superseded: bool, forgotten: bool, **chosen: Any) -> None:
    """Delete objects that are old weight; without --delete, only show them.

    Old weight is what a file has moved away from, its earlier content once the newer is there, and
    the objects of forgotten files; each only after 30 days. Copies that an edit has left below
    .catalogsync/old/ go in any case once their time is over. Before an object goes, what stands in
    for it is proven, and the object itself is looked at: only the very version that the catalog
    knows, with its tag, is deleted. May be stopped at any time.
    """
    from catalogsync_assets.core.prune.prune import prune as run_prune

    catalog = running.open_catalog()
    (backend,) = running.chosen_backends(catalog, backend_name)
    both = not (superseded or forgotten)
    chosen |= {"superseded": superseded or both, "forgotten": forgotten or both}
    report, stopped = running.watched(
        "objects",
        lambda r: (r.looked_at, r.candidates, _describe(r)),
        partial(run_prune, catalog, backend, **chosen),
    )
    running.end(
        report,
        lambda: _print(report),
        stopped,
        failed=report.failed,
        show_stopped=report.removed > 0,
    )


def _describe(report: PruneReport) -> str:
    return f"prune: {report.removed:,} deleted, {output.size(report.removed_bytes)}"


def _print(report: PruneReport) -> None:
    from catalogsync_assets.core.prune.report import REASONS

    if report.dry_run:
        would = f"{_objects(report.candidates)}, {output.size(report.candidate_bytes)}"
        output.echo(f"{would} would be deleted from {report.backend}")
    else:
        went = f"{_objects(report.removed)}, {output.size(report.removed_bytes)}"
        output.echo(f"{went} deleted from {report.backend}")
    for reason, weight in report.reasons_to_go.items():
        output.echo(f"  {_objects(weight.files)}, {output.size(weight.bytes)}: {REASONS[reason]}")
    for old in report.listed[:_LISTED] if report.dry_run else ():
        output.echo(f"  {old.key} ({old.reason} since {old.since})")
    if report.dry_run and report.candidates > _LISTED:
        output.note(f"  and {report.candidates - _LISTED:,} more; --json lists them")
    _print_what_stays(report)
    if report.dry_run and report.candidates:
        output.note(
            "nothing was deleted; --delete deletes them, once the store has proven what stands in"
            " for them"
        )


def _objects(count: int) -> str:
    return output.counted(count, "object")


def _print_what_stays(report: PruneReport) -> None:
    from catalogsync_assets.core.prune.report import LEFT

    if report.gone:
        output.note(f"{_objects(report.gone)} had gone already")
    if report.settled:
        output.note(f"{_objects(report.settled)} of a stopped run set right")
    younger = report.younger
    if younger.files:
        what = f"{_objects(younger.files)}, {output.size(younger.bytes)}"
        output.note(f"{what} {_stay(younger.files)}: not long enough so")
    for code, count in report.left.items():
        output.note(f"{_objects(count)} {_stay(count)}: {LEFT[code]}")
    if report.versioned:
        output.note(
            "the bucket keeps versions: a deleted object is only hidden, and takes its room until a"
            " lifecycle rule of the bucket removes noncurrent versions"
        )
    if report.locked:
        output.note("object lock is on: no version can be removed before its time is over")
    if report.conditional is False:
        output.message(
            "warning",
            f"the store of {report.backend} cannot be told which version is to be deleted; see"
            " --unconditional",
        )
    running.print_failures(report)


def _stay(count: int) -> str:
    return "stays" if count == 1 else "stay"
