"""Rights that one process at a time has, or several that do not exclude each other.

Such a right ends with its process, however that ends. The catalog's users are on one machine, as
SQLite's write-ahead log wants it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

import tenacity

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.errors import CatalogError


@contextmanager
def lock(
    catalog: Catalog, name: str, *, shared: bool = False, patience: float = 0.0
) -> Iterator[bool]:
    """Have a right of this name as long as the block runs.

    Args:
        name: of the file beside the catalog, behind a dot.
        shared: beside others that ask for it like this.
        patience: seconds to wait for others.

    Yields:
        Whether it was to be had.

    Raises:
        CatalogError: its file cannot be opened.
    """
    path = catalog.path.with_name(f"{catalog.path.name}.{name}")
    try:
        # Whoever may write the catalog may take the lock, and nobody else.
        writers = catalog.path.stat().st_mode & 0o222
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, writers | writers << 1)
    except OSError as error:
        raise CatalogError(
            f"{path} cannot be opened: {error.strerror}",
            hint="check the permissions of the catalog's folder",
        ) from error
    patiently = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(BlockingIOError),
        stop=tenacity.stop_after_delay(patience),
        wait=tenacity.wait_fixed(0.05),
        reraise=True,
    )
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        right = True
        try:
            patiently(fcntl.flock, fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            right = False
        yield right
    finally:
        os.close(fd)
