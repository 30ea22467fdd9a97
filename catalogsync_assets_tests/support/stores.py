"""What a store really holds, seen past the code under test."""

from __future__ import annotations

import http.client
import subprocess
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from obstore.store import S3Store

from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets_tests.support.programs import find_program


class Store(Protocol):
    """A server on this machine, whichever it is."""

    @property
    def endpoint(self) -> str: ...
    @property
    def bucket(self) -> str: ...
    @property
    def access_key_id(self) -> str: ...
    @property
    def secret_access_key(self) -> str: ...


def s3_client(store: Store) -> Any:
    """A boto3 client that tries once, and sends or compares no digest unless told to."""
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=store.access_key_id,
        aws_secret_access_key=store.secret_access_key,
        config=Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            max_pool_connections=4,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def ensure_bucket(store: Store) -> None:
    """Make the bucket of a store that has just been started."""
    client = s3_client(store)
    try:
        client.create_bucket(Bucket=store.bucket)
    finally:
        client.close()


def answers(url: str) -> bool:
    """Whether there is an HTTP server."""
    found = urlsplit(url)
    connection = http.client.HTTPConnection(found.netloc, timeout=5)
    try:
        connection.request("GET", found.path or "/")
        return connection.getresponse().status > 0
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def rclone_copy(store: Store, folder: Path, backend: ObjectBackend, *options: str) -> None:
    """Fill a bucket as people do."""
    remote = (
        f":s3,provider=Other,access_key_id='{store.access_key_id}',"
        f"secret_access_key='{store.secret_access_key}',endpoint='{store.endpoint}',"
        "force_path_style=true,no_check_bucket=true:"
    )
    subprocess.run(
        [
            *(find_program("rclone") or "rclone", "copy", str(folder)),
            *(f"{remote}{backend.bucket}/{backend.base_prefix}", "--config", "/dev/null"),
            *("--log-level", "ERROR", *options),
        ],
        check=True,
        timeout=60,
    )


def quick_store(store: Store, bucket: str) -> S3Store:
    """A bucket as obstore sees it, for who looks very often: a tenth of the time boto3 takes."""
    return S3Store(
        bucket,
        endpoint=store.endpoint,
        region="us-east-1",
        access_key_id=store.access_key_id,
        secret_access_key=store.secret_access_key,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
