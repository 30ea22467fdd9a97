"""What a backend is: its settings, and the rules that they must keep.

How it is stored is in `catalog.backends`; how one talks to it in `transfer.stores`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from catalogsync_assets.core.errors import ConfigurationError

LOCAL = "local"
OBJECT_STORAGE = "object_storage"
ADDRESSING_STYLES = ("auto", "path", "virtual")
#: S3 allows 1,024 bytes for a key; what the prefix leaves is enough for `plan.locators`.
MAX_PREFIX_BYTES = 124

# Also Dagster's partition keys: a `|`, a comma or `...` in one is dropped or breaks backfills.
_NAME = re.compile(r"[a-z0-9_-]{1,63}")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html; older buckets and
# other services also have upper case and underscores.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_ENV_PREFIX = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UNSAFE_IN_KEY = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True)
class ObjectBackend:
    """One bucket (and prefix) of an S3-compatible service.

    Attributes:
        id: its row in `storage_backends`; 0 before it is registered.
        name: `[a-z0-9_-]+`, at most 63 characters.
        bucket: the bucket; it must exist, catalogsync never makes one.
        endpoint: the service's http(s) URL; None for AWS.
        region: as the service names it.
        base_prefix: what every key begins with, without slashes at its ends; may be empty.
        addressing_style: `path`, `virtual`, or `auto` (path with an endpoint, virtual without).
        public_base_url: where keys can be read without a signature, or None.
        credential_env_prefix: credentials come from `${PREFIX}_ACCESS_KEY_ID` and so on.
    """

    name: str
    bucket: str
    endpoint: str | None = None
    region: str = "us-east-1"
    base_prefix: str = ""
    addressing_style: str = "auto"
    public_base_url: str | None = None
    credential_env_prefix: str = "AWS"
    id: int = 0

    @property
    def virtual_hosted(self) -> bool:
        """Whether the bucket is part of the host name."""
        if self.addressing_style == "auto":
            return self.endpoint is None
        return self.addressing_style == "virtual"

    @property
    def key_prefix(self) -> str:
        """The prefix as it stands before a key: empty, or ending in a slash."""
        return f"{self.base_prefix}/" if self.base_prefix else ""

    def url_prefix(self) -> str | None:
        """What stands before a percent-encoded key in its public URL, or None."""
        return f"{self.public_base_url.rstrip('/')}/" if self.public_base_url else None

    def public_url(self, locator: str) -> str | None:
        """The URL that serves the object without a signature; None if none is configured."""
        prefix = self.url_prefix()
        return prefix and prefix + quote(locator, safe="/~")

    def config(self) -> dict[str, str | None]:
        """The settings as kept in `storage_backends.config`. Holds no secret."""
        return {
            "endpoint": self.endpoint,
            "region": self.region,
            "base_prefix": self.base_prefix,
            "addressing_style": self.addressing_style,
            "public_base_url": self.public_base_url,
            "credential_env_prefix": self.credential_env_prefix,
        }


def validated(backend: ObjectBackend) -> ObjectBackend:
    """The backend with its settings in normal form.

    Raises:
        ConfigurationError: a setting breaks its rule; the message names it.
    """
    if not _NAME.fullmatch(backend.name) or backend.name == LOCAL:
        raise ConfigurationError(
            f"{backend.name!r} cannot be a backend's name",
            hint="use 1 to 63 of a-z, 0-9, _ and -; `local` is taken by the library itself",
        )
    if not _BUCKET.fullmatch(backend.bucket):
        raise ConfigurationError(
            f"{backend.bucket!r} cannot be a bucket's name",
            hint="use 3 to 63 letters, digits, dots, dashes; a prefix goes to --base-prefix",
        )
    if backend.addressing_style not in ADDRESSING_STYLES:
        raise ConfigurationError(
            f"addressing style {backend.addressing_style!r} is unknown",
            hint=f"use one of {', '.join(ADDRESSING_STYLES)}",
        )
    if not _ENV_PREFIX.fullmatch(backend.credential_env_prefix):
        raise ConfigurationError(
            f"{backend.credential_env_prefix!r} cannot begin an environment variable's name",
            hint="use letters, digits and _, such as MYSTORE for MYSTORE_ACCESS_KEY_ID",
        )
    if not backend.region.strip():
        raise ConfigurationError("the region is empty", hint="most services take us-east-1 or auto")
    return ObjectBackend(
        id=backend.id,
        name=backend.name,
        bucket=backend.bucket,
        endpoint=_checked_url("endpoint", backend.endpoint),
        region=backend.region.strip(),
        base_prefix=_checked_prefix(backend.base_prefix),
        addressing_style=backend.addressing_style,
        public_base_url=_checked_url("public base URL", backend.public_base_url),
        credential_env_prefix=backend.credential_env_prefix,
    )


def _checked_url(what: str, url: str | None) -> str | None:
    if not url:
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            f"the {what} is not an http or https URL", hint="https://host:port"
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        # Not quoted in the message: what stands there may be a secret.
        raise ConfigurationError(
            f"the {what} holds more than scheme, host, port and path",
            hint="credentials come from environment variables, see --credential-env-prefix",
        )
    return url.rstrip("/")


def _checked_prefix(prefix: str) -> str:
    normal = unicodedata.normalize("NFC", prefix).strip("/")
    bad_segment = any(part in ("", ".", "..") for part in normal.split("/")) if normal else False
    if bad_segment or _UNSAFE_IN_KEY.search(normal):
        raise ConfigurationError(
            f"base prefix {prefix!r} has an empty, `.` or `..` part, or a forbidden character",
            hint="write it like music/library",
        )
    if len(normal.encode()) > MAX_PREFIX_BYTES:
        raise ConfigurationError(
            f"the base prefix is longer than {MAX_PREFIX_BYTES} bytes", hint="choose a shorter one"
        )
    return normal
