"""Reads a local file for an upload: once, whole or in parts, and notices if it changes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from io import FileIO

from catalogsync_assets.core.catalog.upload_queue import UploadTask
from catalogsync_assets.core.errors import SourceError
from catalogsync_assets.core.files.opening import (
    NotRegularError,
    OutsideError,
    mtime_ns,
    open_regular,
)
from catalogsync_assets.core.stores.checksums import InParts
from catalogsync_assets.core.stores.verify import Expected

_PIECE = 1024 * 1024


def measured(
    task: UploadTask, sizes: Collection[int | None] = (), *, md5: bool = True
) -> tuple[str, Expected]:
    """The SHA-256 of a task's file in hex, and how an object that holds it is known; by one read.

    Args:
        sizes: of the parts in which it may have been sent, in bytes; None for no parts.
        md5: by MD5s, as ETags have them; else by SHA-256s.

    Raises:
        SourceError: the file changed or could not be read.
    """
    sums = [InParts(size, md5=md5) for size in sizes]
    with Source(task) as source:
        for piece in source.parts(_PIECE):
            for each in sums:
                each.update(memoryview(piece))
        sha256 = source.finish()
    known_by = tuple(each.result() for each in sums)
    if md5:
        return sha256, Expected(sha256, task.size_bytes, etags=known_by)
    return sha256, Expected(sha256, task.size_bytes, composites=known_by)


class Source:
    """A task's file, open for reading. A context manager.

    Every error of the disk comes out as a `SourceError`.
    """

    def __init__(self, task: UploadTask) -> None:
        self._task = task
        self._digest = hashlib.sha256()
        self._file: FileIO
        self._mtime_ns = task.mtime_ns

    def __enter__(self) -> Source:
        try:
            self._file = open_regular(self._task.path, within=self._task.within)
        except OSError as error:
            raise self._unreadable(error) from error
        try:
            if self._mtime_ns is None:  # no scan has seen it; it must not change from now on
                self._mtime_ns = mtime_ns(os.fstat(self._file.fileno()))
            self._require_unchanged()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def mtime_ns(self) -> int:
        """As the last scan saw it; of a file that no scan has seen, as it was when opened."""
        assert self._mtime_ns is not None
        return self._mtime_ns

    def read_into(self, buffer: memoryview) -> str:
        """Fill a buffer of the file's size with its whole content; the SHA-256 as of `finish`."""
        self._fill(buffer)
        return self.finish()

    def _fill(self, buffer: memoryview) -> None:
        filled = 0
        try:
            while filled < len(buffer):
                count = self._file.readinto(buffer[filled:])
                if not count:
                    raise self._changed()
                filled += count
        except OSError as error:
            raise self._unreadable(error) from error
        self._digest.update(buffer)

    def parts(self, size: int) -> Iterator[bytearray]:
        """The content in parts of `size` bytes, the last one shorter; at least one, maybe empty."""
        left = self._task.size_bytes
        while True:
            part = bytearray(min(size, left))
            self._fill(memoryview(part))
            left -= len(part)
            yield part
            if not left:
                return

    def finish(self) -> str:
        """The SHA-256 in hex of all that was read, once it is certain to be the file's content.

        Raises:
            SourceError: the file changed meanwhile, or its content is not the catalog's although
                size and mtime are.
        """
        self._require_unchanged()
        sha256 = self._digest.hexdigest()
        if self._task.sha256 not in (None, sha256):
            # Not to be mistaken for an edit: pushing it would replace good copies by a bad one.
            raise SourceError(
                f"{self._task.path}: SHA-256 mismatch: the content differs from the catalog,"
                " size and mtime do not",
                code="ContentDiffers",
                hint="restore it if damaged; if it was edited on purpose, `touch` it and scan",
            )
        return sha256

    def _require_unchanged(self) -> None:
        status = os.fstat(self._file.fileno())
        if (status.st_size, mtime_ns(status)) != (self._task.size_bytes, self._mtime_ns):
            raise self._changed()

    def _changed(self) -> SourceError:
        return SourceError(
            f"{self._task.path} has changed since the last scan",
            code="SourceChanged",
            hint="scan again; the file stays queued",
            changed=True,
        )

    def _unreadable(self, error: OSError) -> SourceError:
        what = f"cannot be read: {error.strerror or error}"
        code, hint = "SourceUnreadable", "check its permissions and its disk"
        if isinstance(error, NotRegularError):
            what, hint = "is no longer a regular file", "scan again"
        elif isinstance(error, OutsideError):
            what, code = "is a link that leads out of every library root", "SourceOutside"
            hint = "scan again; `scan --follow-links` includes the targets of such links"
        elif isinstance(error, FileNotFoundError | NotADirectoryError):
            code, hint = "SourceMissing", "scan again"
        return SourceError(f"{self._task.path} {what}", code=code, hint=hint)
