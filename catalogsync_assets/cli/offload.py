"""The command that removes local files: offload."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import output
from catalogsync_assets.cli.selection import selected_scope, selecting

if TYPE_CHECKING:
    from catalogsync_assets.core.offload.offload import OffloadReport

#: Files, or failures of a kind, that are listed; --json has up to a thousand.
_LISTED = 5
_SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
_AGE = re.compile(r"(\d+)\s*([hdw])")


class Age(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A length of time in seconds, written like 12h, 90d or 8w."""

    name = "age"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        if isinstance(value, int | float):
            return float(value)
        found = _AGE.fullmatch(str(value).strip())
        if found is None:
            self.fail(f"{value!r} is not an age; write it like 90d, 8w or 12h", param, ctx)
        return float(int(found[1]) * _SECONDS[found[2]])


@click.command(
    epilog="""\b
Examples:
  catalogsync offload
  catalogsync offload --older-than 90d --check
  catalogsync offload --keep-copies 2 --until-free 50GiB --delete
  catalogsync offload --keep-copies 1 --below-policy --backend cloud --delete"""
)
@output.db_option
@click.option(
    "--keep-copies",
    type=click.IntRange(min=1),
    metavar="N",
    help="Remove a file only if so many stores are proven to hold it. [default: as many as the"
    " policy asks for]",
)
@click.option(
    "--below-policy", is_flag=True, help="Keep N copies even where the policy asks for more."
)
@click.option(
    "--backend",
    "backend_names",
    multiple=True,
    metavar="NAME",
    help="Only copies on this one count; may be repeated. [default: all]",
)
@click.option(
    "--older-than",
    type=Age(),
    metavar="AGE",
    help="Only files that have not been modified for so long, such as 90d, 8w or 12h.",
)
@click.option(
    "--until-free",
    type=output.Size(),
    metavar="SIZE",
    help="Stop when so much is free where the files are, such as 50GiB.",
)
@selecting
@click.option("--dry-run/--delete", default=True, show_default=True, help="Only show, or remove.")
@click.option(
    "--check", is_flag=True, help="In a dry run, ask stores and read files, too, as --delete does."
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=16,
    show_default=True,
    help="Files that are looked at at a time.",
)
@output.json_option
def offload(
    db: str | None,
    keep_copies: int | None,
    below_policy: bool,
    backend_names: tuple[str, ...],
    older_than: float | None,
    until_free: int | None,
    dry_run: bool,
    check: bool,
    workers: int,
    **selected: Any,
) -> None:
    """Remove local files of which enough stores hold a copy; without --delete, only show which.

    Enough is what the `policy` asks for, or more. Backends that are not proven to be different
    stores count as one; --delete has the stores prove it anew. The oldest files go first. Before a
    file goes, the stores are asked for its copies (and read, where they keep no digest), and its
    own content is compared with its digest. May be stopped at any time.
    """
    from catalogsync_assets.core.catalog.backends import backend_by_name, object_backends
    from catalogsync_assets.core.errors import UsageError
    from catalogsync_assets.core.offload.offload import OffloadAborted
    from catalogsync_assets.core.offload.offload import offload as run_offload

    if below_policy and keep_copies is None:
        raise UsageError("--below-policy needs to know how many", hint="add --keep-copies")
    catalog = output.open_catalog(db)
    named = dict.fromkeys(backend_names)
    backends = [backend_by_name(catalog, n) for n in named] or object_backends(catalog)
    scope = selected_scope(catalog, **selected)
    with output.progress("files") as line:
        try:
            report = run_offload(
                catalog,
                keep_copies,
                below_policy=below_policy,
                backends=backends,
                scope=scope,
                older_than_seconds=older_than,
                until_free=until_free,
                dry_run=dry_run,
                check=check,
                workers=workers,
                progress=lambda r: line.update(r.looked_at, r.candidates, _describe(r)),
            )
        except OffloadAborted as error:
            if output.wants_json():
                _print(error.report, error=error.message, hint=error.hint)
                error.printed = True
            elif error.report.removed:
                _print(error.report)
            raise
    _print(report)
    if report.failed or not (dry_run or report.goal_reached):
        click.get_current_context().exit(1)


def _describe(report: OffloadReport) -> str:
    verb = "would go" if report.dry_run else "removed"
    return f"offload: {report.removed:,} {verb}, {output.size(report.removed_bytes)}"


def _print(report: OffloadReport, **more: str | None) -> None:
    if output.wants_json():
        found = {**dataclasses.asdict(report), "goal_reached": report.goal_reached}
        output.print_json({**found, **more})
        return
    went = f"{output.files(report.removed)}, {output.size(report.removed_bytes)}"
    output.echo(f"{went} would go" if report.dry_run else f"{went} removed")
    for path in report.files[:_LISTED] if report.dry_run else ():
        output.echo(f"  {path}")
    if report.dry_run and report.removed > _LISTED:
        output.note(f"  and {report.removed - _LISTED:,} more; --json lists them")
    _print_what_stays(report)
    if report.dry_run and report.removed:
        asked = "" if report.checked else ", once the stores have proven their copies"
        output.note(f"nothing was removed; --delete removes them{asked}")


def _too_few(report: OffloadReport) -> str:
    if report.keep_copies is None:
        return "with fewer copies on different stores than their policy asks for"
    return f"on fewer than {report.keep_copies} different stores"


def _print_what_stays(report: OffloadReport) -> None:
    for count, why in (
        (report.too_few, _too_few(report)),
        (report.younger, "modified too lately"),
        (report.left.get("Link", 0), "a link"),
        (report.left.get("HardLink", 0), "with other hard links, which would free nothing"),
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
    for code, count in sorted(report.reasons.items(), key=lambda item: -item[1]):
        listed = [f.reason for f in report.failures if f.code == code][:_LISTED]
        output.message("failed", f"{output.files(count)}: {code}")
        for reason in listed:
            output.note(f"  {reason}")
        if count > len(listed):
            output.note(f"  and {count - len(listed):,} more; --json lists them")
    goal = report.goal or 0
    for room in report.rooms:
        if room.free < goal:
            output.message(
                "warning",
                f"only {output.size(room.free)} free at {room.root}, not"
                f" {output.size(goal)}: no other file may go",
            )
