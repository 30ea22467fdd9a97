"""The command that takes over a bucket that another tool has filled: adopt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import options, output, running

if TYPE_CHECKING:
    from catalogsync_assets.core.adopt.adopt import AdoptReport


@options.command(
    "catalogsync adopt --backend cloud --dry-run",
    "catalogsync adopt --backend cloud",
    "catalogsync adopt --backend cloud --read",
)
@click.option("--backend", "backend_name", metavar="NAME", required=True, help="Backend to adopt.")
@options.flag("--dry-run", "Compare only; record nothing.")
@options.flag("--read", "Read objects whose content nothing else proves.", "may_read")
@options.workers("Objects to compare")
def adopt(backend_name: str, **chosen: Any) -> None:
    """Record what a bucket already holds of the library, without sending a byte.

    For a bucket that rclone or aws s3 has filled: an object under a file's key is compared with
    the local file, by size and MD5, or by the digest that the store keeps. Run `scan` first.
    """
    from catalogsync_assets.core.adopt.adopt import adopt as run_adopt
    from catalogsync_assets.core.catalog.backends import backend_by_name

    catalog = running.open_catalog()
    backend = backend_by_name(catalog, backend_name)
    report, stopped = running.watched(
        "files",
        lambda r: (r.known + r.foreign + r.compared, None, f"{r.backend}: {r.listed:,} listed"),
        lambda progress: run_adopt(catalog, backend, progress=progress, **chosen),
    )
    failed = report.differ + report.undecided + report.failed
    running.end(report, lambda: _print(report), stopped, failed=failed)


def _print(report: AdoptReport) -> None:
    verb = "would be adopted" if report.dry_run else "adopted"
    output.echo(
        f"{report.backend}: {report.listed:,} objects listed, {report.known:,} known,"
        f" {report.adopted:,} {verb} ({output.size(report.adopted_bytes)}),"
        f" {report.differ:,} differ, {report.undecided:,} undecided, {report.failed:,} failed"
    )
    mismatches = report.differ + report.undecided + report.failed
    for kind, why, keys, count in (
        ("mismatch", "", [f"{m.key}: {m.reason}" for m in report.mismatches], mismatches),
        ("untracked", " (no file has this key)", report.foreign_keys, report.foreign),
        ("lacking", " (`upload` sends it)", report.lacking_keys, report.lacking),
    ):
        if count:
            output.message(kind, f"{count:,}{why}")
            output.listed(keys, count)
    if report.undecided:
        output.note("use --read to compare undecided objects by reading them")
