"""The command about files that nobody wants any more: forget."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from catalogsync_assets.cli import options, output, running

if TYPE_CHECKING:
    from catalogsync_assets.core.library.forget import ForgetReport, Plan

#: Files without any copy that are named.
_LISTED = 20


@options.command(
    "catalogsync forget --gone",
    "catalogsync forget --gone --days 90 --yes",
    "catalogsync forget ~/Music/Podcasts",
    "catalogsync forget --song 17 --yes",
)
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@options.flag("--gone", "Only files that two complete scans, days apart, have found gone.")
@options.number("--days", "So many days, with --gone. [default: $CATALOGSYNC_FORGET_DAYS, else 30]")
@options.selecting
@click.option("--dry-run/--yes", default=True, show_default=True, help="Only show, or forget.")
@options.number(
    "--count", "How many files there are to forget: for a script, which cannot be asked."
)
@options.number("--limit", "Most files to list.", default=100)
def forget(
    paths: tuple[str, ...],
    gone: bool,
    days: int | None,
    dry_run: bool,
    count: int | None,
    limit: int,
) -> None:
    """Let go of files that are no longer in the library; without --yes, only show them.

    PATH is a file or folder as the catalog knows it, absolute or below a library root. Forgotten
    files are no longer counted, uploaded or restored. Their objects stay on the backends, and a
    file that comes back is known again. A file that is there is not forgotten. Where more than a
    tenth of a root would be, the number must be typed.
    """
    from catalogsync_assets.core.errors import UsageError
    from catalogsync_assets.core.library import forget as core

    if days is not None and not gone:
        raise UsageError("--days needs --gone", hint="add --gone")
    catalog = running.open_catalog()
    scope = running.selected_scope(catalog)
    made = core.plan(catalog, core.Request(gone, days, paths, scope))
    if dry_run:
        running.end(made.report, lambda: _print(made.report, limit))
        return
    count = _asked(made) if count is None else count
    report, _ = running.watched(
        "files",
        lambda r: (r.files, made.report.files, f"{output.files(r.files)} forgotten"),
        partial(core.forget, catalog, made, count=count),
    )
    running.end(report, lambda: _print(report, limit))


def _asked(made: Plan) -> int | None:
    """The number of files that a person types, where it must be given; None where nobody can."""
    report = made.report
    if not report.needs_count or not output.is_interactive():
        return None
    for share in report.roots:
        if share.is_large:
            of_it = f"{share.files:,} of {output.files(share.of)} below {share.root}"
            output.message("warning", f"{of_it} would be forgotten")
    answer = output.ask("How many files are to be forgotten in all (anything else stops)?")
    digits = answer.replace(",", "")
    return int(digits) if digits.isascii() and digits.isdecimal() else 0


def _print(report: ForgetReport, limit: int) -> None:
    verb = "would be forgotten" if report.dry_run else "forgotten"
    words = {"missing": "gone", "offloaded": "offloaded", "excluded": "left out"}
    of_which = [f"{n:,} {words.get(status, status)}" for status, n in report.before.items()]
    if report.files:
        output.print_table(
            verb,
            ("file", "was", "copies", "on"),
            [
                (f.path, words.get(f.status, f.status), f.copies, ", ".join(f.backends) or "-")
                for f in report.listed[:limit]
            ],
        )
    if report.files > len(report.listed[:limit]):
        output.note(f"and {report.files - len(report.listed[:limit]):,} more")
    told = f"{output.files(report.files)}, {output.size(report.bytes)} {verb}"
    output.note(f"{told}: {', '.join(of_which)}" if of_which else told)
    if report.nowhere:
        output.message("warning", f"{output.files(report.nowhere)} of them with no copy anywhere")
        output.listed(report.nowhere_paths, report.nowhere, most=_LISTED)
    if report.present:
        stay = "is there, and stays" if report.present == 1 else "are there, and stay"
        output.note(f"{output.files(report.present)} {stay}")
    if report.too_soon:
        stay = "is gone, but not" if report.too_soon == 1 else "are gone, but not"
        output.note(
            f"{output.files(report.too_soon)} {stay} found so by two complete scans"
            f" {output.counted(report.days or 0, 'day')} apart"
        )
    if report.dry_run and report.files:
        output.note("nothing was forgotten; --yes does it")
