"""Where an export goes: a file that appears under its name only when it is whole, or a stream."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from catalogsync_assets.core.errors import CatalogSyncError, UsageError
from catalogsync_assets.core.runner.owners import new_part


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` when the block ends well.

    Written beside it under another name. If the block raises, or the process is killed, what was
    at `path` before is still there; what a kill leaves, the next export to that folder removes.

    Args:
        private: readable by its owner only.

    Raises:
        UsageError: it cannot be there.
        CatalogSyncError: it cannot be written.
    """
    try:
        final = path.resolve()  # a link stays one
        if final.exists() and not final.is_file():
            raise UsageError(f"{path} is not a file", hint="name a file, or - for stdout")
        part = new_part(final, ".catalogsync-export-")
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", hint="check its folder and permissions"
        ) from error
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            if not private:
                part.chmod(0o666 & ~_umask())  # as any other new file
            os.fsync(file.fileno())
        part.replace(final)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise CatalogSyncError(
            f"{path} cannot be written: {error.strerror}", hint="the old file is unchanged"
        ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _umask() -> int:
    """There is no way to ask for it but to set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
