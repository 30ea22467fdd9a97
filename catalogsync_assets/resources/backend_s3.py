"""One backend's store as dagster-aws's S3 resource.

A module of its own, to be imported when a store is asked: dagster-aws takes as long to load as all
the other definitions together, and who only looks at them should not wait for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dagster_aws.s3 import S3Resource
from pydantic import PrivateAttr

from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.sdk import boto3_client

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client


class BackendS3Resource(S3Resource):
    """dagster-aws's S3 resource for one backend, with what the stock one cannot express.

    Addressing style, checksum behaviour, pool size and the credentials' variables come from the
    backend; the client is the one that the command line uses.
    """

    _backend: ObjectBackend = PrivateAttr()

    @classmethod
    def of(cls, backend: ObjectBackend) -> BackendS3Resource:
        """The resource for a registered backend."""
        resource = cls(endpoint_url=backend.endpoint, region_name=backend.region)
        resource._backend = backend
        return resource

    def get_client(self) -> S3Client:
        """A boto3 client for the backend.

        Raises:
            ConfigurationError: no credentials in the environment; the hint names the variables.
        """
        return boto3_client(self._backend)
