"""How one talks to a backend: the only place where clients of object stores are built.

`StoreClient` is the data plane (obstore: put, from threads) and the control plane (boto3: HEAD
with digests, multipart) for one backend. The command line and the Dagster resource use the same,
so a store sees no difference. Nothing is built at import, and nothing survives a fork.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal

import obstore
from obstore.store import S3Store

from catalogsync_assets.core.backends import ObjectBackend
from catalogsync_assets.core.digests import as_s3_header
from catalogsync_assets.core.errors import ConfigurationError, StoreError
from catalogsync_assets.core.transfer.classify import no_credentials, store_error

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from obstore.store import S3Credential

#: Seconds. A put of 64 MiB must fit at the slowest uplink worth supporting (about 2 Mbit/s).
REQUEST_TIMEOUT = 300
CONNECT_TIMEOUT = 10
#: The user metadata that says for which file asset of which catalog an object was put.
MARK = "catalogsync-file"
_PROBE_KEY = ".catalogsync-probe"
_READ_CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True)
class StoredObject:
    """What a HEAD says of an object.

    Attributes:
        size_bytes: its length.
        etag: as the store wrote it, with quotes.
        sha256: base64 as in the header, of the whole object; None if the store keeps none.
        put_for: the mark that we left in its user metadata; see `StoreClient.put`.
        composite_sha256: the same of a multipart object's part digests, with `-N`; or None.
    """

    size_bytes: int
    etag: str
    sha256: str | None
    composite_sha256: str | None
    put_for: str | None = None


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
    from botocore.exceptions import BotoCoreError

    key, secret, token = _own_credentials(backend) or (None, None, None)
    try:
        session = boto3.session.Session(
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


def boto3_client(backend: ObjectBackend, *, max_connections: int = 64) -> S3Client:
    """A boto3 S3 client for the backend.

    Off AWS, checksums are sent and asked for only where we say so: several services refuse the
    ones that boto3 has added by itself since 1.36.

    Raises:
        ConfigurationError: no credentials; see `boto3_session`.
    """
    from botocore.config import Config

    when: Literal["when_supported", "when_required"]
    when = "when_supported" if backend.endpoint is None else "when_required"
    config = Config(
        s3={"addressing_style": "virtual" if backend.virtual_hosted else "path"},
        request_checksum_calculation=when,
        response_checksum_validation=when,
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=REQUEST_TIMEOUT,
        max_pool_connections=max_connections,
        retries={"mode": "standard", "total_max_attempts": 1},  # `engine` retries, and counts
    )
    session = boto3_session(backend)
    client: S3Client = session.client("s3", endpoint_url=backend.endpoint, config=config)
    return client


def obstore_store(backend: ObjectBackend) -> S3Store:
    """An obstore store for the backend; sends a SHA-256 with each put for the server to check.

    Raises:
        ConfigurationError: no credentials; see `boto3_session`.
    """
    endpoint: dict[str, Any] = {}
    if backend.endpoint is not None:
        endpoint["endpoint"] = backend.endpoint
        if backend.virtual_hosted:  # object_store wants the bucket in the host then
            scheme, _, rest = backend.endpoint.partition("://")
            endpoint["endpoint"] = f"{scheme}://{backend.bucket}.{rest}"
    return S3Store(
        backend.bucket,
        region=backend.region,
        virtual_hosted_style_request=backend.virtual_hosted,
        checksum_algorithm="SHA256",
        credential_provider=_credential_provider(backend),
        client_options={
            "allow_http": (backend.endpoint or "").startswith("http://"),
            "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT),
            "timeout": timedelta(seconds=REQUEST_TIMEOUT),
        },
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=REQUEST_TIMEOUT)},
        **endpoint,
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


class StoreClient:
    """One backend's store, as the engine needs it. Thread-safe; must not cross a fork.

    Every method raises a `StoreError` and nothing else when the store refuses or is silent. None
    retries.
    """

    def __init__(self, backend: ObjectBackend, s3: Callable[[], S3Client] | None = None) -> None:
        """
        Args:
            s3: makes the boto3 client; `boto3_client` by default.
        """
        self.backend = backend
        self._store = obstore_store(backend)
        self._make_s3 = s3 or (lambda: boto3_client(backend))
        self._s3: S3Client | None = None
        self._lock = threading.Lock()

    @property
    def s3(self) -> S3Client:
        """The boto3 client, built when first needed."""
        with self._lock:  # making one is not thread-safe, using it is
            if self._s3 is None:
                self._s3 = self._make_s3()
            return self._s3

    def probe(self) -> None:
        """One small read, which tells a wrong secret or bucket before anything is sent.

        SeaweedFS, for one, makes a missing bucket when something is put into it. A plain "access
        denied" passes: AWS says so of a missing key to those who may read, but not list.
        """
        key = self.backend.key_prefix + _PROBE_KEY
        try:
            obstore.get(self._store, key)
        except FileNotFoundError as error:
            found = store_error(error, self.backend, "read from", key)
            if found.fatal:
                raise found from error
        except Exception as error:
            found = store_error(error, self.backend, "read from", key)
            if found.code != "AccessDenied":
                raise found from error

    def put(
        self,
        key: str,
        content: bytes,
        *,
        media_type: str,
        sha256: str,
        mark: str,
        replacing: str | None,
    ) -> str | None:
        """Store an object in one request, with its SHA-256 for the server to check.

        Args:
            key: the whole key.
            content: at most 5 GiB, as S3 has it; the engine sends at most 64 MiB this way.
            media_type: its Content-Type.
            sha256: in hex; also kept as user metadata, which every store can give back.
            mark: kept as user metadata, to know an object of ours by whose row was lost.
            replacing: the ETag of the object that may be replaced; None to store only where
                nothing is.

        Returns:
            The ETag, as far as the store gives one.

        Raises:
            ConflictError: something (else) is stored there.
        """
        try:
            result = obstore.put(
                self._store,
                key,
                content,
                attributes={"Content-Type": media_type, "sha256": sha256, MARK: mark},
                mode="create" if replacing is None else {"e_tag": replacing},
                use_multipart=False,
            )
        except Exception as error:
            raise store_error(error, self.backend, "put", key) from error
        return result["e_tag"]

    def head(self, key: str) -> StoredObject | None:
        """What is stored under the key, or None."""
        try:
            answer = self.s3.head_object(
                Bucket=self.backend.bucket, Key=key, ChecksumMode="ENABLED"
            )
        except Exception as error:
            if _status(error) == 404:  # noqa: PLR2004
                return None
            raise store_error(error, self.backend, "look at", key) from error
        checksum = answer.get("ChecksumSHA256")
        composite = checksum if checksum and "-" in checksum else None
        return StoredObject(
            size_bytes=answer["ContentLength"],
            etag=answer["ETag"],
            sha256=None if composite else checksum,
            composite_sha256=composite,
            put_for=answer["Metadata"].get(MARK),
        )

    def sha256_of(self, key: str) -> str:
        """The SHA-256 in hex of the object's content, read whole."""
        digest = hashlib.sha256()
        try:
            body = self.s3.get_object(Bucket=self.backend.bucket, Key=key)["Body"]
            with body:
                for piece in body.iter_chunks(_READ_CHUNK):
                    digest.update(piece)
        except Exception as error:
            raise store_error(error, self.backend, "read", key) from error
        return digest.hexdigest()

    def holds(self, key: str, found: StoredObject, *, sha256: str, size_bytes: int) -> bool:
        """Whether an object is, byte for byte, the content with this digest.

        Decided by the size, else by a digest of the whole object if the store keeps one; where it
        keeps none, the object is read.
        """
        if found.size_bytes != size_bytes:
            return False
        if found.sha256 is not None:
            return found.sha256 == as_s3_header(sha256)
        return self.sha256_of(key) == sha256

    def error(self, error: Exception, operation: str, key: str) -> StoreError:
        """The error of a request that was made through `s3` directly."""
        return store_error(error, self.backend, operation, key)


def _status(error: Exception) -> int | None:
    response = getattr(error, "response", None) or {}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return int(status) if status else None


def etag_is_md5_of(etag: str | None, content: bytes) -> bool:
    """Whether an ETag is the MD5 of the content, as it is for a plain put on most stores."""
    try:
        given = binascii.unhexlify((etag or "").strip('"'))
    except ValueError:
        return False
    return given == hashlib.md5(content, usedforsecurity=False).digest()


def part_checksum(content: bytes) -> str:
    """The SHA-256 of a part, as S3 writes it."""
    return base64.b64encode(hashlib.sha256(content).digest()).decode()
