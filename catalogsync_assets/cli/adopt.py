"""The command that takes over a bucket that another tool has filled: adopt."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from catalogsync_assets.cli import output

if TYPE_CHECKING:
    from catalogsync_assets.core.adopt.adopt import AdoptReport

#: Keys of a kind that are listed; --json has up to a thousand.
_LISTED = 5


@click.command(
    epilog="""\b
Examples:
  catalogsync adopt --backend cloud --dry-run
  catalogsync adopt --backend cloud
  catalogsync adopt --backend cloud --read"""
)
@output.db_option
@click.option("--backend", "backend_name", required=True, metavar="NAME", help="Whose bucket.")
@click.option("--dry-run", is_flag=True, help="Compare, and record nothing.")
@click.option(
    "--read", is_flag=True, help="Read objects of which nothing else tells what they hold."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Objects compared at a time. [default: the backend's, else 16]",
)
@output.json_option
def adopt(
    db: str | None, backend_name: str, dry_run: bool, read: bool, workers: int | None
) -> None:
    """Record what a bucket already holds of the library, without sending a byte.

    For a bucket that rclone or aws s3 has filled: an object under a file's key is compared with
    the local file, by size and MD5, or by the digest that the store keeps. Run `scan` before.
    """
    from catalogsync_assets.core.adopt.adopt import AdoptionAborted
    from catalogsync_assets.core.adopt.adopt import adopt as run_adopt
    from catalogsync_assets.core.catalog.backends import backend_by_name

    catalog = output.open_catalog(db)
    backend = backend_by_name(catalog, backend_name)
    with output.progress("files") as line:
        try:
            report = run_adopt(
                catalog,
                backend,
                dry_run=dry_run,
                may_read=read,
                workers=workers,
                progress=lambda r: line.update(
                    r.known + r.foreign + r.compared, None, f"{r.backend}: {r.listed:,} listed"
                ),
            )
        except AdoptionAborted as error:
            if output.wants_json():
                _print(error.report, error=error.message, hint=error.hint)
                error.printed = True
            raise
    _print(report)
    if report.differ or report.undecided or report.failed:
        click.get_current_context().exit(1)


def _print(report: AdoptReport, **more: str | None) -> None:
    if output.wants_json():
        output.print_json({**dataclasses.asdict(report), **more})
        return
    verb = "would be adopted" if report.dry_run else "adopted"
    output.echo(
        f"{report.backend}: {report.listed:,} objects listed, {report.known:,} known,"
        f" {report.adopted:,} {verb} ({output.size(report.adopted_bytes)}),"
        f" {report.differ:,} differ, {report.undecided:,} undecided, {report.failed:,} failed"
    )
    mismatches = report.differ + report.undecided + report.failed
    _print_keys("mismatch", [f"{m.key}: {m.reason}" for m in report.mismatches], mismatches)
    _print_keys("foreign: no file has this key", report.foreign_keys, report.foreign)
    _print_keys("lacking: `upload` sends it", report.lacking_keys, report.lacking)
    if report.undecided:
        output.note("--read compares the undecided by reading them")


def _print_keys(what: str, keys: list[str], count: int) -> None:
    if not count:
        return
    kind, _, rest = what.partition(": ")
    output.message(kind, f"{count:,}" + (f" ({rest})" if rest else ""))
    for key in keys[:_LISTED]:
        output.note(f"  {key}")
    if count > _LISTED:
        output.note(f"  and {count - _LISTED:,} more; --json lists them")
