"""The command that compares the catalog with what a store holds: verify."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from catalogsync_assets.cli import options, output, running, types
from catalogsync_assets.core.errors import UsageError

if TYPE_CHECKING:
    from catalogsync_assets.core.audit.audit import AuditReport
    from catalogsync_assets.core.audit.queries import PastAudit
    from catalogsync_assets.core.audit.report import Finding

_WORDS = {
    "missing": "gone from the store",
    "size": "of a different size",
    "content": "with different content",
    "unreadable": "could not be checked",
    "foreign": "not known to the catalog",
}


@options.command(
    "catalogsync verify --backend cloud",
    "catalogsync verify --backend cloud --level head --since 30d --repair",
    "catalogsync verify --backend cloud --level full --sample 5%",
    "catalogsync verify --backend cloud --history",
)
@options.backend("Backend to verify.")
@click.option(
    "--level",
    type=click.Choice(["listing", "head", "full"]),
    default="listing",
    show_default=True,
    help="Compare what the store lists, ask for each object's digest, or read each object.",
)
@click.option(
    "--sample",
    "sample_percent",
    metavar="N%",
    type=types.share,
    help="Only this share of the files, picked at random.",
)
@click.option(
    "--since",
    metavar="WHEN",
    type=types.moment,
    help="Only files not verified since then: 30d, 12h, or a date.",
)
@options.flag("--repair", "Upload again what is missing or damaged.")
@options.flag("--restart", "Start over, even if an earlier verification was interrupted.", "anew")
@options.flag("--allow-empty", "Accept a store that holds none of the first hundred files.")
@options.flag("--history", "List past verifications instead.")
@options.at_most("Requests")
@options.selecting
def verify(backend_name: str | None, history: bool, workers: int | None, **terms: Any) -> None:
    """Compare what the catalog says about a store with what the store holds.

    What is found missing or damaged is marked so, and `upload` brings it back; with --repair this
    command does. Objects that the catalog does not know are listed and never touched. May be
    stopped at any time; run it again to continue.
    """
    from catalogsync_assets.core.audit import queries
    from catalogsync_assets.core.audit.audit import AuditRequest, audit
    from catalogsync_assets.core.upload.upload import Limits

    catalog = running.open_catalog()
    backend = running.chosen_backend(catalog, backend_name)
    if history:
        past = queries.history(catalog, backend)
        running.end({"audits": past}, lambda: _print_history(past))
        return
    if backend is None:
        raise UsageError("no backend to verify", hint="name one with --backend NAME")
    request = AuditRequest(scope=running.selected_scope(catalog), **terms)
    limits = Limits.of(backend, workers=workers)
    told = False

    def how_far(report: AuditReport) -> tuple[int, int, str]:
        nonlocal told
        if report.resumed and not told:
            told = True
            output.note(f"{report.backend}: resuming verification {report.audit_id}")
        return _how_far(report)

    work = partial(audit, catalog, backend, request, limits=limits)
    report, stopped = running.watched("files", how_far, work)
    running.end(report, lambda: _print(report), stopped, failed=report.open, open=report.open)


def _how_far(report: AuditReport) -> tuple[int, int, str]:
    upload = report.upload
    if upload is not None:
        done = upload.succeeded + upload.adopted + upload.copied + upload.failed
        return done, upload.queued, f"{report.backend}: repairing {output.files(upload.queued)}"
    text = output.with_counts(
        f"{report.backend}: {report.checked:,} of {output.files(report.total)}",
        (report.lost, "lost"),
        (report.foreign, "untracked"),
        (report.retries, "retries"),
    )
    return report.checked, report.total, text


def _print(report: AuditReport) -> None:
    columns = ("checked", "ok", *_WORDS, "recovered", "repaired")
    output.print_table(
        f"verification {report.audit_id} of {report.backend} ({report.level})",
        columns,
        [tuple(getattr(report, column) for column in columns)],
    )
    for kind, words in _WORDS.items():
        if count := getattr(report, kind):
            output.message("note" if kind == "foreign" else kind, f"{count:,} {words}")
            output.listed([_line(f) for f in report.findings if f.kind == kind], count)
    if report.unproven and report.level != "listing":
        output.note(
            f"only the size of {output.files(report.unproven)} is proven: the store keeps no"
            " digest of them; use --level full to read them"
        )
    lost = report.lost - report.repaired
    if lost and report.upload is None:
        output.message(
            "hint",
            f"run `catalogsync upload --backend {report.backend}`, or verify with --repair, to"
            " upload again what can be recovered",
        )


def _line(finding: Finding) -> str:
    detail = f" ({finding.detail})" if finding.detail else ""
    return f"{finding.key}{detail}{f': {finding.repair}' if finding.repair else ''}"


def _print_history(past: list[PastAudit]) -> None:
    kinds = ("ok", *_WORDS, "repaired")
    output.print_table(
        "verifications",
        ("id", "backend", "level", "limited to", "status", "started (UTC)", *kinds),
        [
            (
                *(a.id, a.backend, a.level, _limited_to(a), a.status, a.started_at),
                *(a.counts.get(kind, 0) for kind in kinds),
            )
            for a in past
        ],
        empty="nothing has been verified yet",
    )


def _limited_to(past: PastAudit) -> str:
    limits = [f"{past.sample_percent:g}%"] if past.sample_percent is not None else []
    limits += [f"not since {past.since}"] if past.since else []
    limits += ["a selection"] if past.scope else []
    return ", ".join(limits) or "-"
