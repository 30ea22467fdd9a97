"""Builds the clients of object stores: the only place where it is done.

The command line and the Dagster resource use the same, so a store sees no difference. Nothing is
built at import, and nothing survives a fork.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from obstore.store import S3Store

from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.classify import no_credentials
from catalogsync_assets.core.stores.profile import CRC64NVME, NO_CHECKSUM, SHA256
from catalogsync_assets.core.stores.proxies import proxy_of

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from obstore.store import ClientConfig, S3Credential

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


def credential_variables(backend: ObjectBackend) -> tuple[str, str, str]:
    """The environment variables of a backend: access key id, secret, and the optional token."""
    prefix = backend.credential_env_prefix
    return f"{prefix}_ACCESS_KEY_ID", f"{prefix}_SECRET_ACCESS_KEY", f"{prefix}_SESSION_TOKEN"


def _own_credentials(backend: ObjectBackend) -> tuple[str, str, str | None] | None:
    """Key id, secret and token from the backend's variables; None if neither of the two is set.

    Raises:
        ConfigurationError: only one of the two is set.
    """
    key_name, secret_name, token_name = credential_variables(backend)
    key, secret, token = (os.environ.get(n) for n in (key_name, secret_name, token_name))
    if key and secret:
        return key, secret, token or None
    if not key and not secret:
        return None
    missing, there = (secret_name, key_name) if key else (key_name, secret_name)
    raise ConfigurationError(
        f"backend {backend.name!r}: {there} is set, but {missing} is not", hint=f"set {missing}"
    )


def boto3_session(backend: ObjectBackend) -> Any:
    """A boto3 session with the backend's credentials.

    They come from the backend's environment variables; with none of them set, from the AWS
    default chain (environment, shared files, instance role).

    Raises:
        ConfigurationError: only one of id and secret is set, or nothing is found anywhere.
    """
    import boto3  # a quarter of a second, which only those who need it should pay
    import botocore.session
    from botocore.exceptions import BotoCoreError

    key, secret, token = _own_credentials(backend) or (None, None, None)
    core = botocore.session.get_session()
    parsers = core.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=_time_or_none)
    try:
        session = boto3.session.Session(
            botocore_session=core,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            region_name=backend.region,
        )
        found = session.get_credentials()
    except BotoCoreError as error:
        raise no_credentials(backend, credential_variables(backend)[:2], str(error)) from error
    if found is None:
        raise no_credentials(backend, credential_variables(backend)[:2])
    return session


def _time_or_none(text: Any) -> datetime | None:
    """A time as stores write it; None for one that was cut: nothing here depends on it."""
    from botocore.utils import parse_timestamp

    try:
        parsed: datetime = parse_timestamp(text)
    except (ValueError, TypeError, OverflowError):
        return None
    else:
        return parsed


def boto3_client(backend: ObjectBackend) -> S3Client:
    """A boto3 S3 client for the backend, with a pool of connections for all its workers.

    Off AWS, checksums are sent and asked for only where we say so: several services refuse the
    ones that boto3 has added by itself since 1.36.

    Raises:
        ConfigurationError: no credentials; see `boto3_session`.
    """
    from botocore.config import Config

    when: Literal["when_supported", "when_required"]
    when = "when_supported" if backend.endpoint is None else "when_required"
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
        max_pool_connections=5 * (backend.workers or DEFAULT_WORKERS),  # five parts of each file
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
    endpoint: dict[str, Any] = {}
    if backend.endpoint is not None:
        endpoint["endpoint"] = backend.endpoint
        if backend.virtual_hosted:  # object_store wants the bucket in the host then
            scheme, _, rest = backend.endpoint.partition("://")
            endpoint["endpoint"] = f"{scheme}://{backend.bucket}.{rest}"
    options: dict[str, Any] = {}
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
            host = urlsplit(backend.endpoint or "https://amazonaws.com").hostname
            through["proxy_excludes"] = host or ""
    return S3Store(
        backend.bucket,
        region=backend.region,
        virtual_hosted_style_request=backend.virtual_hosted,
        credential_provider=_credential_provider(backend),
        client_options={
            "allow_http": (backend.endpoint or "").startswith("http://"),
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT),
            "timeout": timedelta(seconds=timeout),
            "pool_max_idle_per_host": str(backend.workers or DEFAULT_WORKERS),
            **through,
        },
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=timeout)},
        **endpoint,
        **options,
    )


def _credential_provider(backend: ObjectBackend) -> Callable[[], S3Credential]:
    """What obstore asks for credentials. The backend's own variables need no boto3."""
    own = _own_credentials(backend)
    if own is not None:
        key, secret, token = own
        return lambda: {
            "access_key_id": key,
            "secret_access_key": secret,
            "token": token,
            "expires_at": None,
        }
    session = boto3_session(backend)

    def from_chain() -> S3Credential:
        found = session.get_credentials()
        current = found.get_frozen_credentials()  # botocore renews those of a role by itself
        temporary = hasattr(found, "refresh_needed")
        return {
            "access_key_id": current.access_key,
            "secret_access_key": current.secret_key,
            "token": current.token,
            "expires_at": datetime.now(timezone.utc) + timedelta(minutes=1) if temporary else None,
        }

    return from_chain
