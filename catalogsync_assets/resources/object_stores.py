"""Object stores as resources.

Which stores there are is known to the catalog, not to the configuration: a backend registered an
hour ago needs no restart. So there is one resource that speaks to any of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from catalogsync_assets.core.settings import MAX_WORKERS
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.upload.upload import Limits

if TYPE_CHECKING:
    from catalogsync_assets.resources.backend_s3 import BackendS3Resource

_MIB = 1024 * 1024


class ObjectStoreResource(dg.ConfigurableResource):
    """Hands out clients of the backends that the catalog knows, and their limits."""

    workers: int | None = Field(
        default=None,
        ge=1,
        le=MAX_WORKERS,
        description="Requests at a time, at most; how many are of use is found out. By default"
        " the backend's own limit, else 256.",
    )
    max_in_flight_mib: int | None = Field(
        default=None,
        ge=1,
        description="MiB of files to hold in memory at a time, per process; by default the"
        " backend's own limit, else 128.",
    )
    attempts: int = Field(
        default=5, ge=1, description="Tries of one request before its file counts as failed."
    )

    def limits(self, backend: ObjectBackend, *, workers: int | None = None) -> Limits:
        """The limits of one upload step to a backend.

        Args:
            workers: of this run, in place of the resource's and the backend's.
        """
        return Limits.of(
            backend,
            workers=workers or self.workers,
            max_in_flight_bytes=self.max_in_flight_mib and self.max_in_flight_mib * _MIB,
            attempts=self.attempts,
        )

    def s3(self, backend: ObjectBackend) -> BackendS3Resource:
        """The backend's S3 resource; its `get_client` gives a boto3 client."""
        from catalogsync_assets.resources.backend_s3 import BackendS3Resource

        return BackendS3Resource.of(backend)

    def connect(self, backend: ObjectBackend) -> StoreClient:
        """The client through which uploads go; its boto3 requests use the S3 resource's client."""
        return StoreClient(backend, s3=lambda: self.s3(backend).get_client())
