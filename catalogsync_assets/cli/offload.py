"""The command that removes local files: offload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import options, output, running, types

if TYPE_CHECKING:
    from catalogsync_assets.core.offload.offload import OffloadReport

#: Files that are shown; --json has up to a thousand.
_LISTED = 5


@options.command(
    "catalogsync offload",
    "catalogsync offload --older-than 90d --check",
    "catalogsync offload --keep-copies 2 --until-free 50GiB --delete",
    "catalogsync offload --keep-copies 1 --below-policy --backend cloud --delete",
)
@options.number(
    "--keep-copies",
    "Remove a file only if N stores are proven to hold it. [default: as many as the policy"
    " requires]",
    metavar="N",
)
@options.flag("--below-policy", "Keep N copies even where the policy requires more.")
@click.option(
    "--backend",
    "backend_names",
    metavar="NAME",
    multiple=True,
    help="Count only copies on this backend; may be repeated. [default: all]",
)
@click.option(
    "--older-than",
    "older_than_seconds",
    metavar="AGE",
    type=types.age,
    help="Only files not modified for this long, such as 90d, 8w or 12h.",
)
@click.option(
    "--until-free",
    metavar="SIZE",
    type=types.size,
    help="Stop once this much is free where the files are, such as 50GiB.",
)
@options.selecting
@click.option("--dry-run/--delete", default=True, show_default=True, help="Only show, or remove.")
@options.flag("--check", "In a dry run, also ask the stores and read files, as --delete does.")
@options.workers("Files to check", default=16)
def offload(
    keep_copies: int | None, below_policy: bool, backend_names: tuple[str, ...], **chosen: Any
) -> None:
    """Remove local files that enough stores hold; without --delete, only show them.

    Enough is what the `policy` requires, or more. Backends that are not proven to be different
    stores count as one; --delete has the stores prove it again. The oldest files go first. Before a
    file goes, the stores are asked for its copies (and read, where they keep no digest), and its
    own content is compared with its digest. May be stopped at any time.
    """
    from catalogsync_assets.core.errors import UsageError
    from catalogsync_assets.core.offload.offload import offload as run_offload

    if below_policy and keep_copies is None:
        raise UsageError("--below-policy needs --keep-copies", hint="add --keep-copies N")
    catalog = running.open_catalog()
    backends = running.chosen_backends(catalog, *backend_names)
    scope = running.selected_scope(catalog)
    report, stopped = running.watched(
        "files",
        lambda r: (r.looked_at, r.candidates, _describe(r)),
        lambda progress: run_offload(
            catalog,
            keep_copies,
            below_policy=below_policy,
            backends=backends,
            scope=scope,
            progress=progress,
            **chosen,
        ),
    )
    running.end(
        report,
        lambda: _print(report),
        stopped,
        failed=report.failed or not (report.dry_run or report.goal_reached),
        show_stopped=report.removed > 0,
        goal_reached=report.goal_reached,
    )


def _describe(report: OffloadReport) -> str:
    verb = "would be removed" if report.dry_run else "removed"
    return f"offload: {report.removed:,} {verb}, {output.size(report.removed_bytes)}"


def _print(report: OffloadReport) -> None:
    went = f"{output.files(report.removed)}, {output.size(report.removed_bytes)}"
    output.echo(f"{went} would be removed" if report.dry_run else f"{went} removed")
    for path in report.files[:_LISTED] if report.dry_run else ():
        output.echo(f"  {path}")
    if report.dry_run and report.removed > _LISTED:
        output.note(f"  and {report.removed - _LISTED:,} more; --json lists them")
    _print_what_stays(report)
    if report.dry_run and report.removed:
        asked = "" if report.checked else " once the stores have proven their copies"
        output.note(f"nothing was removed; --delete removes them{asked}")


def _too_few(report: OffloadReport) -> str:
    if report.keep_copies is None:
        return "with fewer copies on different stores than their policy requires"
    return f"on fewer than {report.keep_copies} different stores"


def _print_what_stays(report: OffloadReport) -> None:
    for count, why in (
        (report.too_few, _too_few(report)),
        (report.younger, "modified too recently"),
        (report.left.get("Link", 0), "a link"),
        (report.left.get("HardLink", 0), "with other hard links, so removal would free nothing"),
    ):
        if count:
            stay = "stays" if count == 1 else "stay"
            output.note(f"{output.files(count)} {stay}: {why}")
    for names in report.same:
        output.note(f"{', '.join(names)} are the same store, and count as one")
    for pair in report.unproven:
        output.message(
            "warning",
            f"{pair.one} and {pair.other} count as one, as they are not proven to be two stores"
            + (f": {pair.why}" if pair.why else ""),
        )
        if not pair.why:
            output.message(
                "hint", f"run `catalogsync backend test {pair.other}`; --delete asks too"
            )
    for name, why in report.out.items():
        output.message("warning", f"backend {name!r} was not asked: {why}")
    running.print_failures(report)
    goal = report.goal or 0
    for disk in report.rooms:
        if disk.free < goal:
            output.message(
                "warning",
                f"only {output.size(disk.free)} free at {disk.root}, not {output.size(goal)}:"
                " no other file may be removed",
            )
