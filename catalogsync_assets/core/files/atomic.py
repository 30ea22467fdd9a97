"""What the operating system does with files, and Python's library does not quite say."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

#: What the system says where a disk or a quota is full.
FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
# What `link` says on file systems that have no hard links, such as exFAT.
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK))


@contextmanager
def private(path: Path) -> Iterator[BinaryIO]:
    """A new file that only its owner may read.

    Raises:
        FileExistsError: it is there.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        yield file


def move_to_free_name(source: Path, target: Path) -> None:
    """Rename, but never over another file.

    Where the system cannot do that in one step, a kill may leave the file under both names.

    Raises:
        FileExistsError: something is there.
        OSError: as the system says it.
    """
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _rename_to_free_name()(os.fsencode(source), os.fsencode(target))
        return
    source.unlink()


@functools.cache
def _rename_to_free_name() -> Callable[[bytes, bytes], None]:
    """Linux's renameat2 with RENAME_NOREPLACE, which Python does not have."""
    libc = ctypes.CDLL(None, use_errno=True)
    at_cwd, no_replace = -100, 1

    def rename(source: bytes, target: bytes) -> None:
        if not hasattr(libc, "renameat2"):
            raise OSError(errno.ENOSYS, "this system can neither link nor rename to a free name")
        if libc.renameat2(at_cwd, source, at_cwd, target, no_replace) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), os.fsdecode(target))

    return rename


def sync_folder(folder: Path) -> None:
    """Have the names in a folder written to disk."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
