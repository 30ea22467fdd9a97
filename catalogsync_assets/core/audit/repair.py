"""Brings files back to a backend that an audit has found missing or damaged there.

The transfer engine does the work: it takes a good copy - a local file, or another backend's object,
whose digest it checks while it reads - and replaces only the very object that was found damaged.
"""

from __future__ import annotations

from collections.abc import Callable

from catalogsync_assets.core.audit import queries
from catalogsync_assets.core.audit.queries import Audit
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import Scope
from catalogsync_assets.core.catalog.upload_queue import enqueue
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.upload.upload import Limits, UploadReport, upload


def repair(
    catalog: Catalog,
    backend: ObjectBackend,
    audit: Audit,
    *,
    limits: Limits,
    progress: Callable[[UploadReport], None],
    connect: Callable[[ObjectBackend], StoreClient],
) -> tuple[UploadReport, int]:
    """Upload again what an audit has found missing or damaged. May be called again.

    No object is touched but those at the keys of such files.

    Returns:
        What the upload did, and how many of the files are whole now. Why others are not is noted
        with their findings.

    Raises:
        UploadAborted: the store refuses everything or has fallen silent; the files stay queued.
    """
    scope = Scope(audit_id=audit.id)
    enqueue(catalog, backend, scope)
    try:
        report = upload(
            catalog, backend, scope=scope, limits=limits, progress=progress, connect=connect
        )
    finally:
        repaired = queries.note_repairs(catalog, backend, audit)
    return report, repaired
