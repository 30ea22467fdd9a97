"""The one way to open a file that lies among the user's files, and to read its time.

A name in a library may at any moment stand for something else than at the last look: a fifo whose
opening waits for ever, a device, a link that leads to `/etc`. So every opening here never waits,
and gives a regular file or an error. Nothing else opens a file of a library.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection
from io import FileIO
from typing import NamedTuple

#: Seconds to wait for a file that another process holds a lease on, as a Samba server does for its
#: clients (oplocks); the kernel breaks one after 45.
_LEASE_SECONDS = 50.0
# What a 64-bit column holds.
_LEAST, _MOST = -(2**63), 2**63 - 1
# A prime just above 10^9 ns.
_SPREAD = 1_000_000_007


class NotRegularError(OSError):
    """A fifo, a socket, a device or a folder is where a file should be."""


class OutsideError(OSError):
    """A link leads to a file outside of the folders that were named."""


def regular_fd(path: str | os.PathLike[str], flags: int = os.O_RDONLY, mode: int = 0o666) -> int:
    """Open a regular file without waiting for anybody; its file descriptor.

    Args:
        flags: as of `os.open`; `O_NOFOLLOW` among them refuses a link.
        mode: of a file that is made.

    Raises:
        NotRegularError: it is not a regular file.
        OSError: as the system says it.
    """
    flags |= os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        fd = os.open(path, flags, mode)
    except BlockingIOError:
        import tenacity  # hardly ever, and a command waits for it to load

        # Not waiting holds for leases, too, which do end.
        fd = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(BlockingIOError),
            stop=tenacity.stop_after_delay(_LEASE_SECONDS),
            wait=tenacity.wait_fixed(0.05),
            reraise=True,
        )(os.open, path, flags, mode)
    except OSError as error:
        if error.errno != errno.ENXIO:  # a socket, or a device that is away
            raise
        raise NotRegularError(errno.EINVAL, "not a regular file", os.fspath(path)) from error
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise NotRegularError(errno.EINVAL, "not a regular file", os.fspath(path))


def open_regular(
    path: str | os.PathLike[str],
    *,
    follow: bool = True,
    within: Collection[str] = (),
) -> FileIO:
    """Open a regular file for reading, unbuffered.

    Args:
        follow: whether it may be a link.
        within: real paths of folders; the file must lie below one of them once every link is
            followed. Empty: it may lie anywhere.

    Raises:
        NotRegularError: it is not a regular file.
        OutsideError: it lies elsewhere.
        OSError: as the system says it.
    """
    file = FileIO(
        os.fspath(path),
        opener=lambda name, _: regular_fd(name, os.O_RDONLY | (0 if follow else os.O_NOFOLLOW)),
    )
    if within and not _is_below(file.fileno(), path, within):
        file.close()
        raise OutsideError(errno.EXDEV, "a link that leads out of the library", os.fspath(path))
    return file


def _is_below(fd: int, path: str | os.PathLike[str], folders: Collection[str]) -> bool:
    # Of the file that is open, not of the name: that may stand for another one by now. Linux tells
    # where it was opened; it takes a tenth of the time of following every link once more.
    try:
        if lies_below(os.readlink(f"/proc/self/fd/{fd}"), folders):  # noqa: PTH115
            return True
    except OSError:
        pass
    real = os.path.realpath(path)
    if not lies_below(real, folders):
        return False
    try:
        return os.path.samestat(os.lstat(real), os.fstat(fd))
    except OSError:
        return False


def lies_below(real: str, folders: Collection[str]) -> bool:
    """Whether a real path is that of something below one of these folders, real paths too."""
    return any(real.startswith(folder.rstrip("/") + "/") for folder in folders)


class FileStat(NamedTuple):
    """What a file system says of a file, as 64-bit columns hold it."""

    size_bytes: int
    mtime_ns: int
    ctime_ns: int | None = None
    inode: int | None = None
    file_system: str | None = None  #: what lasts of it; see `file_systems`

    @classmethod
    def of(cls, status: os.stat_result, file_system: str | None = None) -> FileStat:
        """From a stat."""
        inode = status.st_ino if status.st_ino <= _MOST else status.st_ino - 2**64
        ctime = _bounded(status.st_ctime_ns)
        return cls(status.st_size, mtime_ns(status), ctime, inode, file_system)


def mtime_ns(status: os.stat_result) -> int:
    """When a file was changed last, in ns, as a 64-bit column can hold it.

    File systems know years before 1677 and after 2262, which such a number does not; clocks that
    are wrong, and damaged volumes, have them. Each becomes a moment in the first or last second
    that there is, and two different ones hardly ever the same.
    """
    return _bounded(status.st_mtime_ns)


def _bounded(found: int) -> int:
    if found > _MOST - _SPREAD:
        return _MOST - found % _SPREAD
    if found < _LEAST + _SPREAD:
        return _LEAST + found % _SPREAD
    return found
