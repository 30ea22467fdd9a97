"""Builds the clients of the SDKs, boto3 and obstore: the only place where it is done.

The command line and the Dagster resource use the same, so a store sees no difference. Nothing is
built at import, and nothing survives a fork.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from obstore.store import S3Store

from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.credentials import boto3_session, credential_provider
from catalogsync_assets.core.stores.profile import CRC64NVME, NO_CHECKSUM, SHA256
from catalogsync_assets.core.stores.proxies import proxy_of

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from obstore.store import ClientConfig

#: Seconds that a request may take, as there is no other sign of a connection that hangs. An uplink
#: of 10 Mbit/s, shared by 16 puts of 64 MiB, needs 860.
REQUEST_TIMEOUT = 900
#: The same for an object of at most `SMALL_BYTES`.
SMALL_TIMEOUT = 60
SMALL_BYTES = 1024 * 1024
#: The same for the first, which finds out whether anybody answers at all, and is tried again.
PROBE_TIMEOUT = 10
CONNECT_TIMEOUT = 10
_READ_TIMEOUT = 60
DEFAULT_WORKERS = 16


def boto3_client(backend: ObjectBackend) -> S3Client:
    """A boto3 S3 client for the backend, with a pool of connections for all its workers.

    Off AWS, checksums are sent and asked for only where we say so: several services refuse the
    ones that boto3 has added by itself since 1.36.

    Raises:
        ConfigurationError: no credentials; see `boto3_session`.
    """
    from botocore.config import Config

    when: Any = "when_supported" if backend.endpoint is None else "when_required"
    proxy = proxy_of(backend)
    proxies: dict[str, str] | None = None if proxy is None else {}
    if proxy is not None and not proxy.excluded:
        proxies = {"http": proxy.url, "https": proxy.url}
    own: Any = {"addressing_style": "virtual" if backend.virtual_hosted else "path"}
    if backend.profile.signed_payload:
        own["payload_signing_enabled"] = True
    config = Config(
        # Of signed URLs, too: for those botocore still takes version 2, which few stores accept.
        signature_version="s3v4",
        s3=own,
        request_checksum_calculation=when,
        response_checksum_validation=when,
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
        proxies=proxies,
        max_pool_connections=5 * (backend.workers or DEFAULT_WORKERS),  # they are made as needed
        retries={"mode": "standard", "total_max_attempts": 1},  # `Retries` does, and counts
    )
    session = boto3_session(backend)
    client: S3Client = session.client("s3", endpoint_url=backend.endpoint, config=config)
    client.meta.events.register_last("before-parameter-build.s3", _follow_no_redirect)
    return client


def _follow_no_redirect(context: dict[str, Any], **_: Any) -> None:
    """Have a redirection come back as an error: it names the region, and obstore follows none.

    botocore asks HEAD of the bucket for the region, and where that is redirected, too, and names
    none, it asks once more for each answer, some 80 times.
    """
    context["s3_redirect"]["redirected"] = True


def obstore_store(backend: ObjectBackend, *, timeout: float = REQUEST_TIMEOUT) -> S3Store:
    """An obstore store for the backend; sends a digest with each put for the server to check.

    Args:
        timeout: seconds that a request may take.

    Raises:
        ConfigurationError: no credentials; see `boto3_session`.
    """
    options: dict[str, Any] = {}
    if backend.endpoint is not None:
        scheme, _, host = backend.endpoint.partition("://")
        # object_store wants the bucket in the host there.
        own = f"{backend.bucket}." if backend.virtual_hosted else ""
        options["endpoint"] = f"{scheme}://{own}{host}"
    checksum = backend.profile.put_checksum or SHA256
    if checksum != NO_CHECKSUM:
        assert checksum in (SHA256, CRC64NVME)
        options["checksum_algorithm"] = checksum
    # The digest is signed, and the store is known to check it: signing the payload as well would
    # have it hashed once more, which is 3% of what a put costs SeaweedFS.
    known = backend.profile.put_checksum == SHA256
    options["unsigned_payload"] = known and not backend.profile.signed_payload
    if backend.server_side_encryption:
        options["server_side_encryption"] = backend.server_side_encryption
    if backend.kms_key_id:
        options["sse_kms_key_id"] = backend.kms_key_id
    through: ClientConfig = {}
    if (proxy := proxy_of(backend)) is not None:
        through["proxy_url"] = proxy.url
        if proxy.excluded:
            target = urlsplit(backend.endpoint or "https://amazonaws.com")
            through["proxy_excludes"] = target.hostname or ""
    return S3Store(
        backend.bucket,
        region=backend.region,
        virtual_hosted_style_request=backend.virtual_hosted,
        credential_provider=credential_provider(backend),
        client_options={
            "allow_http": (backend.endpoint or "").startswith("http://"),
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT),
            "timeout": timedelta(seconds=timeout),
            "pool_max_idle_per_host": str(backend.workers or DEFAULT_WORKERS),
            **through,
        },
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=timeout)},
        **options,
    )
