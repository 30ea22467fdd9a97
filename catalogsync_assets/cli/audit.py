"""Commands that hold the catalog's claims against a store: verify."""

from __future__ import annotations

import dataclasses
import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import output
from catalogsync_assets.cli.selection import selected_scope, selecting

if TYPE_CHECKING:
    from catalogsync_assets.core.audit.audit import AuditReport
    from catalogsync_assets.core.audit.queries import PastAudit

#: Findings listed for each kind; --json has up to a thousand in all.
_LISTED = 5
_WORDS = {
    "missing": "gone from the store",
    "size": "of another size",
    "content": "with other content",
    "unreadable": "could not be looked at",
    "foreign": "not known to the catalog",
}
_AGE = re.compile(r"(\d+) ?(m|h|d|w)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Percent(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A share, such as 5% or 0.5."""

    name = "percent"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        try:
            return float(str(value).strip().removesuffix("%"))
        except ValueError:
            self.fail(f"{value!r} is not a share; write it like 5%", param, ctx)


class Moment(click.ParamType):  # type: ignore[type-arg]
    """An age, such as 30d or 12h, or a date, with or without a time; UTC, without a zone."""

    name = "moment"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | None:
        text = str(value).strip()
        try:
            if match := _AGE.fullmatch(text):
                now = datetime.now(timezone.utc).replace(tzinfo=None, microsecond=0)
                return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
            moment = datetime.fromisoformat(text)
            return moment.astimezone(timezone.utc).replace(tzinfo=None)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no moment; write it like 30d, 12h or 2026-11-01", param, ctx)


@click.command(
    epilog="""\b
Examples:
  catalogsync verify --backend cloud
  catalogsync verify --backend cloud --level head --since 30d --repair
  catalogsync verify --backend cloud --level full --sample 5%
  catalogsync verify --backend cloud --history"""
)
@output.db_option
@click.option("--backend", "backend_name", metavar="NAME", help="Which store.")
@click.option(
    "--level",
    type=click.Choice(["listing", "head", "full"]),
    default="listing",
    show_default=True,
    help="Compare what the store lists; ask for each object's digest; read each object.",
)
@click.option(
    "--sample", type=Percent(), metavar="N%", help="Only so many of the files, picked at random."
)
@click.option(
    "--since",
    type=Moment(),
    metavar="WHEN",
    help="Only files that have not been verified since then: 30d, 12h, or a date.",
)
@click.option("--repair", is_flag=True, help="Upload again what is missing or damaged.")
@click.option(
    "--restart", is_flag=True, help="Begin anew, also where an earlier one was interrupted."
)
@click.option(
    "--allow-empty", is_flag=True, help="Believe a store that has none of a hundred files."
)
@click.option("--history", is_flag=True, help="List past verifications instead.")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    help="Requests at a time. [default: the backend's, else 16]",
)
@selecting
@output.json_option
def verify(
    db: str | None,
    backend_name: str | None,
    level: Any,
    sample: float | None,
    since: datetime | None,
    repair: bool,
    restart: bool,
    allow_empty: bool,
    history: bool,
    workers: int | None,
    **selected: Any,
) -> None:
    """Compare what the catalog says of a store with what the store holds.

    What is found missing or damaged is marked so, and `upload` brings it back; with --repair this
    command does. Objects that the catalog does not know are listed and never touched. May be
    stopped at any time; run it again to go on.
    """
    from catalogsync_assets.core.audit import queries
    from catalogsync_assets.core.audit.audit import AuditAborted, AuditRequest, audit
    from catalogsync_assets.core.catalog.backends import backend_by_name
    from catalogsync_assets.core.errors import UsageError
    from catalogsync_assets.core.upload.upload import Limits

    catalog = output.open_catalog(db)
    backend = backend_by_name(catalog, backend_name) if backend_name else None
    if history:
        _print_history(queries.history(catalog, backend))
        return
    if backend is None:
        raise UsageError("which backend is to be verified?", hint="name it: --backend NAME")
    request = AuditRequest(
        level,
        scope=selected_scope(catalog, **selected),
        sample_percent=sample,
        since=since,
        repair=repair,
        anew=restart,
        allow_empty=allow_empty,
    )
    told = False
    with output.progress("files") as line:

        def show(report: AuditReport) -> None:
            nonlocal told
            if report.resumed and not told:
                told = True
                output.note(f"{backend.name}: going on with verification {report.audit_id}")
            line.update(*_progress(report))

        try:
            report = audit(
                catalog,
                backend,
                request,
                limits=Limits.of(backend, workers=workers),
                progress=show,
            )
        except AuditAborted as error:
            if output.wants_json():
                _print_json(error.report, error=error.message, hint=error.hint)
                error.printed = True
            raise
    _print(report)
    if report.open:
        click.get_current_context().exit(1)


def _progress(report: AuditReport) -> tuple[int, int, str]:
    upload = report.upload
    if upload is not None:
        done = upload.succeeded + upload.adopted + upload.failed
        return done, upload.queued, f"{report.backend}: repairing {output.files(upload.queued)}"
    text = f"{report.backend}: {report.checked:,} of {output.files(report.total)}"
    for count, word in (
        (report.lost, "lost"),
        (report.foreign, "foreign"),
        (report.retries, "retries"),
    ):
        text += f", {count:,} {word}" if count else ""
    return report.checked, report.total, text


def _print_json(report: AuditReport, **more: str | None) -> None:
    output.print_json({**dataclasses.asdict(report), "open": report.open, **more})


def _print(report: AuditReport) -> None:
    if output.wants_json():
        _print_json(report)
        return
    columns = ("checked", "ok", *_WORDS, "recovered", "repaired")
    output.print_table(
        f"verification {report.audit_id} of {report.backend} ({report.level})",
        columns,
        [tuple(getattr(report, column) for column in columns)],
    )
    for kind, words in _WORDS.items():
        _print_findings(report, kind, words)
    if report.unproven and report.level != "listing":
        output.note(
            f"of {output.files(report.unproven)} only the size is known to be right: the store"
            " keeps no digest of them; --level full reads them"
        )
    lost = report.lost - report.repaired
    if lost and report.upload is None:
        output.message(
            "hint",
            f"`catalogsync upload --backend {report.backend}` brings back what it can,"
            " as does --repair here",
        )


def _print_findings(report: AuditReport, kind: str, words: str) -> None:
    count = getattr(report, kind)
    if not count:
        return
    label = "note" if kind == "foreign" else kind
    output.message(label, f"{count:,} {words}")
    listed = [f for f in report.findings if f.kind == kind][:_LISTED]
    for finding in listed:
        detail = f" ({finding.detail})" if finding.detail else ""
        done = f": {finding.repair}" if finding.repair else ""
        output.note(f"  {finding.key}{detail}{done}")
    if count > len(listed):
        output.note(f"  and {count - len(listed):,} more; --json lists them")


def _print_history(past: list[PastAudit]) -> None:
    if output.wants_json():
        output.print_json({"audits": past})
        return
    if not past:
        output.echo("nothing has been verified yet")
        return
    kinds = ("ok", *_WORDS, "repaired")
    output.print_table(
        "verifications",
        ("id", "backend", "level", "limited to", "status", "begun (UTC)", *kinds),
        [
            (
                *(a.id, a.backend, a.level, _limited_to(a), a.status, a.started_at),
                *(a.counts.get(kind, 0) for kind in kinds),
            )
            for a in past
        ],
    )


def _limited_to(past: PastAudit) -> str:
    limits = [f"{past.sample_percent:g}%"] if past.sample_percent is not None else []
    limits += [f"not since {past.since}"] if past.since else []
    limits += ["a selection"] if past.scope else []
    return ", ".join(limits) or "-"
