"""What the catalog alone knows of a cell `backend|batch`, as metadata.

The same for a cell that Dagster has uploaded and for one that the command line has. What a run
itself did - rate, retries, what it sent - is added by `remote_locations`.
"""

from __future__ import annotations

from datetime import datetime

import dagster as dg

from catalogsync_assets.assets.ui.links import bucket_link, object_link
from catalogsync_assets.assets.ui.metadata import Metadata, formats_table, mebibytes, table
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.holdings import (
    Verification,
    absence,
    sample_object,
    verification,
)
from catalogsync_assets.core.catalog.status import batch_formats
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.visible import visible


def cell_metadata(catalog: Catalog, backend: ObjectBackend, batch_key: str) -> Metadata:
    """What a backend holds of a batch, and when that was verified. Reads only the catalog.

    `files missing` is 0 for a cell that may count as materialized.
    """
    formats = batch_formats(catalog, backend.name, batch_key)
    metadata: Metadata = {
        "dagster/row_count": sum(f.files for f in formats),
        "files missing": absence(catalog, backend, batch_key).files,
        "size (MiB)": mebibytes(sum(f.bytes for f in formats)),
        "by format": formats_table(formats),
        "bucket link": dg.MetadataValue.url(bucket_link(backend)),
    }
    if found := sample_object(catalog, backend, batch_key):
        link = object_link(backend, found.locator, found.public_url)
        metadata["sample object"] = (
            dg.MetadataValue.url(link)
            if link
            else visible(f"s3://{backend.bucket}/{found.locator}")
        )
    return {**metadata, **of_verification(verification(catalog, backend, batch_key))}


def of_verification(found: Verification) -> Metadata:
    """When files were last verified, and by what; nothing where nothing was."""
    times = {"verified, oldest": found.oldest, "verified, newest": found.newest}
    return {
        **{
            name: dg.MetadataValue.timestamp(datetime.fromisoformat(f"{utc}+00:00"))
            for name, utc in times.items()
            if utc
        },
        "verified by": table(("by", "files"), list(found.files.items())),
    }
