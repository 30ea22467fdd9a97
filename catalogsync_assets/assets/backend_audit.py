"""`backend_audit`: what the catalog says about a backend, compared with its store.

`audit_cell` does the same for one cell, as a part of its upload.
"""

import warnings
from typing import Literal

import dagster as dg
from pydantic import Field

from catalogsync_assets.assets.partitions import backends, by_backend
from catalogsync_assets.assets.ui.metadata import OWNERS, Metadata, clear_failures, table
from catalogsync_assets.assets.ui.progress import now_and_then
from catalogsync_assets.assets.ui.tables import definition_metadata
from catalogsync_assets.core.audit.audit import (
    AuditReport,
    AuditRequest,
    Finding,
    PastAudit,
    audit,
    history,
)
from catalogsync_assets.core.catalog.backends import backend_by_name
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import Scope
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.resources import CatalogResource, ObjectStoreResource

#: Audits of the past that are shown.
_PAST = 20
#: Objects in a sample at least: one percent of a small library would be none.
_LEAST = 100


class AuditConfig(dg.Config):
    """How much of a backend an audit looks at, and what it does about what it finds."""

    level: Literal["head", "full"] = Field(
        default="head",
        description="How objects are checked: head compares the digests that the store keeps, full"
        " reads the objects. The store's listing is compared in any case.",
    )
    sample_percent: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="Percent of the objects to check, picked at random; at least 100 objects.",
    )
    repair: bool = Field(
        default=False,
        description="Upload again, from a good copy, what is missing or damaged.",
    )


with warnings.catch_warnings():
    # A verdict on each backend for itself; a preview in Dagster 1.13, verified in its web UI.
    warnings.filterwarnings("ignore", ".*partitions_def", dg.PreviewWarning)
    _CHECKS = [
        dg.AssetCheckSpec(
            "listing_agrees_with_catalog",
            asset="backend_audit",
            description="The store lists each file that the catalog says is there, with its"
            " size, and nothing else. Known damage counts until it is repaired; untracked objects"
            " alone are a warning.",
            partitions_def=backends,
        ),
        dg.AssetCheckSpec(
            "sampled_objects_are_whole",
            asset="backend_audit",
            description="Objects picked at random have the digests that the catalog holds.",
            partitions_def=backends,
        ),
    ]


@dg.asset(
    partitions_def=backends,
    deps=[dg.AssetDep("remote_locations", partition_mapping=by_backend)],
    check_specs=_CHECKS,
    group_name="presence",
    kinds={"s3", "sqlite"},
    owners=OWNERS,
    code_version="1",
    tags={"catalogsync/stage": "5-audit"},
    metadata=definition_metadata("audits"),
)
def backend_audit(
    context: dg.AssetExecutionContext,
    config: AuditConfig,
    catalog: CatalogResource,
    object_stores: ObjectStoreResource,
) -> dg.MaterializeResult:
    """What the store of a backend really holds, compared with what the catalog says.

    First a sample of the objects themselves, then all that it lists. A file that is found missing
    or damaged is marked so, and presence falls; with `repair` it is uploaded again. Untracked
    objects are listed and left alone.

    More: `docs/pipeline.md`, *Audits*.
    """
    with clear_failures(), catalog.open() as database:
        backend = backend_by_name(database, context.partition_key)
        here = next(b for b in backend_status(database) if b.name == backend.name)
        sampled = max(config.sample_percent, 100 * _LEAST / max(here.files, _LEAST))
        objects, listing = (
            _audit(context, database, backend, request, object_stores)
            for request in (
                AuditRequest(config.level, sample_percent=sampled, repair=config.repair),
                # Last, as it looks again at what the sample has found: its figures are of both.
                AuditRequest("listing", repair=config.repair),
            )
        )
        past = history(database, backend, limit=_PAST)
    return dg.MaterializeResult(
        metadata={
            **_of_reports(objects, listing),
            "findings": _findings_table(listing.findings),
            "history": _history_table(past),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="listing_agrees_with_catalog",
                passed=not (listing.open or listing.foreign),
                severity=dg.AssetCheckSeverity.WARN
                if listing.foreign and not listing.open
                else dg.AssetCheckSeverity.ERROR,
                metadata=_of_check(listing),
            ),
            dg.AssetCheckResult(
                check_name="sampled_objects_are_whole",
                passed=not objects.open,
                metadata=_of_check(objects),
            ),
        ],
    )


def audit_cell(
    context: dg.OpExecutionContext,
    database: Catalog,
    backend: ObjectBackend,
    batch: str,
    level: Literal["head", "full"],
    object_stores: ObjectStoreResource,
) -> None:
    """Check each object of a cell again.

    Raises:
        Failure: an object is missing or damaged; it is marked so, and the next run of the cell
            uploads it again.
    """
    request = AuditRequest(level, scope=Scope(batch_key=batch))
    report = _audit(context, database, backend, request, object_stores)
    context.log.info(f"{report.checked:,} objects checked ({level}), {report.open:,} are wrong")
    if report.open:
        raise dg.Failure(
            f"{report.open} of {report.checked} objects of batch {batch} on {backend.name} are"
            " missing or damaged (hint: materialize the cell again to upload them)",
            metadata={
                "not as the catalog says": report.open,
                "findings": _findings_table(report.findings),
            },
            allow_retries=False,
        )


def _audit(
    context: dg.AssetExecutionContext | dg.OpExecutionContext,
    database: Catalog,
    backend: ObjectBackend,
    request: AuditRequest,
    object_stores: ObjectStoreResource,
) -> AuditReport:
    return audit(
        database,
        backend,
        request,
        limits=object_stores.limits(backend),
        connect=object_stores.connect,
        progress=now_and_then(context.log.info, _line),
    )


def _findings_table(findings: list[Finding]) -> dg.TableMetadataValue:
    """What audits have found, our files before untracked objects."""
    ordered = sorted(findings, key=lambda f: f.kind == "foreign")
    return table(
        ("found", "key", "detail", "repair"),
        [(f.kind, f.key, f.detail or "", f.repair or "") for f in ordered],
    )


def _of_reports(objects: AuditReport, listing: AuditReport) -> Metadata:
    """Figures with stable names, for Dagster's plots over time."""
    return {
        "dagster/row_count": listing.checked,
        "objects listed": listing.listed,
        "objects looked at": objects.checked,
        "missing": listing.missing,
        "of another size": listing.size,
        "of other content": listing.content,
        "unreadable": objects.unreadable + listing.unreadable,
        "foreign": listing.foreign,
        "repaired": objects.repaired + listing.repaired,
        "not repaired": listing.open + objects.unreadable,
        "seconds": round(objects.seconds + listing.seconds, 3),
        "level": objects.level,
    }


def _of_check(report: AuditReport) -> Metadata:
    return {
        "compared": report.checked,
        "not as the catalog says": report.open,
        "foreign": report.foreign,
        "repaired": report.repaired,
        "offenders": _findings_table(report.findings),
    }


def _history_table(past: list[PastAudit]) -> dg.TableMetadataValue:
    return table(
        ("began (UTC)", "level", "sample (%)", "ended as", "compared", "wrong", "foreign"),
        [
            (
                p.started_at,
                p.level,
                "all" if p.sample_percent is None else f"{p.sample_percent:g}",
                p.status,
                sum(p.counts.get(name, 0) for name in ("ok", *_WRONG)),
                sum(p.counts.get(name, 0) for name in _WRONG),
                p.counts.get("foreign", 0),
            )
            for p in past
        ],
    )


_WRONG = ("missing", "size", "content", "unreadable")


def _line(report: AuditReport) -> str:
    """How far an audit is."""
    return (
        f"{report.level}: {report.checked:,} of {report.total:,} files compared,"
        f" {report.lost:,} missing or damaged, {report.foreign:,} untracked objects"
    )
