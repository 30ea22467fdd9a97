"""Which of a file's places an export is about, and how they are addressed there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from catalogsync_assets.core.catalog.backends import (
    REGISTER_HINT,
    backend_by_name,
    object_backends,
)
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.errors import ConfigurationError, UsageError
from catalogsync_assets.core.export.contents import FileAt, Where
from catalogsync_assets.core.stores.backend import ObjectBackend

LOCAL_PATHS, PUBLIC, PRESIGNED = "local", "public", "presigned"
#: The words that a person chooses from.
LOCATIONS = (LOCAL_PATHS, PUBLIC, PRESIGNED)
DEFAULT_EXPIRES = 3_600
#: Seconds; what signature version 4 allows at most: seven days.
#: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html, X-Amz-Expires
MAX_EXPIRES = 604_800


@dataclass(frozen=True)
class Places:
    """Which places, and their addresses."""

    where: Where  #: as `contents` takes it
    address: Callable[[FileAt], str | None]  #: of a file at such a place; None if it has none
    secret: bool = False  #: whether an address gives access to whoever reads it


def everywhere(catalog: Catalog, *, backend: str | None = None) -> Places:
    """All places whatever their status; addressed by path or public URL, where they have one."""
    by_name = {b.name: b for b in object_backends(catalog)}
    only = backend_by_name(catalog, backend) if backend else None

    def address(file: FileAt) -> str | None:
        store = by_name.get(file.backend)
        return store.public_url(file.locator) if store else file.path

    return Places(only.id if only else "anywhere", address)


def local(*, relative_to: Path | None = None) -> Places:
    """The files of the library, by their absolute paths or by paths from a folder."""
    if relative_to is None:
        return Places("local", lambda file: file.path)
    base = os.path.abspath(relative_to)  # noqa: PTH100  # links stay as written, as in the roots
    return Places("local", lambda file: file.path and os.path.relpath(file.path, base))


def public(catalog: Catalog, *, backend: str | None = None) -> Places:
    """The objects of a backend by the URLs that serve them without a signature.

    Raises:
        ConfigurationError: the backend has no such URLs.
        UsageError: which backend is not clear.
    """
    serving = [b for b in object_backends(catalog) if b.public_base_url]
    if backend is None and not serving:
        raise ConfigurationError(
            "no backend has public URLs",
            hint="register one again with --public-base-url URL, or use --locations presigned",
        )
    chosen = _the_one(catalog, backend, serving)
    if not chosen.public_base_url:
        raise ConfigurationError(
            f"backend {chosen.name!r} has no public base URL",
            hint="register it again with --public-base-url URL, or use --locations presigned",
        )
    return Places(chosen.id, lambda file: chosen.public_url(file.locator))


def presigned(
    catalog: Catalog, *, backend: str | None = None, expires: int = DEFAULT_EXPIRES
) -> Places:
    """The objects of a backend by URLs that anybody may read for a while. Sends nothing.

    Args:
        expires: seconds, from 1 to `MAX_EXPIRES`.

    Raises:
        ConfigurationError: no credentials.
        UsageError: which backend is not clear.
    """
    from catalogsync_assets.core.stores.client import StoreClient

    chosen = _the_one(catalog, backend, object_backends(catalog))
    client = StoreClient(chosen)

    def address(file: FileAt) -> str:
        return client.signed_url(file.locator, expires=expires, bucket=file.bucket)

    return Places(chosen.id, address, secret=True)


def _the_one(catalog: Catalog, name: str | None, candidates: list[ObjectBackend]) -> ObjectBackend:
    if name is not None:
        return backend_by_name(catalog, name)
    if not candidates:
        raise UsageError("no backend is registered", hint=REGISTER_HINT)
    if len(candidates) > 1:
        names = ", ".join(b.name for b in candidates)
        raise UsageError("there are several backends", hint=f"name one with --backend: {names}")
    return candidates[0]
