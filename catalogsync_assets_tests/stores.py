"""What a store really holds, seen past the code under test."""

from __future__ import annotations

from typing import Any, Protocol

import boto3
from botocore.config import Config


class Store(Protocol):
    """A server on this machine, whichever it is."""

    endpoint: str
    access_key_id: str
    secret_access_key: str


def s3_client(store: Store) -> Any:
    """A boto3 client that tries once, and compares no digest that nobody has checked."""
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
            response_checksum_validation="when_required",
        ),
    )
