"""What a backend is: its settings, and the rules that they must keep.

How it is stored is in `catalog.backends`; how one talks to it in `client`.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from dataclasses import dataclass, field, fields, replace
from typing import Any
from urllib.parse import quote, urlsplit

from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.settings import MAX_WORKERS
from catalogsync_assets.core.stores.profile import PRESETS, StoreProfile, provider_of

#: What this program's own keys begin with after the prefix: those of tests, never a file's.
OWN_KEYS = ".catalogsync-"
#: Below this, what this program keeps for itself; but for these folders, which hold files.
OWN_FOLDER = ".catalogsync/"
MOVES = f"{OWN_FOLDER}moves/"
REPLACED = f"{OWN_FOLDER}old/"

LOCAL = "local"
OBJECT_STORAGE = "object_storage"
ADDRESSING_STYLES = ("auto", "path", "virtual")
#: `path`: objects follow the paths of their files; `keep`: they stay under the keys they have.
LAYOUTS = ("path", "keep")
ENCRYPTIONS = ("AES256", "aws:kms", "aws:kms:dsse")
#: Bytes per second.
MIN_BANDWIDTH = 256 * 1024
#: S3 allows 1,024 bytes for a key; what the prefix leaves is enough for `catalog.object_keys`.
MAX_PREFIX_BYTES = 124

_HEADER = r"[\x21-\x7e](?:[\x20-\x7e]{0,510}[\x21-\x7e])?"
_UNSAFE_IN_KEY = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")
# What each text must be, what else it cannot do, and what to write instead.
_FORMS = (
    (
        "name",
        # Also Dagster's partition keys: `|`, `,` or `...` in one is dropped or breaks backfills.
        rf"(?!{LOCAL}$)[a-z0-9_-]{{1,63}}",
        "be a backend's name",
        f"use 1 to 63 of a-z, 0-9, _ and -; `{LOCAL}` is taken by the library itself",
    ),
    (
        "bucket",
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html; older
        # buckets and other services also have upper case and underscores.
        r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]",
        "be a bucket's name",
        "use 3 to 63 letters, digits, dots, dashes; a prefix goes to --base-prefix",
    ),
    (
        "credential_env_prefix",
        r"[A-Za-z_][A-Za-z0-9_]*",
        "begin an environment variable's name",
        "use letters, digits and _, such as MYSTORE for MYSTORE_ACCESS_KEY_ID",
    ),
    ("region", r"[\x21-\x7e]{1,63}", "be a region's name", "most services take us-east-1 or auto"),
    ("storage_class", r"[A-Z][A-Z0-9_-]{0,63}", "be a storage class", "write it like STANDARD_IA"),
    ("kms_key_id", _HEADER, "be a KMS key id", "write it like alias/music"),
    (
        "cache_control",
        _HEADER,
        "be a Cache-Control header",
        "write it like public, max-age=31536000",
    ),
)
_CHOICES = (
    ("addressing_style", ADDRESSING_STYLES),
    ("provider", tuple(PRESETS)),
    ("server_side_encryption", ENCRYPTIONS),
    ("layout", LAYOUTS),
)
# Least and most.
_LIMITS = (
    ("workers", 1, MAX_WORKERS),
    ("max_in_flight_bytes", 1024**2, 1024**4),
    # Slower, and a file of 64 MiB would take longer than a request may.
    ("bandwidth_limit", MIN_BANDWIDTH, 1024**4),
)


@dataclass(frozen=True)
class ObjectBackend:
    """One bucket (and prefix) of an S3-compatible service."""

    name: str  #: `[a-z0-9_-]+`, at most 63 characters
    bucket: str  #: the bucket; no upload makes it
    endpoint: str | None = None  #: the service's http(s) URL; None for AWS
    region: str = "us-east-1"  #: as the service names it
    base_prefix: str = ""  #: what every key begins with, without slashes at its ends; may be empty
    #: `path`, `virtual`, or `auto` (path with an endpoint, virtual without).
    addressing_style: str = "auto"
    public_base_url: str | None = None  #: where keys can be read without a signature, or None
    credential_env_prefix: str = "AWS"  #: credentials come from `${PREFIX}_ACCESS_KEY_ID` and so on
    #: The service, one of `profile.PRESETS`; None to tell it by the endpoint.
    provider: str | None = None
    workers: int | None = None  #: requests at a time, at most; None for what is of use
    #: Bytes of files in memory at a time; None for the default.
    max_in_flight_bytes: int | None = None
    #: Bytes per second that a run may send at most; None for no limit.
    bandwidth_limit: int | None = None
    #: Of new objects, as the service names it; None for the bucket's default.
    storage_class: str | None = None
    #: `AES256`, `aws:kms` or `aws:kms:dsse`; None for the bucket's.
    server_side_encryption: str | None = None
    kms_key_id: str | None = None  #: the key for `aws:kms`; None for the service's own
    cache_control: str | None = None  #: the Cache-Control header of new objects, or None
    #: Whether objects follow their files, by copies that the store makes: one of `LAYOUTS`. A row
    #: that does not say is of before there was a choice.
    layout: str = "keep"
    tested: StoreProfile = field(default_factory=StoreProfile)  #: what `backend test` found out
    id: int = 0  #: its row in `storage_backends`; 0 before it is registered

    @property
    def profile(self) -> StoreProfile:
        """What the store does: as tested, else as its service documents it."""
        preset = PRESETS[self.provider or provider_of(self.endpoint)]
        return preset.with_answers(self.tested.known())

    @property
    def follows_paths(self) -> bool:
        """Whether objects are copied to the keys of their files' paths, as far as is known."""
        return self.layout == "path" and self.profile.copies is not False

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

    def config(self) -> dict[str, Any]:
        """The settings as kept in `storage_backends.config`. Holds no secret."""
        settings = {name: getattr(self, name) for name in SETTINGS}
        return {**settings, "tested": self.tested.known()}


#: Names of the settings that `storage_backends.config` holds.
SETTINGS = tuple(
    f.name for f in fields(ObjectBackend) if f.name not in ("id", "name", "bucket", "tested")
)


def register_command(backend: ObjectBackend, **changes: Any) -> str:
    """The command that registers the backend as it is but for these settings, to be pasted."""
    backend = replace(backend, **changes)
    words = ["catalogsync", "register-object-backend", "--name", backend.name]
    words += ["--bucket", backend.bucket]
    for setting in fields(ObjectBackend):
        value = getattr(backend, setting.name)
        if setting.name in SETTINGS and value not in (None, setting.default):
            option = setting.name.removesuffix("_bytes").replace("_", "-")
            words += [f"--{option}", str(value)]
    return shlex.join(words)


def validated(backend: ObjectBackend) -> ObjectBackend:
    """The backend with its settings in normal form.

    Raises:
        ConfigurationError: a setting breaks its rule; the message names it.
    """
    backend = replace(backend, region=backend.region.strip())
    for setting, form, cannot, hint in _FORMS:
        text: str | None = getattr(backend, setting)
        if text is not None and not re.fullmatch(form, text):
            raise ConfigurationError(f"{text!r} cannot {cannot}", hint=hint)
    for setting, choices in _CHOICES:
        if (value := getattr(backend, setting)) not in (None, *choices):
            raise ConfigurationError(
                f"{setting.replace('_', ' ')} {value!r} is unknown",
                hint=f"use one of {', '.join(choices)}",
            )
    for setting, least, most in _LIMITS:
        number: int | None = getattr(backend, setting)
        if number is not None and not least <= number <= most:
            raise ConfigurationError(
                f"{setting} is {number:,}", hint=f"use a number from {least:,} to {most:,}"
            )
    if backend.kms_key_id is not None and backend.server_side_encryption not in ENCRYPTIONS[1:]:
        raise ConfigurationError(
            "a KMS key id is given, but no KMS encryption",
            hint=f"add server-side encryption {ENCRYPTIONS[1]}",
        )
    return replace(
        backend,
        endpoint=_checked_url("endpoint", backend.endpoint),
        base_prefix=_checked_prefix(backend.base_prefix),
        public_base_url=_checked_url("public base URL", backend.public_base_url),
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
